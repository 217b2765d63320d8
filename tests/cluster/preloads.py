"""Libraries that stand between a process and the C library, so that a test can take its world apart without root."""

from __future__ import annotations

import sysconfig
from pathlib import Path

from cluster import packages

_LIBRARIES = Path("/usr/lib") / str(sysconfig.get_config_var("MULTIARCH"))
NSS_WRAPPER = _LIBRARIES / "libnss_wrapper.so"
FAKETIME = _LIBRARIES / "faketime" / "libfaketimeMT.so.1"
PACKAGES = {f"{NSS_WRAPPER}": "libnss-wrapper", f"{FAKETIME}": "libfaketime"}


def ensure() -> None:
    """Install them if they are missing (seconds, once). Raises ClusterError, naming them, where that can't be done."""
    packages.ensure(PACKAGES)


def names(hosts: Path) -> dict[str, str]:
    """An environment whose resolver knows what is in a file like /etc/hosts, as it is at each look."""
    # gRPC's own resolver would ask name servers by itself
    return {"LD_PRELOAD": f"{NSS_WRAPPER}", "NSS_WRAPPER_HOSTS": f"{hosts}", "GRPC_DNS_RESOLVER": "native"}


def wall_clock(offset: Path) -> dict[str, str]:
    """An environment whose wall clock is off by what a file says, such as `-30d`, as it is at each look."""
    return {
        "LD_PRELOAD": f"{FAKETIME}",
        "FAKETIME_TIMESTAMP_FILE": f"{offset}",
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # which the kernel never lets jump
    }

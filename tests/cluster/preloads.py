"""Libraries preloaded before the C library, so that tests can fake names and clocks of a process without root."""

from __future__ import annotations

import sysconfig
from pathlib import Path

from cluster import packages

_LIBRARIES = Path("/usr/lib") / str(sysconfig.get_config_var("MULTIARCH"))
NSS_WRAPPER = _LIBRARIES / "libnss_wrapper.so"
FAKETIME = _LIBRARIES / "faketime" / "libfaketimeMT.so.1"
PACKAGES = {f"{NSS_WRAPPER}": "libnss-wrapper", f"{FAKETIME}": "libfaketime"}


def ensure() -> None:
    """Install them if they are missing (seconds, once). Raises ClusterError, naming them, if that fails."""
    packages.ensure(PACKAGES)


def names(hosts: Path) -> dict[str, str]:
    """Return an environment whose resolver uses a file like /etc/hosts, read at each lookup."""
    # gRPC's own resolver would query name servers
    return {"LD_PRELOAD": f"{NSS_WRAPPER}", "NSS_WRAPPER_HOSTS": f"{hosts}", "GRPC_DNS_RESOLVER": "native"}


def wall_clock(offset: Path) -> dict[str, str]:
    """Return an environment whose wall clock is off by the offset in a file, such as `-30d`, read at each use."""
    return {
        "LD_PRELOAD": f"{FAKETIME}",
        "FAKETIME_TIMESTAMP_FILE": f"{offset}",
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # a real monotonic clock never jumps
    }

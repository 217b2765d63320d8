"""Debian packages with what Go modules don't have: installed where possible, else named in the error."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from cluster import programs
from cluster.errors import ClusterError
from cluster.progress import phase

# command or file → the package that has it
NODE = {
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "runc": "runc",
    "nft": "nftables",
    "ip": "iproute2",
    "openssl": "openssl",
}
IMAGES = {"buildah": "buildah", "debootstrap": "debootstrap"}
JAVA = {"java": "openjdk-17-jre-headless"}
MAVEN = {"mvn": "maven"}
PROMTOOL = {"promtool": "prometheus"}
POSTGRES = {"/usr/lib/postgresql": "postgresql"}
BROWSER = {"chromium": "chromium", "/usr/share/fonts/truetype/dejavu": "fonts-dejavu-core"}
SUDO = ["sudo", "--non-interactive"]


def ensure(wanted: dict[str, str]) -> None:
    """Install the packages of missing commands and files, as root or by sudo without a password.

    Raises ClusterError with the packages if apt-get or root's rights are missing, or the installation fails.
    """
    if not _missing(wanted):
        return
    with programs.lock():  # two apt-gets do not wait for each other
        missing = _missing(wanted)
        if not missing:  # another process has installed them meanwhile
            return
        names = " ".join(missing)
        if shutil.which("apt-get") is None or not _root():
            raise ClusterError(f"these packages are needed: {names}; install them as root: apt-get install {names}")
        with phase(f"install {names}"):
            _apt("update")
            _apt("install", "--yes", "--no-install-recommends", *missing)
    if still := sorted(thing for thing in wanted if not _present(thing)):
        raise ClusterError(f"{', '.join(still)} not found although {names} were installed")


def _missing(wanted: dict[str, str]) -> list[str]:
    return sorted({package for thing, package in wanted.items() if not _present(thing)})


def _present(thing: str) -> bool:
    return Path(thing).exists() if thing.startswith("/") else shutil.which(thing) is not None


def _root() -> bool:
    """Whether commands can be run as root."""
    if os.geteuid() == 0:
        return True
    return shutil.which("sudo") is not None and (
        subprocess.run([*SUDO, "true"], capture_output=True, check=False).returncode == 0
    )


def _apt(*args: str) -> None:
    as_root = [] if os.geteuid() == 0 else SUDO
    command = [*as_root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"apt-get {' '.join(args)} failed: {done.stderr.strip()}")

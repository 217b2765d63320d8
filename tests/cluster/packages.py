"""Debian packages with what Go modules don't have: installed where possible, named in one sentence elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from cluster.errors import ClusterError
from cluster.progress import phase

# what is looked for → the package that has it
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


def ensure(wanted: dict[str, str]) -> None:
    """Install the packages of those commands and files that are missing.

    Raises ClusterError, naming the packages, where apt-get or root's rights are missing or the install fails.
    """
    missing = sorted({package for thing, package in wanted.items() if not _present(thing)})
    if not missing:
        return
    names = " ".join(missing)
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise ClusterError(f"these packages are needed: {names}; install them as root: apt-get install {names}")
    with phase(f"install {names}"):
        _apt("update")
        _apt("install", "--yes", "--no-install-recommends", *missing)
    if still := sorted(thing for thing in wanted if not _present(thing)):
        raise ClusterError(f"{', '.join(still)} not found although {names} were installed")


def _present(thing: str) -> bool:
    return Path(thing).exists() if thing.startswith("/") else shutil.which(thing) is not None


def _apt(*args: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(["apt-get", "-q", *args], env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"apt-get {' '.join(args)} failed: {done.stderr.strip()}")

"""The cluster as kind makes it, where a Docker engine answers; the interface of node.py."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

from cluster import programs
from cluster.errors import ClusterError
from cluster.progress import phase

if TYPE_CHECKING:
    from pathlib import Path

NAME = "rochallor"


def works() -> bool:
    """Whether a Docker engine answers."""
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0


def up(kubeconfig: Path) -> None:
    """Create the cluster unless it is there, and write the admin's kubeconfig."""
    if NAME in _kind("get", "clusters").split():
        _kind("export", "kubeconfig", f"--name={NAME}", f"--kubeconfig={kubeconfig}")
        return
    with phase("start the cluster in Docker (kind)"):
        _kind("create", "cluster", f"--name={NAME}", f"--kubeconfig={kubeconfig}", "--wait=180s")


def down() -> None:
    """Delete the cluster; none there is fine."""
    _kind("delete", "cluster", f"--name={NAME}")


def load(archive: Path) -> None:
    """Give the cluster the image in `archive` (as `docker save` writes it)."""
    _kind("load", "image-archive", str(archive), f"--name={NAME}")


def _kind(*args: str) -> str:
    done = subprocess.run([programs.tool("kind"), *args], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"kind {' '.join(args)} failed: {done.stderr.strip()}")
    return done.stdout

"""The cluster made by kind, if a Docker engine answers; same interface as node.py."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from typing import TYPE_CHECKING

from cluster import programs
from cluster.errors import ClusterError
from cluster.progress import phase

if TYPE_CHECKING:
    from pathlib import Path

NAME = "rochallor"


@cache
def works() -> bool:
    """Whether a Docker engine answers."""
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0


def up(kubeconfig: Path) -> None:
    """Create the cluster unless it exists, and write the admin's kubeconfig."""
    if NAME in _kind("get", "clusters").split():
        _kind("export", "kubeconfig", f"--name={NAME}", f"--kubeconfig={kubeconfig}")
        return
    with phase("start the cluster in Docker (kind)"):
        _kind("create", "cluster", f"--name={NAME}", f"--kubeconfig={kubeconfig}", "--wait=180s")


def down(kubeconfig: Path) -> None:
    """Delete the cluster and its kubeconfig, if they exist."""
    _kind("delete", "cluster", f"--name={NAME}", f"--kubeconfig={kubeconfig}")
    kubeconfig.unlink(missing_ok=True)


def load(name: str) -> bool:
    """Load the image `name` that was built here into the cluster; return False if it had it already."""
    with phase(f"load {name}"):
        return "already present on all nodes" not in _kind("load", "docker-image", name, f"--name={NAME}")


def _kind(*args: str) -> str:
    done = subprocess.run(
        [programs.tool("kind"), *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0:
        raise ClusterError(f"kind {' '.join(args)} failed: {done.stdout.strip()}")
    return done.stdout

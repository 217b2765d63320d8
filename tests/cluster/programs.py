"""The cluster's programs: built from published Go modules, once, into the user's cache folder.

Every module in `modules/` pins one version; a folder in the cache carries a digest of that pin and of the build's
flags, so a changed version is built anew and two checkouts never use each other's programs by mistake.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from cluster.errors import ClusterError
from cluster.progress import phase

if TYPE_CHECKING:
    from collections.abc import Iterator

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rochallor-cluster"
MODULES = Path(__file__).parent / "modules"

CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager")
NODE = ("kube-scheduler", "kubelet", "kube-proxy", "containerd", "containerd-shim-runc-v2", "ctr", "coredns", "pause")

# program → the module that pins it, and its package
PACKAGES = {
    "etcd": ("etcd", "."),
    **{
        name: ("kubernetes", f"k8s.io/kubernetes/cmd/{name}")
        for name in (
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kubelet",
            "kube-proxy",
            "kubectl",
        )
    },
    **{
        name: ("containerd", f"github.com/containerd/containerd/v2/cmd/{name}")
        for name in ("containerd", "containerd-shim-runc-v2", "ctr")
    },
    "coredns": ("coredns", "."),
    "pause": ("pause", "."),
    "helm": ("helm", "helm.sh/helm/v3/cmd/helm"),
    "kind": ("kind", "sigs.k8s.io/kind"),
}
TAGS = "no_btrfs no_devmapper no_zfs"  # containerd's snapshotters that need C libraries


def path(name: str) -> Path:
    """Where the program `name` is, or will be once it is built."""
    module, _ = PACKAGES[name]
    return CACHE / "bin" / f"{module}-{_digest(module)}" / name


def ensure(*names: str) -> None:
    """Build those of the named programs that the cache lacks; minutes for Kubernetes, nothing when all are there.

    Raises ClusterError when Go is missing or a build fails.
    """
    if all(path(name).exists() for name in names):
        return
    if shutil.which("go") is None:
        raise ClusterError(f"Go 1.26 or newer is needed to build {', '.join(names)}: install it from https://go.dev/dl")
    with _lock():
        missing = [name for name in names if not path(name).exists()]
        for module in dict.fromkeys(PACKAGES[name][0] for name in missing):
            _build(module, [name for name in missing if PACKAGES[name][0] == module])


def tool(name: str) -> str:
    """The command `name`: the user's own where there is one, else ours, built when it is missing."""
    if found := shutil.which(name):
        return found
    ensure(name)
    return str(path(name))


def _build(module: str, names: list[str]) -> None:
    target = path(names[0]).parent
    target.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=target) as unfinished, phase(f"build {', '.join(names)}") as note:
        command = [
            "go",
            "build",
            "-v",
            "-trimpath",
            "-tags",
            TAGS,
            "-ldflags",
            _ldflags(module),
            "-o",
            f"{unfinished}/",
        ]
        go = subprocess.Popen(
            [*command, *(PACKAGES[name][1] for name in names)],
            cwd=MODULES / module,
            env={**os.environ, "CGO_ENABLED": "0"},
            stderr=subprocess.PIPE,
            text=True,
        )
        said, compiled = [], 0
        for line in go.stderr or ():
            said.append(line.rstrip())
            if line.startswith("go: downloading"):
                note("downloading modules")
            else:
                compiled += 1
                note(f"{compiled} packages compiled")
        if go.wait() != 0:
            raise ClusterError(f"building {', '.join(names)} failed:\n" + "\n".join(said[-15:]))
        for name in names:
            (Path(unfinished) / name).rename(target / name)


def _ldflags(module: str) -> str:
    flags = "-s -w"
    if module == "kubernetes":
        version = _pinned_version("kubernetes", "k8s.io/kubernetes")
        major, minor, _ = version.removeprefix("v").split(".")
        prefix = "k8s.io/component-base/version"
        flags += f" -X {prefix}.gitVersion={version} -X {prefix}.gitMajor={major} -X {prefix}.gitMinor={minor}"
    return flags


def _pinned_version(module: str, required: str) -> str:
    found = re.search(
        rf"^require {re.escape(required)} (\S+)$", (MODULES / module / "go.mod").read_text(), re.MULTILINE
    )
    if found is None:
        raise ClusterError(f"{MODULES / module}/go.mod has no line 'require {required} VERSION'")
    return found[1]


@cache
def _digest(module: str) -> str:
    digest = hashlib.sha256(f"{TAGS} {_ldflags(module)}".encode())
    for file in sorted((MODULES / module).iterdir()):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


@contextmanager
def _lock() -> Iterator[None]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield

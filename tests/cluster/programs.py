"""The cluster's programs: built from published Go modules, once, into the user's cache folder.

Every module in `modules/` pins one version; a folder in the cache carries a digest of that pin and of the build's
flags, so a changed version is rebuilt and two checkouts never use each other's programs by mistake.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
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

TOOLS = ("kubectl", "helm")
AUTOSCALERS = ("keda-operator", "keda-adapter", "prometheus-adapter")

# program → the module that pins it, and its package
PACKAGES = {
    "etcd": ("cluster", "./etcd"),
    "kube-apiserver": ("cluster", "k8s.io/kubernetes/cmd/kube-apiserver"),
    "kube-controller-manager": ("cluster", "k8s.io/kubernetes/cmd/kube-controller-manager"),
    "kube-scheduler": ("cluster", "k8s.io/kubernetes/cmd/kube-scheduler"),
    "kubelet": ("cluster", "k8s.io/kubernetes/cmd/kubelet"),
    "kube-proxy": ("cluster", "k8s.io/kubernetes/cmd/kube-proxy"),
    "kubectl": ("cluster", "k8s.io/kubernetes/cmd/kubectl"),
    "helm": ("cluster", "helm.sh/helm/v3/cmd/helm"),
    "containerd": ("cluster", "github.com/containerd/containerd/v2/cmd/containerd"),
    "containerd-shim-runc-v2": ("cluster", "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"),
    "ctr": ("cluster", "github.com/containerd/containerd/v2/cmd/ctr"),
    "coredns": ("cluster", "./coredns"),
    "pause": ("cluster", "./pause"),
    "kind": ("kind", "sigs.k8s.io/kind"),
    "stub": ("stub", "."),
    "actionlint": ("actionlint", "github.com/rhysd/actionlint/cmd/actionlint"),
    "keda-operator": ("keda", "github.com/kedacore/keda/v2/cmd/operator"),
    "keda-adapter": ("keda", "github.com/kedacore/keda/v2/cmd/adapter"),
    "prometheus-adapter": ("prometheus-adapter", "sigs.k8s.io/prometheus-adapter/cmd/adapter"),
}
FLAGS = (
    "-trimpath",
    "-tags=no_btrfs no_devmapper no_zfs",  # containerd's snapshotters that need C libraries
    "-gcflags=all=-l",  # no inlining: a quarter less to compile, and fast enough for a test cluster
)


def path(name: str) -> Path:
    """Return where the program `name` is, or will be once it is built."""
    module, _ = PACKAGES[name]
    return CACHE / "bin" / f"{module}-{_digest(module)}" / name


def missing(*names: str) -> list[str]:
    """Return those of the named programs that the cache lacks."""
    return [name for name in names if not path(name).exists()]


def ensure(*names: str) -> None:
    """Build those of the named programs that the cache lacks; this takes minutes for Kubernetes.

    Raises ClusterError if Go is missing or a build fails.
    """
    if not missing(*names):
        return
    if shutil.which("go") is None:
        raise ClusterError(
            f"Go 1.26.6 or newer is needed to build {', '.join(names)}: install it from https://go.dev/dl"
        )
    with lock():
        wanted = missing(*names)
        for module in dict.fromkeys(PACKAGES[name][0] for name in wanted):
            _build(module, [name for name in wanted if PACKAGES[name][0] == module])


def tool(name: str) -> str:
    """Return the command `name`: the user's own if there is one, else ours, built if it is missing."""
    if found := shutil.which(name):
        return found
    ensure(name)
    return str(path(name))


def sources(module: str, required: str) -> Path:
    """Return the folder with the published files of the Go module `required`, at the version that `module` pins.

    Raises ClusterError if Go is missing or can't fetch it.
    """
    if shutil.which("go") is None:
        raise ClusterError(f"Go is needed to fetch {required}: install it from https://go.dev/dl")
    command = ["go", "mod", "download", "-json", required]
    done = subprocess.run(command, cwd=MODULES / module, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"fetching {required} failed: {done.stdout}{done.stderr}")
    return Path(json.loads(done.stdout)["Dir"])


def _build(module: str, names: list[str]) -> None:
    target = path(names[0]).parent
    target.mkdir(parents=True, exist_ok=True)
    what = ", ".join(names[:3]) + (" …" if names[3:] else "")
    with TemporaryDirectory(dir=target) as unfinished, phase(f"build {what}") as note:
        command = ["go", "build", "-v", *FLAGS, f"-ldflags={_ldflags(module)}", f"-o={unfinished}/"]
        command += [PACKAGES[name][1] for name in names]
        # fewer garbage collections in the compiler save a fifth of its time, for more memory
        environment = {"GOGC": "400", **os.environ, "CGO_ENABLED": "0"}
        said, compiled = [], 0
        with subprocess.Popen(command, cwd=MODULES / module, env=environment, stderr=subprocess.PIPE, text=True) as go:
            for line in go.stderr or ():
                said.append(line.rstrip())
                if line.startswith("go: downloading"):
                    note("downloading modules")
                else:
                    compiled += 1
                    note(f"{compiled} packages compiled")
        if go.returncode != 0:
            raise ClusterError(f"building {what} failed:\n" + "\n".join(said[-15:]))
        for name in names:
            built_as = Path(PACKAGES[name][1]).name or name
            (Path(unfinished) / built_as).rename(target / name)


def _ldflags(module: str) -> str:
    flags = "-s -w"
    if module == "cluster":
        version = _pinned_version(module, "k8s.io/kubernetes")
        major, minor, _ = version.removeprefix("v").split(".")
        prefix = "k8s.io/component-base/version"
        flags += f" -X {prefix}.gitVersion={version} -X {prefix}.gitMajor={major} -X {prefix}.gitMinor={minor}"
    return flags


def _pinned_version(module: str, required: str) -> str:
    found = re.search(
        rf"^\s*(?:require )?{re.escape(required)} (\S+)$", (MODULES / module / "go.mod").read_text(), re.MULTILINE
    )
    if found is None:
        raise ClusterError(f"{MODULES / module}/go.mod does not require {required}")
    return found[1]


@cache
def _digest(module: str) -> str:
    digest = hashlib.sha256(" ".join((*FLAGS, _ldflags(module))).encode())
    for file in sorted((MODULES / module).rglob("*")):
        if file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


@contextmanager
def lock() -> Iterator[None]:
    """Keep other processes from building or fetching for the cache during the block."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield

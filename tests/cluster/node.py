"""A one-node Kubernetes that really runs pods, without a container engine; needs root.

The node is a process tree in its own pid, mount and network namespaces (machine.py is its pid 1), so killing that one
process ends everything: programs, pods, mounts, addresses, firewall rules. Only its folder and its cgroups are left to
remove. A veth pair with link-local addresses makes only the API server reachable from the host.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cluster import archive, certs, images, packages, programs
from cluster.controlplane import get
from cluster.errors import ClusterError
from cluster.machine import API_PORT, CGROUP, NODE_ADDRESS, NODE_NAME, PAUSE_IMAGE, SERVICE_ADDRESS
from cluster.progress import phase

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = Path("/var/opt/rochallor-cluster")
PID = FOLDER / "pid"
LOG = FOLDER / "machine.log"
HOST_END, HOST_ADDRESS = "rochallor", "169.254.99.1"
NODE_END, UPLINK_ADDRESS = "uplink", "169.254.99.2"
URL = f"https://{UPLINK_ADDRESS}:{API_PORT}"
BORN_S = 30.0
READY_S = 240.0
POLL_S = 0.05
LOG_LINES = 8
END_S = 20.0


def up(kubeconfig: Path) -> None:
    """Start the node unless it already runs, and write the admin's kubeconfig.

    Raises ClusterError if root's rights, programs or packages are missing, or the node doesn't become ready.
    """
    if os.geteuid() != 0:
        raise ClusterError(
            "no Docker engine answers, and a cluster without one needs root: start Docker, or run as root"
        )
    packages.ensure(packages.NODE)
    tools = (name for name in programs.TOOLS if shutil.which(name) is None)
    programs.ensure(*programs.CONTROL_PLANE, *programs.NODE, *tools)
    if _ready():
        certs.write_kubeconfig(kubeconfig, FOLDER, URL)
        return
    down(kubeconfig)
    with phase("start the node"):
        FOLDER.mkdir(mode=0o700)
        for top in _cgroups():
            top.mkdir()
        certs.make(FOLDER, ("127.0.0.1", SERVICE_ADDRESS, NODE_ADDRESS, UPLINK_ADDRESS))
        certs.write_kubeconfig(FOLDER / "kubeconfig", FOLDER, f"https://127.0.0.1:{API_PORT}")
        certs.write_kubeconfig(kubeconfig, FOLDER, URL)
        archive.write(FOLDER / "pause.tar", programs.path("pause"), PAUSE_IMAGE)
        with LOG.open("wb") as log:
            unshare = ["setsid", "--fork", "unshare", "--fork", "--pid", "--mount", "--net"]
            environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
            machine = [sys.executable, "-m", "cluster.machine", str(FOLDER)]
            subprocess.run([*unshare, *machine], env=environment, stdout=log, stderr=log, check=True)
        _wait(lambda: _running() is not None, BORN_S)
        _connect()
        _wait(_ready, READY_S)


def down(kubeconfig: Path) -> None:
    """Stop the node and remove everything it left, also after a crash. There may be nothing to do.

    Raises ClusterError without root's rights.
    """
    kubeconfig.unlink(missing_ok=True)
    if not FOLDER.exists():  # created first by `up`, removed last here
        return
    if os.geteuid() != 0:
        raise ClusterError(f"the cluster in {FOLDER} was started by root: stop it as root")
    if (pid := _running()) is not None:
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + END_S
        while _running() is not None and time.monotonic() < deadline:
            time.sleep(POLL_S)
    subprocess.run(["ip", "link", "delete", HOST_END], capture_output=True, check=False)
    for top in _cgroups():
        _remove_cgroups(top)
    shutil.rmtree(FOLDER)


def load(name: str) -> bool:
    """Load the image `name` that was built here into the node; return False if it had it already."""
    pid = _running()
    if pid is None:
        raise ClusterError("the cluster is not running: start it first (make cluster-up)")
    identity = images.identity(name)
    record = FOLDER / "images" / name.replace("/", "_")
    if record.exists() and record.read_text() == identity:
        return False
    with phase(f"load {name}"), images.archive(name) as file:
        enter = ("nsenter", f"--target={pid}", "--mount", "--pid", "--net")
        _run(*enter, str(programs.path("ctr")), "--namespace=k8s.io", "images", "import", str(file))
    record.parent.mkdir(exist_ok=True)
    record.write_text(identity)
    return True


def _running() -> int | None:
    """Return the id of the node's first process; None if it no longer runs."""
    with suppress(OSError, ValueError):
        pid = int(PID.read_text())
        # another program may have got the id of an ended process
        if b"cluster.machine" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    return None


def _connect() -> None:
    """Connect the host and the node."""
    pid = str(_running())
    _run("ip", "link", "add", HOST_END, "type", "veth", "peer", "name", NODE_END, "netns", pid)
    _run("ip", "address", "add", f"{HOST_ADDRESS}/30", "dev", HOST_END)
    _run("ip", "link", "set", HOST_END, "up")
    inside = ("nsenter", f"--target={pid}", "--net", "ip")
    _run(*inside, "address", "add", f"{UPLINK_ADDRESS}/30", "dev", NODE_END)
    _run(*inside, "link", "set", NODE_END, "up")


def _ready() -> bool:
    with suppress(OSError):
        conditions = json.loads(get(f"{URL}/api/v1/nodes/{NODE_NAME}", FOLDER))["status"]["conditions"]
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    return False


def _wait(happened: Callable[[], bool], seconds: float) -> None:
    started = time.monotonic()
    while not happened():
        waited = time.monotonic() - started
        if waited > seconds or (waited > BORN_S and _running() is None):
            end = LOG.read_text(errors="replace").splitlines()[-LOG_LINES:]
            raise ClusterError(f"the node did not become ready (logs in {FOLDER}):\n" + "\n".join(end))
        time.sleep(POLL_S)


def _cgroups() -> list[Path]:
    """Return the folders of the pods' cgroup: one in cgroups version 2, one for each controller in version 1."""
    mounted = Path("/sys/fs/cgroup")
    if (mounted / "cgroup.controllers").exists():
        return [mounted / CGROUP]
    return [each / CGROUP for each in mounted.iterdir() if not each.is_symlink()]


def _remove_cgroups(top: Path) -> None:
    """Remove a cgroup and all below it; a killed process leaves its cgroup a moment after its parent has ended."""
    deadline = time.monotonic() + END_S
    for folder, _, _ in os.walk(top, topdown=False):
        while True:
            try:
                Path(folder).rmdir()
                break
            except FileNotFoundError:
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(POLL_S)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"{' '.join(command)} failed: {done.stderr.strip()}")

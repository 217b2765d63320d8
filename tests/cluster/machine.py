"""The node's first process, pid 1 of the namespaces from node.py: it sets them up and starts the programs.

It has its own /run, /var/lib and /var/log, so every program uses its default folders and the host's stay untouched.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from cluster import controlplane, programs
from cluster.controlplane import Address
from cluster.processes import Process

NODE_NAME = "node1"
NODE_ADDRESS = "10.99.0.1"
SERVICE_ADDRESS = "10.96.0.1"  # the API server's address for pods
POD_ADDRESSES = "10.88.0.0/16"
API_PORT = 6443
CGROUP = "rochallor-cluster"
SOCKET = "/run/containerd/containerd.sock"
PAUSE_IMAGE = "localhost/pause:1"


def main(folder: Path) -> None:
    """Be the node until killed; `folder` holds its certificates and keeps its data and logs."""
    # The host's /proc is still mounted: it has this process's id on the host, by which it can be killed.
    (folder / "pid").write_text(str(Path("/proc/self").readlink()))
    _mount(folder)
    _network()
    names = {process.pid: process.name for process in _start(folder)}
    while True:
        pid, status = os.wait()
        if pid in names:
            print(f"{names[pid]} ended with status {os.waitstatus_to_exitcode(status)}", flush=True)


def _mount(folder: Path) -> None:
    for command in (
        ["--make-rshared", "/"],  # the kubelet's mounts must reach its pods
        ["-t", "proc", "proc", "/proc"],
        ["-t", "tmpfs", "tmpfs", "/run"],
    ):
        _run("mount", *command)
    for private in ("lib", "log"):
        (folder / private).mkdir()
        _run("mount", "--bind", str(folder / private), f"/var/{private}")


def _network() -> None:
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "link", "add", "node", "type", "bridge")
    _run("ip", "address", "add", f"{NODE_ADDRESS}/24", "dev", "node")
    _run("ip", "link", "set", "node", "up")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def _start(folder: Path) -> list[Process]:
    """Start all programs, each as soon as its dependencies are ready; return those that must stay alive."""
    kubeconfig = folder / "kubeconfig"
    started: list[Process] = []

    def start(argv: list[str]) -> None:
        process = Process(argv, folder / f"{Path(argv[0]).name}.log")
        process.start()
        started.append(process)

    at = Address(
        folder, Path("/var/lib/etcd"), API_PORT, 2379, 2380, "0.0.0.0", (f"--advertise-address={NODE_ADDRESS}",)
    )
    etcd, apiserver, controller_manager = controlplane.commands(at, kubeconfig)
    start(etcd)
    start(apiserver)
    start([_program("containerd"), f"--config={_write(folder / 'containerd.toml', CONTAINERD)}"])
    controlplane.wait_for(f"https://127.0.0.1:{API_PORT}/readyz", folder, tuple(started))
    start([*controller_manager, "--horizontal-pod-autoscaler-sync-period=5s"])
    start([_program("kube-scheduler"), f"--kubeconfig={kubeconfig}", "--leader-elect=false", "--secure-port=0"])
    network = {"type": "ptp", "ipam": {"type": "host-local", "subnet": POD_ADDRESSES, "routes": [{"dst": "0.0.0.0/0"}]}}
    _write(Path("/run/cni/pods.conflist"), json.dumps({"cniVersion": "1.0.0", "name": "pods", "plugins": [network]}))
    _import(folder / "pause.tar")
    start(
        [
            _program("kubelet"),
            f"--config={_write(folder / 'kubelet.json', json.dumps(KUBELET))}",
            f"--kubeconfig={kubeconfig}",
            f"--hostname-override={NODE_NAME}",
            f"--node-ip={NODE_ADDRESS}",
        ]
    )
    proxy = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "clusterCIDR": POD_ADDRESSES,
        "hostnameOverride": NODE_NAME,
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpCloseWaitTimeout": "0s", "tcpEstablishedTimeout": "0s"},
    }
    start([_program("kube-proxy"), f"--config={_write(folder / 'kube-proxy.json', json.dumps(proxy))}"])
    start([_program("coredns"), f"-conf={_write(folder / 'Corefile', COREFILE.format(kubeconfig=kubeconfig))}"])
    return started


CONTAINERD = f"""version = 3
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{PAUSE_IMAGE}"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true # without CAP_SYS_RESOURCE a pod's score can't go below containerd's own
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["/usr/lib/cni"]
  conf_dir = "/run/cni"
"""
# A pod's DNS is this server at the node's address; names outside the cluster don't resolve.
COREFILE = f""".:53 {{{{
  bind {NODE_ADDRESS}
  errors
  cache 5
  kubernetes cluster.local {{{{
    kubeconfig {{kubeconfig}}
  }}}}
}}}}
"""
KUBELET = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "kind": "KubeletConfiguration",
    "address": NODE_ADDRESS,  # it trusts every caller, so it must not be reachable from the host
    "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
    "authorization": {"mode": "AlwaysAllow"},
    "cgroupDriver": "cgroupfs",
    "cgroupRoot": f"/{CGROUP}",
    "failCgroupV1": False,
    "failSwapOn": False,
    "containerRuntimeEndpoint": f"unix://{SOCKET}",
    "clusterDNS": [NODE_ADDRESS],
    "clusterDomain": "cluster.local",
    "resolvConf": "/dev/null",
    # Images can't be pulled again, and the disk is shared with the rest of the machine: never clean up.
    "imageGCHighThresholdPercent": 100,
    "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
}


def _import(archive: Path) -> None:
    while not Path(SOCKET).exists():
        time.sleep(controlplane.POLL_S)
    _run(_program("ctr"), "--namespace=k8s.io", "images", "import", str(archive))


def _program(name: str) -> str:
    return str(programs.path(name))


def _write(file: Path, text: str) -> Path:
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return file


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

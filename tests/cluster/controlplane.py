"""A Kubernetes control plane without nodes: etcd, kube-apiserver and kube-controller-manager, as an ordinary user.

Deployments become ReplicaSets and Pod objects, garbage collection works; no pod runs.
"""

from __future__ import annotations

import json
import shutil
import ssl
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from cluster import certs, programs
from cluster.errors import ClusterError
from cluster.processes import Process, reserved_ports

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

START_S = 150.0
POLL_S = 0.05


@dataclass(frozen=True)
class Address:
    """The addresses and folders of the programs of one control plane."""

    folder: Path  # with the files of certs.make
    etcd_data: Path
    api_port: int
    etcd_port: int
    etcd_peer_port: int
    bind: str  # the API server's address to listen on
    flags: tuple[str, ...]  # further flags of the API server, such as how pods find it


def commands(at: Address, kubeconfig: Path) -> tuple[list[str], list[str], list[str]]:
    """Return the command lines of etcd, kube-apiserver and kube-controller-manager."""
    etcd_url, peer_url = f"http://127.0.0.1:{at.etcd_port}", f"http://127.0.0.1:{at.etcd_peer_port}"
    etcd = [
        str(programs.path("etcd")),
        f"--data-dir={at.etcd_data}",
        f"--listen-client-urls={etcd_url}",
        f"--advertise-client-urls={etcd_url}",
        f"--listen-peer-urls={peer_url}",
        f"--initial-advertise-peer-urls={peer_url}",
        f"--initial-cluster=default={peer_url}",
        "--unsafe-no-fsync",  # a test cluster's data need not outlive the machine
    ]
    apiserver = [
        str(programs.path("kube-apiserver")),
        f"--etcd-servers={etcd_url}",
        f"--bind-address={at.bind}",
        f"--secure-port={at.api_port}",
        *at.flags,
        f"--tls-cert-file={at.folder}/api.crt",
        f"--tls-private-key-file={at.folder}/api.key",
        f"--token-auth-file={at.folder}/tokens.csv",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={at.folder}/sa.key",
        f"--service-account-signing-key-file={at.folder}/sa.key",
        "--authorization-mode=RBAC",
        "--allow-privileged",  # as usual: the Pod Security Standards and our policies must refuse such pods
        "--service-cluster-ip-range=10.96.0.0/16",
        "--kubelet-preferred-address-types=InternalIP",
        # so that API servers behind this one, such as metrics adapters, know on whose behalf it calls
        f"--client-ca-file={at.folder}/ca.crt",
        f"--requestheader-client-ca-file={at.folder}/ca.crt",
        f"--requestheader-allowed-names={certs.FRONT}",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={at.folder}/{certs.FRONT}.crt",
        f"--proxy-client-key-file={at.folder}/{certs.FRONT}.key",
        "--enable-aggregator-routing",  # directly to pods: a node without a default route cannot reach Services
    ]
    controller_manager = [
        str(programs.path("kube-controller-manager")),
        f"--kubeconfig={kubeconfig}",
        f"--service-account-private-key-file={at.folder}/sa.key",
        f"--root-ca-file={at.folder}/ca.crt",
        "--leader-elect=false",
        "--kube-api-qps=500",  # with the default of 20 requests a second, tests with many objects would wait
        "--kube-api-burst=500",
        "--secure-port=0",
    ]
    return etcd, apiserver, controller_manager


class ControlPlane:
    """A running control plane on free ports of 127.0.0.1, for a `with` block. `flags` are more for the API server.

    Raises ClusterError if a program is missing and can't be built, or doesn't start.
    """

    def __init__(self, *flags: str) -> None:
        self._flags = flags
        self.folder = Path(mkdtemp(prefix="control-plane-"))
        self.kubeconfig = self.folder / "kubeconfig"
        """The path of the admin's kubeconfig."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            programs.ensure(*programs.CONTROL_PLANE)
            certs.make(self.folder, ("127.0.0.1",))
            api_port, etcd_port, etcd_peer_port = stack.enter_context(reserved_ports(3))
            self.url, self._etcd_url = f"https://127.0.0.1:{api_port}", f"http://127.0.0.1:{etcd_port}"
            certs.write_kubeconfig(self.kubeconfig, self.folder, self.url)
            # Nothing here looks up the API server, and a loopback address can't be an endpoint.
            flags = ("--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none", *self._flags)
            at = Address(self.folder, self.folder / "etcd", api_port, etcd_port, etcd_peer_port, "127.0.0.1", flags)
            argvs = commands(at, self.kubeconfig)
            self._etcd, self._apiserver, self._controllers = (
                Process(argv, self.folder / f"{Path(argv[0]).name}.log") for argv in argvs
            )
            for process in (self._etcd, self._apiserver, self._controllers):
                stack.callback(process.stop)
            self._etcd.start()
            self._apiserver.start()
            self._wait_for("/readyz", self._etcd, self._apiserver)
            self._controllers.start()
            # The controllers are ready once they have created the default namespace's service account.
            self._wait_for("/api/v1/namespaces/default/serviceaccounts/default", self._controllers)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def start_apiserver(self) -> None:
        """Start the API server again, with the same address and data, and wait until it is ready.

        The controllers are restarted: waiting ones would take half a minute to reconnect.
        """
        self._apiserver.start()
        self._wait_for("/readyz", self._etcd, self._apiserver)
        self._controllers.stop()
        self._controllers.start()

    def stop_controllers(self) -> None:
        """Stop the controllers alone: Deployments get no ReplicaSets."""
        self._controllers.stop()

    def stop_apiserver(self) -> None:
        """Stop the API server alone: clients see refused connections until `start_apiserver`."""
        self._apiserver.stop()

    def compact(self) -> None:
        """Compact etcd's history: a watch from an earlier revision is refused unless the API server has cached it."""
        revision = json.loads(_post(f"{self._etcd_url}/v3/maintenance/status", {}))["header"]["revision"]
        _post(f"{self._etcd_url}/v3/kv/compaction", {"revision": revision, "physical": True})

    def _wait_for(self, path: str, *needed: Process) -> None:
        wait_for(self.url + path, self.folder, needed)


def _post(url: str, body: object) -> bytes:
    """Return etcd's answer."""
    with urllib.request.urlopen(url, json.dumps(body).encode(), timeout=5) as answer:  # noqa: S310 (always http)
        answered: bytes = answer.read()
        return answered


def wait_for(url: str, folder: Path, needed: tuple[Process, ...] = ()) -> None:
    """Wait until the API server answers a GET of `url` with 200; `folder` holds ca.crt and the admin's token.

    Raises ClusterError if one of the `needed` processes ends, or after START_S.
    """
    deadline = time.monotonic() + START_S
    why = ""
    while time.monotonic() < deadline:
        for process in needed:
            process.check()
        try:
            get(url, folder)
        except OSError as error:
            why = str(error)
            time.sleep(POLL_S)
        else:
            return
    raise ClusterError(f"{url} did not answer within {START_S:.0f} s: {why}")


def get(url: str, folder: Path) -> bytes:
    """Return the API server's answer to a GET of `url` by the admin. Raises OSError unless it is a 200."""
    context = ssl.create_default_context(cafile=folder / "ca.crt")
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {(folder / 'token').read_text()}"})  # noqa: S310 (always https)
    with urllib.request.urlopen(request, context=context, timeout=5) as answer:  # noqa: S310 (always https)
        body: bytes = answer.read()
        return body

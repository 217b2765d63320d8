"""`python -m cluster build|up|autoscalers|missing|down|images|load IMAGE|env`: the test cluster by hand."""

from __future__ import annotations

import argparse
import sys

from cluster import keda, kind, monitoring, node, product, programs
from cluster.errors import ClusterError
from cluster.kubectl import KUBECONFIG, Kubectl
from cluster.progress import console


def main() -> int:
    """Run a command; return 0, or 1 after a one-sentence error."""
    parser = argparse.ArgumentParser(prog="python -m cluster", description="A real Kubernetes for tests and the demo.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help="build the programs of a control plane (minutes, once)")
    commands.add_parser("up", help="start the cluster (kind if Docker answers, else a node of our own; needs root)")
    commands.add_parser("autoscalers", help="install Prometheus, prometheus-adapter and KEDA (minutes, once)")
    commands.add_parser("missing", help="print which programs of the autoscalers are not built yet")
    commands.add_parser("down", help="stop the cluster and remove its files")
    commands.add_parser("images", help="build the images of this checkout")
    commands.add_parser("load", help="load an image that was built here into the cluster").add_argument("image")
    commands.add_parser("env", help="print the shell line that points kubectl at the cluster")
    args = parser.parse_args()
    try:
        _do(args)
    except ClusterError as error:
        console.print(f"error: {error}", markup=False)
        return 1
    return 0


def _do(args: argparse.Namespace) -> None:
    cluster = kind if kind.works() else node
    match args.command:
        case "build":
            programs.ensure(*programs.CONTROL_PLANE)
        case "up":
            cluster.up(KUBECONFIG)
            console.print(f"the cluster is up: export KUBECONFIG={KUBECONFIG}")
        case "autoscalers":
            kubectl = Kubectl(KUBECONFIG)
            monitoring.install(kubectl)
            keda.install(kubectl)
        case "missing":
            print(", ".join(programs.missing(*programs.AUTOSCALERS)))
        case "down":
            cluster.down(KUBECONFIG)
        case "images":
            for name in product.build_images():
                console.print(f"built {name}", highlight=False)
        case "load":
            cluster.load(args.image)
        case "env":
            print(f"export KUBECONFIG={KUBECONFIG}")


if __name__ == "__main__":
    sys.exit(main())

"""`python -m cluster.demo`: the whole product on a real cluster, from scratch to 300 finished instances."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cluster import kind, node, product
from cluster.errors import ClusterError
from cluster.kubectl import KUBECONFIG, Kubectl
from cluster.progress import console, phase

INSTANCES = 300

HINTS = f"""
Look around:
  export KUBECONFIG={KUBECONFIG}
  kubectl get rw                                         the worker, its state and its pods
  kubectl scale rw/hello --replicas=3                    more pods
  kubectl edit rw/hello                                  another parallelism rolls the Deployment
  kubectl port-forward deploy/hello 9090                 then http://localhost:9090/ and /metrics
  make demo-down                                         removes the cluster and everything in it
"""


def main() -> int:
    """Run the demo; return 0 if every instance ended in the expected state."""
    try:
        (kind if kind.works() else node).up(KUBECONFIG)
        kubectl = Kubectl(KUBECONFIG)
        product.install(kubectl)
        with phase("start the development engine"):
            kubectl("apply", f"--filename={product.HELLO / 'engine.yaml'}")
            kubectl("rollout", "status", "deployment/dev-engine", "--timeout=3m")
        with phase("start the worker (kubectl apply -f examples/hello/worker.yaml)"):
            kubectl("apply", f"--filename={product.HELLO / 'worker.yaml'}")
            with product.explained(kubectl, "deployment/hello"):
                kubectl("wait", "rw/hello", "--for=condition=Ready", "--timeout=2m")
        with kubectl.port_forward("service/dev-engine", 8080) as url:
            worker = str(Path(sys.executable).with_name("rochallor-worker"))
            done = subprocess.run([worker, "demo", f"--engine-url={url}", f"--instances={INSTANCES}"], check=False)
    except ClusterError as error:
        console.print(f"error: {error}", markup=False)
        return 1
    console.print(HINTS, markup=False)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())

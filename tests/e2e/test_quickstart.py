"""The quickstart in a cluster."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pages
from cluster import programs
from cluster.kubectl import KUBECONFIG

if TYPE_CHECKING:
    from cluster.kubectl import Kubectl


def test_the_quickstart_in_a_cluster(cluster: Kubectl) -> None:
    folders = [str(Path(programs.tool(name)).parent) for name in ("kubectl", "helm")]
    path = os.pathsep.join([*folders, os.environ["PATH"]])
    todo = pages.steps("quickstart.md", "In a cluster")
    try:
        pages.run(todo, os.environ | {"KUBECONFIG": str(KUBECONFIG), "PATH": path}, limit=500)
    finally:
        cluster("delete", "namespace", "hello", "--ignore-not-found", "--wait=false")

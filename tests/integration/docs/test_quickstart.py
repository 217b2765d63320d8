"""The quickstart without a cluster."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

import pages

if TYPE_CHECKING:
    from pathlib import Path

OWN_NETWORK = ["unshare", "--net", "bash", "-c", 'ip link set lo up && exec "$@"', "bash"]
"""The page's ports may be taken on this machine; a network of its own has them free."""


@pytest.mark.timeout(300)
def test_the_quickstart_without_a_cluster(tmp_path: Path) -> None:
    own = subprocess.run([*OWN_NETWORK, "true"], capture_output=True, check=False).returncode == 0
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ROCHALLOR_")}
    todo = pages.steps("quickstart.md", "Without a cluster")
    pages.run(todo, environment | {"HOME": str(tmp_path)}, inside=OWN_NETWORK if own else (), limit=240)

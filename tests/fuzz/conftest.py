"""An API server with the resource definition, to check specs; no resource is ever written to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from cluster.controlplane import ControlPlane
from integration.operator.api import Api
from integration.operator.conftest import definition, established
from rochallor_operator.names import FOREIGN

if TYPE_CHECKING:
    from collections.abc import Iterator

CRD = yaml.safe_load((Path(__file__).parents[2] / "crds" / "rochallorworkers.rochallor.io.yaml").read_text())


@pytest.fixture(scope="session")
def api() -> Iterator[Api]:
    with ControlPlane() as control_plane, Api(control_plane.kubeconfig) as api:
        for crd in (CRD, *map(definition, FOREIGN)):
            api.create(crd)
            api.until_the("CustomResourceDefinition", crd["metadata"]["name"], established)
        yield api

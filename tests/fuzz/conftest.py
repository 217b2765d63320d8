"""An API server with the resource definition, to check specs; no resource is ever written to it."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from cluster.controlplane import ControlPlane
from integration.operator.api import Api, RefusedError
from integration.operator.conftest import definition, established
from rochallor_operator.names import FOREIGN
from waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

CRD = yaml.safe_load((Path(__file__).parents[2] / "crds" / "rochallorworkers.rochallor.io.yaml").read_text())


@pytest.fixture(scope="session")
def api() -> Iterator[Api]:
    with ControlPlane() as control_plane, Api(control_plane.kubeconfig) as api:
        for crd in (CRD, *map(definition, FOREIGN)):
            api.create(crd)
            api.until_the("CustomResourceDefinition", crd["metadata"]["name"], established)
            wait_until(partial(served, api, crd["spec"]["names"]["kind"]))
        yield api


def served(api: Api, kind: str) -> bool:
    """Whether a kind can be used: for a moment after its definition the API server answers 404 in plain text or 429."""
    with suppress(RefusedError, ValueError):
        api.every(kind)
        return True
    return False

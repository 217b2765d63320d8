"""The two packages share only the ROCHALLOR_ variables: what the operator writes, the worker reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rochallor_operator.desired.deployment import deployment
from rochallor_operator.names import METRICS_PORT
from rochallor_operator.spec import RESERVED_ENV, seconds
from rochallor_worker import settings
from unit.operator.samples import worker
from unit.operator.test_desired import FULL

if TYPE_CHECKING:
    from rochallor_operator.names import Manifest


def variables(**spec: object) -> dict[str, str]:
    """The worker container's ROCHALLOR_ variables, as the kubelet sets them."""
    container = deployment(worker(**spec), "worker:1", None)["spec"]["template"]["spec"]["containers"][0]
    return {
        item["name"]: item.get("value", "payments-7d-x")
        for item in container["env"]
        if item["name"].startswith("ROCHALLOR_")
    }


@pytest.mark.parametrize("spec", [{}, FULL], ids=["minimal", "full"])
def test_the_worker_understands_every_variable(monkeypatch: pytest.MonkeyPatch, spec: Manifest) -> None:
    written = variables(**spec)
    assert set(written) <= RESERVED_ENV
    assert settings.unknown_variables(written) == []
    for name, value in written.items():
        monkeypatch.setenv(name, value)
    wish, read = worker(**spec).spec, settings.load()
    module = wish.handlers.config_map.module if wish.handlers.config_map else wish.handlers.module
    timeout = None if wish.handler_timeout is None else seconds(wish.handler_timeout)
    assert (read.handlers, read.transport, read.engine_url) == (module, wish.transport, wish.engine.url)
    assert (tuple(read.job_types), read.parallelism) == (wish.job_types, wish.parallelism)
    assert read.poll_interval == pytest.approx(seconds(wish.poll_interval))
    assert read.drain_timeout == pytest.approx(seconds(wish.drain_timeout))
    assert read.handler_timeout == (None if timeout is None else pytest.approx(timeout))
    assert (read.worker_id, read.metrics_port) == ("payments-7d-x", METRICS_PORT)


def test_a_full_spec_writes_every_reserved_variable() -> None:
    assert set(variables(**FULL)) == RESERVED_ENV

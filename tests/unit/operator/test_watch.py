"""What the operator makes of the events of its watch."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, cast
from unittest.mock import Mock

import kopf
import pytest

from rochallor_operator import handlers
from rochallor_operator.handlers import Watch
from rochallor_operator.names import Key
from rochallor_operator.recent import Recent
from unit.operator.samples import resource

if TYPE_CHECKING:
    from rochallor_operator.names import Manifest

KNOWN = [Key("shop", "payments"), Key("shop", "refunds")]


def listed(name: str) -> Manifest:
    live = resource()
    live["metadata"] |= {"name": name, "uid": f"uid-of-{name}", "resourceVersion": "7"}
    return live


@pytest.fixture
def watch() -> Watch:
    reconciler = Mock()
    reconciler.known.return_value = KNOWN
    return Watch(Mock(), Mock(), Mock(), reconciler, Recent(lambda: 0), Mock(), "system")


def queued(watch: Watch) -> list[Key]:
    return [call.args[0] for call in cast("Mock", watch.queue).add.mock_calls]


def test_a_second_listing_makes_it_look_at_everything(watch: Watch) -> None:
    """What was deleted before a watch that the API server refused to go on with has no event (410 Gone)."""
    watch.heard("RochallorWorker", None, listed("payments"))
    watch.heard("RochallorWorker", None, listed("refunds"))
    assert queued(watch) == KNOWN
    assert watch.recent.get("RochallorWorker", *KNOWN[1])
    watch.heard("RochallorWorker", None, listed("payments"))
    assert queued(watch) == [*KNOWN, *KNOWN, KNOWN[0]]
    assert not watch.recent.get("RochallorWorker", *KNOWN[1])
    watch.heard("RochallorWorker", None, listed("refunds"))
    assert queued(watch)[-2:] == [KNOWN[0], KNOWN[1]]
    watch.heard("RochallorWorker", None, listed("payments"))
    assert queued(watch)[-3:] == [*KNOWN, KNOWN[0]]


def test_a_change_is_no_listing(watch: Watch) -> None:
    watch.heard("RochallorWorker", None, listed("payments"))
    watch.heard("RochallorWorker", "MODIFIED", listed("payments"))
    assert queued(watch) == [KNOWN[0]] * 2


def test_a_watch_that_does_not_stop_by_itself_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own stop may wait for the API server."""
    stop = threading.Event()

    async def operator(**_: object) -> None:
        stop.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(kopf, "operator", operator)
    monkeypatch.setattr(handlers, "STOP_S", 0.01)
    with pytest.raises(TimeoutError):
        handlers._watch(kopf.OperatorRegistry(), (), stop)

"""What the operator makes of the events of its watch."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, cast
from unittest.mock import AsyncMock, Mock

import kopf
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import Configuration

from rochallor_operator import handlers
from rochallor_operator.errors import WatchError
from rochallor_operator.handlers import Watch, kopf_settings
from rochallor_operator.names import APIS, Key
from rochallor_operator.recent import Recent
from unit.operator.samples import resource

if TYPE_CHECKING:
    from rochallor_operator.names import Manifest

KNOWN = [Key("shop", "payments"), Key("shop", "refunds")]
OTHERS = ("Secret", "Service", "ServiceAccount")
CORE = [
    {"kind": kind, "name": plural, "singularName": "", "namespaced": kind != "Namespace", "verbs": ["list", "watch"]}
    for kind, plural in (
        {"Namespace": "namespaces"} | {kind: APIS[kind].plural for kind in ("ConfigMap", *OTHERS)}
    ).items()
]


def listed(name: str, namespace: str = "shop") -> Manifest:
    live = resource()
    live["metadata"] |= {"name": name, "namespace": namespace, "uid": f"uid-of-{name}", "resourceVersion": "7"}
    return live


@pytest.fixture
def watch() -> Watch:
    reconciler = Mock()
    reconciler.known.return_value = KNOWN
    reconciler.served = None
    reconciler.applied_kinds = set()
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


def test_a_second_listing_of_one_namespace_says_nothing_of_another_one(watch: Watch) -> None:
    """Each named namespace has listings of its own."""
    watch.reconciler.served = frozenset({"shop", "other"})
    for namespace in ("shop", "other"):
        watch.heard("RochallorWorker", None, listed(f"of-{namespace}", namespace))
    for namespace in ("shop", "other"):
        cast("Mock", watch.queue).add.reset_mock()
        watch.heard("RochallorWorker", None, listed(f"of-{namespace}", namespace))
        assert queued(watch) == [*KNOWN, Key(namespace, f"of-{namespace}")]


async def test_each_watch_begins_with_a_look_at_everything(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """What went between two watches, or is no longer served, has no event."""
    monkeypatch.setattr(handlers, "_watch", lambda *_: None)
    watch.kube.serves = AsyncMock(return_value=False)  # type: ignore[method-assign]
    await watch.run(("other",), everywhere=False)
    assert queued(watch) == KNOWN
    assert watch.reconciler.served == frozenset({"other"})


async def test_a_kind_that_came_later_makes_the_watch_outdated(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "_watch", lambda *_: None)
    watch.reconciler.applied_kinds.add("PodMonitor")  # before its definition was removed
    watch.kube.serves = AsyncMock(side_effect=lambda kind: kind == "ScaledObject")  # type: ignore[method-assign]
    await watch.run((), everywhere=True)
    assert not watch.outdated()
    watch.reconciler.applied_kinds.update({"Deployment", "ScaledObject"})
    assert not watch.outdated()
    watch.reconciler.applied_kinds.add("PodMonitor")
    assert watch.outdated()


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("the words", {"of": "kopf"}), "the words"),
        (ValueError(None, {"of": "kopf"}), "ValueError"),
        (ConnectionRefusedError(111, "Connect call failed"), "[Errno 111] Connect call failed"),
        (TimeoutError(), "TimeoutError"),
    ],
)
async def test_a_watch_that_ends_says_why_in_a_sentence(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, error: Exception, sentence: str
) -> None:
    monkeypatch.setattr(handlers, "_watch", Mock(side_effect=error))
    watch.kube.serves = AsyncMock(return_value=False)  # type: ignore[method-assign]
    with pytest.raises(WatchError) as caught:
        await watch.run((), everywhere=True)
    assert str(caught.value) == f"watching failed: {sentence}"


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
    with pytest.raises(TimeoutError, match="kopf did not stop within"):
        handlers._watch(kopf.OperatorRegistry(), (), stop)


async def test_a_watch_that_is_refused_ends_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those whose answer has not begun: kopf by itself might wait for them without end."""
    waiting, over = asyncio.Semaphore(0), asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        if "watch" not in request.query:
            known = {"groups": [], "versions": ["v1"], "resources": CORE}
            return web.json_response(known | {"items": [], "metadata": {"resourceVersion": "1"}})
        if not request.path.endswith("/configmaps"):
            waiting.release()
            await over.wait()
        for _ in OTHERS:
            await waiting.acquire()
        return web.json_response({"kind": "Status", "code": 403, "message": "may not watch configmaps"}, status=403)

    def settings() -> kopf.OperatorSettings:
        values = kopf_settings()
        values.networking.error_backoffs = ()
        return values

    monkeypatch.setattr(handlers, "kopf_settings", settings)
    api = web.Application()
    api.router.add_get("/{path:.*}", answer)
    async with TestServer(api) as server:
        registry = handlers._registry(("ConfigMap", *OTHERS), Mock(), Configuration(host=str(server.make_url(""))))
        with pytest.raises(Exception, match="may not watch configmaps"):
            await asyncio.to_thread(handlers._watch, registry, (), threading.Event())
        over.set()

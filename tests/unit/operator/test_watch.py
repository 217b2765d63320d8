"""What the operator makes of the events of its watch."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, cast
from unittest.mock import Mock

import kopf
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import Configuration

from rochallor_operator import handlers
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

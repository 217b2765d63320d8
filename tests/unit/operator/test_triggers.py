"""How the operator handles the events of its watch."""

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

from rochallor_operator.cluster.cache import Cache
from rochallor_operator.errors import WatchError
from rochallor_operator.names import APIS, Key, ObjectRef
from rochallor_operator.policy import Policy
from rochallor_operator.watch import kopfwatch
from rochallor_operator.watch.delivery import LIMIT_S
from rochallor_operator.watch.kopfwatch import kopf_settings
from rochallor_operator.watch.sources import SILENCE_S, SourceWatch
from rochallor_operator.watch.triggers import Watch
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
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    async def endless(_: SourceWatch) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(SourceWatch, "run", endless)
    reconciler = Mock(policy=Policy())
    reconciler.known.return_value = KNOWN
    reconciler.served = None
    reconciler.kinds_in_use = set()
    reconciler.restart_watch.side_effect = reconciler.kinds_in_use.clear
    return Watch(Mock(), Mock(), Mock(), reconciler, Cache(lambda: 0), Mock(), "system")


def queued(watch: Watch) -> list[Key]:
    return [call.args[0] for call in cast("Mock", watch.queue).add.mock_calls]


def test_a_second_listing_reconciles_everything(watch: Watch) -> None:
    """Objects deleted before a watch that the API server refused to continue have no event (410 Gone)."""
    watch.received("RochallorWorker", None, listed("payments"))
    watch.received("RochallorWorker", None, listed("refunds"))
    assert queued(watch) == KNOWN
    assert watch.cache.get("RochallorWorker", *KNOWN[1])
    watch.received("RochallorWorker", None, listed("payments"))
    assert queued(watch) == [*KNOWN, *KNOWN, KNOWN[0]]
    assert not watch.cache.get("RochallorWorker", *KNOWN[1])
    watch.received("RochallorWorker", None, listed("refunds"))
    assert queued(watch)[-2:] == [KNOWN[0], KNOWN[1]]
    watch.received("RochallorWorker", None, listed("payments"))
    assert queued(watch)[-3:] == [*KNOWN, KNOWN[0]]


def test_a_second_listing_of_one_namespace_says_nothing_about_another(watch: Watch) -> None:
    """Each named namespace has listings of its own."""
    watch.reconciler.served = frozenset({"shop", "other"})
    for namespace in ("shop", "other"):
        watch.received("RochallorWorker", None, listed(f"of-{namespace}", namespace))
    for namespace in ("shop", "other"):
        cast("Mock", watch.queue).add.reset_mock()
        watch.received("RochallorWorker", None, listed(f"of-{namespace}", namespace))
        assert queued(watch) == [*KNOWN, Key(namespace, f"of-{namespace}")]


async def test_each_watch_begins_by_reconciling_everything(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects deleted between two watches, or no longer served, have no event."""
    monkeypatch.setattr(kopfwatch, "watch", lambda *_: None)
    watch.kube.serves = AsyncMock(return_value=False)  # type: ignore[method-assign]
    await watch.run(("other",), everywhere=False)
    assert queued(watch) == KNOWN
    assert watch.reconciler.served == frozenset({"other"})


async def test_a_kind_that_is_added_later_makes_the_watch_outdated(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kopfwatch, "watch", lambda *_: None)
    watch.reconciler.kinds_in_use.add("PodMonitor")  # before its CRD was removed
    watch.kube.serves = AsyncMock(side_effect=lambda kind: kind == "ScaledObject")  # type: ignore[method-assign]
    await watch.run((), everywhere=True)
    assert not watch.outdated()
    watch.reconciler.kinds_in_use.update({"Deployment", "ScaledObject", "ConfigMap"})
    assert not watch.outdated()
    watch.reconciler.kinds_in_use.add("PodMonitor")
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
    monkeypatch.setattr(kopfwatch, "watch", Mock(side_effect=error))
    watch.kube.serves = AsyncMock(return_value=False)  # type: ignore[method-assign]
    with pytest.raises(WatchError) as caught:
        await watch.run((), everywhere=True)
    assert str(caught.value) == f"watching failed: {sentence}"


async def test_a_watch_that_does_not_deliver_a_version_from_an_answer_is_restarted(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now)
    watch.watched.add("RochallorWorker")
    watch.on_answer("RochallorWorker", listed("payments"))
    watch.on_answer("Deployment", listed("not-watched"))
    assert not watch.outdated()
    now += LIMIT_S + 1
    assert watch.silence("RochallorWorker") == LIMIT_S + 1
    assert watch.outdated()
    watch.received("RochallorWorker", "MODIFIED", listed("payments"))
    assert not watch.outdated()


async def test_a_child_that_is_not_ours_is_not_waited_for(watch: Watch) -> None:
    """Without our label it is not watched."""
    watch.watched.add("Deployment")
    watch.on_answer("Deployment", listed("payments"))
    assert watch.silence("Deployment") == 0
    ours = listed("payments")
    ours["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "rochallor-operator"}
    watch.on_answer("Deployment", ours)
    await asyncio.sleep(0.01)
    assert watch.silence("Deployment") > 0


async def test_a_watch_of_secrets_that_delivers_nothing_is_a_problem(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now)
    watch.sources[:] = watch._source_watches((), everywhere=True)
    assert watch.problem() is None
    now += SILENCE_S + 1
    assert watch.problem() == "the watch of ConfigMaps has delivered nothing for 901 s"


async def test_a_changed_source_reconciles_its_users(watch: Watch) -> None:
    users = cast("Mock", watch.reconciler)
    users.users_of.return_value = KNOWN[:1]
    stale: Manifest = {"metadata": {"namespace": "shop", "name": "code", "resourceVersion": "7"}}
    watch.cache.put(stale, "ConfigMap")
    watch.source_changed("ConfigMap", "shop", "code", 8)
    assert watch.cache.get("ConfigMap", "shop", "code") is None
    assert queued(watch) == KNOWN[:1]
    cast("Mock", watch.canary).received.assert_called_once_with("shop", "code", 8)
    users.users_of_any.return_value = [Key("other", "refunds"), *KNOWN]
    watch.sources_restarted("Secret", "shop")
    assert queued(watch)[1:] == KNOWN
    watch.sources_restarted("Secret", "")
    assert queued(watch)[3:] == [Key("other", "refunds"), *KNOWN]


@pytest.mark.parametrize("everywhere", [False, True])
async def test_connections_of_the_cluster_concern_only_an_operator_of_all_namespaces(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, everywhere: bool
) -> None:
    monkeypatch.setattr(kopfwatch, "watch", lambda *_: None)
    watch.kube.serves = serves = AsyncMock(return_value=True)  # type: ignore[method-assign]
    await watch.run(() if everywhere else ("shop",), everywhere=everywhere)
    asked = {call.args[0] for call in serves.mock_calls}
    assert "EngineConnection" in watch.watched
    assert ("ClusterEngineConnection" in watch.watched) is everywhere
    assert ("ClusterEngineConnection" in asked) is everywhere
    assert ("Namespace" in {source.kind for source in watch.sources}) is everywhere


def test_a_changed_connection_reconciles_its_users(watch: Watch) -> None:
    reconciler = cast("Mock", watch.reconciler)
    reconciler.users_of.return_value = KNOWN
    head = {"name": "main", "uid": "u", "resourceVersion": "9", "generation": 1}
    watch.received("ClusterEngineConnection", "MODIFIED", {"metadata": head})
    assert queued(watch) == KNOWN
    assert watch.cache.get("ClusterEngineConnection", "", "main")
    reconciler.users_of.assert_called_once_with(ObjectRef("ClusterEngineConnection", "", "main"))
    reconciler.connections.on_event.return_value = False  # only its status has changed
    watch.received("ClusterEngineConnection", "MODIFIED", {"metadata": head | {"resourceVersion": "10"}})
    assert queued(watch) == KNOWN


@pytest.mark.parametrize(
    ("namespaces", "places"),
    [
        (None, [("ConfigMap", ""), ("Secret", "")]),
        (("shop",), [("ConfigMap", "shop"), ("Secret", "shop"), ("ConfigMap", "system")]),
        (("system",), [("ConfigMap", "system"), ("Secret", "system")]),
        ((), [("ConfigMap", "system")]),
    ],
)
async def test_secrets_and_config_maps_are_watched_where_the_operator_serves(
    watch: Watch, namespaces: tuple[str, ...] | None, places: list[tuple[str, str]]
) -> None:
    """In the operator's own namespace, only for the canary."""
    found = watch._source_watches(namespaces or (), everywhere=namespaces is None)
    assert [(one.kind, one._namespace) for one in found] == places


def test_a_change_is_not_a_listing(watch: Watch) -> None:
    watch.received("RochallorWorker", None, listed("payments"))
    watch.received("RochallorWorker", "MODIFIED", listed("payments"))
    assert queued(watch) == [KNOWN[0]] * 2


def test_a_watch_that_does_not_stop_by_itself_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own stop may wait for the API server."""
    stop = threading.Event()

    async def operator(**_: object) -> None:
        stop.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(kopf, "operator", operator)
    monkeypatch.setattr(kopfwatch, "STOP_S", 0.01)
    with pytest.raises(TimeoutError, match="kopf did not stop within"):
        kopfwatch.watch(kopf.OperatorRegistry(), (), stop)


async def test_a_watch_that_is_refused_ends_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those whose answer has not begun: kopf itself might wait for them forever."""
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
        # on a slow machine a timeout would end the watch before the refusal does
        values.networking.request_timeout = values.watching.connect_timeout = 60
        return values

    monkeypatch.setattr(kopfwatch, "kopf_settings", settings)
    monkeypatch.setattr(kopfwatch, "STOP_S", 60)
    api = web.Application()
    api.router.add_get("/{path:.*}", answer)
    async with TestServer(api) as server:
        registry = kopfwatch.registry(("ConfigMap", *OTHERS), Mock(), Configuration(host=str(server.make_url(""))))
        with pytest.raises(Exception, match="may not watch configmaps"):
            await asyncio.to_thread(kopfwatch.watch, registry, (), threading.Event())
        over.set()

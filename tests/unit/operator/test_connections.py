"""Reconciles of a worker with a connection: what can't be used changes nothing, and what is copied. (Their effect on a
cluster: tests/integration.)"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, cast

import pytest

from rochallor_operator.connection_statuses import START_S, ConnectionStatuses
from rochallor_operator.errors import KubernetesError
from rochallor_operator.names import Key, ObjectRef
from rochallor_operator.policy import FOR_WORKERS
from rochallor_operator.runtime.metrics import Condition
from rochallor_operator.runtime.queue import Result
from rochallor_operator.status.connection import connection_status
from unit.operator.fake_cluster import KEY, RESOURCE, STABLE, FakeCluster, Killed
from unit.operator.fake_kube import FakeKube, reconciler
from unit.operator.samples import MINIMAL, resource
from unit.operator.test_connection import SECTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.names import Manifest
    from rochallor_operator.reconcile import Reconciler

MAIN = ("EngineConnection", "main")
CLUSTER = ("ClusterEngineConnection", "main")
COPY = ("Secret", "payments-engine-copy")
GATEWAY = ObjectRef("Secret", "system", "gateway")
LENT: Manifest = {
    "url": "https://engine",
    "tls": {"caSecret": "ca"},
    "tokenSecret": {"name": "gateway", "key": "token"},
}
DATABASE: Manifest = {"databaseSecret": {"name": "db", "key": "dsn"}}


def object_of(kind: str, name: str, **parts: Any) -> Manifest:
    return {"kind": kind, "metadata": {"name": name, "uid": f"uid-of-{name}", "generation": 1, "labels": {}}, **parts}


def source(name: str, **data: str) -> Manifest:
    live = object_of("Secret", name, data=data)
    live["metadata"]["labels"] = {FOR_WORKERS: "true"}
    return live


def cluster_with(kind: str, engine: Manifest | None, *, selector: Manifest | None = None, **spec: Any) -> FakeCluster:
    """A cluster with a worker that names a connection, and the connection unless it has no engine."""
    made = FakeCluster()
    own = {field: value for field, value in MINIMAL.items() if field != "engine"}
    made.live[RESOURCE] = resource(own | {"engineRef": {"name": "main", "kind": kind}} | spec)
    if engine is not None:
        chosen = {"namespaceSelector": selector or {}} if kind == CLUSTER[0] else {}
        made.live[kind, "main"] = object_of(kind, "main", spec={"engine": engine} | chosen)
    made.live["Namespace", "shop"] = object_of("Namespace", "shop")
    made.live["Secret", "gateway"] = source("gateway", token="dA==", other="eA==")
    made.live["Secret", "ca"] = source("ca", **{"ca.crt": "Yw==", "tls.key": "eA=="})
    return made


async def settled(cluster: FakeCluster, operator: Reconciler | None = None) -> Reconciler:
    """Reconcile until nothing changes; returns the operator."""
    operator = operator or cluster.operator()
    for _ in range(4):
        await operator.reconcile(KEY)
        cluster.roll_out()
    return operator


def address(cluster: FakeCluster) -> str | None:
    """Where the pods reach the engine."""
    live = cluster.live.get(STABLE)
    if live is None:
        return None
    variables = live["spec"]["template"]["spec"]["containers"][0]["env"]
    return next((one.get("value") for one in variables if one["name"] == "ROCHALLOR_ENGINE_URL"), None)


@pytest.mark.parametrize(
    ("engine", "reason"),
    [(None, "ConnectionNotFound"), ({}, "InvalidSpec"), ({"grpcTarget": "engine:9090"}, "InvalidSpec")],
)
async def test_a_connection_that_cannot_be_used_changes_nothing(engine: Manifest | None, reason: str) -> None:
    cluster = cluster_with(MAIN[0], {"url": "http://engine:8080"})
    operator = await settled(cluster)
    assert cluster.condition("Ready") == ("True", "Available")
    before = copy.deepcopy(cluster.live[STABLE])
    if engine is None:
        del cluster.live[MAIN]
    else:
        cluster.live[MAIN]["spec"]["engine"] = engine
    assert await operator.reconcile(KEY) is Result.REFUSED
    assert cluster.condition("Degraded") == ("True", reason)
    assert cluster.condition("Ready") == ("True", "Available")
    assert cluster.condition("Progressing")[1] == "Available"
    assert cluster.live[STABLE] == before
    assert operator.users_of(ObjectRef(MAIN[0], "shop", "main")) == [KEY]


@pytest.mark.parametrize("engine", [None, {}])
async def test_without_pods_it_says_why_there_are_none(engine: Manifest | None) -> None:
    cluster = cluster_with(MAIN[0], engine)
    await settled(cluster)
    assert STABLE not in cluster.live
    assert cluster.condition("Ready")[0] == "False"


async def test_what_is_wrong_with_the_worker_itself_is_said_as_ever() -> None:
    cluster = cluster_with(MAIN[0], None, drainTimeout="soon")
    await settled(cluster)
    assert cluster.condition("Ready") == ("False", "InvalidSpec")


async def test_a_right_that_lacks_is_a_condition() -> None:
    kube = FakeKube(engineRef={"name": "main"})
    kube.hidden[MAIN[0]] = KubernetesError(403, "cannot get engineconnections")
    await reconciler(kube).reconcile(KEY)
    assert kube.condition("Degraded") == ("True", "Forbidden", "cannot get engineconnections")


async def test_a_trial_goes_on_when_its_connection_comes_back() -> None:
    plan = {"strategy": "Canary"}
    cluster = cluster_with(MAIN[0], {"url": "http://engine:8080"}, rollout=plan)
    operator = await settled(cluster)
    cluster.live[MAIN]["spec"]["engine"] = {"url": "http://other:8080"}
    await operator.reconcile(KEY)
    await operator.reconcile(KEY)
    rollout = cluster.rollout
    assert rollout["phase"] not in {"Stable", ""}
    saved = cluster.live.pop(MAIN)
    await operator.reconcile(KEY)
    assert cluster.rollout == rollout
    assert address(cluster) == "http://engine:8080"
    cluster.live[MAIN] = saved
    await operator.reconcile(KEY)
    assert cluster.condition("Degraded")[1] == "Healthy"


async def test_the_keys_that_a_connection_names_are_copied() -> None:
    cluster = cluster_with(CLUSTER[0], LENT)
    operator = await settled(cluster)
    assert address(cluster) == "https://engine"
    assert cluster.live[COPY]["data"] == {"token": "dA==", "ca.crt": "Yw=="}
    (owner,) = cluster.live[COPY]["metadata"]["ownerReferences"]
    assert owner["kind"] == "RochallorWorker"
    template = copy.deepcopy(cluster.live[STABLE]["spec"]["template"])
    assert operator.users_of(GATEWAY) == [KEY]
    assert operator.users_of(ObjectRef("Namespace", "", "shop")) == [KEY]

    cluster.live["Secret", "gateway"]["data"]["token"] = "dQ=="
    await operator.reconcile(KEY)
    assert cluster.live[COPY]["data"]["token"] == "dQ=="
    cluster.live[COPY]["data"] = {}
    await operator.reconcile(KEY)
    assert cluster.live[COPY]["data"] == {"token": "dQ==", "ca.crt": "Yw=="}
    assert cluster.live[STABLE]["spec"]["template"] == template


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_copy_that_is_no_longer_needed_is_removed_after_the_rollout(restarted: bool) -> None:
    cluster = cluster_with(CLUSTER[0], LENT)
    operator = await settled(cluster)
    cluster.live[CLUSTER]["spec"]["engine"] = {"url": "http://engine:8080"}
    await operator.reconcile(KEY)
    assert COPY in cluster.live, "older pods read it"
    cluster.roll_out()
    await settled(cluster, cluster.operator() if restarted else operator)
    assert COPY not in cluster.live


async def test_a_copy_stays_while_the_stable_pods_need_it() -> None:
    cluster = cluster_with(CLUSTER[0], LENT, rollout={"strategy": "Canary"})
    operator = await settled(cluster)
    cluster.live[CLUSTER]["spec"]["engine"] = {"url": "http://engine:8080"}
    await settled(cluster, operator)
    assert address(cluster) == "https://engine"
    assert COPY in cluster.live


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        ("selector", "ConnectionNotAllowed", "namespaceSelector"),
        ("label", "ConnectionNotAllowed", f"needs the label {FOR_WORKERS}=true"),
        ("key", "SecretNotFound", "has no key 'token'"),
        ("secret", "SecretNotFound", "does not exist"),
    ],
)
async def test_what_keeps_a_worker_from_a_connection_of_the_cluster(change: str, reason: str, words: str) -> None:
    cluster = cluster_with(CLUSTER[0], LENT)
    operator = await settled(cluster)
    before = copy.deepcopy(cluster.live[STABLE])
    live = cluster.live["Secret", "gateway"]
    match change:
        case "selector":
            cluster.live[CLUSTER]["spec"]["namespaceSelector"] = {"matchLabels": {"team": "shop"}}
        case "label":
            live["metadata"]["labels"] = {}
        case "key":
            live["data"] = {}
        case "secret":
            del cluster.live["Secret", "gateway"]
    await operator.reconcile(KEY)
    assert cluster.condition("Degraded") == ("True", reason)
    assert words in str(cluster.live[RESOURCE]["status"])
    assert cluster.condition("Ready") == ("True", "Available")
    assert cluster.live[STABLE] == before


@pytest.mark.parametrize("own", [{"engine": None}, {"engine": "http://own"}, {"autoscaling": "keda"}])
async def test_what_is_no_section_of_a_worker_is_named(own: Manifest) -> None:
    cluster = cluster_with(CLUSTER[0], LENT | DATABASE)
    cluster.live[RESOURCE]["spec"] |= own
    cluster.live["Secret", "db"] = source("db", dsn="cG9zdGdyZXM6Ly8=")
    await settled(cluster)
    assert cluster.condition("Degraded") == ("True", "InvalidSpec")
    assert f"spec.{next(iter(own))}" in str(cluster.live[RESOURCE]["status"])


async def test_an_operator_of_some_namespaces_reads_none_of_the_cluster() -> None:
    cluster = cluster_with(CLUSTER[0], LENT)
    operator = cluster.operator()
    operator.served = frozenset({"shop"})
    asked: list[str] = []
    get = cluster.get

    async def noting(kind: str, _namespace: str, name: str) -> Manifest | None:
        asked.append(kind)
        return await get(kind, _namespace, name)

    cluster.get = noting  # type: ignore[method-assign]
    await operator.reconcile(KEY)
    assert cluster.condition("Degraded") == ("True", "ConnectionNotAllowed")
    assert not {CLUSTER[0], "Namespace", "Secret"} & {*asked}
    assert operator.connections.named_by(KEY) is None


async def test_the_database_is_read_where_it_is() -> None:
    cluster = cluster_with(CLUSTER[0], {"url": "http://engine:8080"} | DATABASE)
    cluster.live["Secret", "db"] = source("db", dsn="aG9zdD1kYg==")
    operator = await settled(cluster)
    assert COPY not in cluster.live
    assert operator.users_of(ObjectRef("Secret", "system", "db")) == [KEY]
    assert operator.beside.backlogs.verdict(KEY) is not None
    del cluster.live["Secret", "db"]["metadata"]["labels"][FOR_WORKERS]
    for one in (operator, cluster.operator()):  # also a new one, which waits for the label
        await one.reconcile(KEY)
        assert cluster.condition("Degraded")[1] == "ConnectionNotAllowed"
        assert one.users_of(ObjectRef("Secret", "system", "db")) == [KEY]
        assert one.beside.backlogs.verdict(KEY) is None, "what is no longer lent is no longer read"


@pytest.mark.parametrize("after", [False, True])
async def test_killed_at_any_request_it_reaches_the_same_end(after: bool) -> None:
    def state(cluster: FakeCluster) -> Manifest:
        found = copy.deepcopy(cluster.live)
        status = found.pop(RESOURCE)["status"]
        conditions = {one["type"]: (one["status"], one["reason"]) for one in status["conditions"]}
        return {"conditions": conditions, "data": found[COPY]["data"], "address": address(cluster)}

    expected: Manifest = {}
    for number in range(100):
        cluster = cluster_with(CLUSTER[0], LENT)
        cluster.dies_in, cluster.after = number or None, after
        killed = False
        try:
            await settled(cluster)
        except Killed:
            killed = True
        cluster.dies_in = None
        await settled(cluster)
        expected = expected or state(cluster)
        assert state(cluster) == expected, f"killed at request {number}"
        if number and not killed:
            assert number > 10
            return
    pytest.fail("it never got through")


NOW = "2026-01-01T00:00:00Z"
READY = Condition("Ready", "True", "Available", 0)
LOST = Condition("Degraded", "True", "EngineUnreachable", 0)
IDLE = Condition("Ready", "True", "Suspended", 0)


def keys() -> Iterator[Key]:
    return (Key("shop", f"worker-{number}") for number in range(100))


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([], ("Unknown", "NotReported", "no worker names it")),
        ([IDLE], ("Unknown", "NotReported", "none of 1 workers has ready pods")),
        ([READY], ("True", "Reached", "1 of 1 workers reaches the engine")),
        ([READY, READY, IDLE], ("True", "Reached", "2 of 3 workers reach the engine")),
        (
            [READY, LOST],
            ("False", "EngineUnreachable", "1 of 2 workers gets no answer from the engine: shop/worker-1"),
        ),
        (
            [LOST._replace(reason="EngineRefuses")] * 7,
            (
                "False",
                "EngineRefuses",
                "7 of 7 workers are refused by the engine: shop/worker-0, shop/worker-1, shop/worker-2, shop/worker-3,"
                " shop/worker-4 and 2 more",
            ),
        ),
    ],
)
def test_a_connection_is_reachable_as_its_workers_report(
    conditions: list[Condition], expected: tuple[str, str, str]
) -> None:
    workers = {key: [condition] for key, condition in zip(keys(), conditions, strict=False)}
    status = connection_status(object_of(*MAIN), workers, NOW)
    (found,) = status["conditions"]
    assert (found["status"], found["reason"], found["message"]) == expected
    assert status["workers"] == len(conditions)
    assert status["observedGeneration"] == found["observedGeneration"] == 1


async def test_the_status_is_written_when_it_has_changed() -> None:
    kube, now = FakeKube(), START_S + 1.0
    kube.live[MAIN[0]] = object_of(*MAIN, spec={"engine": SECTIONS["engine"]})
    written: list[Manifest] = []

    async def apply_status(manifest: Manifest) -> None:
        written.append(manifest)
        kube.live[MAIN[0]] = kube.live[MAIN[0]] | {"status": manifest["status"]}

    kube.apply_status = apply_status  # type: ignore[method-assign]
    users = {KEY: [READY], Key("shop", "other"): [READY]}
    ref = ObjectRef(MAIN[0], "shop", "main")
    statuses = ConnectionStatuses(cast("Kube", kube), lambda _: list(users), lambda key: users[key], lambda: now)
    assert await statuses.write(ref) is Result.SETTLED
    assert await statuses.write(ref) is Result.SETTLED
    assert [one["status"]["workers"] for one in written] == [2]
    del users[KEY]
    assert await statuses.write(ref) is Result.UNSETTLED, "after a restart not all are known yet"
    now += START_S
    assert await statuses.write(ref) is Result.SETTLED
    assert [one["status"]["workers"] for one in written] == [2, 1]
    assert written[0]["status"]["conditions"][0]["lastTransitionTime"]
    del kube.live[MAIN[0]]
    assert await statuses.write(ref) is Result.SETTLED


def test_only_a_change_of_a_connection_concerns_its_users() -> None:
    connections = cluster_with(MAIN[0], None).operator().connections
    ref, live = ObjectRef(MAIN[0], "shop", "main"), object_of(*MAIN)
    assert connections.on_event(ref, live, deleted=False)
    assert not connections.on_event(ref, live | {"status": {"workers": 1}}, deleted=False)
    edited = live | {"metadata": live["metadata"] | {"generation": 2}}
    assert connections.on_event(ref, edited, deleted=False)
    assert connections.on_event(ref, edited, deleted=True)
    assert connections.on_event(ref, live, deleted=False), "it is another one"

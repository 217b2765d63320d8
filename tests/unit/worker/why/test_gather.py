"""Facts from the engine, from what `kubectl` prints and from a worker's page; whatever is away is named."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from rochallor_worker import Job, Registry
from rochallor_worker.devengine.client import FakeEngine
from rochallor_worker.errors import Unreachable
from rochallor_worker.execution.runner import Runner
from rochallor_worker.observability.activity import Activity
from rochallor_worker.observability.http import serve
from rochallor_worker.observability.metrics import Metrics
from rochallor_worker.observability.sampler import Sampler
from rochallor_worker.observability.status import status
from rochallor_worker.why import kubectl
from rochallor_worker.why.gather import gather
from rochallor_worker.why.kubectl import Kubectl
from rochallor_worker.why.verdict import verdict
from unit.worker.engines import FaultyEngine, definition, loop_time
from unit.worker.why.fake_kubectl import POD, RESOURCE, Cluster


@pytest.fixture
async def engine() -> FakeEngine:
    engine = FakeEngine()
    await engine.upload_definition(definition("charge"))
    await engine.start_instance("d", business_key="o-1")
    return engine


async def test_everything_is_found_and_put_together(cluster: Cluster, engine: FakeEngine) -> None:
    facts = await gather(engine, "o-1", cluster.install(), ())
    assert (facts.definition, facts.status, facts.unknown, facts.all_workers) == ("d v1", "ACTIVE", (), True)
    assert [(step.id, step.kind, step.job_type, step.status) for step in facts.steps] == [
        ("step-0", "SERVICE_TASK", "charge", "RUNNING")
    ]
    assert facts.workers is not None
    [worker] = facts.workers
    assert (worker.name, worker.wanted, worker.ready, worker.lease) == ("shop/pay", 2, 1, 60)
    [pod] = worker.pods
    assert (pod.name, pod.ready, pod.ended_why) == ("pay-1", True, "OOMKilled")
    assert pod.answer is not None
    assert pod.answer.slots.total == 4
    assert "one after another: no" in verdict(facts).why
    assert cluster.calls == [
        "--context=prod get rochallorworkers.rochallor.io --namespace=shop --output=json",
        "--context=prod get pods --selector=app.kubernetes.io/name=rochallor-worker,"
        "app.kubernetes.io/managed-by=rochallor-operator --namespace=shop --output=json",
        "--context=prod get --raw /api/v1/namespaces/shop/pods/pay-1:9090/proxy/status.json",
    ]


@pytest.mark.parametrize(
    ("broken", "content", "said"),
    [
        ("workers", "no JSON", "kubectl get rochallorworkers.rochallor.io: the answer cannot be read"),
        ("workers", {"items": [{"metadata": 1}]}, "the answer cannot be read"),
        ("pods", "[]", "kubectl get pods: the answer cannot be read"),
        ("answer", "<html>", "pay-1: /status.json cannot be read"),
        ("answer", {"jobs": [{}]}, "pay-1: /status.json cannot be read"),
    ],
)
async def test_an_answer_that_cannot_be_read_is_named(
    cluster: Cluster, engine: FakeEngine, broken: str, content: object, said: str
) -> None:
    setattr(cluster, broken, content)
    facts = await gather(engine, "o-1", cluster.install(), ())
    assert len(facts.unknown) == 1
    assert said in facts.unknown[0]
    assert verdict(facts).state == "unknown"


async def test_a_pod_whose_worker_does_not_run_is_not_asked(cluster: Cluster, engine: FakeEngine) -> None:
    waiting = {"name": "worker", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    cluster.pods = {"items": [POD | {"status": {"containerStatuses": [waiting]}}]}
    assert (await gather(engine, "o-1", cluster.install(), ())).unknown == ()
    assert not any("--raw" in call for call in cluster.calls)


@pytest.mark.parametrize(
    ("step", "why"),
    [
        ({"type": "WAIT"}, "step 'paid' waits for its signal"),
        (
            {"type": "WAIT", "boundaryEvents": [{"type": "TIMER", "duration": "PT1H", "targetStepId": "e"}]},
            "step 'paid' waits for its signal, or for its timer (PT1H)",
        ),
    ],
)
async def test_a_step_that_waits_is_named(step: dict[str, Any], why: str) -> None:
    engine = FakeEngine()
    paid = {"id": "paid", "name": "Paid", "nextStep": "e", **step}
    await engine.upload_definition({"id": "p", "name": "p", "steps": [paid, {"id": "e", "name": "E", "type": "END"}]})
    await engine.start_instance("p", business_key="o-1")
    found = verdict(await gather(engine, "o-1", None, ()))
    assert (found.state, found.why, found.page) == ("waits", why, "asking.md#steps-that-wait")


async def test_a_refusal_of_kubectl_is_named(cluster: Cluster, engine: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "refusal").write_text("first\nError: forbidden\n")
    facts = await gather(engine, "o-1", cluster.install(), ())
    assert facts.workers is None
    assert facts.unknown == ("kubectl --context=prod get: Error: forbidden",)


@pytest.mark.parametrize(
    ("context", "sentence"),
    [
        (False, "kubectl knows no cluster: it has no current context (kubectl config use-context NAME sets one)"),
        (True, "kubectl get rochallorworkers.rochallor.io: Error: the server could not find the requested resource"),
    ],
)
async def test_a_kubectl_without_a_cluster_does_not_ask_a_dev_engine_in_its_place(
    cluster: Cluster, engine: FakeEngine, tmp_path: Path, context: bool, sentence: str
) -> None:
    (tmp_path / "refusal").write_text("Error: the server could not find the requested resource\n")
    if context:
        (tmp_path / "context").touch()
    cluster.install()
    assert (await gather(engine, "o-1", Kubectl("shop"), ())).unknown == (sentence,)


async def test_without_kubectl_the_answer_says_so(
    engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = verdict(await gather(engine, "o-1", Kubectl(), ()))
    assert found.state == "unknown"
    assert found.unknown == ("kubectl cannot be run: No such file or directory",)


async def test_a_kubectl_that_hangs_is_given_up(
    engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubectl, "SECONDS", 0.2)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    program = tmp_path / "kubectl"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    [said] = (await gather(engine, "o-1", Kubectl(), ())).unknown
    assert "no answer within" in said


async def test_an_engine_that_is_away_is_the_answer() -> None:
    engine = FaultyEngine(before=lambda *_: Unreachable("cannot connect"))
    found = verdict(await gather(engine, "o-1", None, ()))
    assert (found.state, found.why) == ("stops", "the engine: EngineUnreachable: cannot connect")
    assert "no instance" in verdict(await gather(FakeEngine(), "o-1", None, ())).why


async def test_nobody_is_asked_for_workers_where_no_job_is_waited_for(
    cluster: Cluster, engine: FakeEngine, tmp_path: Path
) -> None:
    steps = [{"id": "ok", "name": "Ok", "type": "USER_TASK", "nextStep": "e"}, {"id": "e", "name": "E", "type": "END"}]
    await engine.upload_definition({"id": "u", "name": "u", "steps": steps})
    one = await engine.start_instance("u")
    assert "waits for a person" in verdict(await gather(engine, one.id, cluster.install(), ())).why
    assert not (tmp_path / "calls").exists()


@asynccontextmanager
async def page_of(engine: FakeEngine, registry: Registry) -> AsyncIterator[str]:
    """A worker that takes jobs, with its HTTP server; yields its address."""
    runner = Runner(engine, registry, worker_id="w-1", parallelism=2, clock=loop_time)
    sampler, activity = Sampler(runner.slots, runner.gates, loop_time), Activity(runner.job_types, loop_time)
    metrics = Metrics(runner, sampler, transport="rest", worker_id="w-1")

    def state() -> bytes:
        return status(runner, activity, sampler, transport="rest", worker_id="w-1", clock=loop_time)

    running = asyncio.create_task(runner.run())
    async with serve(runner, metrics, state, 0) as port:
        yield f"http://127.0.0.1:{port}/"
    runner.stop()
    await running


async def test_a_worker_outside_kubernetes_is_asked_by_its_page(engine: FakeEngine) -> None:
    registry, begun, release = Registry(), asyncio.Event(), asyncio.Event()

    @registry.handler("charge")
    async def charge(_: Job) -> None:
        begun.set()
        await release.wait()

    async with page_of(engine, registry) as url:
        await begun.wait()
        found = verdict(await gather(engine, "o-1", None, (url,)))
        release.set()
    assert found.state == "moves"
    assert "its handler runs in" in found.why
    assert "w-1" in found.why
    assert found.unknown == ()


async def test_a_page_that_is_away_is_named(engine: FakeEngine) -> None:
    facts = await gather(engine, "o-1", None, ("http://127.0.0.1:9", "no URL"))
    assert (facts.workers, facts.all_workers, len(facts.unknown)) == (None, False, 2)


async def test_a_missing_worker_is_certain_only_if_all_were_asked(cluster: Cluster, engine: FakeEngine) -> None:
    other: dict[str, Any] = {**RESOURCE, "spec": {"jobTypes": ["chrage"]}}
    cluster.workers = {"items": [other]}
    found = verdict(await gather(engine, "o-1", cluster.install(), ()))
    assert (found.state, "'chrage' is served" in found.why) == ("stops", True)
    found = verdict(await gather(engine, "o-1", cluster.install(), ("http://127.0.0.1:9",)))
    assert found.state == "unknown"

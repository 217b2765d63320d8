"""Workflows that start the next one (engine.md: "Definitions"; tests/contract: `chaining`)."""

from typing import Any

import pytest

from rochallor_worker import InstanceStatus, Job, Registry
from rochallor_worker.devengine.model import EngineState
from rochallor_worker.testing import WorkerHarness
from unit.devengine.conftest import upload
from unit.devengine.definitions import change, decide, definition, fork, join, step, task, timer


def chained(definition_id: str, following: str, *steps: dict[str, Any]) -> dict[str, Any]:
    return definition(*steps, id=definition_id, autoStartNextWorkflow=True, nextWorkflowId=following)


@pytest.mark.parametrize("generation", ["A", "fenced"])
def test_the_next_workflow_has_the_variables_and_on_newer_engines_the_business_key(generation: Any) -> None:
    state = EngineState(generation=generation)
    upload(state, chained("one", "two", change("x", n="${n + 1}")))
    upload(state, definition(task("a"), id="two"))
    state.start("one", variables={"n": 1}, business_key="k")
    assert len(state.instances) == 1
    state.fire()
    [following, _], _ = state.list_instances()
    assert (following.definition.id, following.variables) == ("two", {"n": 2})
    assert following.business_key == ("k" if generation == "fenced" else None)


@pytest.mark.parametrize(
    "following",
    [
        None,
        definition(join("j"), id="two"),
        definition(change("x"), id="two", input_schema={"required": ["nope"]}) | {"steps": definition()["steps"]},
    ],
)
def test_a_next_workflow_that_cannot_start_is_ignored(fenced: EngineState, following: Any) -> None:
    if following:
        upload(fenced, following)
    upload(fenced, chained("one", "two"))
    fenced.start("one")
    fenced.fire()
    assert len(fenced.instances) == 1


def test_a_workflow_that_starts_itself_starts_once_each_time(state: EngineState) -> None:
    upload(state, chained("d", "d"))
    state.start("d")
    for count in range(2, 5):
        state.fire()
        assert len(state.instances) == count


def test_a_workflow_that_failed_or_was_cancelled_starts_none(state: EngineState) -> None:
    upload(state, chained("d", "order", change("x", n="${nope}")))
    state.start("d")
    upload(state, chained("d", "order", task("a")))
    state.cancel(state.start("d").id)
    state.fire()
    assert len(state.instances) == 2


LOAN = chained(
    "loan-application",
    "loan-payout",
    fork("checks", "checked", "credit", "identity"),
    *(task("credit", "checked"), task("identity", "checked"), join("checked", "rate")),
    change("rate", "sure?", ratio="${#amount / #income}", level="${amount > 50000 ? 'board' : 'clerk'}"),
    decide("sure?", approve="ratio > 3 && score >= 600", signed="ratio <= 3 && score >= 600", end="score < 600"),
    step(
        "approve",
        "USER_TASK",
        nextStep="signed",
        boundaryEvents=[timer("remind", "PT24H"), timer("end", "PT72H", interrupting=True)],
    ),
    task("remind", "waiting"),
    step("waiting", "WAIT", nextStep="end"),
    step("signed", "WAIT", nextStep="end"),
)
PAYOUT = definition(task("pay"), id="loan-payout")


async def test_a_loan_is_approved_signed_and_paid_out_by_the_workflow_that_follows() -> None:
    registry = Registry()

    @registry.handler("credit")
    async def credit(job: Job) -> dict[str, Any]:
        return {"score": 700}

    @registry.handler("identity")
    async def identity(job: Job) -> dict[str, Any]:
        return {"known": True}

    @registry.handler("remind")
    async def remind(job: Job) -> dict[str, Any]:
        return {"reminded": 1}

    @registry.handler("pay")
    async def pay(job: Job) -> dict[str, Any]:
        return {"paid": job.variables["amount"]}

    worker = WorkerHarness(registry)
    async with worker.working() as engine:
        for one in (LOAN, PAYOUT):
            await engine.upload_definition(one)
        loan = await engine.start_instance("loan-application", {"amount": 90_000, "income": 20_000}, business_key="L1")
        await worker.reach(loan.id, "approve")
        engine.advance(25 * 3600)
        await worker.reach(loan.id, "waiting")
        await engine.complete_user_task(loan.id, "approve", completed_by="Ada")
        await worker.reach(loan.id, "signed")
        await engine.signal_wait(loan.id, "signed", {"signature": "x"})
        ended = await engine.get_instance(loan.id)
        assert ended.status is InstanceStatus.COMPLETED
        [payout] = (await engine.list_instances(definition_id="loan-payout")).items
        paid = await worker.finish(payout.id)
    assert paid.business_key == "L1"
    assert paid.variables == {
        "amount": 90_000,
        "income": 20_000,
        "score": 700,
        "known": True,
        "ratio": 4.5,
        "level": "board",
        "reminded": 1,
        "signature": "x",
        "paid": 90_000,
    }

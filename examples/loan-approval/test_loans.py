"""Tests of both workflows, with the handlers that the cluster gets, and no cluster. Run with: pytest"""

import asyncio
import json
from pathlib import Path
from typing import Any

from loans import registry

from rochallor_worker import Instance, InstanceStatus
from rochallor_worker.testing import WorkerHarness

DEFINITIONS = [json.loads(Path(__file__).with_name(name).read_text()) for name in ("approval.json", "payout.json")]


async def apply(**application: Any) -> tuple[Instance, list[Instance]]:
    """Return the ended instance of an application, and those that have followed it."""
    worker = WorkerHarness(registry)
    async with worker.working() as engine:
        for definition in DEFINITIONS:
            await engine.upload_definition(definition)
        started = await engine.start_instance("loan-approval", application, business_key="loan-1")
        ended = await worker.finish(started.id)
        payouts = (await engine.list_instances(definition_id="loan-payout", business_key="loan-1")).items
        return ended, [await worker.finish(payout.id) for payout in payouts]


def test_an_approved_loan_is_paid_out_by_the_workflow_that_follows() -> None:
    approval, [payout] = asyncio.run(apply(applicant="Ada", income=52_000, amount=9_000))
    assert approval.status is payout.status is InstanceStatus.COMPLETED
    assert payout.variables is not None
    assert payout.variables.pop("payment")
    assert (
        payout.variables
        == approval.variables
        == {
            "applicant": "Ada",
            "income": 52_000,
            "amount": 9_000,
            "score": 850,
            "approved": True,
        }
    )


def test_a_rejected_loan_is_not_paid_out() -> None:
    approval, [payout] = asyncio.run(apply(applicant="Bob", income=9_000, amount=90_000))
    assert payout.status is InstanceStatus.COMPLETED
    assert payout.variables == approval.variables
    assert payout.variables is not None
    assert payout.variables["approved"] is False


def test_nothing_follows_an_incomplete_application() -> None:
    approval, payouts = asyncio.run(apply(applicant="Cyd", income=52_000))
    assert (approval.status, payouts) == (InstanceStatus.FAILED, [])
    assert approval.failure_reason == "NonRetryableError: the application lacks amount"

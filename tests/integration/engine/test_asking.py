"""Questions about instances over every transport."""

from integration.engine.clients import Under
from rochallor_worker.asking.failures import look_for
from rochallor_worker.asking.instances import find, newest
from rochallor_worker.asking.retrying import retry_each
from rochallor_worker.engine.client import InstanceStatus


async def test_failures_are_found_and_retried(under: Under) -> None:
    ids = {(await under.client.start_instance("order", business_key=f"o-{number}")).id for number in range(3)}
    for job in await under.client.poll_jobs("w", ["pick"], 3):
        await under.client.fail_job(job.id, "w", "the shelf is empty", retryable=False)
    found, total = await look_for(under.client, 10, definition_id="order")
    assert total == 3
    assert {(one.instance.id, one.step_id, one.message) for one in found} == {
        (i, "a", "the shelf is empty") for i in ids
    }
    # over gRPC a newer engine's definitions have no steps (engine.md: GetDefinition)
    assert {(one.job_type, one.known) for one in found} == {
        ("", False) if under.transport == "grpc" else ("pick", True)
    }
    assert [why async for _, why in retry_each(under.client, found, 1000)] == ["", "", ""]
    assert (await newest(under.client, 10, status=InstanceStatus.ACTIVE)).total == 3


async def test_an_instance_is_found_by_its_key_over_every_transport(under: Under) -> None:
    started = await under.client.start_instance("order", business_key="shop/1 ä")
    assert (await find(under.client, "shop/1 ä")).id == started.id
    assert (await find(under.client, started.id)).id == started.id

"""Variables: they come back as they were sent, and what is not JSON is never sent."""

import math
from typing import Any

import pytest

from integration.engine.clients import BOTH_GENERATIONS, ORDER, Transport, Under, client, connected
from rochallor_worker.devengine import DevEngine
from rochallor_worker.devengine.records import Generation
from rochallor_worker.engine.client import EngineClient
from rochallor_worker.errors import InternalError, NotFound, Rejected

VALUES: dict[str, Any] = {
    "text": 'ü "quoted" \n\t\x01 \U0001f600',
    "": "no name",
    "nothing": None,
    "yes": True,
    "no": False,
    "zero": 0,
    "negative": -3,
    "half": 0.5,
    "tiny": 5e-324,
    "list": [1, [], {}, [None, [2.5]]],
    "object": {"a": {"b": {}}, "c": []},
}


async def test_values_come_back_as_they_were_sent(client: EngineClient) -> None:
    started = await client.start_instance("order", VALUES)
    assert started.variables == VALUES
    [job] = await client.poll_jobs("w", ["pick"], 1)
    await client.complete_job(job.id, "w", {"result": VALUES})
    assert (await client.get_instance(started.id)).variables == {**VALUES, "result": VALUES}


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (2.0, 2),
        (-0.0, 0),
        (9007199254740993, 9007199254740992),  # engine.md: numbers pass through float64
        (10**20, 10**20),
        (10**22, 10**22),
        (1e300, 10**300),  # PostgreSQL keeps a whole number without its exponent
        ((1, 2), [1, 2]),
        ({7: "a", 1.5: "b", True: "c", None: "d"}, {"7": "a", "1.5": "b", "true": "c", "null": "d"}),
    ],
)
async def test_values_are_changed_in_the_same_way(client: EngineClient, sent: Any, kept: Any) -> None:
    started = await client.start_instance("order", {"x": sent})
    assert started.variables == {"x": kept}
    assert started.variables is not None
    assert type(started.variables["x"]) is type(kept)


@pytest.mark.parametrize("value", ["\0", {"a\0b": 1}, [["\0"]]], ids=["text", "name", "deep"])
async def test_a_nul_character_cannot_be_stored(client: EngineClient, value: Any) -> None:
    with pytest.raises(InternalError):
        await client.start_instance("order", {"x": value})
    await client.start_instance("order")
    [job] = await client.poll_jobs("w", ["pick"], 1)
    with pytest.raises(InternalError):
        await client.complete_job(job.id, "w", {"x": value})
    assert (await client.get_instance(job.instance_id)).variables == {}


def loop() -> list[Any]:
    endless: list[Any] = []
    endless.append(endless)
    return endless


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        -math.inf,
        {1},
        object(),
        b"bytes",
        {(1, 2): 3},
        "\ud800",
        {"\udfff": 1},
        10**400,
        loop(),
        {"a": [loop()]},
    ],
    ids=lambda value: type(value).__name__,
)
async def test_what_is_not_json_is_never_sent(under: Under, value: Any) -> None:
    before = under.faults.calls.total()
    with pytest.raises(Rejected):
        await under.client.start_instance("order", {"x": value})
    with pytest.raises(Rejected):
        await under.client.complete_job("j", "w", {"x": value})
    if value != 10**400:  # valid JSON, so over REST it is the engine that refuses it
        assert under.faults.calls.total() == before


@pytest.mark.parametrize("text", ["a/b", "a?b#c", "ü %41", "\n", "..", "a" * 3000])
async def test_any_text_can_be_an_id(client: EngineClient, text: str) -> None:
    with pytest.raises((NotFound, Rejected) if text == ".." else NotFound):  # over REST, `..` is another path
        await client.get_instance(text)
    assert (await client.list_definitions(keyword=text)).items == []
    started = await client.start_instance("order", business_key=text)
    assert (await client.list_instances(business_key=text)).items == [started]


@pytest.mark.parametrize("transport", ["rest", "grpc"])
async def test_a_lone_surrogate_cannot_be_sent(transport: Transport) -> None:
    surrogate = "\ud800"
    async with connected(transport) as under:
        with pytest.raises(Rejected):
            await under.client.get_instance(surrogate)
        with pytest.raises(Rejected):
            await under.client.list_definitions(keyword=surrogate)
        with pytest.raises(Rejected):
            await under.client.fail_job("j", "w", surrogate, retryable=True)
        assert under.faults.calls.total() == 0


async def test_grpc_does_not_carry_very_deep_values(under: Under) -> None:
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"d": deep}
    if under.transport == "grpc":
        with pytest.raises(Rejected):
            await under.client.start_instance("order", deep)
    else:
        assert (await under.client.start_instance("order", deep)).variables == deep


@BOTH_GENERATIONS
async def test_both_transports_show_the_same_engine(generation: Generation) -> None:
    async with (
        DevEngine(grpc_port=0, generation=generation) as engine,
        client("rest", engine) as rest,
        client("grpc", engine) as grpc,
    ):
        await rest.upload_definition(ORDER)
        started = await rest.start_instance("order", VALUES, business_key="k")
        assert await grpc.get_instance(started.id) == started
        whole, over_grpc = await rest.get_definition("order"), await grpc.get_definition("order")
        if generation == "fenced":  # engine.md, "Fenced engines": it returns no more than this
            whole = {name: whole[name] for name in ("id", "version", "name", "description")}
        assert over_grpc == whole
        [job] = await grpc.poll_jobs("w", ["pick"], 1)
        await grpc.complete_job(job.id, "w", {"more": VALUES})
        [shipping] = await rest.poll_jobs("w", ["ship"], 1)
        await rest.fail_job(shipping.id, "w", "no box", retryable=False)
        assert await grpc.get_instance_history(started.id) == await rest.get_instance_history(started.id)
        assert await grpc.list_instances() == await rest.list_instances()

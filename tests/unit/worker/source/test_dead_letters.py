"""Dead letters without brokers. (With them: tests/integration/kafka.)"""

import asyncio
import time
from random import Random
from typing import Any, cast

import pytest

from rochallor_worker.source.kafka.connection import Kafka
from rochallor_worker.source.kafka.dead_letters import DeadLetters


class Message:
    """A record as the client returns it."""

    def topic(self) -> str:
        return "workflow.jobs.a"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 7

    def value(self) -> bytes:
        return b"rubbish"

    def key(self) -> None:
        return None

    def headers(self) -> None:
        return None


async def test_dead_letters_that_are_not_sent_at_the_end_are_never_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not committed either, and so redelivered: sent all the same, they would be there twice."""
    handed_over = asyncio.Event()
    loop = asyncio.get_running_loop()

    def answering(self: Any, _seconds: float) -> None:
        loop.call_soon_threadsafe(handed_over.set)
        time.sleep(0.001)

    monkeypatch.setattr(
        "rochallor_worker.source.kafka.client.make", lambda *arguments: Producer(*arguments, poll=answering)
    )
    letters = DeadLetters(Kafka("127.0.0.1:1"), Random(0))
    ended: list[bool] = []
    letters.put(cast("Any", Message()), "no job", lambda: ended.append(True))
    await handed_over.wait()
    producer: Producer = cast("Any", letters._producer)
    assert producer.queued == [b"rubbish"]
    letters.close()
    assert producer.queued == []
    assert letters._sending is not None
    await asyncio.wait({letters._sending})
    assert ended == []


class Producer:
    """Queues what is to be sent, as the client does while no broker answers."""

    def __init__(self, *_: Any, poll: Any) -> None:
        self.queued: list[bytes] = []
        self._poll = poll

    def produce(self, _topic: str, value: bytes, _key: None, **_: Any) -> None:
        self.queued.append(value)

    def poll(self, seconds: float) -> None:
        self._poll(self, seconds)

    def purge(self) -> None:
        self.queued.clear()

"""The relay: publishes the outbox to Kafka, at least once and in order for each instance (engine.md: Kafka dispatch).

Events are published in waves. What could not be published stays in the outbox and is retried: once an unavailable
broker is back, or every second if the topic is missing. Topics are not created. Broker security is not supported.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from rochallor_worker.devengine import messages
from rochallor_worker.devengine.outbox import Outbox
from rochallor_worker.devengine.records import Dispatch
from rochallor_worker.logger import get_logger

CONTENT_TYPE = "application/x-protobuf"
RETRY_SECONDS = 1.0
"""How long the events of a job type wait after one of them was refused."""
SILENCE_SECONDS = 5.0
"""How long brokers may be silent before that is logged."""
_STOP_SECONDS = 0.1
"""How long it may take to notice a stop."""

log = get_logger(__name__)


@asynccontextmanager
async def relaying(outbox: Outbox, bootstrap_servers: str) -> AsyncIterator[None]:
    """Publish the outbox's events, after those that were published last."""
    relay = _Relay(outbox, bootstrap_servers)
    outbox.replay()
    task = asyncio.create_task(relay.run(), name="dev engine relay")
    try:
        yield
    finally:
        relay.stop()
        await task


class _Relay:
    def __init__(self, outbox: Outbox, bootstrap_servers: str) -> None:
        self._outbox = outbox
        self._bootstrap_servers = bootstrap_servers
        self._producer = self._connect()
        self._stopped = threading.Event()
        self._refused: dict[str, float] = {}  # job type → when to retry; kept until its events are published

    def _connect(self) -> Producer:
        return Producer(
            {
                "bootstrap.servers": self._bootstrap_servers,
                "enable.idempotence": True,
                "message.timeout.ms": 0,  # a broker may be unavailable for any length of time
                "topic.metadata.propagation.max.ms": 0,  # report a missing topic at once: the relay retries itself
                "reconnect.backoff.max.ms": 1000,
                "log_level": 0,  # the relay logs what matters
            }
        )

    def stop(self) -> None:
        """End `run` soon. Events without an acknowledgement stay in the outbox, though Kafka may have them."""
        self._stopped.set()
        self._outbox.added.set()

    async def run(self) -> None:
        """Publish waves until `stop`."""
        while not self._stopped.is_set():
            self._outbox.added.clear()
            now = time.monotonic()
            held = {job_type: again for job_type, again in self._refused.items() if again > now}
            if wave := self._outbox.wave(without=held):
                self._record(wave, await asyncio.to_thread(self._publish, wave))
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(min(held.values()) - now if held else None):
                    await self._outbox.added.wait()
        self._producer.purge()

    def _publish(self, wave: Sequence[Dispatch]) -> dict[str, KafkaError | None]:
        """Publish events and wait for acknowledgements, in a thread; return errors by dedup id, None if published."""
        answers: dict[str, KafkaError | None] = {}
        for event in wave:

            def answered(error: KafkaError | None, _: Message, dedup_id: str = event.dedup_id) -> None:
                answers[dedup_id] = error

            try:
                self._producer.produce(
                    f"workflow.jobs.{event.job.job_type}",
                    messages.dispatch_event(event).SerializeToString(),
                    key=event.job.instance.id,
                    headers={"content-type": CONTENT_TYPE, "dedup-id": event.dedup_id},
                    on_delivery=answered,
                )
            except KafkaException as error:
                answers[event.dedup_id] = error.args[0]
            except BufferError:  # the rest is for the next wave
                break
        silence_at = time.monotonic() + SILENCE_SECONDS
        while self._producer.flush(_STOP_SECONDS) and not self._stopped.is_set():
            if time.monotonic() > silence_at:
                silence_at = float("inf")
                log.warning("Kafka does not answer, events are waiting", kafka=self._bootstrap_servers)
        return answers

    def _record(self, wave: Sequence[Dispatch], answers: dict[str, KafkaError | None]) -> None:
        """Remove published events from the outbox; log refusals, unless they were logged before."""
        published = [event for event in wave if event.dedup_id in answers and answers[event.dedup_id] is None]
        self._outbox.published(published)
        refusals = [(event.job.job_type, error) for event in wave if (error := answers.get(event.dedup_id)) is not None]
        for job_type in {event.job.job_type for event in published} - {job_type for job_type, _ in refusals}:
            self._refused.pop(job_type, None)
        for job_type, error in refusals:
            if job_type not in self._refused:
                topic = f"workflow.jobs.{job_type}"
                log.warning("Kafka refuses events, they are waiting", topic=topic, reason=error.str())
            self._refused[job_type] = time.monotonic() + RETRY_SECONDS
        if any(error.fatal() for _, error in refusals):  # this producer will not send any more
            self._producer = self._connect()

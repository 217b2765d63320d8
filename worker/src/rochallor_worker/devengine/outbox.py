"""The outbox: events to publish to Kafka, and those published last (engine.md: Kafka dispatch).

It is in memory and publishes nothing itself: the relay takes a wave of events from it and reports which were published.
"""

import asyncio
from collections import deque
from collections.abc import Collection, Iterable

from rochallor_worker.devengine.records import Changed, Dispatch

WAVE_EVENTS = 500
"""How many events of one job type a wave has at most."""


class Outbox:
    """Events in order of creation, per job type.

    The last `replay` published ones are kept: a restarted relay publishes them again. `added` is set whenever there
    is a new event; the relay clears it.
    """

    def __init__(self, replay: int, changed: Changed) -> None:
        self.added = asyncio.Event()
        self._waiting: dict[str, deque[Dispatch]] = {}
        self._published: deque[Dispatch] = deque()
        self._replay = replay
        self._changed = changed

    @property
    def waiting(self) -> list[Dispatch]:
        """The unpublished events, those of a job type in order of creation."""
        return [event for events in self._waiting.values() for event in events]

    def add(self, event: Dispatch) -> None:
        """Add an event."""
        self._waiting.setdefault(event.job.job_type, deque()).append(event)
        self._changed("dispatch", event.dedup_id, event)
        self.added.set()

    def wave(self, without: Collection[str] = ()) -> list[Dispatch]:
        """Return the oldest events of each job type except those in `without`; they stay until they are `published`.

        A wave has at most one event per instance and job type, so that a failure cannot change an instance's order.
        """
        found: list[Dispatch] = []
        for job_type, events in self._waiting.items():
            instances: set[str] = set()
            for event in events if job_type not in without else ():
                if event.job.instance.id in instances or len(instances) == WAVE_EVENTS:
                    break
                instances.add(event.job.instance.id)
                found.append(event)
        return found

    def published(self, events: Iterable[Dispatch]) -> None:
        """Remove these events of the last wave."""
        for event in events:
            self._waiting[event.job.job_type].remove(event)  # cheap: a wave is at the front
            self._published.append(event)
            if len(self._published) > self._replay:
                self._changed("dispatch", self._published.popleft().dedup_id, None)

    def replay(self) -> None:
        """Put the events that were published last back, before all others."""
        for event in reversed(self._published):
            self._waiting[event.job.job_type].appendleft(event)
        self._published.clear()
        self.added.set()

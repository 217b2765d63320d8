"""Which events are settled while their records may still be redelivered, until those are committed (pure)."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

MAX_EVENTS = 50_000
"""Most events remembered; the oldest are forgotten (some 20 MB). Usually these are those of the last second."""


class Place(NamedTuple):
    """Where a record is."""

    topic: str
    partition: int
    offset: int


class SettledEvent(NamedTuple):
    """A settled event, with those of its records that are not known to be committed."""

    id: str
    at: float
    places: tuple[Place, ...]


class SettledEvents:
    """Settled events by id. One is forgotten when all its records are committed: none is redelivered."""

    def __init__(self, max_events: int = MAX_EVENTS) -> None:
        self._max_events = max_events
        self._events: dict[str, SettledEvent] = {}
        """The oldest first."""
        self._at: defaultdict[tuple[str, int], dict[int, str]] = defaultdict(dict)
        """Per topic and partition: the event at each offset."""

    def __len__(self) -> int:
        """Return how many events are remembered."""
        return len(self._events)

    def __contains__(self, event_id: str) -> bool:
        """Whether an event is known to be settled."""
        return event_id in self._events

    def __iter__(self) -> Iterator[SettledEvent]:
        """Yield the events, the oldest first."""
        return iter(self._events.values())

    def add(self, event_id: str, at: float, places: Sequence[Place]) -> None:
        """Note an event, or further records of one."""
        for place in places:
            self._remove(place)  # another record had its place, if the topic was recreated
        known = self._events.pop(event_id, None)
        self._events[event_id] = SettledEvent(event_id, at, (*(known.places if known else ()), *places))
        for topic, partition, offset in places:
            self._at[topic, partition][offset] = event_id
        if len(self._events) > self._max_events:
            self._forget(next(iter(self)))

    def committed(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Note up to which offset each of these partitions is committed."""
        for partition, end in offsets.items():
            for offset in [offset for offset in self._at.get((topic, partition), ()) if offset < end]:
                self._remove(Place(topic, partition, offset))

    def forget_before(self, at: float) -> None:
        """Forget what was settled before this time."""
        for event in [event for event in self if event.at < at]:
            self._forget(event)

    def _forget(self, event: SettledEvent) -> None:
        for place in event.places:
            self._remove(place)

    def _remove(self, place: Place) -> None:
        event_id = self._at[place.topic, place.partition].pop(place.offset, None)
        if event_id is not None:
            event = self._events[event_id]
            left = tuple(other for other in event.places if other != place)
            if left:
                self._events[event_id] = event._replace(places=left)
            else:
                del self._events[event_id]

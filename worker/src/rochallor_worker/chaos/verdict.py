"""Whether an effect happened twice: a judgement of the runs of one job. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from rochallor_worker.chaos.effects import Line, Request, Snapshot

SHOWN = 3
"""Most lines that a finding repeats."""


@dataclass(slots=True)
class Run:
    """One run of a handler, on one worker. Moments are numbers that grow."""

    key: str
    """The same in all runs of a step (`Job.key`)."""
    job_id: str
    step: str
    job_type: str
    worker: str
    began: int
    before: Snapshot
    ended: int = 0
    after: Snapshot = field(default_factory=Counter)
    """Once it has ended, whichever way."""
    finished: bool = False
    """Whether the handler returned, and was not killed before that."""
    requests: list[Request] = field(default_factory=list)


@dataclass(frozen=True)
class Usual:
    """How often an undisturbed run of a step has each effect, by the lines' source and the requests' label."""

    lines: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    growth: Mapping[str, int] = field(default_factory=dict)
    """How many more lines a source has afterwards; lines that change in place make it no longer."""

    def __bool__(self) -> bool:
        return bool(self.lines or self.requests)

    def __or__(self, other: "Usual") -> "Usual":
        """Return the larger number for each effect."""
        growth = {
            source: max(self.growth.get(source, 0), other.growth.get(source, 0), key=abs)
            for source in {*self.growth, *other.growth}
        }
        return Usual(self.lines | other.lines, self.requests | other.requests, growth)


NONE = Usual()


class Change(NamedTuple):
    """What runs that overlapped have changed together, or one run alone."""

    runs: list[Run]
    before: Snapshot
    after: Snapshot

    @property
    def added(self) -> Snapshot:
        """The lines that are there now."""
        return self.after - self.before

    @property
    def removed(self) -> Snapshot:
        """The lines that are no longer there."""
        return self.before - self.after


def usual(runs: Sequence[Run]) -> Usual:
    """Return the effects of the undisturbed runs of one step, each job on its own: the most that one has had."""
    most = NONE
    for key in {run.key for run in runs}:
        of_one = [run for run in runs if run.key == key]
        found = changes(of_one)
        lines: Counter[str] = Counter()
        for change in found:
            lines += _by_source(change.added) | _by_source(change.removed)
        most |= Usual(lines, _counted(request for run in of_one for request in run.requests), _growth(found))
    return most


def twice(runs: Sequence[Run], expected: Usual) -> Iterator[str]:
    """Yield what happened twice in the runs of one job.

    Once a handler has returned, another run of its job must change nothing. Runs that were cut short or overlapped may
    complete each other's work, but together must add (or remove) no more lines, and send no more requests, than one
    undisturbed run does. Requests with one Idempotency-Key count once.
    """
    found, done, repeated = changes(runs), False, set[str]()
    for change in found:
        if done and (change.added or change.removed):
            repeated |= {line.source for line in (*change.added, *change.removed)}
            yield f"a run after one that had returned changes {_shown(change)}"
        done = done or any(run.finished for run in change.runs)
    for source, growth in _growth(found).items():
        usually = expected.growth.get(source, 0)
        if source not in repeated and not min(usually, 0) <= growth <= max(usually, 0):
            yield f"{source} has {growth:+} lines, and {usually:+} after an undisturbed run"
    sent = [request for run in runs for request in run.requests]
    for label, count in _counted(sent).items():
        # a kind of request that undisturbed runs do not send, such as a correction, may be sent once
        if count > max(expected.requests[label], 1):
            yield f"{label} was sent {_times(count)}, and {_times(expected.requests[label])} by an undisturbed run"


def changes(runs: Iterable[Run]) -> list[Change]:
    """Return the runs in order, those that overlapped together."""
    found: list[Change] = []
    end = 0
    for run in sorted(runs, key=lambda run: run.began):
        if found and run.began < end:
            last = found[-1]
            found[-1] = Change([*last.runs, run], last.before, run.after if run.ended > end else last.after)
        else:
            found.append(Change([run], run.before, run.after))
        end = max(end, run.ended)
    return found


def _growth(found: Iterable[Change]) -> Mapping[str, int]:
    growth: Counter[str] = Counter()
    for change in found:
        growth.update(_by_source(change.added))
        growth.subtract(_by_source(change.removed))
    return growth


def _by_source(lines: Snapshot) -> Counter[str]:
    counted: Counter[str] = Counter()
    for line, count in lines.items():
        counted[line.source] += count
    return counted


def _counted(requests: Iterable[Request]) -> Counter[str]:
    """Return how many effects the requests have, by label."""
    counted: Counter[str] = Counter()
    known: set[tuple[str, str]] = set()
    for request in requests:
        if request.has_effect and (not request.key or (request.label, request.key) not in known):
            known.add((request.label, request.key))
            counted[request.label] += 1
    return counted


def _shown(change: Change) -> str:
    lines = [f"- {_text(line)}" for line in change.removed] + [f"+ {_text(line)}" for line in change.added]
    more = f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return "; ".join(lines[:SHOWN]) + more


def _text(line: Line) -> str:
    return f"{line.source}: {line.text[:200]}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times" if count else "never"

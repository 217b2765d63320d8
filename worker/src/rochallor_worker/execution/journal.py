"""What this worker was doing, kept in a folder that outlives the process, to recover after a crash.

One line of JSON per step of a job, by the job's key, since an attempt may have an id of its own (engine.md): started,
decided (with the outcome), settled. It decides what happens when a key is claimed again:

- a decided Complete is sent, without running the handler again;
- a decided Fail is sent if the retries are unspent, which proves that it did not arrive;
- a job that was found started and undecided `MAX_CRASHES` times killed its worker each time: it is failed permanently,
  since a lease that runs out spends no retry, so it would be redelivered forever. Before its last chance it is unknown
  which of the jobs that ran together is the culprit: these suspects are then run one at a time;
- a job that ran past the end of a lease that cannot be renewed `MAX_OVERRUNS` times is failed permanently too.

Where jobs come as events that are redelivered until they are committed (Kafka), a settled event is remembered until
then, so that a crash repeats nothing that was finished. That goes by event and not by key, since a retry is a new event
of the same key.

Outcomes that were reported too late are kept in memory even without a folder. If the folder cannot be written, these
guarantees are lost, but never a job.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from rochallor_worker.engine.client import UNREADABLE, ClaimedJob
from rochallor_worker.execution.journal_file import JournalFile
from rochallor_worker.execution.settled import Place, SettledEvents
from rochallor_worker.logger import get_logger
from rochallor_worker.outcome import Completed, Failed, Outcome

MAX_CRASHES = 3
"""How often a job may kill its worker."""
MAX_OVERRUNS = 3
"""How often a job may run past the end of a lease that cannot be renewed."""
KEEP_SECONDS = 24 * 3600.0
"""A job that is not redelivered for this long is forgotten."""
KEEP_BYTES = 64 * 1024 * 1024
"""Most bytes of outcomes that are remembered; the oldest are forgotten first."""
KEEP_ENTRIES = 10_000
"""Most jobs that are remembered, likewise."""

log = get_logger(__name__)


class _Entry(msgspec.Struct, omit_defaults=True):
    """What is known of one unsettled job, or of a settled event; also one line of the file."""

    key: str
    at: float = 0.0
    crashes: int = 0
    overruns: int = 0
    running: bool = False
    settled: bool = False
    decided: bool = False
    job: str = ""
    instance: str = ""
    job_type: str = ""
    variables: msgspec.Raw = msgspec.Raw()
    message: str = ""
    retryable: bool | None = None
    retries_remaining: int = 0
    event: str = ""
    places: tuple[Place, ...] = ()

    @property
    def matters(self) -> bool:
        return self.running or self.decided or self.crashes > 0 or self.overruns > 0

    @property
    def size(self) -> int:
        return memoryview(self.variables).nbytes

    def claim(self) -> ClaimedJob:
        return ClaimedJob(
            id=self.job,
            instance_id=self.instance,
            job_type=self.job_type,
            step_execution_id=self.key,
            retries_remaining=self.retries_remaining,
        )

    def outcome(self) -> Outcome:
        if self.retryable is None:
            return Completed(msgspec.json.decode(self.variables, type=dict[str, Any]))
        return Failed(self.message, self.retryable)


class Journal:
    """The journal in `folder`; without one nothing is written and nothing survives.

    `clock` gives epoch seconds. Raises `StartError` when another process uses the folder.
    """

    def __init__(self, folder: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        self._kept_bytes = 0
        self._settled = SettledEvents()
        self._file = JournalFile(folder, self._content) if folder is not None else None
        if self._file is not None:
            self._recover(self._file.read())
            self._file.rewrite()

    @property
    def errors(self) -> int:
        """How many lines could not be written."""
        return self._file.errors if self._file is not None else 0

    def __len__(self) -> int:
        """Return the number of jobs that are remembered."""
        return len(self._entries)

    @property
    def unconfirmed_completes(self) -> list[tuple[ClaimedJob, Completed]]:
        """Completes that were decided before the restart, with no confirmation that the engine has accepted them."""
        found = ((entry, entry.outcome()) for entry in self._entries.values() if entry.decided)
        return [(entry.claim(), outcome) for entry, outcome in found if isinstance(outcome, Completed)]

    def recall(self, job: ClaimedJob) -> Outcome | None:
        """Return the outcome to report for a claimed job without a run, if its past calls for one."""
        entry = self._entries.get(job.key)
        if entry is None:
            return None
        if entry.decided and entry.retryable is None:
            return entry.outcome()
        if entry.decided and entry.retries_remaining == job.retries_remaining:
            # a Fail that arrived has spent a retry; with the retries unspent it did not, and the new lease is ours
            return entry.outcome()
        if entry.crashes >= MAX_CRASHES:
            return Failed(f"killed its worker {entry.crashes} times", retryable=False)
        if entry.overruns >= MAX_OVERRUNS:
            return Failed(
                f"ran past its lease {entry.overruns} times, and this engine cannot renew leases: set a handlerTimeout "
                "below the lease, or use an engine that renews leases, or transport kafka",
                retryable=False,
            )
        return None

    def suspects(self, key: str) -> bool:
        """Whether one more crash of the worker would be blamed on this job."""
        entry = self._entries.get(key)
        return entry is not None and not entry.decided and entry.crashes == MAX_CRASHES - 1

    def started(self, job: ClaimedJob) -> None:
        """Note that a handler starts."""
        if self._file is not None:
            self._note(self._entry(job, running=True))

    def ended(self, job: ClaimedJob) -> None:
        """Note that a handler has ended without an outcome: the job did not kill its worker."""
        if job.key in self._entries:
            self._note(self._entry(job))

    def overran(self, job: ClaimedJob) -> None:
        """Note that a handler still runs at the end of a lease that cannot be renewed."""
        entry = self._entry(job, running=True)
        entry.overruns += 1
        self._note(entry)

    def decided(self, job: ClaimedJob, outcome: Outcome) -> None:
        """Note an outcome before it is reported."""
        if self._file is not None or job.key in self._entries:
            self.keep(job, outcome)

    def keep(self, job: ClaimedJob, outcome: Outcome) -> None:
        """Keep an outcome for the job's next claim, with or without a folder."""
        entry = self._entry(job)
        entry.decided, entry.job_type, entry.retries_remaining = True, job.job_type, job.retries_remaining
        entry.job, entry.instance = job.id, job.instance_id
        match outcome:
            case Completed(variables):
                entry.variables = msgspec.Raw(msgspec.json.encode(variables))
            case Failed(message, retryable):
                entry.message, entry.retryable = message, retryable
        self._note(entry)

    def settled(self, key: str, event: str = "", places: Sequence[Place] = ()) -> None:
        """Note that the engine has accepted an outcome, or never will: the job is forgotten.

        If the job came by an event, that is remembered instead until its records at `places` are committed.
        """
        if (entry := self._entries.pop(key, None)) is not None:
            self._kept_bytes -= entry.size
        if places and self._file is not None:
            self._settled.add(event, self._clock(), places)
        if entry is not None or places:
            self._write(_Entry(key, self._clock(), settled=True, event=event, places=tuple(places)))

    def has_settled(self, event: str) -> bool:
        """Whether an event is settled, though it may not have been committed before a crash."""
        return event in self._settled

    def repeated(self, event: str, place: Place) -> None:
        """Note another record of a settled event."""
        self.settled("", event, [place])

    def committed(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Note up to which offsets the partitions of a topic are committed: nothing below is redelivered."""
        self._settled.committed(topic, offsets)

    def close(self) -> None:
        """Close in order: jobs that still run are cut off on purpose, and have not killed the worker."""
        for entry in self._entries.values():
            entry.running = False
        if self._file is not None:
            self._file.rewrite()
            self._file.close()
            self._file = None

    def _entry(self, job: ClaimedJob, *, running: bool = False) -> _Entry:
        """Return a new entry for a job, with its earlier counts."""
        known = self._entries.get(job.key)
        crashes, overruns = (known.crashes, known.overruns) if known is not None else (0, 0)
        return _Entry(job.key, self._clock(), crashes, overruns, running)

    def _note(self, entry: _Entry) -> None:
        if (known := self._entries.pop(entry.key, None)) is not None:
            self._kept_bytes -= known.size
        self._entries[entry.key] = entry  # after all others, which are older
        self._kept_bytes += entry.size
        while self._kept_bytes > KEEP_BYTES or len(self._entries) > KEEP_ENTRIES:
            oldest = next(entry for entry in self._entries.values() if not entry.running)
            log.warning("too many jobs to remember; this one runs again if it is redelivered", key=oldest.key)
            self.settled(oldest.key)
        self._write(entry)

    def _write(self, entry: _Entry) -> None:
        if self._file is not None:
            self._file.append(msgspec.json.encode(entry) + b"\n")

    def _recover(self, lines: Sequence[bytes]) -> None:
        unreadable: list[bytes] = []
        for line in lines:
            try:
                entry = msgspec.json.decode(line, type=_Entry)
                if entry.decided:
                    entry.outcome()
            except UNREADABLE:
                unreadable.append(line)
                continue
            if not entry.settled:
                self._entries[entry.key] = entry
                continue
            self._entries.pop(entry.key, None)
            if entry.places:
                self._settled.add(entry.event, entry.at, entry.places)
        if unreadable:
            # not their content, which includes variables of jobs
            log.warning(
                "the journal has lines that cannot be read", lines=len(unreadable), bytes=sum(map(len, unreadable))
            )
        for entry in self._entries.values():
            if entry.running:
                entry.running = False
                entry.crashes += 1
                log.warning("the worker ended while it ran this job", key=entry.key, times=entry.crashes)

    def _content(self) -> bytes:
        """Forget what is too old, and return the lines of the rest."""
        oldest = self._clock() - KEEP_SECONDS
        self._entries = {key: entry for key, entry in self._entries.items() if entry.matters and entry.at > oldest}
        self._settled.forget_before(oldest)
        settled = [_Entry("", at, settled=True, event=event, places=places) for event, at, places in self._settled]
        return b"".join(msgspec.json.encode(entry) + b"\n" for entry in (*self._entries.values(), *settled))

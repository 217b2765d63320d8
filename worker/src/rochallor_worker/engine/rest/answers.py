"""The engine's JSON answers that are more than a single typed result (`grpc.messages` is the same for gRPC)."""

from typing import Any, Generic, TypeVar

import msgspec

from rochallor_worker.engine.client import ClaimedJob, Moment, Page

T = TypeVar("T")


class Items(msgspec.Struct, Generic[T]):
    """A listing, null if there is nothing to list, as in `Jobs`; a history has no total."""

    items: list[T] | None
    total: int = 0

    @property
    def page(self) -> Page[T]:
        return Page(self.items or [], self.total)


class Jobs(msgspec.Struct):
    """The answer to a poll: null if there is no job. Each job is decoded on its own."""

    jobs: list[msgspec.Raw] | None


class Renewal(msgspec.Struct, rename="camel"):
    """The answer to a heartbeat."""

    accepted: bool
    lock_expires_at: Moment


_JOB = msgspec.json.Decoder(ClaimedJob)


def claimed_job(content: msgspec.Raw) -> ClaimedJob:
    """Return a claimed job, without times that cannot be read. Raises one of `UNREADABLE`.

    Over REST, a job without the field has no variables, whereas None means that they must be fetched.
    """
    try:
        job = _JOB.decode(content)
    except msgspec.ValidationError:
        job = _without_bad_times(content)
    return job if job.variables is not None else msgspec.structs.replace(job, variables={})


def _without_bad_times(content: msgspec.Raw) -> ClaimedJob:
    fields = msgspec.json.decode(content, type=dict[str, Any])
    for name in ("createdAt", "lockedAt", "lockExpiresAt"):
        try:
            msgspec.convert(fields.get(name), Moment | None)
        except msgspec.ValidationError:
            del fields[name]
    return msgspec.convert(fields, ClaimedJob)

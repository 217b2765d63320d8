"""Loggers of this package: on `logging`, so that the program's own configuration applies, with keys beside the text.

A plain formatter shows the keys in the message; one that knows extra fields has them as fields.
"""

import logging
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any

_OPTIONS = ("exc_info", "stack_info", "stacklevel")
_TAKEN = {*vars(logging.makeLogRecord({})), "message", "asctime"}
"""Attributes of a log record, which `logging` does not let extra fields replace."""


JOB_KEYS = ("job_id", "job_type", "instance_id", "attempt", "trace_id")


class InJob:
    """Inside, and in the tasks and threads that copy the context meanwhile, `job_keys` returns `keys`.

    Not afterwards: a task that a handler starts may outlive its job. A class, because a generator's context manager
    writes to the exception that passes, which a frozen one does not let it do.
    """

    __slots__ = ("_keys", "_token")

    def __init__(self, keys: Mapping[str, object]) -> None:
        self._keys = keys

    def __enter__(self) -> None:
        self._token = _job.set(self)

    def __exit__(self, *_: object) -> None:
        self._keys = {}
        _job.reset(self._token)


_job: ContextVar[InJob | None] = ContextVar("rochallor_worker.job", default=None)


def job_keys() -> Mapping[str, object]:
    """Return id, type, instance and attempt of the job whose handler is running here, and the id of its trace, if any;
    empty outside of handlers."""
    job = _job.get()
    return {} if job is None else job._keys  # noqa: SLF001 — of this module


class JobFilter(logging.Filter):
    """Adds the `JOB_KEYS` of the running job to each record, as extra fields. Add it to a `logging.Handler`.

    Outside of handlers they are empty, so that a format such as `%(job_id)s %(message)s` serves every line.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields that the record has not; accept every record."""
        keys = job_keys()
        for name in JOB_KEYS:
            if name not in vars(record):
                setattr(record, name, keys.get(name, ""))
        return True


class Message:
    """A text and its keys."""

    __slots__ = ("event", "keys")

    def __init__(self, event: str, keys: Mapping[str, object]) -> None:
        self.event = event
        self.keys = keys

    def __str__(self) -> str:
        return " ".join([self.event, *(f"{name}={value!r}" for name, value in self.keys.items())])


class Logger(logging.LoggerAdapter[logging.Logger]):
    """`log.warning("a run failed", job_id=…)`: keyword arguments are keys, beside those that the logger carries."""

    def log(self, level: int, msg: object, /, *args: object, **kwargs: Any) -> None:  # type: ignore[override]
        """Log the text with its arguments formatted in, since keys may contain a `%`. A key may be called `level`."""
        if self.isEnabledFor(level):
            message, options = self.process(str(msg) % args if args else str(msg), kwargs)
            self.logger.log(level, message, **options)

    def process(self, msg: str, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Return the arguments for `logging`."""
        options = {name: kwargs.pop(name) for name in _OPTIONS if name in kwargs}
        keys = {**(self.extra or {}), **kwargs}
        extra = {name: value for name, value in keys.items() if name not in _TAKEN}
        return Message(msg, keys), {**options, "extra": extra}


def get_logger(name: str, **keys: object) -> Logger:
    """Return a logger of this package that carries `keys`."""
    return Logger(logging.getLogger(name), keys)

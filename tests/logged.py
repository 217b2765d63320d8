"""What is logged, for tests that read it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rochallor_worker.logger import Message


class _Entries(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.entries: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        event, keys = (record.msg.event, record.msg.keys) if isinstance(record.msg, Message) else (record.msg, {})
        self.entries.append({"event": event, "log_level": record.levelname.lower(), **keys})


@contextmanager
def logged_by(name: str) -> Iterator[list[dict[str, Any]]]:
    """Inside, each record of a logger and those below it, whatever its level, as its text, level and keys."""
    handler, logger = _Entries(), logging.getLogger(name)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield handler.entries
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)

"""Logs: one JSON object a line on standard error, with the worker's keys: timestamp, level, event, logger, exception.

Lines about a resource name it as `resource` (NAMESPACE/NAME), those about one of its objects also as `child` (KIND
NAMESPACE/NAME); `error` is the text of an error.
"""

from __future__ import annotations

import json
import logging
import logging.config
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp.http_exceptions import HttpProcessingError

from rochallor_operator.runtime.text import one_line

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Formats a record with its extra values; a traceback is one string."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        fields: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")[:-6] + "Z",
            "level": record.levelname.lower(),
            "event": one_line(record.getMessage()),
            "logger": record.name,
        }
        extra = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        fields |= {key: one_line(value) if isinstance(value, str) else value for key, value in extra.items()}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


def _http(record: logging.LogRecord) -> bool:
    """Keep records except those about a request that isn't HTTP: a port scan or a gRPC client sends such."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def configure(level: str) -> None:
    """Send our own logs, and those of libraries from WARNING on, to standard error."""
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"json": {"()": JsonFormatter}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
            "root": {"level": "WARNING", "handlers": ["stderr"]},
            "loggers": {
                "rochallor_operator": {"level": level},
                # kopf logs every retry of every watch; an error that ends it is in the operator's own log.
                "kopf": {"level": "CRITICAL"},
                # psycopg quotes servers, and the names of hosts that are in Secrets.
                "psycopg": {"level": "CRITICAL", "propagate": False},
            },
        }
    )
    logging.getLogger("aiohttp.server").addFilter(_http)

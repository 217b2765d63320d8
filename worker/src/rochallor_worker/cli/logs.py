"""Logging: one JSON object per line on stderr (or text for people), for our logs and those of all libraries."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

import structlog
from aiohttp.http_exceptions import HttpProcessingError

from rochallor_worker.cli.output import printable
from rochallor_worker.logger import Message, job_keys
from rochallor_worker.traces import trace_id

Format = Literal["json", "text"]


def _keys(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Move the keys of this package's records from the message into the event."""
    if isinstance(message := event["_record"].msg, Message):
        event.update(message.keys)
        event["event"] = message.event
    return event


def _job(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add the keys of the job whose handler logs, through any library, unless the record has its own.

    What the worker itself logs about an attempt gets the id of its trace.
    """
    for name, value in job_keys().items():
        event.setdefault(name, value)
    if trace := trace_id():
        event.setdefault("trace_id", trace)
    return event


def _printable(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape characters that move a terminal's cursor or reverse its text: logs contain texts of jobs and engines."""
    if error := event.pop("exc_info", None):
        event["exception"] = structlog.processors.ExceptionRenderer()(None, "", {"exc_info": error}).get(
            "exception", ""
        )
    for name, value in event.items():
        if isinstance(value, str):
            text = value if name == "exception" else value.replace("\n", "\\n")
            event[name] = printable(text)
    return event


def to_logging() -> None:
    """Send what is logged through structlog to `logging`, its keys as extra fields: a child's records go that way."""
    _configure_structlog(structlog.contextvars.merge_contextvars, structlog.stdlib.render_to_log_kwargs)


def _configure_structlog(*processors: structlog.types.Processor) -> None:
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *processors,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _http(record: logging.LogRecord) -> bool:
    """Keep records except those about a request that isn't HTTP: a port scan or a gRPC client sends such."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def configure(level: str, log_format: Format) -> None:
    """Send every log record of the process to stderr in one format. `level` is a name such as "INFO"."""
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        _job,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    render: list[structlog.types.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
        if log_format == "json"
        else [
            _printable,
            # a plain traceback: the richer one prints local variables, and with them secrets
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    )
    _configure_structlog(*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), _keys, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    logging.getLogger("aiohttp.server").addFilter(_http)
    for chatty in ("httpx", "httpcore", "aiohttp.access", "asyncio"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLogger().level))

"""Optional dependencies, and a clear error where one is missing: `pip install 'rochallor-worker[kafka]'`."""

from collections.abc import Iterator
from contextlib import contextmanager

from rochallor_worker.errors import StartError

_MODULES = {
    "cli": {"pydantic", "pydantic_settings", "rich", "structlog", "typer", "uvloop"},
    "grpc": {"google", "grpc"},
    "kafka": {"confluent_kafka", "google"},
    "otel": {"google", "opentelemetry", "requests"},
}
"""Extra → the modules that come with it."""


@contextmanager
def needs(extra: str, what: str) -> Iterator[None]:
    """Turn a missing module of an extra into a `StartError` with the command that installs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _MODULES[extra]:
            raise
        raise StartError(
            f"{what} needs the module {error.name}, which is not installed: pip install 'rochallor-worker[{extra}]'"
        ) from None

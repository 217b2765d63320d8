from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from rochallor_worker.cli import logs, process
from rochallor_worker.cli.main import app
from rochallor_worker.devengine.client import FakeEngine

Run = Callable[..., Result]


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def run(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command against `engine`, on no terminal."""

    def connect(_settings: Any) -> FakeEngine:
        return engine

    def configure(_level: str, _format: str) -> None: ...

    monkeypatch.setattr(process, "connect", connect)
    monkeypatch.setattr(logs, "configure", configure)  # the tests have a logging set-up of their own
    return lambda *words, **options: CliRunner().invoke(app, [str(word) for word in words], **options)

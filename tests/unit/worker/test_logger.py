"""The log of this package, as users of it as a library see it (faults.md, W9)."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from rochallor_worker.cli import logs
from rochallor_worker.logger import get_logger


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, restored after the test."""
    logger = logging.getLogger()
    before, level = logger.handlers[:], logger.level
    yield logger
    logger.handlers[:], logger.level = before, level
    logging.captureWarnings(False)


def test_the_users_formatter_and_level_apply(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s [%(job_id)s]"))
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    log = get_logger("rochallor_worker.anything", job_id="j1")
    logging.getLogger("rochallor_worker").setLevel(logging.NOTSET)
    log.info("not shown")
    log.warning("a run failed", error="100 % wrong")
    assert text.getvalue() == "WARNING rochallor_worker.anything a run failed job_id='j1' error='100 % wrong' [j1]\n"
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("key", ["name", "message", "args", "levelname", "event", "level", "timestamp"])
def test_any_key_may_be_logged(root: logging.Logger, capsys: pytest.CaptureFixture[str], key: str) -> None:
    """`job.log.info("greeting", name=…)`: a name that `logging` reserves is a key like any other."""
    logs.configure("INFO", "json")
    keys: dict[str, Any] = {key: "Ada"}
    get_logger("rochallor_worker.job", job_id="j1").info("hello %s", "you", **keys)
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["level"], line["job_id"]) == ("hello you", "info", "j1")
    assert key in line


def test_an_exception_is_logged_with_its_traceback(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("INFO", "json")
    try:
        raise ValueError("why")
    except ValueError:
        get_logger("rochallor_worker").exception("it failed", job_id="j1")
    line = json.loads(capsys.readouterr().err)
    assert line["event"] == "it failed"
    assert "ValueError: why" in line["exception"]

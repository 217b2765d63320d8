"""Any environment: the worker can start, or reports in one line what is wrong, without its secrets."""

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import example, given
from hypothesis import strategies as st
from typer.testing import CliRunner

from fuzz.budget import examples
from rochallor_worker import Registry, Runner
from rochallor_worker.cli import process
from rochallor_worker.cli.calling import START_ERROR
from rochallor_worker.cli.connections import kafka_connection
from rochallor_worker.cli.main import app
from rochallor_worker.cli.settings import PREFIX, Settings
from rochallor_worker.execution.journal import Journal

NAMES = sorted(name.upper() for name in Settings.model_fields)
SECRET = "hunter2"
SECRETS = ["ENGINE_TOKEN", "ENGINE_HEADERS", "KAFKA_SASL_PASSWORD"]
RIGHT = {
    "HANDLERS": "shop.handlers:registry",
    "ENGINE_URL": "http://engine:8080",
    "ENGINE_GRPC_TARGET": "engine:9090",
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
}
WORDS = """
    rest grpc kafka KAFKA 0 1 64 1000 1001 -1 1e3 1_0 ٣ true maybe nan inf 500ms 30s 1m30s 1.5h 0s 5 9e9s https://e:1
    http://e:99999 http://[::1 http://e/a?b e:9090 :1 e: a,b, ,, A:b A: :b X-bin:v SSL SASL_SSL SASL_PLAINTEXT PLAIN
    text json debug LOUD /dev/null /nowhere . / a:b a.b:c ..:a é:x"""
surrogates = st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF)  # bytes that are not UTF-8
values = (
    st.sampled_from(WORDS.split())
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
    | st.text(surrogates, min_size=1, max_size=2)
    | st.sampled_from(
        ["9" * 400 + "h", "9" * 5000, "x" * 10_000, "a: b\x85c", "a: b\nc: d", "\n", "\x7f", "http://e\n"]
    )
)
environments = st.dictionaries(st.sampled_from(NAMES), values, max_size=5)


@pytest.fixture
def _process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process that assembles itself and ends; its logs go where the command line sends them."""
    registry = Registry()
    registry.handler("a")(lambda _: None)

    def run(settings: Settings) -> list[str]:
        async def assemble() -> None:
            journal = Journal(Path(settings.journal_dir)) if settings.journal_dir else None
            try:
                async with process.connect(settings) as engine:
                    Runner(
                        engine,
                        registry,
                        worker_id=settings.worker_id,
                        kafka=kafka_connection(settings),
                        job_types=settings.job_types,
                        parallelism=settings.parallelism,
                        journal=journal,
                    )
            finally:
                if journal is not None:
                    journal.close()

        asyncio.run(assemble())
        return []

    for name in NAMES:
        monkeypatch.delenv(PREFIX + name, raising=False)
    monkeypatch.setattr(process, "run", run)
    root, before = logging.getLogger(), logging.getLogger().handlers[:]
    yield
    root.handlers[:] = before
    logging.captureWarnings(False)
    structlog.reset_defaults()


@pytest.mark.usefixtures("_process")
@examples(3)
@given(environment=environments)
@example(environment={"WORKER_ID": "\udcff"})
@example(environment={"ENGINE_URL": "http://e:99999"})
@example(environment={"DRAIN_TIMEOUT": "9" * 400 + "h"})
@example(environment={"METRICS_PORT": "9" * 5000})
@example(environment={"JOB_TYPES": "9" * 5000})
@example(environment={"JOURNAL_DIR": "9" * 5000})
@example(environment={"TRANSPORT": "kafka", "JOB_TYPES": "a,a"})
def test_any_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rochallor_worker.cli.main.TERMINATION_LOG", tmp_path / "termination-log")
    (tmp_path / "termination-log").write_text("")
    marked = {name: value + (SECRET if name in SECRETS else "") for name, value in environment.items()}
    given = {PREFIX + name: value for name, value in (RIGHT | marked).items()}
    done = CliRunner().invoke(app, ["run"], env=given)
    assert SECRET not in done.output
    if done.exit_code == 0:
        return
    assert done.exit_code == START_ERROR, (done.output, done.exception)
    reason = (tmp_path / "termination-log").read_text()
    assert reason.count("\n") == 1
    assert 1 < len(reason) < 1000
    if environment.get("LOG_FORMAT") != "text":
        assert json.loads(done.output.splitlines()[-1])["event"] == reason.rstrip("\n")
    assert "Traceback" not in done.output

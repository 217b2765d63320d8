from __future__ import annotations

import json
import logging
import sys
from importlib.metadata import version

import pytest

from rochallor_operator import __main__
from rochallor_operator.errors import StartError
from rochallor_operator.runtime import logs, settings


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROCHALLOR_OPERATOR_NAMESPACES", raising=False)
    values = settings.load()
    assert values.worker_image == f"rochallor/rochallor-worker:{version('rochallor-operator')}"
    assert (values.http_port, values.namespaces, values.log_level) == (8080, (), "INFO")


def test_the_environment_overrides_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROCHALLOR_OPERATOR_WORKER_IMAGE", "shop/worker:2")
    monkeypatch.setenv("ROCHALLOR_OPERATOR_NAMESPACES", "a,b")
    values = settings.load()
    assert (values.worker_image, values.namespaces) == ("shop/worker:2", ("a", "b"))


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("HTTP_PORT", "http", "a port from 0 (any free one) to 65535"),
        ("HTTP_PORT", "70000", "a port from 0 (any free one) to 65535"),
        ("LOG_LEVEL", "LOUD", "DEBUG, INFO, WARNING or ERROR"),
        ("WORKER_IMAGE", "", "an image"),
        ("LEADER_ELECTION", "perhaps", "true or false"),
        ("WATCH_SECRETS", "perhaps", "true or false"),
        ("OWN_NAMESPACE", "a/b", "the name of the namespace"),
        ("NAME", "a b", "1 to 200 characters"),
    ],
)
def test_a_wrong_setting_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, allowed: str
) -> None:
    monkeypatch.setenv(f"ROCHALLOR_OPERATOR_{variable}", value)
    with pytest.raises(StartError) as caught:
        settings.load()
    start = f"ROCHALLOR_OPERATOR_{variable}={value!r} is not valid: must be {allowed}"
    assert str(caught.value).startswith(start)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "names"), [("", ()), ("default, kube-public", ("default", "kube-public")), (" a ,b,a", ("a", "b"))]
)
def test_namespaces_may_have_spaces_between_them(
    monkeypatch: pytest.MonkeyPatch, value: str, names: tuple[str, ...]
) -> None:
    monkeypatch.setenv("ROCHALLOR_OPERATOR_NAMESPACES", value)
    assert settings.load().namespaces == names


@pytest.mark.parametrize(
    ("value", "wrong"),
    [("Default", "Default"), ("a,*", "*"), ("a,", ""), (",", ""), (" ", ""), ("a;b", "a;b"), ("a" * 64, "a" * 64)],
)
def test_an_impossible_namespace_is_refused(monkeypatch: pytest.MonkeyPatch, value: str, wrong: str) -> None:
    """The operator would wait for it forever; and an empty list means all namespaces."""
    monkeypatch.setenv("ROCHALLOR_OPERATOR_NAMESPACES", value)
    with pytest.raises(StartError) as caught:
        settings.load()
    assert str(caught.value) == (
        f"ROCHALLOR_OPERATOR_NAMESPACES={wrong!r} is not valid: must be names of namespaces, separated by commas:"
        " the only ones to serve"
    )


def test_the_help_names_every_variable_with_its_default(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["rochallor-operator", "--help"])
    with pytest.raises(SystemExit):
        __main__.main()
    printed = capsys.readouterr().out
    for name in settings.Settings.model_fields:
        assert f"  ROCHALLOR_OPERATOR_{name.upper()}\n" in printed
    assert printed.count("(default: ") == len(settings.Settings.model_fields)
    assert "None" not in printed


def _record(**extra: object) -> logging.LogRecord:
    return logging.makeLogRecord({"name": "rochallor_operator.x", "levelname": "INFO", "msg": "created", **extra})


def test_a_log_line_is_one_json_object() -> None:
    line = json.loads(logs.JsonFormatter().format(_record(child="Service a/b", created=0.0)))
    assert line == {
        "timestamp": "1970-01-01T00:00:00.000000Z",
        "level": "info",
        "event": "created",
        "logger": "rochallor_operator.x",
        "child": "Service a/b",
    }


def test_a_traceback_stays_on_the_line() -> None:
    try:
        raise RuntimeError("boom")
    except RuntimeError:
        line = logs.JsonFormatter().format(_record(exc_info=sys.exc_info()))
    assert "\n" not in line
    assert "RuntimeError: boom" in json.loads(line)["exception"]

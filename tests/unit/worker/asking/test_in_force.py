"""`settings`: the values in force, without secrets."""

import json

import pytest

from rochallor_worker.cli.settings import PREFIX, Settings, load
from unit.worker.asking.conftest import Run


def shown(run: Run) -> dict[str, tuple[str, str]]:
    result = run("settings", "--json")
    assert result.exit_code == 0
    return {row["variable"]: (row["value"], row["from"]) for row in json.loads(result.stdout)}


def test_each_setting_has_its_value_and_says_where_it_comes_from(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "ENGINE_URL": "http://engine:8080",
        "LEASE": "1m30s",
        "KAFKA_DEAD_LETTER": "1",
        "JOB_TYPES": "a, b",
        "LIMITS": '[{"jobType": "a", "perSecond": 20}]',
        "TRANSPORT": "",
    }
    for name, value in given.items():
        monkeypatch.setenv(PREFIX + name, value)
    found = shown(run)
    assert list(found) == [PREFIX + name.upper() for name in Settings.model_fields]
    assert {name: value for name, (value, origin) in found.items() if origin == "environment"} == {
        "ROCHALLOR_ENGINE_URL": "http://engine:8080",
        "ROCHALLOR_LEASE": "90s",
        "ROCHALLOR_KAFKA_DEAD_LETTER": "1",
        "ROCHALLOR_JOB_TYPES": "a, b",
        "ROCHALLOR_LIMITS": '[{"jobType":"a","perSecond":20.0}]',
    }
    assert found["ROCHALLOR_TRANSPORT"] == ("rest", "default")
    assert found["ROCHALLOR_DRAIN_TIMEOUT"] == ("25s", "default")
    assert found["ROCHALLOR_HANDLER_TIMEOUT"] == ("", "default")


def test_each_value_is_as_one_would_write_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "JOB_TYPES": "a,b",
        "LIMITS": '[{"jobType": "a", "parallelism": 8}, {"jobType": "b", "breaker": false}]',
        "KAFKA_PROPERTIES": '{"fetch.max.bytes": 1048576, "client.rack": "a\'b"}',
        "KAFKA_CREATE_TOPICS": '{"partitions": 6, "replicationFactor": 3}',
        "KAFKA_DEDUP_WINDOW": "1000000001ms",
        "POLL_INTERVAL": "12.5ms",
        "METRICS_COMPAT": "true",
    }
    for name, value in given.items():
        monkeypatch.setenv(PREFIX + name, value)
    before, found = load(), shown(run)
    assert found["ROCHALLOR_KAFKA_PROPERTIES"][0] == '{"fetch.max.bytes":"1048576","client.rack":"a\'b"}'
    assert found["ROCHALLOR_POLL_INTERVAL"][0] == "0.0125s"
    for variable, (value, _) in found.items():
        monkeypatch.setenv(variable, value)
    assert load() == before


def test_secrets_are_hidden(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = [name.upper() for name, field in Settings.model_fields.items() if not field.repr]
    assert "ENGINE_TOKEN" in secrets
    for name in secrets:
        monkeypatch.setenv(PREFIX + name, "X-Key: hunter2")
    assert {name: value for name, (value, origin) in shown(run).items() if origin == "environment"} == {
        PREFIX + name: "(hidden)" for name in secrets
    }
    assert "hunter2" not in run("settings").output


def test_a_misspelt_variable_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROCHALLOR_PARALLELLISM", "4")
    assert "ROCHALLOR_PARALLELLISM is not a setting" in run("settings").stderr

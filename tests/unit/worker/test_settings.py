import pytest

from rochallor_worker.cli.connections import engine_connection
from rochallor_worker.cli.parsing import parse_duration
from rochallor_worker.cli.settings import load, unknown_variables
from rochallor_worker.errors import StartError
from rochallor_worker.handlers.breaker import DEFAULT, Breaker
from rochallor_worker.handlers.limits import Limits


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROCHALLOR_ENGINE_URL", "http://engine:8080")
    monkeypatch.setenv("ROCHALLOR_HANDLERS", "shop.handlers:registry")


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("30s", 30), ("10m", 600), ("1m30s", 90), ("1.5s", 1.5), ("1h", 3600)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "s", "5 s", "-5s", "5s5", "1d", "5S"])
def test_invalid_durations(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


def test_defaults_are_the_documented_ones() -> None:
    settings = load()
    assert (settings.parallelism, settings.poll_interval, settings.lease, settings.drain_timeout) == (64, 0.5, 30, 25)
    assert (settings.transport, settings.metrics_port, settings.log_level, settings.log_format) == (
        "rest",
        9090,
        "INFO",
        "json",
    )
    assert settings.worker_id


def test_timeouts_are_at_most_a_day_and_a_lease_at_most_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("LEASE", "1h"), ("HANDLER_TIMEOUT", "24h"), ("DRAIN_TIMEOUT", "24h")):
        monkeypatch.setenv(f"ROCHALLOR_{name}", value)
    settings = load()
    assert (settings.lease, settings.handler_timeout, settings.drain_timeout) == (3600, 86400, 86400)


def test_lists_and_headers_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROCHALLOR_JOB_TYPES", "a, b,,c,a")
    monkeypatch.setenv("ROCHALLOR_ENGINE_HEADERS", "X-Team: blue\nX-Env: a:b\n")
    settings = load()
    assert settings.job_types == ["a", "b", "c"]
    assert engine_connection(settings).headers == (("X-Team", "blue"), ("X-Env", "a:b"))


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("PARALLELISM", "0", "ROCHALLOR_PARALLELISM='0' is not valid: must be a whole number from 1 to 1000"),
        ("PARALLELISM", "many", "ROCHALLOR_PARALLELISM='many' is not valid: must be a whole number"),
        ("POLL_INTERVAL", "5", "ROCHALLOR_POLL_INTERVAL='5' is not valid: must be a duration such as 500ms, 30s, "
         "1m30s or 2h, from 10ms to 5m"),
        ("LEASE", "4s", "ROCHALLOR_LEASE='4s' is not valid: must be a duration such as 500ms, 30s, 1m30s or 2h, "
         "from 5s to 1h"),
        ("LEASE", "61m", "ROCHALLOR_LEASE='61m' is not valid: must be a duration"),
        ("HANDLER_TIMEOUT", "25h", "ROCHALLOR_HANDLER_TIMEOUT='25h' is not valid: must be a duration such as 500ms, "
         "30s, 1m30s or 2h, above zero and at most 24h"),
        ("DRAIN_TIMEOUT", "25h", "ROCHALLOR_DRAIN_TIMEOUT='25h' is not valid: must be a duration such as 500ms, 30s, "
         "1m30s or 2h, at most 24h"),
        ("TRANSPORT", "carrier-pigeon", "ROCHALLOR_TRANSPORT='carrier-pigeon' is not valid: must be"),
        ("ENGINE_URL", "http://engine:80800", "ROCHALLOR_ENGINE_URL='http://engine:80800' is not valid: must be"),
        ("ENGINE_GRPC_TARGET", "https://[::1:9", "ROCHALLOR_ENGINE_GRPC_TARGET='https://[::1:9' is not valid: must be"),
        ("ENGINE_GRPC_TARGET", "engine:99999", "ROCHALLOR_ENGINE_GRPC_TARGET='engine:99999' is not valid: must be"),
        ("KAFKA_BOOTSTRAP_SERVERS", "a:1,b:70000", "ROCHALLOR_KAFKA_BOOTSTRAP_SERVERS='a:1,b:70000' is not valid: "),
        ("ENGINE_URL", "http://engine/a b", "ROCHALLOR_ENGINE_URL='http://engine/a b' is not valid: must be"),
        ("WORKER_ID", "\udcff", "ROCHALLOR_WORKER_ID is not valid: must be text in UTF-8"),
        ("PARALLELISM", "9" * 5000, f"ROCHALLOR_PARALLELISM='{'9' * 99}… is not valid: must be a whole number"),
        ("DRAIN_TIMEOUT", "9" * 9 + "h", "ROCHALLOR_DRAIN_TIMEOUT='999999999h' is not valid: must be a duration"),
        ("ENGINE_URL", "engine:8080", "ROCHALLOR_ENGINE_URL='engine:8080' is not valid: must be a URL such as"),
        ("HANDLERS", "handlers", "ROCHALLOR_HANDLERS='handlers' is not valid: must be package.module:registry"),
        ("METRICS_PORT", "70000", "ROCHALLOR_METRICS_PORT='70000' is not valid: must be a port from 0"),
        ("METRICS_HOST", "localhost", "ROCHALLOR_METRICS_HOST='localhost' is not valid: must be an IP address of this"),
        ("LOG_LEVEL", "loud", "ROCHALLOR_LOG_LEVEL='LOUD' is not valid: must be debug, info, warning"),
        ("ENGINE_HEADERS", "secret", "ROCHALLOR_ENGINE_HEADERS is not valid: must be lines of"),
        ("ENGINE_CERT_FILE", "c.pem", "ROCHALLOR_ENGINE_CERT_FILE and ROCHALLOR_ENGINE_KEY_FILE must be set together"),
    ],
)  # fmt: skip
def test_a_bad_value_is_one_sentence_with_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(f"ROCHALLOR_{variable}", value)
    with pytest.raises(StartError) as raised:
        load()
    assert str(raised.value).startswith(sentence)
    assert "\n" not in str(raised.value)


CLIENT = {
    "engine_oauth_token_url": "https://login/token",
    "engine_oauth_client_id_file": "/id",
    "engine_oauth_client_secret_file": "/secret",
}


BEARER = {
    "kafka_sasl_mechanism": "OAUTHBEARER",
    "kafka_oauth_token_url": "https://login/token",
    "kafka_oauth_client_id_file": "/id",
    "kafka_oauth_client_secret_file": "/secret",
}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            BEARER | {"kafka_oauth_client_secret_file": ""},
            "ROCHALLOR_KAFKA_OAUTH_CLIENT_SECRET_FILE must be set with ROCHALLOR_KAFKA_SASL_MECHANISM=OAUTHBEARER",
        ),
        (
            BEARER | {"kafka_sasl_mechanism": "PLAIN"},
            "ROCHALLOR_KAFKA_OAUTH_TOKEN_URL must only be set with ROCHALLOR_KAFKA_SASL_MECHANISM=OAUTHBEARER",
        ),
        (
            BEARER | {"kafka_oauth_extensions": "a=b,c"},
            "ROCHALLOR_KAFKA_OAUTH_EXTENSIONS='a=b,c' is not valid: must be name=value, several separated by commas",
        ),
        (
            {"kafka_create_topics": '{"partitions": 0, "replicationFactor": 3}'},
            "ROCHALLOR_KAFKA_CREATE_TOPICS=0 is not valid: must be a JSON object such as "
            '{"partitions": 6, "replicationFactor": 3}',
        ),
        (
            {"kafka_properties": '{"ssl.key.pem": "hunter2"}'},
            "Kafka's property 'ssl.key.pem' (ROCHALLOR_KAFKA_PROPERTIES) must not be set: "
            "secrets belong into the files that settings such as ROCHALLOR_KAFKA_SASL_PASSWORD_FILE name",
        ),
        (
            {"kafka_properties": '{"error_cb": "x"}'},
            "Kafka's property 'error_cb' (ROCHALLOR_KAFKA_PROPERTIES) must not be set: a name has lower-case letters, "
            "digits and dots, such as fetch.max.bytes",
        ),
        (
            {"kafka_properties": '{"default.topic.config": "a"}'},
            "Kafka's property 'default.topic.config' (ROCHALLOR_KAFKA_PROPERTIES) must not be set: "
            "how jobs are committed and redelivered depends on it",
        ),
        (
            {"kafka_properties": '{"sasl.password": "hunter2",}'},
            'ROCHALLOR_KAFKA_PROPERTIES is not valid: must be a JSON object such as {"fetch.max.bytes": "1048576"}',
        ),
        (
            {"kafka_properties": '{"fetch.max.bytes": {}}'},
            'ROCHALLOR_KAFKA_PROPERTIES is not valid: must be a JSON object such as {"fetch.max.bytes": "1048576"}',
        ),
        (
            {"engine_oauth_scope": "jobs"},
            "ROCHALLOR_ENGINE_OAUTH_TOKEN_URL is not set: must be set together with other ENGINE_OAUTH settings",
        ),
        (
            {"engine_oauth_token_url": "https://login/token", "engine_oauth_client_id_file": "/id"},
            "ROCHALLOR_ENGINE_OAUTH_CLIENT_ID_FILE and ROCHALLOR_ENGINE_OAUTH_CLIENT_SECRET_FILE must be set together "
            "with ROCHALLOR_ENGINE_OAUTH_TOKEN_URL",
        ),
        (
            CLIENT | {"engine_token_file": "/token"},
            "ROCHALLOR_ENGINE_OAUTH_TOKEN_URL must be set without ROCHALLOR_ENGINE_TOKEN and "
            "ROCHALLOR_ENGINE_TOKEN_FILE: calls carry one token",
        ),
        (
            CLIENT | {"engine_oauth_token_url": "https://shop:hunter2@login/token"},
            "ROCHALLOR_ENGINE_OAUTH_TOKEN_URL is not valid: must be a URL such as https://login.example.com/oauth/token",
        ),
        (
            CLIENT | {"engine_oauth_scope": "a  b"},
            "ROCHALLOR_ENGINE_OAUTH_SCOPE='a  b' is not valid: must be scopes separated by one space each",
        ),
    ],
)
def test_ways_in_that_make_no_sense(given: dict[str, str], sentence: str) -> None:
    with pytest.raises(StartError) as raised:
        load(**given)
    assert str(raised.value) == sentence


@pytest.mark.parametrize(
    ("plain", "sentence"),
    [
        (
            {"engine_url": "http://engine:8080", "engine_ca_file": "ca.pem"},
            "ROCHALLOR_ENGINE_URL='http://engine:8080' is not valid: must begin with https:// when TLS files are set",
        ),
        (
            {"transport": "kafka", "kafka_security_protocol": "SASL_PLAINTEXT", "kafka_ca_file": "ca.pem"},
            "ROCHALLOR_KAFKA_SECURITY_PROTOCOL='SASL_PLAINTEXT' is not valid: must be SSL or SASL_SSL when TLS files "
            "are set",
        ),
        (
            CLIENT | {"engine_url": "http://engine", "engine_cert_file": "c.pem", "engine_key_file": "k.pem"},
            "ROCHALLOR_ENGINE_URL='http://engine' is not valid: must begin with https:// when TLS files are set",
        ),
        (
            CLIENT | {"engine_url": "http://engine", "engine_ca_file": "ca", "engine_oauth_token_url": "http://login"},
            "ROCHALLOR_ENGINE_URL='http://engine' is not valid: must begin with https:// when TLS files are set",
        ),
    ],
)
def test_tls_files_that_would_not_be_used(plain: dict[str, str], sentence: str) -> None:
    with pytest.raises(StartError) as raised:
        load(**plain)
    assert str(raised.value) == sentence


@pytest.mark.parametrize(
    "given",
    [
        CLIENT | {"engine_url": "http://engine", "engine_ca_file": "ca.pem"},
        BEARER | {"kafka_security_protocol": "SASL_PLAINTEXT", "kafka_ca_file": "ca.pem"},
    ],
)
def test_a_private_ca_may_be_for_the_token_server_alone(given: dict[str, str]) -> None:
    settings = load(**given)
    assert "ca.pem" in {settings.engine_ca_file, settings.kafka_ca_file}
    assert settings.token_in_clear is settings.sends_token


def test_misspelt_variables_are_found() -> None:
    environment = {"ROCHALLOR_PARALELISM": "3", "ROCHALLOR_PARALLELISM": "3", "HOME": "/"}
    assert unknown_variables(environment) == ["ROCHALLOR_PARALELISM"]


def test_secrets_are_not_in_the_representation() -> None:
    assert "hunter2" not in repr(load(engine_token="hunter2"))


PLAIN = {"engine_url": "http://engine:8080", "engine_grpc_target": "engine:9090"}
SECURE = {"engine_url": "https://engine", "engine_grpc_target": "https://engine:9090"}


@pytest.mark.parametrize("transport", ["rest", "grpc", "kafka"])
def test_a_token_without_tls_is_noticed(transport: str) -> None:
    assert load(transport=transport, engine_token="t", **PLAIN).token_in_clear
    assert load(transport=transport, engine_token_file="/t", **PLAIN).token_in_clear
    assert not load(transport=transport, **PLAIN).token_in_clear
    assert not load(transport=transport, engine_token="t", **SECURE).token_in_clear
    assert load(transport=transport, **CLIENT, **PLAIN).token_in_clear
    assert not load(transport=transport, **CLIENT, **SECURE).token_in_clear
    assert load(transport=transport, **CLIENT | {"engine_oauth_token_url": "http://login"}, **SECURE).token_in_clear


def test_tls_files_make_grpc_secure() -> None:
    assert not load(transport="grpc", engine_token="t", engine_ca_file="ca.pem", **PLAIN).token_in_clear


def limits_of(monkeypatch: pytest.MonkeyPatch, text: str, own: Limits) -> dict[str, Limits]:
    monkeypatch.setenv("ROCHALLOR_LIMITS", text)
    return {setting.job_type: setting.over(own) for setting in load().limits}


OWN = Limits(3, 0.5, "resource", None)


def test_limits_replace_only_what_they_name(monkeypatch: pytest.MonkeyPatch) -> None:
    text = """[
        {"jobType": "b", "parallelism": 8}, {"jobType": "c", "perSecond": 2, "scope": "pod"},
        {"jobType": "d", "breaker": true}, {"jobType": "e", "breaker": false, "perSecond": 0.25, "scope": "resource"}
    ]"""
    assert limits_of(monkeypatch, text, OWN) == {
        "b": Limits(8, 0.5, "resource", None),
        "c": Limits(3, 2, "pod", None),
        "d": Limits(3, 0.5, "resource", DEFAULT),
        "e": Limits(3, 0.25, "resource", None),
    }
    own = Limits(breaker=Breaker(failures=7))
    assert limits_of(monkeypatch, text, own)["d"].breaker == own.breaker
    assert limits_of(monkeypatch, text, own)["e"].breaker is None
    assert limits_of(monkeypatch, "[]", own) == {}


@pytest.mark.parametrize(
    "text",
    [
        "null", "5", "{}", '"abc"', "[5]", "[null]", "[[]]", "[", '[{"jobType": "a"},]', "[" * 100_000,
        '{"jobType": "a"}', "[{}]", '[{"parallelism": 3}]', '[{"job_type": "a"}]', '[{"jobType": 5}]',
        '[{"jobType": "a"}, {"jobType": "a"}]', '[{"jobType": "a", "limit": 3}]',
        '[{"jobType": "a", "parallelism": 0}]', '[{"jobType": "a", "parallelism": 2.5}]',
        '[{"jobType": "a", "parallelism": "3"}]', '[{"jobType": "a", "parallelism": true}]',
        '[{"jobType": "a", "perSecond": 0}]', '[{"jobType": "a", "perSecond": -1}]',
        '[{"jobType": "a", "perSecond": NaN}]', '[{"jobType": "a", "perSecond": 1e999}]',
        '[{"jobType": "a", "perSecond": Infinity}]', '[{"jobType": "a", "perSecond": "30"}]',
        f'[{{"jobType": "a", "perSecond": 1{"0" * 400}}}]', f'[{{"jobType": "a", "parallelism": {"9" * 5000}}}]',
        '[{"jobType": "a", "scope": "cluster"}]', '[{"jobType": "a", "breaker": "off"}]',
        '[{"jobType": "a"}]', '[{"jobType": "a", "parallelism": null}]', '[{"jobType": "a", "scope": "resource"}]',
        '[{"jobType": "a", "breaker": true, "scope": "pod"}]', '[{"jobType": "a", "line\\nbreak": 5}]',
        f'[{{"jobType": "a", "{"limit " * 500}": 3}}]', f'[{{"jobType": "a", "scope": "{"pod " * 500}"}}]',
        '[{"jobType": "a", "breaker": 0}]', '[{"jobType": "a", "breaker": {"failures": 3}}]',
    ],
)  # fmt: skip
def test_limits_that_make_no_sense_are_one_sentence(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("ROCHALLOR_LIMITS", text)
    with pytest.raises(StartError) as raised:
        load()
    sentence = str(raised.value)
    assert sentence.startswith(("ROCHALLOR_LIMITS=", "ROCHALLOR_LIMITS is not valid: item "))
    assert " is not valid: " in sentence
    assert "\n" not in sentence
    assert len(sentence) < 300


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        ("5", "item 2: must be an object, not 5"),
        ("[]", "item 2: must be an object, not a list"),
        ('{"breaker": false}', "item 2: jobType is missing: must be a job type"),
        ('{"jobType": null}', "item 2: jobType is null: must be a job type"),
        ('{"jobType": "b", "parallelism": 0}', "item 2: parallelism is 0: must be a whole number above 0"),
        ('{"jobType": "b", "perSecond": "30"}', 'item 2: perSecond is "30": must be a number above 0'),
        ('{"jobType": "b", "scope": "cluster"}', 'item 2: scope is "cluster": must be "pod" or "resource"'),
        ('{"jobType": "b", "breaker": {}}', "item 2: breaker is an object: must be true or false"),
        (
            '{"jobType": "b", "limit": 3}',
            'item 2: "limit" is no field of it; the fields are jobType, parallelism, perSecond, scope, breaker',
        ),
        ('{"jobType": "b"}', "item 2: limits nothing: add one of parallelism, perSecond, scope, breaker"),
        (
            '{"jobType": "b", "scope": "resource"}',
            "item 2: scope is set without perSecond: add perSecond, or remove scope",
        ),
        ('{"jobType": "a", "parallelism": 2}', 'items 1 and 2 are both of job type "a"; only one is possible'),
    ],
)
def test_a_wrong_limit_is_named_with_what_is_allowed(item: str, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROCHALLOR_LIMITS", f'[{{"jobType": "a", "perSecond": 3}}, {item}]')
    with pytest.raises(StartError) as raised:
        load()
    assert str(raised.value) == f"ROCHALLOR_LIMITS is not valid: {sentence}"


def test_properties_of_kafkas_client_are_texts() -> None:
    text = '{"fetch.max.bytes": 1048576, "socket.keepalive.enable": true, "broker.address.family": "v4"}'
    found = {"fetch.max.bytes": "1048576", "socket.keepalive.enable": "true", "broker.address.family": "v4"}
    assert load(kafka_properties=text).kafka_properties == found

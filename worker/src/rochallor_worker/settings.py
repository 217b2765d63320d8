"""Settings of a worker process: environment variables with the prefix ROCHALLOR_, nothing else."""

import re
import socket
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from rochallor_worker.engine.base import Connection
from rochallor_worker.errors import StartError
from rochallor_worker.source.brokers import Kafka, SaslMechanism, SecurityProtocol

PREFIX = "ROCHALLOR_"
MAX_SECONDS = 1e9
"""Longest duration, some thirty years: what is longer, clocks and timers cannot count."""
SHOWN = 100
"""Most characters of a bad value that are repeated: what is allowed must stay in sight."""
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")


def parse_duration(text: object) -> object:
    """Return the seconds of a duration such as "500ms", "30s", "1m30s". Raises `ValueError` for anything else."""
    if not isinstance(text, str):
        return text
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError("not a duration")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if seconds > MAX_SECONDS:
        raise ValueError("not a duration that ends")
    return seconds


def _split(text: object) -> object:
    """Return the parts between commas, each once."""
    if not isinstance(text, str):
        return text
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _headers(text: object) -> object:
    if not isinstance(text, str):
        return text
    pairs = [line.partition(":") for line in text.splitlines() if line.strip()]
    if not all(name.strip() and colon for name, colon, _ in pairs):
        raise ValueError("not headers")
    return tuple((name.strip(), value.strip()) for name, _, value in pairs)


def _url(text: str | None) -> str | None:
    if text is not None:
        _ = urlsplit(text).port  # raises for a number that is no port, and for half an IPv6 address
    return text


def _ports(text: str | None) -> str | None:
    for address in (text or "").split(","):
        if int(address.rpartition(":")[2] or 0) > 65535:
            raise ValueError("not a port")
    return text


Duration = Annotated[float, BeforeValidator(parse_duration)]
_DURATION_TEXT = "a duration such as 500ms, 30s or 10m"


class Settings(BaseSettings):
    """Each field is the variable ROCHALLOR_<NAME>; its description says what is allowed. Durations: seconds."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="ignore")

    handlers: Annotated[str | None, Field(pattern=r"^[\w.]+:\w+$", description="package.module:registry")] = None
    transport: Annotated[Literal["rest", "grpc", "kafka"], Field(description="rest, grpc or kafka")] = "rest"
    outcome_transport: Annotated[
        Literal["rest", "grpc"], Field(description="rest or grpc: where outcomes go when the transport is kafka")
    ] = "rest"
    engine_url: Annotated[
        str | None,
        Field(pattern=r'^https?://[!-"$-.0->A-~]+(/[!-"$->@-~]*)?$', description="a URL such as http://engine:8080"),
        AfterValidator(_url),
    ] = None
    engine_grpc_target: Annotated[
        str | None,
        Field(pattern=r"^(https://)?[!-.0-?A-~]+:[0-9]{1,5}$", description="a host and port such as engine:9090"),
        AfterValidator(_ports),
    ] = None
    engine_token: Annotated[str, Field(description="a bearer token", repr=False)] = ""
    engine_token_file: Annotated[str, Field(description="the path of a file that holds a bearer token")] = ""
    engine_headers: Annotated[
        tuple[tuple[str, str], ...],
        NoDecode,
        BeforeValidator(_headers),
        Field(description="lines of the form Name: value", repr=False),
    ] = ()
    engine_ca_file: Annotated[str, Field(description="the path of a PEM file of CA certificates")] = ""
    engine_cert_file: Annotated[str, Field(description="the path of a PEM client certificate")] = ""
    engine_key_file: Annotated[str, Field(description="the path of the client certificate's PEM key")] = ""
    kafka_bootstrap_servers: Annotated[
        str | None,
        Field(
            pattern=r"^[!-+.0-?A-~-]+:[0-9]{1,5}(,[!-+.0-?A-~-]+:[0-9]{1,5})*$",
            description="host:port, several separated by commas",
        ),
        AfterValidator(_ports),
    ] = None
    kafka_security_protocol: Annotated[
        SecurityProtocol, Field(description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL")
    ] = "PLAINTEXT"
    kafka_sasl_mechanism: Annotated[SaslMechanism, Field(description="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")] = (
        "SCRAM-SHA-512"
    )
    kafka_sasl_username: Annotated[str, Field(description="the user's name at the brokers")] = ""
    kafka_sasl_username_file: Annotated[str, Field(description="the path of a file that holds the user's name")] = ""
    kafka_sasl_password: Annotated[str, Field(description="the user's password at the brokers", repr=False)] = ""
    kafka_sasl_password_file: Annotated[str, Field(description="the path of a file that holds the user's password")] = (
        ""
    )
    kafka_ca_file: Annotated[str, Field(description="the path of a PEM file of CA certificates")] = ""
    kafka_cert_file: Annotated[str, Field(description="the path of a PEM client certificate")] = ""
    kafka_key_file: Annotated[str, Field(description="the path of the client certificate's PEM key")] = ""
    kafka_dedup_window: Annotated[Duration, Field(ge=0, description=_DURATION_TEXT)] = 600.0
    kafka_dead_letter: Annotated[
        bool, Field(description="1 to send records that can never be worked off to workflow.jobs.<job type>.dlq")
    ] = False
    job_types: Annotated[
        list[str], NoDecode, BeforeValidator(_split), Field(description="job types separated by commas")
    ] = []
    parallelism: Annotated[int, Field(ge=1, le=1000, description="a whole number from 1 to 1000")] = 64
    poll_interval: Annotated[Duration, Field(ge=0.01, le=300, description=f"{_DURATION_TEXT}, from 10ms to 5m")] = 0.5
    handler_timeout: Annotated[Duration | None, Field(gt=0, description=f"{_DURATION_TEXT}, above zero")] = None
    lease: Annotated[Duration, Field(ge=5, description=f"{_DURATION_TEXT}, at least 5s: the engine's lease")] = 30.0
    drain_timeout: Annotated[Duration, Field(ge=0, description=_DURATION_TEXT)] = 25.0
    retry_pause: Annotated[
        Duration | None, Field(gt=0, description=f"{_DURATION_TEXT}, above zero: the first pause before a retry")
    ] = None
    journal_dir: Annotated[str, Field(description="the path of a folder that outlives the process")] = ""
    worker_id: Annotated[
        str, Field(default_factory=socket.gethostname, description="a name for this worker; default: the host's")
    ]
    metrics_port: Annotated[int, Field(ge=0, le=65535, description="a port from 0 (any free one) to 65535")] = 9090
    metrics_compat: Annotated[bool, Field(description="1 to export the metrics of the engine's SDKs too")] = False
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"],
        BeforeValidator(lambda text: text.upper() if isinstance(text, str) else text),
        Field(description="debug, info, warning or error"),
    ] = "INFO"
    log_format: Annotated[Literal["json", "text"], Field(description="json or text")] = "json"

    @model_validator(mode="before")
    @classmethod
    def _text(cls, values: dict[str, Any]) -> dict[str, Any]:
        for name, value in values.items():
            if isinstance(value, str) and not _is_text(value):
                raise StartError(f"{PREFIX}{name.upper()}: its value is not allowed; allowed is text in UTF-8")
        return values

    @model_validator(mode="after")
    def _certificate_pairs(self) -> Self:
        if bool(self.engine_cert_file) != bool(self.engine_key_file):
            raise StartError(f"{PREFIX}ENGINE_CERT_FILE and {PREFIX}ENGINE_KEY_FILE are given together or not at all")
        if bool(self.kafka_cert_file) != bool(self.kafka_key_file):
            raise StartError(f"{PREFIX}KAFKA_CERT_FILE and {PREFIX}KAFKA_KEY_FILE are given together or not at all")
        return self

    @model_validator(mode="after")
    def _tls_is_used(self) -> Self:
        plain = self.engine_url is not None and self.engine_url.startswith("http://")
        if self.calls_over == "rest" and plain and (self.engine_ca_file or self.engine_cert_file):
            raise StartError(f"{PREFIX}ENGINE_URL is {self.engine_url!r}; with TLS files allowed is https://")
        if "SSL" not in self.kafka_security_protocol and (self.kafka_ca_file or self.kafka_cert_file):
            protocol = f"{PREFIX}KAFKA_SECURITY_PROTOCOL is {self.kafka_security_protocol}"
            raise StartError(f"{protocol}; with TLS files allowed are SSL and SASL_SSL")
        return self

    @property
    def calls_over(self) -> Literal["rest", "grpc"]:
        """The transport of calls to the engine."""
        return self.outcome_transport if self.transport == "kafka" else self.transport

    @property
    def kafka(self) -> Kafka | None:
        """How to reach Kafka; None unless jobs come from there. Raises `StartError` when its address is missing."""
        if self.transport != "kafka":
            return None
        if self.kafka_bootstrap_servers is None:
            raise StartError(f"{PREFIX}KAFKA_BOOTSTRAP_SERVERS is not set; allowed is host:port, such as kafka:9092")
        return Kafka(
            bootstrap_servers=self.kafka_bootstrap_servers,
            security_protocol=self.kafka_security_protocol,
            sasl_mechanism=self.kafka_sasl_mechanism,
            username=self.kafka_sasl_username,
            username_file=self.kafka_sasl_username_file,
            password=self.kafka_sasl_password,
            password_file=self.kafka_sasl_password_file,
            ca_file=self.kafka_ca_file,
            cert_file=self.kafka_cert_file,
            key_file=self.kafka_key_file,
            dedup_window=self.kafka_dedup_window,
            dead_letter=self.kafka_dead_letter,
        )

    @property
    def connection(self) -> Connection:
        """How to reach the engine."""
        return Connection(
            token=self.engine_token,
            token_file=self.engine_token_file,
            headers=self.engine_headers,
            ca_file=self.engine_ca_file,
            cert_file=self.engine_cert_file,
            key_file=self.engine_key_file,
        )


def load(**overrides: Any) -> Settings:
    """Read the environment; arguments win over it. Raises `StartError` with one sentence for a bad value."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise StartError(_sentence(error)) from None


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Return the ROCHALLOR_ variables that no setting has: probably misspelt."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    return sorted(name for name in environment if name.startswith(PREFIX) and name not in known)


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    name = str(first["loc"][0])
    # in an address, what is before an @ or behind a ? may be a password
    secret = not Settings.model_fields[name].repr or not {"@", "?"}.isdisjoint(str(first["input"]))
    value = "its value" if secret else _shown(first["input"])
    return f"{PREFIX}{name.upper()}: {value} is not allowed; allowed is {Settings.model_fields[name].description}"


def _is_text(value: str) -> bool:
    """Whether it was UTF-8: Python keeps other bytes of the environment as halves of characters."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"

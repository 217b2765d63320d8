"""Settings of a worker process: environment variables with the prefix ROCHALLOR_, nothing else."""

import socket
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from rochallor_worker.engine.base import Connection
from rochallor_worker.errors import StartError
from rochallor_worker.parsing import DURATION_TEXT, Duration, headers, is_text, ports, split, url_with_port
from rochallor_worker.source.brokers import Kafka, SaslMechanism, SecurityProtocol

PREFIX = "ROCHALLOR_"
SHOWN = 100
"""Most characters of a bad value that are repeated: what is allowed must stay in sight."""


class Settings(BaseSettings):
    """Each field is the variable ROCHALLOR_<NAME>; its description says what it must be. Durations: seconds."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="ignore")

    handlers: Annotated[str | None, Field(pattern=r"^[\w.]+:\w+$", description="package.module:registry")] = None
    """Where the handlers are: a module and the `Registry` in it. Required, here or as the argument of `run`."""
    transport: Annotated[Literal["rest", "grpc", "kafka"], Field(description="rest, grpc or kafka")] = "rest"
    """How jobs come."""
    outcome_transport: Annotated[Literal["rest", "grpc"], Field(description="rest or grpc")] = "rest"
    """How outcomes go to the engine when jobs come over Kafka."""
    engine_url: Annotated[
        str | None,
        Field(pattern=r'^https?://[!-"$-.0->A-~]+(/[!-"$->@-~]*)?$', description="a URL such as http://engine:8080"),
        AfterValidator(url_with_port),
    ] = None
    """The engine, or the gateway in front of it. Required for calls over REST."""
    engine_grpc_target: Annotated[
        str | None,
        Field(pattern=r"^(https://)?[!-.0-?A-~]+:[0-9]{1,5}$", description="a host and port such as engine:9090"),
        AfterValidator(ports),
    ] = None
    """The engine's gRPC port. Required for calls over gRPC. With `https://` in front, or TLS files, it is TLS."""
    engine_token: Annotated[str, Field(description="a bearer token", repr=False)] = ""
    """Sent with every call to the engine."""
    engine_token_file: Annotated[str, Field(description="the path of a file that holds a bearer token")] = ""
    """The same from a file, which is read again when it changes."""
    engine_headers: Annotated[
        tuple[tuple[str, str], ...],
        NoDecode,
        BeforeValidator(headers),
        Field(description="lines of the form Name: value", repr=False),
    ] = ()
    """Further headers of every call to the engine."""
    engine_ca_file: Annotated[str, Field(description="the path of a PEM file of CA certificates")] = ""
    """The only CAs to trust for the engine. Without it, the system's."""
    engine_cert_file: Annotated[str, Field(description="the path of a PEM client certificate")] = ""
    """Who the worker is, for an engine that asks for a client certificate."""
    engine_key_file: Annotated[str, Field(description="the path of the client certificate's PEM key")] = ""
    """Goes with `ROCHALLOR_ENGINE_CERT_FILE`."""
    kafka_bootstrap_servers: Annotated[
        str | None,
        Field(
            pattern=r"^[!-+.0-?A-~-]+:[0-9]{1,5}(,[!-+.0-?A-~-]+:[0-9]{1,5})*$",
            description="host:port, several separated by commas",
        ),
        AfterValidator(ports),
    ] = None
    """The brokers to connect to first. Required when jobs come over Kafka."""
    kafka_security_protocol: Annotated[
        SecurityProtocol, Field(description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL")
    ] = "PLAINTEXT"
    """Whether connections to the brokers use TLS (SSL), a login (SASL), or both."""
    kafka_sasl_mechanism: Annotated[SaslMechanism, Field(description="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")] = (
        "SCRAM-SHA-512"
    )
    """How the brokers check the login."""
    kafka_sasl_username: Annotated[str, Field(description="the user's name at the brokers")] = ""
    """The login. Required for SASL, here or in a file."""
    kafka_sasl_username_file: Annotated[str, Field(description="the path of a file that holds the user's name")] = ""
    """The same from a file, which is read again when it changes."""
    kafka_sasl_password: Annotated[str, Field(description="the user's password at the brokers", repr=False)] = ""
    """The login's password. Required for SASL, here or in a file."""
    kafka_sasl_password_file: Annotated[str, Field(description="the path of a file that holds the user's password")] = (
        ""
    )
    """The same from a file, which is read again when it changes."""
    kafka_ca_file: Annotated[str, Field(description="the path of a PEM file of CA certificates")] = ""
    """The only CAs to trust for the brokers. Without it, the system's."""
    kafka_cert_file: Annotated[str, Field(description="the path of a PEM client certificate")] = ""
    """Who the worker is, for brokers that ask for a client certificate."""
    kafka_key_file: Annotated[str, Field(description="the path of the client certificate's PEM key")] = ""
    """Goes with `ROCHALLOR_KAFKA_CERT_FILE`."""
    kafka_dedup_window: Annotated[Duration, Field(ge=0, description=DURATION_TEXT)] = 600.0
    """How long an event is remembered, to recognise one that is published again."""
    kafka_dead_letter: Annotated[bool, Field(description="1 or 0")] = False
    """Copies records that can't be processed to `workflow.jobs.<job type>.dlq`. Without it they are only logged."""
    job_types: Annotated[
        list[str], NoDecode, BeforeValidator(split), Field(description="job types separated by commas")
    ] = []
    """The types to take jobs of. Without it, every type that has a handler."""
    parallelism: Annotated[int, Field(ge=1, le=1000, description="a whole number from 1 to 1000")] = 64
    """How many jobs run at the same time."""
    poll_interval: Annotated[Duration, Field(ge=0.01, le=300, description=f"{DURATION_TEXT}, from 10ms to 5m")] = 0.5
    """The longest pause between polls while there are no jobs."""
    handler_timeout: Annotated[Duration | None, Field(gt=0, description=f"{DURATION_TEXT}, above zero")] = None
    """How long a handler without a timeout of its own may run. Without it, until the lease ends; over Kafka, without
    limit."""
    lease: Annotated[Duration, Field(ge=5, description=f"{DURATION_TEXT}, at least 5s")] = 30.0
    """The engine's lease, which limits every run over REST and gRPC. Set it only for an engine that has another one."""
    drain_timeout: Annotated[Duration, Field(ge=0, description=DURATION_TEXT)] = 25.0
    """How long running jobs may take to finish after SIGTERM. Jobs that don't are cut off, and come again."""
    retry_pause: Annotated[Duration | None, Field(gt=0, description=f"{DURATION_TEXT}, above zero")] = None
    """How long a first failure is held back; each further one twice as long. Without it, retries follow at once."""
    journal_dir: Annotated[str, Field(description="the path of a folder that outlives the process")] = ""
    """Where the worker notes what it started and decided, for the time after a crash. Without it, nowhere."""
    worker_id: Annotated[str, Field(default_factory=socket.gethostname, description="a name that no other worker has")]
    """What the engine and the metrics call this worker."""
    metrics_port: Annotated[int, Field(ge=0, le=65535, description="a port from 0 (any free one) to 65535")] = 9090
    """The port of the status page, `/livez`, `/readyz` and `/metrics`."""
    metrics_compat: Annotated[bool, Field(description="1 or 0")] = False
    """Exports the five metrics of the engine's SDKs too."""
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"],
        BeforeValidator(lambda text: text.upper() if isinstance(text, str) else text),
        Field(description="debug, info, warning or error"),
    ] = "INFO"
    """The least that is logged."""
    log_format: Annotated[Literal["json", "text"], Field(description="json or text")] = "json"
    """One JSON object a line, or text for people."""

    @model_validator(mode="before")
    @classmethod
    def _text(cls, values: dict[str, Any]) -> dict[str, Any]:
        for name, value in values.items():
            if isinstance(value, str) and not is_text(value):
                raise StartError(f"{PREFIX}{name.upper()} is not valid: must be text in UTF-8")
        return values

    @model_validator(mode="after")
    def _certificate_pairs(self) -> Self:
        if bool(self.engine_cert_file) != bool(self.engine_key_file):
            raise StartError(f"{PREFIX}ENGINE_CERT_FILE and {PREFIX}ENGINE_KEY_FILE must be set together")
        if bool(self.kafka_cert_file) != bool(self.kafka_key_file):
            raise StartError(f"{PREFIX}KAFKA_CERT_FILE and {PREFIX}KAFKA_KEY_FILE must be set together")
        return self

    @model_validator(mode="after")
    def _tls_is_used(self) -> Self:
        plain = self.engine_url is not None and self.engine_url.startswith("http://")
        if self.calls_over == "rest" and plain and (self.engine_ca_file or self.engine_cert_file):
            raise StartError(
                f"{PREFIX}ENGINE_URL={self.engine_url!r} is not valid: must begin with https:// when TLS files are set"
            )
        if "SSL" not in self.kafka_security_protocol and (self.kafka_ca_file or self.kafka_cert_file):
            protocol = f"{PREFIX}KAFKA_SECURITY_PROTOCOL={self.kafka_security_protocol!r}"
            raise StartError(f"{protocol} is not valid: must be SSL or SASL_SSL when TLS files are set")
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
            raise StartError(f"{PREFIX}KAFKA_BOOTSTRAP_SERVERS is not set: must be host:port, such as kafka:9092")
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
    value = "" if secret else f"={_shown(first['input'])}"
    return f"{PREFIX}{name.upper()}{value} is not valid: must be {Settings.model_fields[name].description}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"

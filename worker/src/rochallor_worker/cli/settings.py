"""Settings of a worker process: environment variables with the prefix ROCHALLOR_, and nothing else."""

import socket
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from rochallor_worker.cli.parsing import (
    DURATION_TEXT,
    Duration,
    LimitSetting,
    NewTopicsSetting,
    client_properties,
    headers,
    ip_address,
    is_text,
    limit_settings,
    new_topics,
    ports,
    shortened,
    split,
    url_with_port,
)
from rochallor_worker.errors import StartError
from rochallor_worker.registry import Registry
from rochallor_worker.source.kafka.connection import GroupProtocol, SaslMechanism, SecurityProtocol

PREFIX = "ROCHALLOR_"
_URL = r'^https?://[!-"$-.0->A-~]+(/[!-"$->@-~]*)?$'
_TOKEN_URL = Field(pattern=_URL, description="a URL such as https://login.example.com/oauth/token")
_SCOPES = Field(pattern=r"^([!#-\[\]-~]+( [!#-\[\]-~]+)*)?$", description="scopes separated by one space each")


class Settings(BaseSettings):
    """Each field is the variable ROCHALLOR_<NAME>; its description says what it must be. Durations are in seconds."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="ignore")

    handlers: Annotated[str | None, Field(pattern=r"^[\w.]+:\w+$", description="package.module:registry")] = None
    """The handlers: a module and the name of the `Registry` in it. Required, here or as the argument of `run`."""
    transport: Annotated[Literal["rest", "grpc", "kafka"], Field(description="rest, grpc or kafka")] = "rest"
    """How the worker receives jobs."""
    outcome_transport: Annotated[Literal["rest", "grpc"], Field(description="rest or grpc")] = "rest"
    """How outcomes are reported to the engine when jobs come over Kafka."""
    engine_url: Annotated[
        str | None,
        Field(pattern=_URL, description="a URL such as http://engine:8080"),
        AfterValidator(url_with_port),
    ] = None
    """The engine, or the gateway in front of it. Required for calls over REST."""
    engine_grpc_target: Annotated[
        str | None,
        Field(pattern=r"^(https://)?[!-.0-?A-~]+:[0-9]{1,5}$", description="a host and port such as engine:9090"),
        AfterValidator(ports),
    ] = None
    """The engine's gRPC address. Required for calls over gRPC. `https://` in front, or TLS files, mean TLS."""
    engine_token: Annotated[str, Field(description="a bearer token", repr=False)] = ""
    """Sent with every call to the engine."""
    engine_token_file: Annotated[str, Field(description="the path of a file that holds a bearer token")] = ""
    """The same, from a file, which is read again when it changes."""
    engine_oauth_token_url: Annotated[
        str | None,
        _TOKEN_URL,
        AfterValidator(url_with_port),
    ] = None
    """Where the worker gets its bearer tokens (OAuth2 client credentials), which it renews in time. Needs the two files
    below, and no other token."""
    engine_oauth_client_id_file: Annotated[str, Field(description="the path of a file that holds a client id")] = ""
    """The worker's name at the token server; read again for each token."""
    engine_oauth_client_secret_file: Annotated[
        str, Field(description="the path of a file that holds the client's secret")
    ] = ""
    """Its secret there; read again for each token."""
    engine_oauth_scope: Annotated[str, _SCOPES] = ""
    """The scopes to ask for. Default: those that the token server gives."""
    engine_oauth_audience: Annotated[str, Field(description="a name that the token server knows")] = ""
    """Whom the token is for, where the token server must be told."""
    engine_headers: Annotated[
        tuple[tuple[str, str], ...],
        NoDecode,
        BeforeValidator(headers),
        Field(description="lines of the form Name: value", repr=False),
    ] = ()
    """Further headers sent with every call to the engine."""
    engine_ca_file: Annotated[str, Field(description="the path of a PEM file of CA certificates")] = ""
    """The only CAs to trust for the engine; its token server may also have one of the system's. Default: the
    system's."""
    engine_cert_file: Annotated[str, Field(description="the path of a PEM client certificate")] = ""
    """Identifies the worker to an engine that requires a client certificate."""
    engine_key_file: Annotated[str, Field(description="the path of the client certificate's PEM key")] = ""
    """The key of `ROCHALLOR_ENGINE_CERT_FILE`."""
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
    """Whether connections to the brokers use TLS (SSL), authentication (SASL), or both."""
    kafka_sasl_mechanism: Annotated[
        SaslMechanism, Field(description="PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER")
    ] = "SCRAM-SHA-512"
    """How the brokers authenticate the worker."""
    kafka_sasl_username: Annotated[str, Field(description="a user name")] = ""
    """The SASL user name. Required with SASL, here or in a file."""
    kafka_sasl_username_file: Annotated[str, Field(description="the path of a file that holds the user name")] = ""
    """The same, from a file, which is read again when it changes."""
    kafka_sasl_password: Annotated[str, Field(description="a password", repr=False)] = ""
    """The SASL password. Required with SASL, here or in a file."""
    kafka_sasl_password_file: Annotated[str, Field(description="the path of a file that holds the password")] = ""
    """The same, from a file, which is read again when it changes."""
    kafka_oauth_token_url: Annotated[
        str | None,
        _TOKEN_URL,
        AfterValidator(url_with_port),
    ] = None
    """Where Kafka's client gets the tokens of the mechanism OAUTHBEARER (OAuth2 client credentials). Needs the two
    files below."""
    kafka_oauth_client_id_file: Annotated[str, Field(description="the path of a file that holds a client id")] = ""
    """The worker's name at that token server; read at the start."""
    kafka_oauth_client_secret_file: Annotated[
        str, Field(description="the path of a file that holds the client's secret")
    ] = ""
    """Its secret there; read at the start."""
    kafka_oauth_scope: Annotated[str, _SCOPES] = ""
    """The scopes to ask for. Default: those that the token server gives."""
    kafka_oauth_extensions: Annotated[
        str,
        Field(
            pattern=r"^([A-Za-z]+=[!-+.-~-]+(,[A-Za-z]+=[!-+.-~-]+)*)?$",
            description="name=value, several separated by commas",
        ),
    ] = ""
    """What the brokers are told besides the token, such as `logicalCluster=lkc-1`."""
    kafka_group_protocol: Annotated[GroupProtocol, Field(description="classic or consumer")] = "classic"
    """How the workers of a group share its partitions: among themselves, or as the brokers decide (`consumer`: KIP-848,
    from Kafka 4.0 on; all workers of a group the same)."""
    kafka_create_topics: Annotated[
        NewTopicsSetting | None,
        NoDecode,
        BeforeValidator(new_topics),
        Field(description='a JSON object such as {"partitions": 6, "replicationFactor": 3}'),
    ] = None
    """How to create topics of the worker's job types that are missing when it starts. Default: it creates none."""
    kafka_properties: Annotated[
        dict[str, str],
        NoDecode,
        BeforeValidator(client_properties),
        Field(description='a JSON object such as {"fetch.max.bytes": "1048576"}'),
    ] = {}
    """Further properties of Kafka's client (librdkafka), except those that the worker itself must set. No secrets."""
    kafka_ca_file: Annotated[str, Field(description="the path of a PEM file of CA certificates")] = ""
    """The only CAs to trust for the brokers; their token server may also have one of the system's. Default: the
    system's."""
    kafka_cert_file: Annotated[str, Field(description="the path of a PEM client certificate")] = ""
    """Identifies the worker to brokers that require a client certificate."""
    kafka_key_file: Annotated[str, Field(description="the path of the client certificate's PEM key")] = ""
    """The key of `ROCHALLOR_KAFKA_CERT_FILE`."""
    kafka_dedup_window: Annotated[Duration, Field(ge=0, description=DURATION_TEXT)] = 600.0
    """How long an event is remembered, to recognise it when it is published again."""
    kafka_dead_letter: Annotated[bool, Field(description="1 or 0")] = False
    """Whether records that can't be processed are copied to `workflow.jobs.<job type>.dlq`, and not only logged."""
    job_types: Annotated[
        list[str], NoDecode, BeforeValidator(split), Field(description="job types separated by commas")
    ] = []
    """The job types to serve. Default: every type that has a handler."""
    parallelism: Annotated[int, Field(ge=1, le=1000, description="a whole number from 1 to 1000")] = 64
    """How many jobs may run at the same time."""
    threads: Annotated[int, Field(ge=1, le=1000, description="a whole number from 1 to 1000")] = 64
    """How many plain functions may run at the same time, each in a thread. More can keep the loop from its turn."""
    processes: Annotated[int | None, Field(ge=1, le=1000, description="a whole number from 1 to 1000")] = None
    """How many handlers in processes may run at the same time, on top of `ROCHALLOR_PARALLELISM`. Default: the CPU
    limit of the pod, or the CPUs of the machine."""
    process_jobs: Annotated[int, Field(ge=1, description="a whole number above zero")] = 1000
    """After how many jobs a child process is replaced."""
    process_memory: Annotated[int | None, Field(ge=1, description="a whole number of MiB above zero")] = None
    """The MiB of memory that a child process may use; a handler that would use more gets a `MemoryError`. Default: the
    memory limit of the pod less 128 MiB, shared by the child processes; without a limit, no limit."""
    limits: Annotated[
        tuple[LimitSetting, ...],
        NoDecode,
        BeforeValidator(limit_settings),
        Field(description='a JSON list such as [{"jobType": "charge-card", "parallelism": 8, "perSecond": 20}]'),
    ] = ()
    """Limits of job types; each field replaces what the handler says: how many jobs run at once (`parallelism`), how
    many runs begin per second (`perSecond`, in this pod, or with `"scope": "resource"` in all pods together), and
    whether the type has a breaker (`"breaker": false` for no)."""
    pods_file: Annotated[str, Field(description="the path of a file that holds a number")] = ""
    """How many pods share the limits with the scope `resource`; the operator keeps it. Default: one."""
    poll_interval: Annotated[Duration, Field(ge=0.01, le=300, description=f"{DURATION_TEXT}, from 10ms to 5m")] = 0.5
    """The longest pause between polls while there are no jobs."""
    handler_timeout: Annotated[
        Duration | None, Field(gt=0, le=86400, description=f"{DURATION_TEXT}, above zero and at most 24h")
    ] = None
    """How long a handler without a timeout of its own may run. Default: as long as the job is leased, which is without
    limit where the engine renews leases, and over Kafka."""
    lease: Annotated[Duration, Field(ge=5, le=3600, description=f"{DURATION_TEXT}, from 5s to 1h")] = 30.0
    """The lease to request in every poll and renewal over REST and gRPC. What counts is the engine's answer: one that
    can't renew leases always grants 30 s."""
    drain_timeout: Annotated[Duration, Field(ge=0, le=86400, description=f"{DURATION_TEXT}, at most 24h")] = 25.0
    """How long running jobs may take to finish after SIGTERM. Jobs that take longer are cut off and redelivered."""
    retry_pause: Annotated[Duration | None, Field(gt=0, description=f"{DURATION_TEXT}, above zero")] = None
    """How long to wait before the first retry of a job; each further wait is twice as long. Default: no wait."""
    journal_dir: Annotated[str, Field(description="the path of a folder that outlives the process")] = ""
    """Where the worker records started jobs and decided outcomes, for use after a crash. Default: nowhere."""
    worker_id: Annotated[str, Field(default_factory=socket.gethostname, description="a name that no other worker has")]
    """The name of this worker in the engine and in the metrics."""
    metrics_host: Annotated[
        str, Field(description="an IP address of this machine, such as 127.0.0.1"), AfterValidator(ip_address)
    ] = ""
    """The address to serve `ROCHALLOR_METRICS_PORT` on. Default: all of them; a pod's probes need the pod's own."""
    metrics_port: Annotated[int, Field(ge=0, le=65535, description="a port from 0 (any free one) to 65535")] = 9090
    """The port of the status page, `/livez`, `/readyz` and `/metrics`."""
    metrics_compat: Annotated[bool, Field(description="1 or 0")] = False
    """Whether to export metrics under the names of the engine's SDKs too."""
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"],
        BeforeValidator(lambda text: text.upper() if isinstance(text, str) else text),
        Field(description="debug, info, warning or error"),
    ] = "INFO"
    """Minimum level to log."""
    log_format: Annotated[Literal["json", "text"], Field(description="json or text")] = "json"
    """One JSON object per line, or text for people."""

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
    def _one_token(self) -> Self:
        files = (self.engine_oauth_client_id_file, self.engine_oauth_client_secret_file)
        others = (*files, self.engine_oauth_scope, self.engine_oauth_audience)
        if self.engine_oauth_token_url is None and any(others):
            raise StartError(
                f"{PREFIX}ENGINE_OAUTH_TOKEN_URL is not set: must be set together with other ENGINE_OAUTH settings"
            )
        if self.engine_oauth_token_url is not None and not all(files):
            raise StartError(
                f"{PREFIX}ENGINE_OAUTH_CLIENT_ID_FILE and {PREFIX}ENGINE_OAUTH_CLIENT_SECRET_FILE must be set together "
                f"with {PREFIX}ENGINE_OAUTH_TOKEN_URL"
            )
        if self.engine_oauth_token_url is not None and (self.engine_token or self.engine_token_file):
            raise StartError(
                f"{PREFIX}ENGINE_OAUTH_TOKEN_URL must be set without {PREFIX}ENGINE_TOKEN and "
                f"{PREFIX}ENGINE_TOKEN_FILE: calls carry one token"
            )
        return self

    @model_validator(mode="after")
    def _kafka_token(self) -> Self:
        given = {
            "TOKEN_URL": self.kafka_oauth_token_url,
            "CLIENT_ID_FILE": self.kafka_oauth_client_id_file,
            "CLIENT_SECRET_FILE": self.kafka_oauth_client_secret_file,
        }
        wanted = self.kafka_sasl_mechanism == "OAUTHBEARER"
        for name, value in given.items():
            if bool(value) != wanted:
                only = "must be set with" if wanted else "must only be set with"
                raise StartError(f"{PREFIX}KAFKA_OAUTH_{name} {only} {PREFIX}KAFKA_SASL_MECHANISM=OAUTHBEARER")
        return self

    @model_validator(mode="after")
    def _tls_is_used(self) -> Self:
        """Refuse files that nothing would use. A CA is for the token server, too; a client certificate isn't."""
        plain = self.calls_over == "rest" and (self.engine_url or "").startswith("http://")
        ca_file = "" if _over_tls(self.engine_oauth_token_url) else self.engine_ca_file
        if plain and (ca_file or self.engine_cert_file):
            raise StartError(
                f"{PREFIX}ENGINE_URL={self.engine_url!r} is not valid: must begin with https:// when TLS files are set"
            )
        ca_file = "" if _over_tls(self.kafka_oauth_token_url) else self.kafka_ca_file
        if "SSL" not in self.kafka_security_protocol and (ca_file or self.kafka_cert_file):
            protocol = f"{PREFIX}KAFKA_SECURITY_PROTOCOL={self.kafka_security_protocol!r}"
            raise StartError(f"{protocol} is not valid: must be SSL or SASL_SSL when TLS files are set")
        return self

    def limit(self, registry: Registry) -> None:
        """Set the limits of job types in a registry. Raises `StartError` for one without a handler."""
        for setting in self.limits:
            registry.limit(setting.job_type, setting.over)

    @property
    def calls_over(self) -> Literal["rest", "grpc"]:
        """The transport of calls to the engine."""
        return self.outcome_transport if self.transport == "kafka" else self.transport

    @property
    def token_in_clear(self) -> bool:
        """Whether a token, or the secret that one is got with, is sent without TLS."""
        if self.calls_over == "grpc":
            secure = _over_tls(self.engine_grpc_target) or bool(self.engine_ca_file or self.engine_cert_file)
        else:
            secure = _over_tls(self.engine_url)
        in_clear = (self.engine_oauth_token_url or "").startswith("http://")
        return (self.sends_token and not secure) or in_clear

    @property
    def sends_token(self) -> bool:
        """Whether calls to the engine carry a bearer token."""
        return bool(self.engine_token or self.engine_token_file or self.engine_oauth_token_url)


def _over_tls(address: str | None) -> bool:
    return address is not None and address.startswith("https://")


def load(**overrides: Any) -> Settings:
    """Read the environment; arguments win over it. Raises `StartError` with one sentence for a bad value."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise StartError(_sentence(error)) from None


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Return the ROCHALLOR_ variables that are no settings: probably misspelt."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    return sorted(name for name in environment if name.startswith(PREFIX) and name not in known)


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    name = str(first["loc"][0])
    # in an address, the text before an @ or after a ? may be a password, and among properties, where none belongs, any
    may_be = name == "kafka_properties" or not {"@", "?"}.isdisjoint(str(first["input"]))
    secret = may_be or not Settings.model_fields[name].repr
    value = "" if secret else f"={shortened(repr(first['input']))}"
    return f"{PREFIX}{name.upper()}{value} is not valid: must be {Settings.model_fields[name].description}"

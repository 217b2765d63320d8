"""How to reach Kafka and what to do with its records: values only, no library."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from rochallor_worker.source.kafka import properties

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]
GroupProtocol = Literal["classic", "consumer"]


@dataclass(frozen=True, slots=True)
class TokenEndpoint:
    """Where Kafka's client gets the tokens of the mechanism OAUTHBEARER. It reads the files once, at the start."""

    url: str
    client_id_file: str
    client_secret_file: str
    scope: str = ""
    extensions: str = ""
    """Sent to the brokers: name=value, several separated by commas."""


@dataclass(frozen=True, slots=True)
class NewTopics:
    """How topics are created that do not exist at the start of a worker."""

    partitions: int
    replication_factor: int


@dataclass(frozen=True, slots=True)
class Kafka:
    """The brokers an engine dispatches its jobs over. Files win over values.

    The files of the user name and password are read again when they change, the others once, at the start. Raises
    `StartError` for a property that may not be set.
    """

    bootstrap_servers: str
    """host:port, several separated by commas."""
    security_protocol: SecurityProtocol = "PLAINTEXT"
    sasl_mechanism: SaslMechanism = "SCRAM-SHA-512"
    username: str = ""
    username_file: str = ""
    password: str = field(default="", repr=False)
    password_file: str = ""
    oauth: TokenEndpoint | None = None
    """Instead of the user name and password, with OAUTHBEARER."""
    ca_file: str = ""
    """A private CA (PEM); else the system's."""
    cert_file: str = ""
    """A client certificate (PEM), with `key_file`."""
    key_file: str = ""
    dedup_window: float = 600.0
    """Seconds for which a processed event is remembered by its dedup id (engine.md: 10 minutes)."""
    dead_letter: bool = False
    """Whether records that can't be processed are sent to `workflow.jobs.<job type>.dlq`."""
    group_protocol: GroupProtocol = "classic"
    """How members share partitions: among themselves, or as the brokers decide (KIP-848, from Kafka 4.0 on)."""
    create_topics: NewTopics | None = None
    """None: a missing topic is a problem, and the worker waits for it."""
    properties: Mapping[str, str] = field(default_factory=dict)
    """Further properties of the client (librdkafka), which win over this package's defaults."""

    def __post_init__(self) -> None:
        properties.check(self.properties)

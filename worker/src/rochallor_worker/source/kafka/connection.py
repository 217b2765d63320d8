"""How to reach Kafka and what to do with its records: values only, no library."""

from dataclasses import dataclass, field
from typing import Literal

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


@dataclass(frozen=True, slots=True)
class Kafka:
    """The brokers an engine dispatches its jobs over. Files win over values.

    The files of the user name and password are read again when they change, those of TLS once, at the start.
    """

    bootstrap_servers: str
    """host:port, several separated by commas."""
    security_protocol: SecurityProtocol = "PLAINTEXT"
    sasl_mechanism: SaslMechanism = "SCRAM-SHA-512"
    username: str = ""
    username_file: str = ""
    password: str = field(default="", repr=False)
    password_file: str = ""
    ca_file: str = ""
    """A private CA (PEM); else the system's."""
    cert_file: str = ""
    """A client certificate (PEM), with `key_file`."""
    key_file: str = ""
    dedup_window: float = 600.0
    """Seconds for which a processed event is remembered by its dedup id (engine.md: 10 minutes)."""
    dead_letter: bool = False
    """Whether records that can't be processed are sent to `workflow.jobs.<job type>.dlq`."""

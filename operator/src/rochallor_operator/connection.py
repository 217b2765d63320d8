"""How the workers reach the engine and Kafka, as values of the spec."""

from __future__ import annotations

from typing import Literal

from rochallor_operator.part import Duration, Part


class SecretKey(Part):
    """One key of a Secret."""

    name: str
    key: str


class Tls(Part):
    """Names of Secrets: the CA is the key ca.crt, the client's certificate the keys tls.crt and tls.key."""

    ca_secret: str | None = None
    client_cert_secret: str | None = None


class Header(Part):
    """A header of every request."""

    name: str
    value: str


class Engine(Part):
    """Where the engine is, and what a gateway in front of it asks for."""

    url: str | None = None
    grpc_target: str | None = None
    tls: Tls = Tls()
    token_secret: SecretKey | None = None
    headers: tuple[Header, ...] = ()


class Kafka(Part):
    """Where jobs come from when the transport is kafka. credentials_secret has the keys username and password."""

    bootstrap_servers: str
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    credentials_secret: str | None = None
    tls: Tls = Tls()
    dedup_window: Duration = "10m"
    dead_letter: bool = False

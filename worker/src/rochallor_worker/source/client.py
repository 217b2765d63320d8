"""Clients of Kafka: one way to make them, errors as sentences."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaException, Producer

from rochallor_worker.errors import StartError
from rochallor_worker.source.brokers import Kafka

C = TypeVar("C")

_LOG_LEVEL = 2
"""Only what is critical: the client repeats a refused connection many times a second, and its errors reach us too."""


@dataclass(frozen=True, slots=True)
class Login:
    """A user at the brokers; empty where none is needed."""

    username: str
    password: str = field(repr=False)


def login(kafka: Kafka) -> Login:
    """Read the user's name and password. Raises `StartError` when SASL has no user."""
    found = Login(
        _read("username", kafka.username_file) or kafka.username,
        _read("password", kafka.password_file) or kafka.password,
    )
    if kafka.security_protocol.startswith("SASL") and not (found.username and found.password):
        raise StartError(
            f"Kafka's security protocol {kafka.security_protocol} needs a user: set the SASL username and password "
            "(ROCHALLOR_KAFKA_SASL_USERNAME and _PASSWORD, or the same with _FILE)"
        )
    return found


def renew(member: Consumer | Producer, kafka: Kafka, before: Login) -> Login:
    """Return the login as its files have it now; a client that had another one takes it over at its next connection."""
    try:
        found = login(kafka)
    except StartError:  # half of a secret is written: the rest comes
        return before
    if found != before:
        member.set_sasl_credentials(found.username, found.password)
    return found


def make(kind: type[C], kafka: Kafka, user: Login, settings: dict[str, Any]) -> C:
    """Make a consumer or producer. Raises `StartError` for settings that the client refuses."""
    common: dict[str, Any] = {
        "bootstrap.servers": kafka.bootstrap_servers,
        "security.protocol": kafka.security_protocol,
        "log_level": _LOG_LEVEL,
        "logger": logging.getLogger(__name__),
    }
    if kafka.security_protocol.startswith("SASL"):
        common |= {
            "sasl.mechanism": kafka.sasl_mechanism,
            "sasl.username": user.username,
            "sasl.password": user.password,
        }
    files = {
        "ssl.ca.location": kafka.ca_file,
        "ssl.certificate.location": kafka.cert_file,
        "ssl.key.location": kafka.key_file,
    }
    common |= {name: path for name, path in files.items() if path}
    try:
        return kind(common | settings)  # type: ignore[call-arg]
    except KafkaException as error:
        raise StartError(f"the Kafka settings cannot be used: {text(error)}") from error


def text(error: KafkaException) -> str:
    """Return what a client's error says to people."""
    return str(error.args[0].str())


def _read(what: str, path: str) -> str:
    """Read a file. Its path is not told: whoever writes the password itself there would find it in the log."""
    if not path:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        raise StartError(f"Kafka's {what} file cannot be read: it is not UTF-8") from None
    except OSError as error:
        raise StartError(f"Kafka's {what} file cannot be read: {error.strerror}") from None

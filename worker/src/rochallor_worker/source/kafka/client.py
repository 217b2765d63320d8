"""Clients of Kafka: how they are made, and their errors as text."""

import logging
import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer

from rochallor_worker.engine.client import one_line
from rochallor_worker.engine.oauth import ERRORS
from rochallor_worker.errors import StartError
from rochallor_worker.source.kafka.connection import Kafka, TokenEndpoint

C = TypeVar("C")

RECORD_BYTES = 1024
"""What a record takes in memory, apart from its content."""

_NO_TOKEN = "Failed to acquire SASL OAUTHBEARER token: "  # noqa: S105 — an error
_NOT_ITS_TEXT = re.compile(r"(Failed to|Could ?n[o']t|Connection|Expected|Operation|Resolving|SSL) [^{<]*")
"""What the client itself says; otherwise its error is the token server's whole answer, which may repeat what was
sent."""
_CODE = re.compile(r'"error"\s*:\s*"(\w+)"')

_LOG_LEVEL = 2
"""Critical: the client logs a refused connection many times a second, and its errors reach us by callback too."""


@dataclass(frozen=True, slots=True)
class Login:
    """A user at the brokers, or a client at their token server; empty where none is needed."""

    username: str
    password: str = field(repr=False)


def login(kafka: Kafka) -> Login:
    """Read the user's name and password. Raises `StartError` when SASL has no user."""
    if kafka.sasl_mechanism == "OAUTHBEARER" and kafka.security_protocol.startswith("SASL"):
        if kafka.oauth is None:
            raise StartError(
                "Kafka's SASL mechanism OAUTHBEARER needs a token server (ROCHALLOR_KAFKA_OAUTH_TOKEN_URL, "
                "_CLIENT_ID_FILE and _CLIENT_SECRET_FILE)"
            )
        endpoint = kafka.oauth
        found = Login(_read("client id", endpoint.client_id_file), _read("client secret", endpoint.client_secret_file))
        if not (found.username and found.password):
            raise StartError("Kafka's client id file or client secret file (ROCHALLOR_KAFKA_OAUTH_…) is empty")
        return found
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
    """Return the login as its files have it now; if it has changed, the client uses it from its next connection on.

    The client of a token server stays as it was at the start: librdkafka has no call that changes it.
    """
    if kafka.oauth is not None:
        return before
    try:
        found = login(kafka)
    except StartError:  # only half of the secret is written yet
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
        common |= {"sasl.mechanism": kafka.sasl_mechanism}
        password = {"sasl.username": user.username, "sasl.password": user.password}
        common |= password if kafka.oauth is None else _oidc(kafka.oauth, kafka.ca_file, user)
    files = {
        "ssl.ca.location": kafka.ca_file,
        "ssl.certificate.location": kafka.cert_file,
        "ssl.key.location": kafka.key_file,
    }
    common |= {name: path for name, path in files.items() if path}
    try:
        return kind({**common, **settings, **kafka.properties})  # type: ignore[call-arg]
    except KafkaException as error:
        raise StartError(f"the Kafka settings cannot be used: {text(error)}") from error


def _oidc(endpoint: TokenEndpoint, ca_file: str, user: Login) -> dict[str, Any]:
    """Return the properties by which the client itself gets tokens, and renews them in time."""
    found = {
        "sasl.oauthbearer.method": "oidc",
        "sasl.oauthbearer.client.id": user.username,
        "sasl.oauthbearer.client.secret": user.password,
        "sasl.oauthbearer.token.endpoint.url": endpoint.url,
        "sasl.oauthbearer.scope": endpoint.scope,
        "sasl.oauthbearer.extensions": endpoint.extensions,
        # its certificate may be of the brokers' CA too, as the engine's token server's may be of the engine's
        "https.ca.pem": "\n".join(map(_pem, (ssl.get_default_verify_paths().cafile, ca_file))) if ca_file else "",
    }
    return {name: value for name, value in found.items() if value}


def _pem(path: str | None) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace") if path else ""
    except OSError as error:
        raise StartError(f"Kafka's CA file {path} cannot be read: {error.strerror}") from None


def size(message: Message) -> int:
    """Return how many bytes a record takes in memory, roughly."""
    parts = (message.value(), message.key(), *(header[1] for header in message.headers() or ()))
    return RECORD_BYTES + sum(len(part) for part in parts if part)


def text(error: KafkaException) -> str:
    """Return the text of a client's error."""
    return str(error.args[0].str())


def connection_text(error: KafkaError) -> str:
    """Return the text of a connection error, in one line; where something else than Kafka answers, that, not the
    client's advice, and of a token server's refusal no more than its code."""
    found = one_line(error.str())
    if (why := found.removeprefix(_NO_TOKEN)) != found and not _NOT_ITS_TEXT.fullmatch(why):
        code = next((f" {code}" for code in _CODE.findall(why) if code in ERRORS), "")
        return f"{_NO_TOKEN}the token server refuses it{code}"
    if "Invalid response size" not in found:
        return found
    return f"{found.partition('/')[0]} does not speak Kafka, or not with this security protocol: check host and port"


def _read(what: str, path: str) -> str:
    """Read a file. No error names its path: if the setting holds the password itself, it must not reach the log."""
    if not path:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        raise StartError(f"Kafka's {what} file cannot be read: it is not UTF-8") from None
    except OSError as error:
        raise StartError(f"Kafka's {what} file cannot be read: {error.strerror}") from None

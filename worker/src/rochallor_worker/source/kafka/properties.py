"""Further properties of Kafka's client: which of them people may set. Values only, no library."""

import re
from collections.abc import Mapping

from rochallor_worker.errors import StartError

_NAME = re.compile(r"[a-z][a-z0-9.]*")
_SECRET = re.compile(r"password|secret|\.pem$|oauthbearer\.(config|assertion)")
_OWN_SETTING = "it has a setting of its own"
_RULES = "how jobs are committed and redelivered depends on it"
_NAMES = "it names the worker or its group"
OWNED: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "bootstrap.servers",
            "group.protocol",
            "metadata.broker.list",
            "sasl.mechanism",
            "sasl.mechanisms",
            "sasl.oauthbearer.client.id",
            "sasl.oauthbearer.extensions",
            "sasl.oauthbearer.method",
            "sasl.oauthbearer.scope",
            "sasl.oauthbearer.token.endpoint.url",
            "sasl.username",
            "security.protocol",
            "ssl.ca.location",
            "ssl.certificate.location",
            "ssl.key.location",
        ),
        _OWN_SETTING,
    ),
    **dict.fromkeys(
        (
            "allow.auto.create.topics",
            "auto.commit.enable",
            "auto.commit.interval.ms",
            "auto.offset.reset",
            "default.topic.config",
            "enable.auto.commit",
            "enable.auto.offset.store",
            "enable.partition.eof",
            "group.protocol.type",
            "heartbeat.interval.ms",
            "partition.assignment.strategy",
            "session.timeout.ms",
        ),
        _RULES,
    ),
    **dict.fromkeys(("client.id", "group.id", "group.instance.id"), _NAMES),
}
"""Properties that only this package sets, and why. The resource definition has the same list."""


def check(properties: Mapping[str, str]) -> None:
    """Raise `StartError` for a property that may not be set. Whether it exists only the client knows."""
    for name in properties:
        if why := refusal(name):
            raise StartError(f"Kafka's property {name!r} (ROCHALLOR_KAFKA_PROPERTIES) must not be set: {why}")


def refusal(name: str) -> str:
    """Return why a property may not be set, or nothing."""
    if not _NAME.fullmatch(name) or name == "logger":
        return "a name has lower-case letters, digits and dots, such as fetch.max.bytes"
    if _SECRET.search(name):
        return "secrets belong into the files that settings such as ROCHALLOR_KAFKA_SASL_PASSWORD_FILE name"
    return OWNED.get(name, "")

"""The Secrets for the connections to the engine and Kafka: files in the pod, never environment variables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from rochallor_operator.names import Manifest
    from rochallor_operator.spec.sections import Tls
    from rochallor_operator.spec.worker import Spec

CONNECTIONS_PATH: Final = "/etc/rochallor"


class SecretFile(NamedTuple):
    """One key of a Secret as a file; the worker's setting of that name holds its path."""

    setting: str
    secret: str
    key: str
    path: str

    @property
    def reloaded(self) -> bool:
        """Whether the worker itself follows changes of the file; Kafka's client takes its TLS files and its OAuth
        client only once."""
        return self.setting.startswith(("ENGINE_", "KAFKA_SASL_"))


def files(spec: Spec) -> list[SecretFile]:
    """The files that a worker needs."""
    found: list[SecretFile] = []
    token = spec.engine.token_secret
    if token is not None:
        found.append(SecretFile("ENGINE_TOKEN_FILE", token.name, token.key, "engine/token"))
    if (oauth := spec.engine.oauth) is not None:
        found.append(
            SecretFile("ENGINE_OAUTH_CLIENT_ID_FILE", oauth.credentials_secret, "clientId", "engine/client-id")
        )
        found.append(
            SecretFile(
                "ENGINE_OAUTH_CLIENT_SECRET_FILE", oauth.credentials_secret, "clientSecret", "engine/client-secret"
            )
        )
    found += _tls("ENGINE", spec.engine.tls)
    if spec.kafka is not None:
        credentials = spec.kafka.credentials_secret
        if credentials is not None and spec.kafka.oauth is not None:
            found.append(SecretFile("KAFKA_OAUTH_CLIENT_ID_FILE", credentials, "clientId", "kafka/client-id"))
            found.append(
                SecretFile("KAFKA_OAUTH_CLIENT_SECRET_FILE", credentials, "clientSecret", "kafka/client-secret")
            )
        elif credentials is not None:
            found.append(SecretFile("KAFKA_SASL_USERNAME_FILE", credentials, "username", "kafka/username"))
            found.append(SecretFile("KAFKA_SASL_PASSWORD_FILE", credentials, "password", "kafka/password"))
        found += _tls("KAFKA", spec.kafka.tls)
    return found


def _tls(peer: str, tls: Tls) -> list[SecretFile]:
    found: list[SecretFile] = []
    folder = peer.lower()
    if tls.ca_secret is not None:
        found.append(SecretFile(f"{peer}_CA_FILE", tls.ca_secret, "ca.crt", f"{folder}/ca.crt"))
    if tls.client_cert_secret is not None:
        found.append(SecretFile(f"{peer}_CERT_FILE", tls.client_cert_secret, "tls.crt", f"{folder}/tls.crt"))
        found.append(SecretFile(f"{peer}_KEY_FILE", tls.client_cert_secret, "tls.key", f"{folder}/tls.key"))
    return found


def sources(wanted: list[SecretFile]) -> list[Manifest]:
    """The files as sources of a projected volume."""
    return [{"secret": {"name": file.secret, "items": [{"key": file.key, "path": file.path}]}} for file in wanted]

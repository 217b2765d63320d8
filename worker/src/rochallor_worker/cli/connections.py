"""From settings to what the clients of the engine and of Kafka are given."""

from rochallor_worker.cli.settings import PREFIX, Settings
from rochallor_worker.engine.client import Connection, OAuth
from rochallor_worker.errors import StartError
from rochallor_worker.source.kafka.connection import Kafka, NewTopics, TokenEndpoint


def engine_connection(settings: Settings) -> Connection:
    """Return how to reach the engine."""
    return Connection(
        token=settings.engine_token,
        token_file=settings.engine_token_file,
        oauth=_engine_oauth(settings),
        headers=settings.engine_headers,
        ca_file=settings.engine_ca_file,
        cert_file=settings.engine_cert_file,
        key_file=settings.engine_key_file,
    )


def _engine_oauth(settings: Settings) -> OAuth | None:
    if settings.engine_oauth_token_url is None:
        return None
    return OAuth(
        settings.engine_oauth_token_url,
        settings.engine_oauth_client_id_file,
        settings.engine_oauth_client_secret_file,
        settings.engine_oauth_scope,
        settings.engine_oauth_audience,
    )


def kafka_connection(settings: Settings) -> Kafka | None:
    """Return how to reach Kafka; None unless jobs come from there. Raises `StartError` if its address is missing."""
    if settings.transport != "kafka":
        return None
    if settings.kafka_bootstrap_servers is None:
        raise StartError(f"{PREFIX}KAFKA_BOOTSTRAP_SERVERS is not set: must be host:port, such as kafka:9092")
    new = settings.kafka_create_topics
    return Kafka(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        security_protocol=settings.kafka_security_protocol,
        sasl_mechanism=settings.kafka_sasl_mechanism,
        username=settings.kafka_sasl_username,
        username_file=settings.kafka_sasl_username_file,
        password=settings.kafka_sasl_password,
        password_file=settings.kafka_sasl_password_file,
        oauth=_kafka_oauth(settings),
        ca_file=settings.kafka_ca_file,
        cert_file=settings.kafka_cert_file,
        key_file=settings.kafka_key_file,
        dedup_window=settings.kafka_dedup_window,
        dead_letter=settings.kafka_dead_letter,
        group_protocol=settings.kafka_group_protocol,
        create_topics=None if new is None else NewTopics(new.partitions, new.replication_factor),
        properties=settings.kafka_properties,
    )


def _kafka_oauth(settings: Settings) -> TokenEndpoint | None:
    if settings.kafka_oauth_token_url is None:
        return None
    return TokenEndpoint(
        settings.kafka_oauth_token_url,
        settings.kafka_oauth_client_id_file,
        settings.kafka_oauth_client_secret_file,
        settings.kafka_oauth_scope,
        settings.kafka_oauth_extensions,
    )

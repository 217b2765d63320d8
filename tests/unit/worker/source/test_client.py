"""What is said of Kafka's clients, and what of a bad moment does not end a worker."""

from pathlib import Path

import pytest
from confluent_kafka import KafkaError

from rochallor_worker.source.kafka.client import connection_text
from rochallor_worker.source.kafka.connection import Kafka, NewTopics
from rochallor_worker.source.kafka.creation import create_missing

NO_TOKEN = "Failed to acquire SASL OAUTHBEARER token: "


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            '{"error": "invalid_client",\n"error_description": "not hunter2"}',
            "the token server refuses it invalid_client",
        ),
        ('{"error": "hunter2"}', "the token server refuses it"),
        ("<html>\n<p>hunter2</p>", "the token server refuses it"),
        ("Failed to connect to login port 443: hunter2 <html>", "the token server refuses it"),
        ("Failed to connect to login port 443", "Failed to connect to login port 443"),
        ("Could not resolve host: login", "Could not resolve host: login"),
    ],
)
def test_of_a_token_servers_answer_only_the_code_is_repeated(answer: str, said: str) -> None:
    assert connection_text(KafkaError(KafkaError._AUTHENTICATION, NO_TOKEN + answer)) == NO_TOKEN + said


def test_a_secret_that_is_being_replaced_is_a_reason_and_no_crash(tmp_path: Path) -> None:
    (tmp_path / "user").write_text("shop")
    halves = Kafka(
        "localhost:1",
        security_protocol="SASL_SSL",
        username_file=str(tmp_path / "user"),
        password_file=str(tmp_path / "password"),
    )
    new = NewTopics(partitions=1, replication_factor=1)
    assert "password file cannot be read" in create_missing(halves, new, "workflow.jobs.a")
    gone = Kafka("localhost:1", security_protocol="SSL", ca_file=str(tmp_path / "ca.pem"))
    assert "the Kafka settings cannot be used" in create_missing(gone, new, "workflow.jobs.a")

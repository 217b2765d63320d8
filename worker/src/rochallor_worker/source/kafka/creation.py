"""Topics that a worker creates at its start, where it is told to."""

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from rochallor_worker.errors import StartError
from rochallor_worker.logger import get_logger
from rochallor_worker.source.kafka import client
from rochallor_worker.source.kafka.connection import Kafka, NewTopics
from rochallor_worker.source.kafka.records import DEAD_LETTER_SUFFIX

ASK_SECONDS = 5.0
"""Longest wait for each answer of the brokers."""

log = get_logger(__name__)


def create_missing(kafka: Kafka, new: NewTopics, topic: str) -> str:
    """Create the topic of a job type, and that of its dead letters, if it is to have one, where they are missing.

    Several workers may do so at once. Returns why it is not possible, or nothing. Blocks until the brokers answer.
    """
    wanted = {topic: new.partitions} | ({topic + DEAD_LETTER_SUFFIX: 1} if kafka.dead_letter else {})
    try:
        admin = client.make(AdminClient, kafka, client.login(kafka), {})
        there = admin.list_topics(timeout=ASK_SECONDS).topics
        missing = [NewTopic(name, count, new.replication_factor) for name, count in wanted.items() if name not in there]
        answers = admin.create_topics(missing, request_timeout=ASK_SECONDS) if missing else {}
    except KafkaException as error:
        return client.text(error)
    except StartError as error:  # a file that is just being replaced
        return str(error)
    for name, answer in answers.items():
        try:
            answer.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                return f"{name!r} cannot be created: {client.text(error)}"
        else:
            log.info("topic created", topic=name, partitions=wanted[name])
    return ""

"""Checks that the brokers can be reached, and that each job type has a topic and a group that can be read.

Changes nothing: no group is joined, no offset committed, no topic created.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from rochallor_worker.doctor.findings import Finding
from rochallor_worker.errors import StartError
from rochallor_worker.source.kafka import client
from rochallor_worker.source.kafka.connection import Kafka
from rochallor_worker.source.kafka.records import DEAD_LETTER_SUFFIX, group_of, topic_of

ASK_SECONDS = 5.0
MISSING = "Create it. One missing topic stops the engine's dispatch of every type, and repeats what was sent before."
CREATED = "A worker creates it when it starts. Until then the engine dispatches no jobs of any type."
FORBIDDEN = "Allow this user to describe and read the topic and the group."


def check_brokers(kafka: Kafka, job_types: Sequence[str]) -> list[Finding]:
    """Check the brokers and, if they answer, the topics of each job type. Blocks until they have answered."""
    try:
        problem = _problem(kafka)
    except StartError as error:
        return [Finding("Kafka", "failed", str(error), "Correct the ROCHALLOR_KAFKA_* settings.")]
    where = f"{kafka.bootstrap_servers} ({kafka.security_protocol})"
    if problem:
        advice = "Check the addresses, the security protocol, the login and the CA of the ROCHALLOR_KAFKA_* settings."
        return [Finding("Kafka", "failed", f"cannot reach {where}: {problem}", advice)]
    found = [Finding("Kafka", "ok", f"answers at {where}")]
    for job_type in job_types:
        found += _topics(kafka, job_type)
    return found


def _problem(kafka: Kafka) -> str:
    """Return why the brokers cannot be reached, or nothing."""
    errors: list[KafkaError] = []
    with closing(_consumer(kafka, "rochallor-doctor", errors)) as consumer:
        try:
            consumer.list_topics(timeout=ASK_SECONDS)
        except KafkaException as error:
            consumer.poll(0)  # lets the client report its errors
            found = [client.connection_text(one) for one in errors if one.code() != KafkaError._ALL_BROKERS_DOWN]  # noqa: SLF001 — its name
            return found[-1] if found else client.text(error)
    return ""


def _topics(kafka: Kafka, job_type: str) -> Iterator[Finding]:
    topic = topic_of(job_type)
    with closing(_consumer(kafka, group_of(job_type))) as consumer:
        yield _topic(consumer, topic, job_type, created=kafka.create_topics is not None)
        if kafka.dead_letter:
            yield _dead_letters(consumer, topic + DEAD_LETTER_SUFFIX, created=kafka.create_topics is not None)


def _topic(consumer: Consumer, topic: str, job_type: str, *, created: bool) -> Finding:
    """Check the topic of a job type and, if it exists, how far its group has read."""
    check = f"topic {topic}"
    try:
        partitions, error = _partitions(consumer, topic)
        if error is not None:
            missing = error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART
            if missing and created:
                return Finding(check, "warning", "is missing", CREATED)
            return Finding(check, "failed", "is missing" if missing else error.str(), MISSING if missing else FORBIDDEN)
        if refused := _refusal(consumer, TopicPartition(topic, partitions[0], OFFSET_END)):
            return Finding(check, "failed", f"cannot be read: {refused.str()}", FORBIDDEN)
        places = consumer.committed([TopicPartition(topic, number) for number in partitions], ASK_SECONDS)
        if wrong := next((place.error for place in places if place.error is not None), None):
            raise KafkaException(wrong)
        waiting = _waiting(consumer, places)
    except KafkaException as failure:
        found = f"the group {group_of(job_type)} cannot be read: {client.text(failure)}"
        return Finding(check, "failed", found, FORBIDDEN)
    count = f"{len(partitions)} partition{'s' if len(partitions) > 1 else ''}"
    return Finding(
        check, "ok", f"{count}, {waiting:,} records wait; topic and group can be read", _share(len(partitions))
    )


def _dead_letters(consumer: Consumer, topic: str, *, created: bool) -> Finding:
    check = f"topic {topic}"
    try:
        partitions, error = _partitions(consumer, topic)
    except KafkaException as failure:
        return Finding(check, "failed", client.text(failure), FORBIDDEN)
    if error is not None and created:
        return Finding(check, "note", "is missing", "A worker creates it when it starts.")
    if error is not None:
        return Finding(check, "failed", error.str(), "Create it, or unset ROCHALLOR_KAFKA_DEAD_LETTER.")
    return Finding(check, "ok", f"{len(partitions)} partition{'s' if len(partitions) > 1 else ''}")


def _partitions(consumer: Consumer, topic: str) -> tuple[list[int], KafkaError | None]:
    found = consumer.list_topics(topic, timeout=ASK_SECONDS).topics[topic]
    return list(found.partitions), found.error


def _refusal(consumer: Consumer, end: TopicPartition) -> KafkaError | None:
    """Fetch what follows a partition's last record; return why that is refused."""
    consumer.assign([end])
    message = consumer.poll(ASK_SECONDS)  # a record that has just arrived, or the end of the partition
    consumer.unassign()
    error = message.error() if message is not None else None
    return None if error is None or error.code() == KafkaError._PARTITION_EOF else error  # noqa: SLF001 — its name


def _waiting(consumer: Consumer, places: Sequence[TopicPartition]) -> int:
    """Return how many records the group has not settled; a group that never committed starts at the first."""
    total = 0
    for place in places:
        first, end = consumer.get_watermark_offsets(place, ASK_SECONDS)
        total += end - max(first, place.offset)
    return total


def _share(partitions: int) -> str:
    return "More than one worker needs more than one partition." if partitions == 1 else ""


def _consumer(kafka: Kafka, group: str, errors: list[KafkaError] | None = None) -> Consumer:
    """Return a consumer that reads nothing; it appends its errors to `errors`."""
    settings = {
        "group.id": group,
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "allow.auto.create.topics": False,
        "error_cb": (errors if errors is not None else []).append,
    }
    return client.make(Consumer, kafka, client.login(kafka), settings)

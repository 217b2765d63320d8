"""A real Apache Kafka for tests, run as an ordinary user: one broker, which is its own controller (KRaft)."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import TYPE_CHECKING, Literal

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from confluent_kafka.cimpl import NewPartitions, NewTopic

from cluster import packages, programs
from cluster.errors import ClusterError
from cluster.processes import Process, reserved_ports
from cluster.progress import phase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Self

POM = programs.MODULES / "kafka" / "pom.xml"
USERNAME, PASSWORD = "worker", "worker's secret"
"""The user of the SASL_SSL listener, by SCRAM-SHA-256 or SCRAM-SHA-512."""

START_S = 150.0
CALL_S = 60.0
NOT_YET = {
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.NOT_COORDINATOR,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
}
"""Errors of a broker that has just started."""
# a JVM for a small machine: quick compilation, no garbage collector threads
JAVA = ("java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


def jars() -> Path:
    """Return the folder of Kafka's jars, which `ensure` fetches."""
    return programs.CACHE / "bin" / f"kafka-{hashlib.sha256(POM.read_bytes()).hexdigest()[:12]}"


def ensure() -> None:
    """Fetch Kafka's jars with Maven if the cache lacks them (seconds, once), and Java if there is none.

    Raises ClusterError if Java or Maven is missing and can't be installed, or Maven fails.
    """
    packages.ensure(packages.JAVA if jars().exists() else packages.JAVA | packages.MAVEN)
    if jars().exists():
        return
    with programs.lock(), TemporaryDirectory(dir=programs.CACHE) as unfinished, phase("fetch Kafka (mvn)"):
        if jars().exists():  # by another process, while this one waited for the lock
            return
        folder = Path(unfinished) / "jars"
        goal = ["dependency:copy-dependencies", f"-DoutputDirectory={folder}"]
        command = ["mvn", "--batch-mode", "--quiet", f"--file={POM}", *goal]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ClusterError("fetching Kafka failed:\n" + "\n".join(done.stdout.splitlines()[:8]))
        jars().parent.mkdir(exist_ok=True)
        folder.rename(jars())


class Broker:
    """A Kafka broker on free ports of 127.0.0.1; use it in a `with` block, from any thread.

    At `bootstrap` clients have all rights without security. At `bootstrap_sasl` `USERNAME` connects over TLS, with
    rights on all topics and groups except those where `allow` has granted some. At `bootstrap_oauth`, over TLS, whoever
    has a token for the audience "kafka" that a key of `jwks` signed, if that is given; he must show a new one before it
    ends. `stop` and `kill` end it; `start` restarts it with the same data and ports. It creates no topics by itself.
    Raises ClusterError if it doesn't start.
    """

    def __init__(self, certificate: Path, key: Path, jwks: str = "") -> None:
        """`certificate` and `key` (PEM, valid for 127.0.0.1) are the broker's; `jwks` is the URL of a key set."""
        self._certificate, self._key = certificate, key
        self._jwks = jwks

    def __enter__(self) -> Self:
        ensure()
        self._folder = Path(mkdtemp(prefix="kafka-"))
        self._ports = ExitStack()
        plain, sasl, oauth, controller = self._ports.enter_context(reserved_ports(4))
        self.bootstrap = f"127.0.0.1:{plain}"
        self.bootstrap_sasl = f"127.0.0.1:{sasl}"
        self.bootstrap_oauth = f"127.0.0.1:{oauth}"
        # A process dies with the thread that started it: this one lives as long as the broker.
        self._starter = ThreadPoolExecutor(1)
        allowed = f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={self._jwks}"  # Kafka asks no other servers
        java = [*JAVA, *([allowed] if self._jwks else []), "-cp", f"{jars()}/*"]
        config = self._folder / "server.properties"
        self._process = Process([*java, "kafka.Kafka", str(config)], self._folder / "kafka.log")
        self._admin = AdminClient(
            # its messages while there is no broker (yet) are not useful
            {"bootstrap.servers": self.bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 200}
        )
        try:
            config.write_text(self._properties(controller))
            self._format(java, config)
            self.start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        self.kill()
        self._starter.shutdown()
        self._ports.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Start the broker and wait until it serves: 2 s, or 5 s after `kill`."""
        self._starter.submit(self._process.start).result()
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            self._process.check()
            try:
                if self._admin.list_topics(timeout=1).brokers:
                    return
            except KafkaException:
                pass  # not ready yet
        raise ClusterError(f"Kafka did not answer at {self.bootstrap} within {START_S:.0f} s")

    def stop(self) -> None:
        """Stop the broker gracefully, as for maintenance."""
        self._process.terminate()

    def kill(self) -> None:
        """Kill the broker, as a crash would."""
        self._process.stop()

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Freeze the broker: clients get no answers, but connections stay open."""
        pid = self._process.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def allow(
        self, kind: Literal["topic", "group"], name: str, operation: Literal["read", "write", "describe"]
    ) -> None:
        """Give `USERNAME` a right on a topic or a group, on which there are then no other rights than those given."""
        binding = AclBinding(
            ResourceType[kind.upper()],
            name,
            ResourcePatternType.LITERAL,
            f"User:{USERNAME}",
            "*",
            AclOperation[operation.upper()],
            AclPermissionType.ALLOW,
        )
        self._admin.create_acls([binding])[binding].result(CALL_S)

    def delete_topic(self, name: str) -> None:
        """Delete a topic and wait until it no longer exists."""
        self._admin.delete_topics([name])[name].result(CALL_S)
        deadline = time.monotonic() + CALL_S
        while name in self._admin.list_topics(timeout=CALL_S).topics:
            if time.monotonic() > deadline:
                raise ClusterError(f"Kafka still shows the topic {name} after {CALL_S:.0f} s")
            time.sleep(0.05)

    def create_topic(self, name: str, partitions: int = 1) -> None:
        """Create a topic and wait until clients find it: the controller answers before the broker shows it."""
        self._admin.create_topics([NewTopic(name, partitions, 1)])[name].result(CALL_S)
        self._until_shown(name, partitions)

    def add_partitions(self, topic: str, total: int) -> None:
        """Add partitions to a topic, up to `total`."""
        self._admin.create_partitions([NewPartitions(topic, total)])[topic].result(CALL_S)
        self._until_shown(topic, total)

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Delete the records below an offset, as retention does."""
        place = TopicPartition(topic, partition, before)
        self._admin.delete_records([place])[place].result(CALL_S)

    def end_offsets(self, topic: str) -> dict[int, int]:
        """Return the offset after the last record of each partition."""

        def ask() -> dict[int, int]:
            with self._consumer() as consumer:
                ends = {place: consumer.get_watermark_offsets(place, CALL_S) for place in self._places(topic)}
            return {place.partition: end for place, (_, end) in ends.items()}

        return _once_ready(ask)

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """Return the committed offsets of a consumer group, for the partitions that have one."""

        def ask() -> dict[int, int]:
            with self._consumer(group) as consumer:
                found = consumer.committed(self._places(topic), CALL_S)
            return {place.partition: place.offset for place in found if place.offset >= 0}

        return _once_ready(ask)

    def _places(self, topic: str) -> list[TopicPartition]:
        found = self._admin.list_topics(topic, timeout=CALL_S).topics[topic]
        return [TopicPartition(topic, number) for number in found.partitions]

    def _until_shown(self, topic: str, partitions: int) -> None:
        deadline = time.monotonic() + CALL_S
        while True:
            found = self._admin.list_topics(topic, timeout=CALL_S).topics[topic].partitions.values()
            if len(found) == partitions and all(one.leader >= 0 for one in found):
                return
            if time.monotonic() > deadline:
                raise ClusterError(f"Kafka does not show {partitions} partitions of {topic} after {CALL_S:.0f} s")
            time.sleep(0.02)

    @contextmanager
    def _consumer(self, group: str = "observer") -> Iterator[Consumer]:
        # librdkafka 2.16's admin client can get offsets too, but crashes the process (null pointer) if a broker that
        # has just started answers that it has not loaded the group yet
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": group, "log_level": 0})
        try:
            yield consumer
        finally:
            consumer.close()

    def _format(self, java: list[str], config: Path) -> None:
        tool = [*java, "kafka.tools.StorageTool", "format", f"--config={config}", "--cluster-id=rochallor-tests-000000"]
        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
            tool += ["--add-scram", f"{mechanism}=[name={USERNAME},password={PASSWORD}]"]
        done = subprocess.run(tool, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ClusterError(f"kafka.tools.StorageTool failed:\n{done.stdout}{done.stderr}")

    def _properties(self, controller_port: int) -> str:
        identity = self._folder / "identity.pem"
        identity.touch(mode=0o600)
        identity.write_text(self._key.read_text() + self._certificate.read_text())
        clients = f"PLAINTEXT://{self.bootstrap},SASL_SSL://{self.bootstrap_sasl}"
        if self._jwks:
            clients += f",OAUTH://{self.bootstrap_oauth}"
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        return f"""process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
controller.listener.names=CONTROLLER
listeners={clients},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners={clients}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,OAUTH:SASL_SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config={scram}
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={scram}
ssl.keystore.type=PEM
ssl.keystore.location={identity}
log.dirs={self._folder}/data
auto.create.topics.enable=false
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
allow.everyone.if.no.acl.found=true
offsets.topic.replication.factor=1
offsets.topic.num.partitions=3
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
log.cleaner.dedupe.buffer.size=4194304
# tests that lose a consumer need not wait 6 s until its group notices, nor 3 s until a group forms
group.min.session.timeout.ms=500
group.initial.rebalance.delay.ms=0
# after a crash the broker may come back when its session has ended: not 9 s later
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
{self._oauth_properties()}"""

    def _oauth_properties(self) -> str:
        if not self._jwks:
            return ""
        bearer = "org.apache.kafka.common.security.oauthbearer"
        return f"""listener.name.oauth.sasl.enabled.mechanisms=OAUTHBEARER
listener.name.oauth.oauthbearer.sasl.jaas.config={bearer}.OAuthBearerLoginModule required;
listener.name.oauth.oauthbearer.sasl.server.callback.handler.class={bearer}.OAuthBearerValidatorCallbackHandler
listener.name.oauth.oauthbearer.sasl.oauthbearer.jwks.endpoint.url={self._jwks}
listener.name.oauth.oauthbearer.sasl.oauthbearer.expected.audience=kafka
listener.name.oauth.oauthbearer.connections.max.reauth.ms=3600000
"""


def _once_ready(ask: Callable[[], dict[int, int]]) -> dict[int, int]:
    """Query a broker that may have just started, until it is ready."""
    deadline = time.monotonic() + CALL_S
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in NOT_YET or time.monotonic() > deadline:
                raise
            time.sleep(0.1)

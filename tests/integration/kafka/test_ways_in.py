"""Brokers that demand tokens, groups by the new protocol, and topics that workers create."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from cluster.kafka import PASSWORD, USERNAME, Broker
from integration.kafka.oidc import CLIENT_ID, CLIENT_SECRET, oidc
from integration.kafka.workers import site
from waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from integration.engine.pki import Authority

LIFETIME_S = 5.0


async def test_tokens_of_a_token_server(tmp_path: Path, kafka_authority: Authority) -> None:
    """The broker closes connections whose token ends without a new one: the worker must have one in time."""
    (tmp_path / "id").write_text(CLIENT_ID)
    (tmp_path / "secret").write_text("wrong")
    identity = kafka_authority.issue("oauth-broker")
    with oidc(tmp_path, LIFETIME_S) as server, Broker(identity.cert, identity.key, server.jwks_url) as broker:
        settings = {
            "kafka_bootstrap_servers": broker.bootstrap_oauth,
            "kafka_security_protocol": "SASL_SSL",
            "kafka_sasl_mechanism": "OAUTHBEARER",
            "kafka_oauth_token_url": server.token_url,
            "kafka_oauth_client_id_file": str(tmp_path / "id"),
            "kafka_oauth_client_secret_file": str(tmp_path / "secret"),
            "kafka_oauth_scope": "jobs",
            "kafka_oauth_extensions": "logicalCluster=lkc-1",
            "kafka_ca_file": str(kafka_authority.ca.cert),
            "kafka_dead_letter": "1",
            "kafka_create_topics": '{"partitions": 2, "replicationFactor": 1}',
        }
        async with site(broker, tmp_path, partitions=0) as here:
            async with here.worker(0, **settings) as worker:
                await worker.started()
                await worker.reports("KafkaUnreachable: ")
                assert server.forms == []
            (tmp_path / "secret").write_text(CLIENT_SECRET)
            async with here.worker(0, **settings) as worker:
                await worker.started()
                await worker.answers("/readyz", 200)
                jobs = 0
                while len(server.forms) < 12:  # several for each of its clients: a consumer, an admin and a producer
                    here.start(20)
                    jobs += 20
                    await here.until_ended(jobs)
                    await asyncio.sleep(0.5)
                assert all("scope=jobs" in form for form in server.forms)
                assert "SASL" not in worker.log, "no connection was refused"
                assert CLIENT_SECRET not in worker.log
            assert len(here.runs()) == jobs, "none ran twice"


async def test_groups_by_the_new_protocol(broker: Broker, tmp_path: Path) -> None:
    """While workers come and go, each job runs once."""
    new = {"kafka_group_protocol": "consumer"}
    async with site(broker, tmp_path, partitions=4) as here:
        async with here.worker(0.01, **new) as first:
            await first.started()
            await first.answers("/readyz", 200)
            here.start(100)
            async with here.worker(0.01, **new) as second:
                await second.started()
                await second.logged("partitions assigned")
                here.start(100)
                await here.until_ended(200)
                await until(lambda: '"revoked": [' in first.log)
                second.process.terminate()
                assert await second.ended() == 0
            here.start(50)
            await here.until_ended(250)
            await here.until_committed()
        assert len(here.runs()) == 250


async def test_a_rollout_to_the_new_protocol(broker: Broker, tmp_path: Path) -> None:
    """A group may have members of both protocols for a while."""
    async with site(broker, tmp_path, partitions=4) as here:
        async with here.worker(0.01) as old:
            await old.started()
            await old.answers("/readyz", 200)
            here.start(100)
            async with here.worker(0.01, kafka_group_protocol="consumer") as new:
                await new.started()
                await new.logged("partitions assigned")
                here.start(100)
                old.process.terminate()
                assert await old.ended() == 0
                here.start(50)
                await here.until_ended(250)
                await here.until_committed()
        assert len(here.runs()) == 250


async def test_workers_create_missing_topics_at_once(broker: Broker, tmp_path: Path) -> None:
    wanted = {"kafka_create_topics": '{"partitions": 3, "replicationFactor": 1}', "kafka_dead_letter": "1"}
    async with site(broker, tmp_path, partitions=0) as here:
        here.start(20)
        async with here.worker(**wanted) as one, here.worker(**wanted) as two, here.worker(**wanted) as three:
            for worker in (one, two, three):
                await worker.started()
                await worker.answers("/readyz", 200)
            await here.until_ended(20)
        assert len(here.runs()) == 20
        assert broker.end_offsets(f"{here.topic}.dlq") == {0: 0}
        assert broker.end_offsets(here.topic).keys() == {0, 1, 2}


async def test_a_topic_that_cannot_be_created_is_reported(broker: Broker, tmp_path: Path) -> None:
    wanted = {"kafka_create_topics": '{"partitions": 3, "replicationFactor": 2}'}
    async with site(broker, tmp_path, partitions=0) as here, here.worker(**wanted) as worker:
        await worker.started()
        await worker.logged("cannot be created")
        text = await worker.reports("TopicNotFound: ")
        assert text.startswith(f"TopicNotFound: Kafka has no topic {here.topic!r}: {here.topic!r} cannot be created: ")
        assert "replication factor" in text.lower()
        await asyncio.to_thread(broker.create_topic, here.topic)
        await worker.answers("/readyz", 200)


@pytest.mark.parametrize(
    ("properties", "sentence"),
    [
        (
            {"fetch.max.byte": "1"},
            "the Kafka settings cannot be used: No such configuration property",
        ),
        ({"group.id": "mine"}, "Kafka's property 'group.id' (ROCHALLOR_KAFKA_PROPERTIES) must not be set: it names"),
        ({"ssl.key.password": PASSWORD}, "must not be set: secrets belong into the files"),
    ],
)
async def test_properties_that_cannot_be_used(
    broker: Broker, tmp_path: Path, properties: dict[str, str], sentence: str
) -> None:
    async with site(broker, tmp_path) as here, here.worker(0, kafka_properties=json.dumps(properties)) as worker:
        assert await worker.ended() == 2
        [line] = worker.log.splitlines()
        assert sentence in line
        assert PASSWORD not in line


async def test_properties_reach_the_client(broker: Broker, kafka_authority: Authority, tmp_path: Path) -> None:
    """The certificate is for an address: a client that is told not to compare names connects by a name."""
    secure = {
        "kafka_bootstrap_servers": broker.bootstrap_sasl.replace("127.0.0.1", "localhost"),
        "kafka_security_protocol": "SASL_SSL",
        "kafka_sasl_username": USERNAME,
        "kafka_sasl_password": PASSWORD,
        "kafka_ca_file": str(kafka_authority.ca.cert),
    }
    no_names = json.dumps({"ssl.endpoint.identification.algorithm": "none"})
    async with site(broker, tmp_path) as here:
        async with here.worker(0, **secure) as worker:
            await worker.started()
            await worker.reports("KafkaUnreachable: ")
        async with here.worker(0, **secure, kafka_properties=no_names) as worker:
            await worker.started()
            await worker.answers("/readyz", 200)

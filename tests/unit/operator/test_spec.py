from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rochallor_operator.errors import InvalidSpecError
from rochallor_operator.spec.sections import seconds
from rochallor_operator.spec.worker import parse
from unit.operator.samples import resource, worker

if TYPE_CHECKING:
    from rochallor_operator.names import Manifest


BROKERS = {"bootstrapServers": "kafka:9092"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("500ms", 0.5), ("1ms", 0.001), ("30s", 30.0), ("10m", 600.0), ("25s", 25.0), ("24h", 86400.0)],
)
def test_durations(text: str, expected: float) -> None:
    assert seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "5", "s", "-5s", "0s", "5 s", "1.5s", "5d", "1m30s", "5S", "5s\n"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        seconds(text)


def test_defaults() -> None:
    spec = worker().spec
    assert (spec.transport, spec.parallelism, spec.poll_interval, spec.drain_timeout) == ("rest", 64, "500ms", "25s")
    assert (spec.replicas, spec.suspend, spec.handler_timeout, spec.image) == (1, False, None, None)
    assert spec.lease == "30s"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, False),
        ({"lease": "5m"}, False),
        ({"handlerTimeout": "29999ms"}, False),
        ({"handlerTimeout": "30s"}, True),
        ({"handlerTimeout": "24h", "transport": "grpc", "engine": {"grpcTarget": "engine:9090"}}, True),
        ({"handlerTimeout": "24h", "transport": "kafka", "kafka": BROKERS}, False),
    ],
)
def test_which_workers_may_outlive_a_lease_that_can_not_be_renewed(changes: Manifest, expected: bool) -> None:
    assert worker(**changes).spec.may_outlive_lease is expected


SHARED: Manifest = {"jobType": "charge-card", "perSecond": 5, "scope": "resource"}
OFF: Manifest = {"jobType": "charge-card", "breaker": False}


@pytest.mark.parametrize(
    ("changes", "counts", "breakers"),
    [
        ({}, False, True),
        ({"limits": [{"jobType": "charge-card", "perSecond": 5}]}, False, True),
        ({"limits": [SHARED]}, True, True),
        ({"limits": [OFF]}, False, False),
        ({"limits": [OFF], "jobTypes": ["charge-card", "refund"]}, False, True),
        ({"limits": [OFF | SHARED]}, True, False),
    ],
)
def test_what_limits_ask_the_operator_for(changes: Manifest, counts: bool, breakers: bool) -> None:
    spec = worker(**changes).spec
    assert (spec.counts_pods, spec.has_breakers) == (counts, breakers)


def test_no_pods_are_wanted_while_suspended() -> None:
    assert worker(replicas=3).replicas == 3
    assert worker(replicas=3, suspend=True).replicas == 0
    scaling = {"maxReplicas": 5}
    assert worker(replicas=3, autoscaling=scaling).replicas is None
    assert worker(replicas=3, autoscaling=scaling, suspend=True).replicas == 0


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"jobTypes": []}, "spec.jobTypes: "),
        ({"engine": None}, "spec.engine: "),
        ({"engine": {}}, "spec: write engine.url: the engine is reached over REST"),
        ({"transport": "grpc"}, "spec: write engine.grpcTarget: the engine is reached over gRPC"),
        ({"transport": "kafka"}, "spec: write kafka with transport kafka, and only then"),
        ({"kafka": BROKERS}, "spec: write kafka with transport kafka, and only then"),
        ({"transport": "kafka", "kafka": BROKERS, "engine": {}}, "spec: write engine.url: "),
        (
            {"transport": "kafka", "kafka": BROKERS, "outcomeTransport": "grpc"},
            "spec: write engine.grpcTarget: ",
        ),
        ({"autoscaling": {}}, "spec.autoscaling.maxReplicas: Field required"),
        (
            {"autoscaling": {"maxReplicas": 2, "provider": "keda"}},
            "spec: write autoscaling.prometheus, backlog or triggers: KEDA scales on them",
        ),
        ({"transport": "pigeon"}, "spec.transport: Input should be 'rest'"),
        ({"drainTimeout": "soon"}, "spec.drainTimeout: 'soon' is not a duration"),
        ({"handlers": {}}, "spec.handlers: write exactly one of module and configMap"),
        (
            {"handlers": {"module": "a:b", "configMap": {"name": "x", "module": "a:b"}}},
            "spec.handlers: write exactly one of module and configMap",
        ),
        ({"env": [{"name": "ROCHALLOR_PARALLELISM", "value": "1"}]}, "spec.env: ROCHALLOR_PARALLELISM is set by"),
    ],
)
def test_an_invalid_spec_is_one_sentence_that_names_the_field(changes: Manifest, sentence: str) -> None:
    with pytest.raises(InvalidSpecError) as caught:
        parse(resource(**changes))
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


def test_a_missing_spec_is_an_invalid_spec() -> None:
    broken = resource()
    del broken["spec"]
    with pytest.raises(InvalidSpecError, match=r"spec\.engine: Field required"):
        parse(broken)


def test_the_key_of_handlers_in_a_config_map() -> None:
    handlers = worker(handlers={"configMap": {"name": "code", "module": "charge:registry"}}).spec.handlers
    assert handlers.config_map is not None
    assert handlers.config_map.key == "charge.py"

"""What a worker takes from its connection, and what a connection must be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rochallor_operator.errors import InvalidSpecError
from rochallor_operator.names import Manifest, ObjectRef
from rochallor_operator.spec.connection import (
    UNKNOWN,
    NamespaceSelector,
    engine_ref,
    merge,
    parse_connection,
)
from rochallor_operator.spec.loans import Loan, borrowed, lend
from rochallor_operator.spec.worker import parse
from unit.operator.samples import MINIMAL, resource

MAIN = ObjectRef("EngineConnection", "shop", "main")
TOKEN: Manifest = {"tokenSecret": {"name": "gateway", "key": "token"}}
OAUTH: Manifest = {"oauth": {"tokenUrl": "https://login/token", "credentialsSecret": "client"}}
TLS: Manifest = {"tls": {"caSecret": "ca"}}
SASL: Manifest = {
    "securityProtocol": "SASL_SSL",
    "saslMechanism": "PLAIN",
    "credentialsSecret": "kafka-user",
}
KAFKA: Manifest = {"bootstrapServers": "kafka:9093", **SASL, **TLS, "properties": {"client.rack": "a"}}
SECTIONS: Manifest = {
    "engine": {
        "url": "https://engine",
        "grpcTarget": "engine:9090",
        **TLS,
        **TOKEN,
        "headers": [{"name": "X-Tenant", "value": "shop"}],
        "databaseSecret": {"name": "db", "key": "dsn"},
    },
    "kafka": KAFKA,
    "prometheus": {"address": "https://prometheus", "tokenSecret": {"name": "metrics", "key": "token"}},
    "telemetry": {"endpoint": "http://collector:4318"},
}
KEDA: Manifest = {"autoscaling": {"maxReplicas": 5, "provider": "keda"}}


def taken(**spec: Any) -> Manifest:
    """The spec of a worker that names a connection with everything; without an engine of its own unless given."""
    own = {field: value for field, value in MINIMAL.items() if field != "engine"}
    merged: Manifest = merge(resource(own | spec), SECTIONS)["spec"]
    return merged


def optional(fields: Manifest) -> st.SearchStrategy[Manifest]:
    """Any of the fields, with any of the values."""
    strategies = {field: st.sampled_from(values) for field, values in fields.items()}
    return st.fixed_dictionaries({}, optional=strategies)


ENGINES = optional(
    {
        "url": ["http://own", "https://own"],
        "grpcTarget": ["own:1"],
        "tls": [{"caSecret": "own"}, {"caFile": "/ca.pem"}],
        "tokenSecret": [{"name": "own", "key": "k"}],
        "databaseSecret": [{"name": "own", "key": "k"}],
        "oauth": [OAUTH["oauth"]],
        "headers": [[{"name": "X-Own", "value": "1"}], []],
    }
)
BROKERS = optional(
    {
        "bootstrapServers": ["own:1"],
        "securityProtocol": ["PLAINTEXT", "SSL", "SASL_SSL"],
        "saslMechanism": ["PLAIN"],
        "credentialsSecret": ["own"],
        "tls": [{"caSecret": "own"}],
        "properties": [{}, {"a": "b"}],
        "deadLetter": [True],
    }
)
SPECS = st.fixed_dictionaries(
    {"jobTypes": st.just(["a"]), "handlers": st.just({"module": "a:b"})},
    optional={
        "engine": ENGINES,
        "kafka": BROKERS,
        "transport": st.sampled_from(["rest", "grpc", "kafka"]),
        "telemetry": st.just({"endpoint": "http://own:4318"}),
        "autoscaling": optional(
            {"provider": ["keda", "hpa"], "targetWait": ["5s"], "prometheus": [{"address": "http://own"}]}
        ),
        "parallelism": st.just(8),
    },
)
CONNECTIONS = st.fixed_dictionaries(
    {"engine": ENGINES},
    optional={"kafka": BROKERS, "prometheus": st.just(SECTIONS["prometheus"]), "telemetry": st.just({"endpoint": "x"})},
)
EXCLUSIVE = {"tls", "tokenSecret", "oauth", "securityProtocol", "saslMechanism", "credentialsSecret"}


@given(SPECS, CONNECTIONS)
def test_what_the_worker_writes_stays_and_the_rest_is_the_connections(spec: Manifest, sections: Manifest) -> None:
    merged = merge(resource(spec), sections)
    assert merge(merged, sections) == merged
    result = merged["spec"]
    for name, own in spec.items():
        kept = {field: result[name].get(field) for field in own} if isinstance(own, dict) else result[name]
        assert kept == own
    for name in ("engine", "kafka"):
        own, theirs, both = spec.get(name, {}), sections.get(name, {}), result.get(name, {})
        for field in both.keys() - own.keys():
            assert both[field] == theirs[field]
        if name == "engine" or spec.get("transport") == "kafka":
            assert theirs.keys() - both.keys() <= EXCLUSIVE
        else:
            assert both == own


def test_a_complete_worker_takes_nothing() -> None:
    complete = {
        **MINIMAL,
        **SECTIONS,
        "transport": "kafka",
        "autoscaling": {**KEDA["autoscaling"], "prometheus": SECTIONS["prometheus"]},
    }
    other = {
        "engine": {**SECTIONS["engine"], "url": "https://other"},
        "kafka": {**KAFKA, "bootstrapServers": "other:1"},
        "prometheus": {"address": "http://other"},
        "telemetry": {"endpoint": "http://other:4318"},
    }
    assert merge(resource(complete), other) == resource(complete)


def test_a_worker_takes_the_sections_that_it_has_a_use_for() -> None:
    rest = taken()
    assert rest["engine"] == SECTIONS["engine"]
    assert rest["telemetry"] == SECTIONS["telemetry"]
    assert "kafka" not in rest
    assert "autoscaling" not in rest
    assert taken(transport="kafka")["kafka"] == KAFKA
    assert taken(**KEDA)["autoscaling"]["prometheus"] == SECTIONS["prometheus"]
    hpa = {"maxReplicas": 5, "provider": "hpa"}
    assert taken(autoscaling=hpa)["autoscaling"] == hpa
    assert "prometheus" not in taken(transport="kafka", **KEDA)["autoscaling"], "it scales on the lag"
    waits = {**KEDA["autoscaling"], "targetWait": "5s"}
    assert "prometheus" in taken(transport="kafka", autoscaling=waits)["autoscaling"]


def test_what_excludes_a_field_of_the_worker_is_not_taken() -> None:
    assert "tokenSecret" not in taken(engine=OAUTH)["engine"]
    assert "tls" not in taken(engine={"url": "http://engine"})["engine"]
    assert taken(engine={"url": "https://other"})["engine"]["tls"] == TLS["tls"]
    plain_with_tokens = merge(
        resource({"engine": {"url": "http://mesh"}}), {"engine": {"url": "https://e", **OAUTH, **TLS}}
    )
    assert plain_with_tokens["spec"]["engine"]["tls"] == TLS["tls"], "the token server's CA"
    plain = taken(transport="kafka", kafka={"securityProtocol": "PLAINTEXT", "deadLetter": True})["kafka"]
    assert plain == {
        "bootstrapServers": "kafka:9093",
        "properties": {"client.rack": "a"},
        "securityProtocol": "PLAINTEXT",
        "deadLetter": True,
    }
    own_tls = taken(transport="kafka", kafka={"tls": {"caSecret": "own"}})["kafka"]
    assert own_tls == KAFKA | {"tls": {"caSecret": "own"}}


def test_any_worker_that_could_name_a_connection_can_be_read_without_one() -> None:
    """Its status says how its pods do, while its connection is missing."""
    for spec in (
        {},
        {"transport": "grpc"},
        {"transport": "kafka", "kafka": {"tls": {"caSecret": "own"}}},
        {"engine": TLS},
        {**KEDA},
        {"autoscaling": {**KEDA["autoscaling"], "targetWait": "5s", "backlog": {}}},
    ):
        own = {field: value for field, value in MINIMAL.items() if field != "engine"}
        assert parse(merge(resource(own | spec), UNKNOWN)).name == "payments"


@pytest.mark.parametrize("wrong", ["x", 1, [], None])
@pytest.mark.parametrize("section", ["engine", "kafka", "autoscaling"])
def test_a_section_that_is_none_is_refused_by_its_name(section: str, wrong: Any) -> None:
    spec = {**MINIMAL, "transport": "kafka", section: wrong}
    if section == "autoscaling" and wrong is None:
        assert parse(merge(resource(spec), SECTIONS)).autoscaling is None
        return
    with pytest.raises(InvalidSpecError, match=f"^spec.{section}: |write {section}"):
        parse(merge(resource(spec), SECTIONS))


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({}, "EngineConnection 'main', spec.engine: Field required"),
        ({"engine": {}}, "EngineConnection 'main', spec: write engine.url or engine.grpcTarget"),
        ({"engine": {"url": 1}}, "EngineConnection 'main', spec.engine.url: Input should be a valid string"),
        (
            {"engine": {"url": "https://e", "tokenSecret": {"name": "../x", "key": "k"}}},
            "EngineConnection 'main', spec.engine.tokenSecret: no Secret can be named '../x'",
        ),
        ({"engine": {"url": "http://e", **TLS}}, "EngineConnection 'main', spec.engine: write url with https://"),
        (
            {"engine": {"url": "http://e"}, "kafka": {"bootstrapServers": "k:1", **TLS}},
            "EngineConnection 'main', spec.kafka: write securityProtocol SSL or SASL_SSL, or remove tls; without TLS,"
            " only a token server needs a CA",
        ),
    ],
)
def test_a_wrong_connection_is_named_with_its_field(spec: Manifest, sentence: str) -> None:
    with pytest.raises(InvalidSpecError) as found:
        parse_connection(MAIN, {"spec": spec})
    assert str(found.value).startswith(sentence)


@pytest.mark.parametrize("section", ["prometheus", "kafka", "telemetry"])
@pytest.mark.parametrize("field", ["tokenSecret", "oauth"])
def test_a_null_is_as_good_as_nothing(section: str, field: str) -> None:
    """The definition prunes it, but another one may not."""
    spec = {"engine": {"url": "http://engine", field: None}, section: None}
    assert parse_connection(MAIN, {"spec": spec}).sections == {"engine": {"url": "http://engine"}}


def test_a_connection_has_only_its_own_fields() -> None:
    """A looser definition must not let it set what is the worker's."""
    spec = {**SECTIONS, "image": "other:1", "kafka": {**KAFKA, "deadLetter": True}}
    assert parse_connection(MAIN, {"spec": spec}).sections == SECTIONS


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        (None, None),
        ({"name": "main"}, MAIN),
        ({"name": "main", "kind": "ClusterEngineConnection"}, ObjectRef("ClusterEngineConnection", "", "main")),
    ],
)
def test_a_reference_names_a_connection(reference: Manifest | None, expected: ObjectRef | None) -> None:
    assert engine_ref(resource(engineRef=reference), "shop") == expected


@pytest.mark.parametrize("reference", [{}, {"name": 1}, {"name": "main", "kind": "Secret"}])
def test_a_reference_to_something_else_is_refused(reference: Manifest) -> None:
    with pytest.raises(InvalidSpecError, match=r"^spec\.engineRef\.(name|kind): "):
        engine_ref(resource(engineRef=reference), "shop")


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ({}, True),
        ({"matchLabels": {"team": "shop"}}, True),
        ({"matchLabels": {"team": "shop", "env": "prod"}}, False),
        ({"matchExpressions": [{"key": "team", "operator": "In", "values": ["a", "shop"]}]}, True),
        ({"matchExpressions": [{"key": "env", "operator": "In", "values": ["prod"]}]}, False),
        ({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["shop"]}]}, False),
        ({"matchExpressions": [{"key": "env", "operator": "NotIn", "values": ["prod"]}]}, True),
        ({"matchExpressions": [{"key": "team", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "env", "operator": "Exists"}]}, False),
        ({"matchExpressions": [{"key": "env", "operator": "DoesNotExist"}]}, True),
        ({"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}, False),
        ({"matchLabels": {"team": "shop"}, "matchExpressions": [{"key": "env", "operator": "Exists"}]}, False),
    ],
)
def test_namespaces_are_selected_by_labels_as_everywhere_in_kubernetes(selector: Manifest, selected: bool) -> None:
    assert NamespaceSelector.model_validate(selector).selects({"team": "shop"}) is selected


def test_a_worker_gets_a_copy_of_the_keys_that_it_needs_and_of_no_others() -> None:
    lent, loans = lend(SECTIONS, "payments", database=False)
    spec = merge(resource({field: value for field, value in MINIMAL.items() if field != "engine"}), lent)["spec"]
    assert spec["engine"]["tokenSecret"] == {"name": "payments-engine-copy", "key": "token"}
    assert spec["engine"]["tls"] == {"caSecret": "payments-engine-copy"}
    assert spec["engine"]["databaseSecret"] == SECTIONS["engine"]["databaseSecret"]
    assert borrowed(loans, lent, spec) == [
        Loan("engine", "tokenSecret", "gateway", "token", "token"),
        Loan("engine", "tls", "ca", "ca.crt", "ca.crt"),
    ]
    own = merge(resource(MINIMAL | {"engine": {"url": "http://e", **TOKEN}}), lent)["spec"]
    assert borrowed(loans, lent, own) == []


def test_each_section_has_a_copy_of_its_own() -> None:
    lent, loans = lend(SECTIONS, "payments", database=True)
    waits = {**KEDA["autoscaling"], "targetWait": "5s"}
    own = {field: value for field, value in MINIMAL.items() if field != "engine"}
    spec = merge(resource(own | {"transport": "kafka", "autoscaling": waits}), lent)["spec"]
    assert {(loan.section, loan.secret, loan.copied_as) for loan in borrowed(loans, lent, spec)} == {
        ("engine", "gateway", "token"),
        ("engine", "db", "database"),
        ("engine", "ca", "ca.crt"),
        ("kafka", "kafka-user", "username"),
        ("kafka", "kafka-user", "password"),
        ("kafka", "ca", "ca.crt"),
        ("prometheus", "metrics", "token"),
    }
    assert spec["kafka"]["credentialsSecret"] == "payments-kafka-copy"
    assert spec["autoscaling"]["prometheus"]["tokenSecret"] == {"name": "payments-prometheus-copy", "key": "token"}


def test_the_clients_of_token_servers_are_lent() -> None:
    kafka = {"bootstrapServers": "k:1", "saslMechanism": "OAUTHBEARER", "credentialsSecret": "c", "oauth": {}}
    sections = {"engine": {"url": "https://e", **OAUTH, "tls": {"clientCertSecret": "cert"}}, "kafka": kafka}
    lent, loans = lend(sections, "payments", database=False)
    assert {(loan.section, loan.secret, loan.key) for loan in loans} == {
        ("engine", "client", "clientId"),
        ("engine", "client", "clientSecret"),
        ("engine", "cert", "tls.crt"),
        ("engine", "cert", "tls.key"),
        ("kafka", "c", "clientId"),
        ("kafka", "c", "clientSecret"),
    }
    assert lent["engine"]["oauth"] == OAUTH["oauth"] | {"credentialsSecret": "payments-engine-copy"}

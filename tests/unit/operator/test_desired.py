"""The objects the operator makes, pinned as YAML.

A new version of the operator must not roll pods whose spec did not change, so a difference here is a decision: look at
it, then rewrite the files with `python -m unit.operator.test_desired` in tests/.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from rochallor_operator.desired.autoscaling import autoscaler
from rochallor_operator.desired.canary import canary
from rochallor_operator.desired.companions import disruption_budget, pod_monitor, scale, service, service_account
from rochallor_operator.desired.deployment import Content, deployment
from rochallor_operator.desired.pod import pod_template
from rochallor_operator.errors import InvalidSpecError
from unit.operator.samples import worker

if TYPE_CHECKING:
    from rochallor_operator.names import Manifest

GOLDEN = Path(__file__).parent / "golden"
FULL: Manifest = {
    "jobTypes": ["charge-card", "refund"],
    "parallelism": 8,
    "pollInterval": "1s",
    "handlerTimeout": "20s",
    "drainTimeout": "1500ms",
    "handlers": {"configMap": {"name": "payment-handlers", "module": "handlers:registry"}},
    "image": "registry.example.com/shop/worker:7",
    "imagePullPolicy": "Always",
    "imagePullSecrets": [{"name": "registry"}],
    "replicas": 3,
    "resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "256Mi"}},
    "env": [
        {"name": "STAGE", "value": "test"},
        {"name": "PYTHONPATH", "value": "/handlers:/app/lib"},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "gateway", "key": "token"}}},
    ],
    "envFrom": [{"configMapRef": {"name": "common"}}],
}
GRPC: Manifest = {
    "engine": {
        "grpcTarget": "https://gateway.example.com:443",
        "tls": {"caSecret": "gateway-ca", "clientCertSecret": "payments-cert"},
        "tokenSecret": {"name": "gateway", "key": "token"},
        "headers": [{"name": "X-Tenant", "value": "shop"}, {"name": "X-Stage", "value": "a: b"}],
    },
    "transport": "grpc",
    "journal": False,
}
OAUTH: Manifest = {
    "engine": {
        "url": "https://gateway.example.com",
        "oauth": {
            "tokenUrl": "https://login.example.com/oauth/token",
            "credentialsSecret": "payments-client",
            "scope": "jobs.read jobs.write",
            "audience": "https://engine",
        },
    },
}
KAFKA: Manifest = {
    "engine": GRPC["engine"] | {"url": "https://gateway.example.com"},
    "transport": "kafka",
    "outcomeTransport": "grpc",
    "kafka": {
        "bootstrapServers": "kafka-0:9093,kafka-1:9093",
        "securityProtocol": "SASL_SSL",
        "saslMechanism": "SCRAM-SHA-256",
        "credentialsSecret": "kafka-user",
        "tls": {"caSecret": "kafka-ca", "clientCertSecret": "kafka-cert"},
        "dedupWindow": "5m",
        "deadLetter": True,
    },
    "jobTypes": ["charge-card", "refund"],
    "handlerTimeout": "10m",
}
BEARER: Manifest = {
    "engine": {"url": "https://gateway.example.com"},
    "transport": "kafka",
    "kafka": {
        "bootstrapServers": "kafka:9093",
        "securityProtocol": "SASL_SSL",
        "saslMechanism": "OAUTHBEARER",
        "credentialsSecret": "kafka-client",
        "oauth": {
            "tokenUrl": "https://login.example.com/oauth/token",
            "scope": "jobs",
            "extensions": {"logicalCluster": "lkc-1", "identityPoolId": "pool-1"},
        },
        "groupProtocol": "consumer",
        "createTopics": {"partitions": 6, "replicationFactor": 3},
        "properties": {"fetch.max.bytes": "1048576", "broker.address.family": "v4"},
    },
    "jobTypes": ["charge-card"],
}
MOUNTED: Manifest = {
    "engine": {
        "url": "https://gateway.example.com",
        "tls": {"caFile": "/run/spiffe/ca.pem", "certFile": "/run/spiffe/cert.pem", "keyFile": "/run/spiffe/key.pem"},
    },
    "template": {
        "spec": {
            "volumes": [{"name": "spiffe", "csi": {"driver": "csi.spiffe.io", "readOnly": True}}],
            "containers": [{"name": "worker", "volumeMounts": [{"name": "spiffe", "mountPath": "/run/spiffe"}]}],
        }
    },
}
LONG: Manifest = {"lease": "5s", "handlerTimeout": "24h", "drainTimeout": "24h"}
LIMITED: Manifest = {
    "jobTypes": ["charge-card", "refund", "mail"],
    "limits": [
        {"jobType": "mail", "perSecond": 0.5, "scope": "resource", "breaker": True},
        {"jobType": "charge-card", "parallelism": 4, "perSecond": 20, "scope": "pod", "breaker": True},
        {"jobType": "refund", "breaker": False},
    ],
}
TEMPLATE: Manifest = {
    "template": {
        "metadata": {"annotations": {"mesh.example.com/inject": "true"}, "labels": {"team": "shop"}},
        "spec": {
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "spot", "operator": "Exists"}],
            "serviceAccountName": "payments",
            "topologySpreadConstraints": [{"topologyKey": "kubernetes.io/hostname", "maxSkew": 2}],
            "securityContext": {"runAsGroup": None},
            "containers": [
                {
                    "name": "worker",
                    "env": [{"name": "STAGE", "value": "test"}],
                    "ports": [{"name": "debug", "containerPort": 5678}],
                    "volumeMounts": [{"name": "models", "mountPath": "/models"}],
                    "livenessProbe": {"periodSeconds": 30},
                },
                {"name": "proxy", "image": "proxy:1"},
            ],
            "volumes": [
                {"name": "models", "secret": {"secretName": "models"}},
                {"name": "journal", "persistentVolumeClaim": {"claimName": "journal"}},
            ],
        },
    }
}
BEHAVIOR: Manifest = {"scaleDown": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}}
HPA: Manifest = {"autoscaling": {"minReplicas": 2, "maxReplicas": 10, "targetUtilization": 75, "behavior": BEHAVIOR}}
KEDA: Manifest = {
    "engine": {"url": "http://engine:8080", "databaseSecret": {"name": "engine-db", "key": "dsn"}},
    "jobTypes": ["charge-card", "refund"],
    "autoscaling": {
        "minReplicas": 0,
        "maxReplicas": 10,
        "provider": "keda",
        "prometheus": {"address": "http://prometheus.monitoring:9090"},
        "backlog": {},
        "behavior": BEHAVIOR,
    },
}
KEDA_KAFKA: Manifest = KAFKA | {
    "autoscaling": {"minReplicas": 1, "maxReplicas": 6, "provider": "keda", "kafkaLagThreshold": 50}
}
# The fields of autoscaling that a HorizontalPodAutoscaler has beside those above.
TOLERANT: Manifest = {"scaleUp": {"tolerance": 0}, "scaleDown": {"tolerance": 0.05, "stabilizationWindowSeconds": 60}}
HPA_WAIT: Manifest = {
    "engine": KEDA["engine"],
    "parallelism": 8,
    "autoscaling": {
        "minReplicas": 0,
        "maxReplicas": 10,
        "targetWait": "1500ms",
        "backlog": {},
        "behavior": TOLERANT,
    },
}
GUARDED: Manifest = {
    "address": "https://prometheus.monitoring:9090",
    "tls": {"caSecret": "prometheus-ca", "clientCertSecret": "payments-cert"},
    "tokenSecret": {"name": "prometheus", "key": "token"},
    "headers": [{"name": "X-Scope-OrgID", "value": "shop"}, {"name": "X-Stage", "value": "a b"}],
}
TRIGGERS: list[Manifest] = [
    {"type": "cron", "metadata": {"timezone": "UTC", "start": "0 8 * * *", "end": "0 9 * * *", "desiredReplicas": "4"}},
    {
        "type": "rabbitmq",
        "name": "orders",
        "metadata": {"queueName": "orders", "mode": "QueueLength", "value": "20"},
        "metricType": "Value",
        "useCachedMetrics": True,
        "authenticationRef": {"name": "rabbit", "kind": "TriggerAuthentication"},
    },
]
KEDA_FULL: Manifest = KEDA | {
    "autoscaling": KEDA["autoscaling"]
    | {"targetWait": "5s", "prometheus": GUARDED, "triggers": TRIGGERS, "behavior": TOLERANT}
}
TRACED: Manifest = {
    "telemetry": {"endpoint": "http://collector.monitoring:4318", "sampleRatio": 0.1},
    "env": [{"name": "OTEL_SERVICE_NAME", "value": "shop"}],
}
MONITORED: Manifest = {
    "metrics": {
        "podMonitor": True,
        "labels": {"release": "prometheus", "rochallor.io/worker": "other"},
        "interval": "15s",
    }
}
TRIED: Manifest = {"rollout": {"strategy": "Canary"}}


IDENTITY: Manifest = {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/shop"}}


def live(**parts: Manifest) -> Manifest:
    """A live Deployment."""
    return {"kind": "Deployment", "spec": {}} | parts


CASES: dict[str, Manifest] = {
    "deployment-minimal": deployment(worker(), "worker:1"),
    "deployment-full": deployment(worker(**FULL), "worker:1", Content("0123456789abcdef", "fedcba9876543210")),
    "deployment-grpc": deployment(worker(**GRPC), "worker:1", Content("0123456789abcdef", None)),
    "deployment-kafka": deployment(worker(**KAFKA), "worker:1", Content("0123456789abcdef", None)),
    "deployment-long": deployment(worker(**LONG), "worker:1", Content("0123456789abcdef", None)),
    "deployment-limits": deployment(worker(**LIMITED), "worker:1"),
    "deployment-template": deployment(worker(**TEMPLATE), "worker:1", Content("0123456789abcdef", None)),
    "deployment-telemetry": deployment(worker(**TRACED), "worker:1"),
    "deployment-canary": canary("payments", deployment(worker(**FULL | TRIED), "worker:1"), "0123456789abcdef", 2),
    "service-canary": service(worker(**TRIED)),
    "disruption-budget-canary": disruption_budget(
        worker(replicas=2, disruptionBudget={"maxUnavailable": "25%"}, **TRIED)
    )[0],
    "pod-monitor-canary": pod_monitor(worker(**MONITORED | TRIED))[0],
    "scale": scale(worker(**LIMITED), live(status={"readyReplicas": 6})) or {},
    "service": service(worker()),
    "service-account": service_account(worker()),
    "service-account-annotated": service_account(worker(serviceAccount=IDENTITY)),
    "disruption-budget": disruption_budget(worker(replicas=2, disruptionBudget={"maxUnavailable": "25%"}))[0],
    "pod-monitor": pod_monitor(worker(**MONITORED))[0],
    "horizontal-pod-autoscaler": autoscaler(worker(**HPA))[0],
    "horizontal-pod-autoscaler-full": autoscaler(worker(**HPA_WAIT))[0],
    "trigger-authentication": autoscaler(worker(**KEDA))[0],
    "scaled-object": autoscaler(worker(**KEDA))[1],
    "trigger-authentication-full": autoscaler(worker(**KEDA_FULL))[0],
    "scaled-object-full": autoscaler(worker(**KEDA_FULL))[1],
    "trigger-authentication-kafka": autoscaler(worker(**KEDA_KAFKA))[0],
    "scaled-object-kafka": autoscaler(worker(**KEDA_KAFKA))[1],
}


def _text(manifest: Manifest) -> str:
    return yaml.safe_dump(manifest, sort_keys=False)


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str) -> None:
    assert _text(CASES[name]) == (GOLDEN / f"{name}.yaml").read_text()


def test_the_default_lease_is_no_change_of_the_pods() -> None:
    usual, other = (deployment(worker(lease=lease), "worker:1") for lease in ("30s", "31s"))
    assert usual == deployment(worker(), "worker:1") != other


def test_the_strategy_is_no_change_of_the_stable_pods() -> None:
    assert deployment(worker(**TRIED), "worker:1") == deployment(worker(), "worker:1")


def test_the_number_of_pods_includes_the_canary() -> None:
    one, other = live(status={"readyReplicas": 6}), live(status={"readyReplicas": 2})
    made = scale(worker(**LIMITED), one, other)
    assert made is not None
    assert made["data"] == {"pods": "8"}


def test_no_limits_are_no_change_of_the_pods() -> None:
    assert deployment(worker(limits=[]), "worker:1") == deployment(worker(), "worker:1")


def test_the_number_of_pods_is_no_change_of_the_pods_and_only_where_a_limit_needs_it() -> None:
    limits = LIMITED["limits"]
    alone = worker(jobTypes=["charge-card", "refund"], limits=limits[1:])
    made = yaml.safe_dump(deployment(alone, "worker:1"))
    assert scale(alone, None) is None
    assert "ROCHALLOR_PODS_FILE" not in made
    assert "scale" not in made
    together = worker(**LIMITED)
    numbers = [scale(together, seen) for seen in (None, live(), live(status={"readyReplicas": 0}), live(status={}))]
    assert [made and made["data"] for made in numbers] == [{"pods": "1"}] * 4


def test_another_identity_is_a_change_of_the_pods_and_none_is_not() -> None:
    """Clouds give it to a pod when the pod starts."""
    one, other = ({"annotations": {"iam.gke.io/gcp-service-account": f"{name}@shop"}} for name in ("a", "b"))
    wishes: list[Manifest] = [one, other, one, {}, {"annotations": {}}]
    templates = [deployment(worker(serviceAccount=wish), "worker:1")["spec"]["template"] for wish in wishes]
    assert templates[0] == templates[2] != templates[1]
    assert templates[3] == templates[4] == CASES["deployment-minimal"]["spec"]["template"]
    merged = {"template": {"metadata": {"annotations": {"a": "b"}}}, "serviceAccount": one}
    annotations = deployment(worker(**merged), "worker:1")["spec"]["template"]["metadata"]["annotations"]
    assert annotations == templates[0]["metadata"]["annotations"] | {"a": "b"}


def test_a_suspended_worker_keeps_its_pod_template() -> None:
    running, suspended = (deployment(worker(suspend=flag), "worker:1") for flag in (False, True))
    assert suspended["spec"]["replicas"] == 0
    assert suspended["spec"]["template"] == running["spec"]["template"]


def test_how_pods_are_replaced_is_no_change_of_the_pods() -> None:
    steps = {"maxSurge": 0, "maxUnavailable": "50%", "minReadySeconds": 30, "progressDeadlineSeconds": 900}
    usual, other = (deployment(worker(**spec), "worker:1")["spec"] for spec in ({}, steps))
    assert other["template"] == usual["template"]
    assert other["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": "50%"}
    assert (other["minReadySeconds"], other["progressDeadlineSeconds"]) == (30, 900)


def test_the_last_log_lines_of_added_containers_are_their_termination_messages_unless_they_set_a_policy() -> None:
    own = {"name": "own", "image": "i", "terminationMessagePolicy": "File"}
    added = {"initContainers": [{"name": "migrate", "image": "i"}], "containers": [own, {"name": "p", "image": "i"}]}
    pod = pod_template(worker(template={"spec": added}), "worker:1")["spec"]
    policies = {item["name"]: item["terminationMessagePolicy"] for item in [*pod["initContainers"], *pod["containers"]]}
    words = "FallbackToLogsOnError"
    assert policies == {"migrate": words, "worker": words, "own": "File", "p": words}


def test_replicas_do_not_touch_the_pod_template() -> None:
    one, two = (deployment(worker(replicas=number), "worker:1") for number in (1, 2))
    assert one["spec"]["template"] == two["spec"]["template"]


@pytest.mark.parametrize(("drain", "grace"), [("25s", 35), ("1500ms", 12), ("10m", 610), ("24h", 86410)])
def test_a_pod_may_live_ten_seconds_longer_than_its_drain(drain: str, grace: int) -> None:
    made = deployment(worker(drainTimeout=drain), "worker:1")
    assert made["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == grace


@pytest.mark.parametrize("spec", [HPA, KEDA, KEDA_KAFKA], ids=["hpa", "keda", "kafka"])
def test_replicas_are_left_to_an_autoscaler(spec: Manifest) -> None:
    assert "replicas" not in deployment(worker(replicas=3, **spec), "worker:1")["spec"]


@pytest.mark.parametrize("spec", [HPA, KEDA, KEDA_KAFKA], ids=["hpa", "keda", "kafka"])
def test_suspend_wins_over_an_autoscaler(spec: Manifest) -> None:
    suspended = worker(suspend=True, **spec)
    assert autoscaler(suspended) == []
    assert deployment(suspended, "worker:1")["spec"]["replicas"] == 0


def test_without_secrets_keda_needs_no_authentication() -> None:
    plain = {"transport": "kafka", "kafka": {"bootstrapServers": "kafka:9092"}, "parallelism": 8}
    (only,) = autoscaler(worker(**plain, autoscaling={"maxReplicas": 6, "provider": "keda"}))
    (trigger,) = only["spec"]["triggers"]
    assert only["kind"] == "ScaledObject"
    assert "authenticationRef" not in trigger
    assert trigger["metadata"]["lagThreshold"] == "8", "a pod for each parallelism records"


def test_a_query_and_a_target_of_the_users_own_are_kedas() -> None:
    own = KEDA["autoscaling"] | {"backlog": {"query": "SELECT 1", "target": 100}}
    trigger = autoscaler(worker(**KEDA | {"autoscaling": own}))[-1]["spec"]["triggers"][1]
    assert trigger["metadata"] == {"query": "SELECT 1", "targetQueryValue": "100"}


def test_a_database_is_no_change_of_the_pods() -> None:
    assert deployment(worker(engine=KEDA["engine"]), "worker:1") == deployment(worker(), "worker:1")


def test_a_job_type_stays_a_value_in_sql() -> None:
    trigger = autoscaler(worker(**KEDA | {"jobTypes": ["it's", "'); DROP TABLE job; --"]}))[-1]["spec"]["triggers"][1]
    assert trigger["metadata"]["query"].endswith("job.job_type IN ('it''s', '''); DROP TABLE job; --')")


def test_waiting_is_scaled_on_beside_the_lag_of_topics() -> None:
    scaling = KEDA_KAFKA["autoscaling"] | {"targetWait": "500ms", "prometheus": {"address": "http://prometheus:9090"}}
    made = autoscaler(worker(**KEDA_KAFKA | {"autoscaling": scaling}))[-1]
    *topics, wait = made["spec"]["triggers"]
    assert [trigger["type"] for trigger in topics] == ["kafka", "kafka"]
    assert (wait["type"], wait["metricType"], wait["metadata"]["threshold"]) == ("prometheus", "Value", "0.5")
    assert wait["metadata"]["query"].startswith("avg(rochallor_worker_recent_wait_seconds{")


@pytest.mark.parametrize(
    ("given", "modes", "parameters"),
    [
        ({}, None, []),
        ({"tokenSecret": {"name": "s", "key": "k"}}, "bearer", ["bearerToken"]),
        ({"credentialsSecret": "s"}, "basic", ["username", "password"]),
        ({"tls": {"clientCertSecret": "s"}}, "tls", ["cert", "key"]),
        ({"credentialsSecret": "s", "tls": {"caSecret": "c"}}, "basic", ["username", "password", "ca"]),
    ],
)
def test_keda_is_told_which_credentials_prometheus_wants(
    given: Manifest, modes: str | None, parameters: list[str]
) -> None:
    prometheus = {"address": "https://prometheus"} | given
    scaling = {"maxReplicas": 2, "provider": "keda", "targetWait": "1s", "prometheus": prometheus}
    *authentication, made = autoscaler(worker(autoscaling=scaling))
    targets = authentication[0]["spec"]["secretTargetRef"] if authentication else []
    assert [target["parameter"] for target in targets] == parameters
    for trigger in made["spec"]["triggers"]:
        assert trigger["metadata"].get("authModes") == modes
        assert trigger.get("authenticationRef") == ({"name": "payments"} if modes else None)


def test_credentials_of_prometheus_are_not_sent_to_kafka() -> None:
    plain = {"transport": "kafka", "kafka": {"bootstrapServers": "kafka:9092"}}
    prometheus = {"address": "http://prometheus", "credentialsSecret": "s"}
    scaling = {"maxReplicas": 6, "provider": "keda", "targetWait": "1s", "prometheus": prometheus}
    topic, wait = autoscaler(worker(**plain, autoscaling=scaling))[1]["spec"]["triggers"]
    assert "authenticationRef" not in topic
    assert wait["authenticationRef"] == {"name": "payments"}


@pytest.mark.parametrize(("types", "falls_back"), [(["cron", "cpu"], True), (["cpu", "memory"], False)])
def test_triggers_alone_are_enough_and_keda_takes_no_fallback_for_cpu_and_memory(
    types: list[str], falls_back: bool
) -> None:
    triggers = [{"type": name, "metadata": {"value": "1"}} for name in types]
    (made,) = autoscaler(worker(autoscaling={"maxReplicas": 2, "provider": "keda", "triggers": triggers}))
    assert made["spec"]["triggers"] == triggers
    assert ("fallback" in made["spec"]) is falls_back


def test_a_target_of_the_users_own_is_also_that_of_a_horizontal_pod_autoscaler() -> None:
    scaling = HPA_WAIT["autoscaling"] | {"backlog": {"target": 100}}
    metrics = autoscaler(worker(**HPA_WAIT | {"autoscaling": scaling}))[0]["spec"]["metrics"]
    assert metrics[-1]["external"]["target"]["averageValue"] == "100"


def test_telemetry_is_off_by_default() -> None:
    variables = [
        item["name"] for item in CASES["deployment-minimal"]["spec"]["template"]["spec"]["containers"][0]["env"]
    ]
    assert not [name for name in variables if name.startswith("OTEL_")]


def test_keda_gets_tokens_as_the_workers_do() -> None:
    authentication, only = autoscaler(worker(**BEARER, autoscaling={"maxReplicas": 6, "provider": "keda"}))
    assert authentication["spec"] == {
        "secretTargetRef": [
            {"parameter": "username", "name": "kafka-client", "key": "clientId"},
            {"parameter": "password", "name": "kafka-client", "key": "clientSecret"},
        ],
        "env": [
            {"parameter": parameter, "name": f"ROCHALLOR_KAFKA_OAUTH_{name}", "containerName": "worker"}
            for parameter, name in (
                ("oauthTokenEndpointUri", "TOKEN_URL"),
                ("scopes", "SCOPE"),
                ("oauthExtensions", "EXTENSIONS"),
            )
        ],
    }
    (trigger,) = only["spec"]["triggers"]
    assert (trigger["metadata"]["sasl"], trigger["metadata"]["tls"]) == ("oauthbearer", "enable")
    (container,) = deployment(worker(**BEARER), "worker:1")["spec"]["template"]["spec"]["containers"]
    written = {variable["name"] for variable in container["env"]}
    assert container["name"] == "worker"
    assert {variable["name"] for variable in authentication["spec"]["env"]} <= written


def pod_name(worker: str, template_hash: str) -> str:
    """As Kubernetes makes it: the part before the last five characters is truncated at 58."""
    return f"{worker}-{template_hash}-"[:58] + "x7k2p"


@pytest.mark.parametrize("length", [3, 45, 46, 47, 48, 49, 54, 55])
@pytest.mark.parametrize("template_hash", ["5d4f8c7b9d", "85c6d7f9"])
def test_kedas_query_finds_the_pods_of_this_worker_alone(length: int, template_hash: str) -> None:
    def query(name: str) -> re.Pattern[str]:
        trigger = autoscaler(worker(**KEDA).model_copy(update={"name": name}))[-1]["spec"]["triggers"][0]
        return re.compile(trigger["metadata"]["query"].partition('pod=~"')[2].partition('"')[0])

    name = "pay".ljust(length, "x")
    assert query(name).fullmatch(pod_name(name, template_hash))
    for end in range(1, length - 1):
        other = f"{name[:end]}-{name[end + 1 :]}"
        assert not query(name[:end]).fullmatch(pod_name(other, template_hash))


@pytest.mark.parametrize("least", [0, 1])
@pytest.mark.parametrize("stopped", [False, True])
def test_no_series_is_an_error_unless_there_is_no_pod(least: int, stopped: bool) -> None:
    """Pods that are no longer scraped may be busy, also where there may be none (keda#8036)."""
    scaling = KEDA["autoscaling"] | {"minReplicas": least, "targetWait": "5s"}
    triggers = autoscaler(worker(**KEDA | {"autoscaling": scaling}), stopped=stopped)[1]["spec"]["triggers"]
    ours = [trigger["metadata"] for trigger in triggers if trigger["type"] == "prometheus"]
    assert len(ours) == 2
    for metadata in ours:
        assert metadata["ignoreNullValues"] == "false"
        assert ("or vector(0)" in metadata["query"]) is stopped


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"replicas": 1}, 0),
        ({"replicas": 2}, 1),
        ({"replicas": 5, "autoscaling": {"maxReplicas": 1}}, 0),
        ({"replicas": 1, "autoscaling": {"maxReplicas": 2}}, 1),
    ],
)
def test_a_disruption_budget_needs_room_for_two_pods(spec: Manifest, expected: int) -> None:
    assert len(disruption_budget(worker(disruptionBudget={"maxUnavailable": 1}, **spec))) == expected
    assert disruption_budget(worker(**spec)) == []


def container(**change: object) -> Manifest:
    return {"spec": {"containers": [{"name": "worker", **change}]}}


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ({"spec": {"containers": None}}, "the container 'worker' must not be removed"),
        ({"spec": None}, "the container 'worker' must not be removed"),
        ({"spec": {"containers": [{"image": "x"}]}}, "each item of containers needs its name"),
        ({"spec": {"containers": ["worker"]}}, "each item of containers needs its name"),
        (
            {"metadata": None},
            "the label app.kubernetes.io/name must stay 'rochallor-worker': it belongs to the operator",
        ),
        (
            {"metadata": {"labels": {"rochallor.io/worker": "refunds"}}},
            "the label rochallor.io/worker must stay",
        ),
        ({"metadata": {"labels": {"app.kubernetes.io/managed-by": "x"}}}, "the label app.kubernetes.io/managed-by"),
        (container(env=[{"name": "ROCHALLOR_PARALLELISM", "value": "1"}]), "the ROCHALLOR_ variables that mirror"),
        (container(env=[{"name": "ROCHALLOR_ENGINE_HEADERS", "value": "A: b"}]), "the ROCHALLOR_ variables that"),
        (container(env=None), "the ROCHALLOR_ variables that mirror a field of the spec must not be changed"),
    ],
)
def test_a_template_that_removes_what_the_rest_needs_is_refused(template: Manifest, sentence: str) -> None:
    with pytest.raises(InvalidSpecError) as caught:
        pod_template(worker(template=template), "worker:1")
    assert str(caught.value).startswith(f"spec.template: {sentence}")


@pytest.mark.parametrize(
    ("pod", "shared"),
    [
        ({}, True),
        ({"initContainers": [{"name": "migrate", "image": "m"}]}, True),
        ({"containers": [{"name": "proxy", "image": "p"}]}, None),
        ({"initContainers": [{"name": "proxy", "image": "p", "restartPolicy": "Always"}]}, None),
        ({"containers": [{"name": "proxy", "image": "p"}], "shareProcessNamespace": True}, True),
        ({"shareProcessNamespace": False}, False),
    ],
)
def test_processes_are_not_shared_with_other_containers_unless_asked_for(pod: Manifest, shared: bool | None) -> None:
    made = pod_template(worker(template={"spec": pod}), "worker:1")
    assert made["spec"].get("shareProcessNamespace") is shared


FROM_CONFIG_MAP: Manifest = {"handlers": {"configMap": {"name": "code", "module": "handlers:registry"}}}


@pytest.mark.parametrize(
    "wish",
    [
        {"env": [{"name": "PYTHONPATH", "value": "/app/lib"}]},
        {"env": [{"name": "PYTHONPATH", "valueFrom": {"configMapKeyRef": {"name": "a", "key": "b"}}}]},
        {"template": container(env=[{"name": "PYTHONPATH", "value": "/handlers-of-mine"}])},
    ],
)
def test_a_python_path_that_hides_the_handlers_is_refused(wish: Manifest) -> None:
    with pytest.raises(InvalidSpecError, match="PYTHONPATH hides"):
        pod_template(worker(**FROM_CONFIG_MAP, **wish), "worker:1")
    pod_template(worker(**wish), "worker:1")


def test_the_step_to_zero_waits_as_long_as_the_other_steps_down() -> None:
    quick = {"scaleDown": {"stabilizationWindowSeconds": 10}}
    scaled = autoscaler(worker(**KEDA | {"autoscaling": KEDA["autoscaling"] | {"behavior": quick}}))[1]
    assert scaled["spec"]["cooldownPeriod"] == 10


if __name__ == "__main__":
    for case, manifest in CASES.items():
        (GOLDEN / f"{case}.yaml").write_text(_text(manifest))

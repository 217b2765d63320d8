"""Wrong resources are refused by the API server with a sentence that says what to write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import pages
from integration.operator.api import Api, Object, RefusedError
from integration.operator.samples import resource

BROKERS: Object = {"bootstrapServers": "kafka:9092"}
KAFKA: Object = {"transport": "kafka", "kafka": BROKERS}
PROMETHEUS: Object = {"address": "http://prometheus:9090"}
DATABASE: Object = {"databaseSecret": {"name": "db", "key": "dsn"}}
CRON: Object = {"type": "cron", "metadata": {"timezone": "UTC", "start": "0 8 * * *", "end": "0 9 * * *"}}


BEARER: Object = {
    "securityProtocol": "SASL_SSL",
    "saslMechanism": "OAUTHBEARER",
    "credentialsSecret": "client",
    "oauth": {
        "tokenUrl": "https://login.example.com/token",
        "scope": "jobs",
        "extensions": {"logicalCluster": "lkc-1"},
    },
}
CLIENT: Object = {"tokenUrl": "https://login.example.com/oauth/token", "credentialsSecret": "client"}


def engine(**fields: Any) -> Object:
    return {"engine": {"url": "http://engine:8080", **fields}}


def kafka(**fields: Any) -> Object:
    return {
        "transport": "kafka",
        "kafka": {key: value for key, value in (BROKERS | fields).items() if value is not None},
    }


def connected(**fields: Any) -> Object:
    """A worker that leaves to a connection what it doesn't write."""
    return {"engine": None, "engineRef": {"name": "main"}, **fields}


STEP: Object = {"share": "10%", "pause": "5m"}


def tried(**rollout: Any) -> Object:
    """The field that asks for canary rollouts."""
    return {"rollout": {"strategy": "Canary"} | rollout}


def scaling(**fields: Any) -> Object:
    return {"autoscaling": {"maxReplicas": 5, **fields}}


def limit(**fields: Any) -> Object:
    """A limit of a job type that the resource has."""
    return {"limits": [{"jobType": "charge-card", **fields}]}


BAD: dict[str, tuple[Object, str]] = {
    "no engine": ({"engine": None}, "write engine or engineRef"),
    "engine without url": ({"engine": {}}, "write engine.url, such as http://engine:8080"),
    "kafka without url": ({"engine": {}, **KAFKA}, "write engine.url, such as http://engine:8080"),
    "grpc without target": ({"transport": "grpc"}, "write engine.grpcTarget, such as engine:9090"),
    "outcomes over grpc without target": (
        {**KAFKA, "outcomeTransport": "grpc"},
        "write engine.grpcTarget, such as engine:9090",
    ),
    "target without port": (
        {"transport": "grpc", "engine": {"grpcTarget": "engine"}},
        "write host:port, such as engine:9090",
    ),
    "target as a URL": (
        {"transport": "grpc", "engine": {"grpcTarget": "http://engine:9090/"}},
        "write host:port, such as engine:9090",
    ),
    "target of no port": (
        {"transport": "grpc", "engine": {"grpcTarget": "https://engine:65536"}},
        "write host:port, such as engine:9090",
    ),
    "token without key": (engine(tokenSecret={"name": "t"}), "spec.engine.tokenSecret.key: Required value"),
    "two CAs": (
        engine(url="https://e", tls={"caSecret": "ca", "caFile": "/ca.pem"}),
        "remove caSecret or caFile; there is one CA",
    ),
    "two certificates": (
        engine(url="https://e", tls={"clientCertSecret": "c", "certFile": "/c.pem", "keyFile": "/k.pem"}),
        "remove clientCertSecret or certFile; there is one client certificate",
    ),
    "a certificate without key": (
        engine(url="https://e", tls={"certFile": "/c.pem"}),
        "write certFile and keyFile together",
    ),
    "a file of no folder": (engine(url="https://e", tls={"caFile": "ca.pem"}), "write an absolute path, such as /run"),
    "two tokens": (
        engine(tokenSecret={"name": "t", "key": "k"}, oauth=CLIENT),
        "remove tokenSecret or oauth; a request carries one token",
    ),
    "a client without a secret": (
        engine(oauth={"tokenUrl": "https://login"}),
        "spec.engine.oauth.credentialsSecret: Required value",
    ),
    "a client with a secret in its address": (
        engine(oauth=CLIENT | {"tokenUrl": "https://shop:x@login"}),
        "without spaces, a user, '?' or '#'; secrets go into credentialsSecret",
    ),
    "scopes in two lines": (engine(oauth=CLIENT | {"scope": "a\nb"}), "write scopes separated by one space each"),
    "a CA without name": (engine(tls={"caSecret": ""}), "spec.engine.tls.caSecret in body should be at least 1 chars"),
    "certificates for an engine without TLS": (
        engine(tls={"caSecret": "ca"}),
        "write url with https://, or remove tls",
    ),
    "a client certificate for an engine without TLS": (
        engine(tls={"clientCertSecret": "c"}, oauth=CLIENT),
        "write url with https://, or remove tls",
    ),
    "a CA for nothing in TLS": (
        engine(tls={"caSecret": "ca"}, oauth=CLIENT | {"tokenUrl": "http://login"}),
        "write url with https://, or remove tls; without TLS, only a token server needs a CA",
    ),
    "a header with a colon": (
        engine(headers=[{"name": "A:", "value": "b"}]),
        "a header's name has letters, digits, '-', '_' and '.'",
    ),
    "a header of two lines": (engine(headers=[{"name": "A", "value": "b\nC: d"}]), "a header's value is one line"),
    "a header twice": (
        engine(headers=[{"name": "A", "value": "b"}, {"name": "A", "value": "c"}]),
        'spec.engine.headers[1]: Duplicate value: {"name":"A"}',
    ),
    "outcomes without kafka": ({"outcomeTransport": "rest"}, "remove outcomeTransport; it belongs to transport kafka"),
    "unknown outcomes": ({**KAFKA, "outcomeTransport": "kafka"}, 'supported values: "rest", "grpc"'),
    "transport without kafka": ({"transport": "kafka"}, "write kafka (at least kafka.bootstrapServers) with transport"),
    "kafka without transport": ({"kafka": BROKERS}, "with transport kafka, and only then"),
    "kafka without brokers": (kafka(bootstrapServers=None), "write kafka.bootstrapServers, such as kafka-0:9092"),
    "broker without port": (kafka(bootstrapServers="kafka"), "write host:port, several separated by commas"),
    "broker of no port": (kafka(bootstrapServers="a:65535,b:65536"), "write host:port, several separated by commas"),
    "brokers with a space": (kafka(bootstrapServers="a:1, b:2"), "write host:port, several separated by commas"),
    "unknown security": (kafka(securityProtocol="TLS"), 'supported values: "PLAINTEXT", "SSL"'),
    "unknown mechanism": (kafka(saslMechanism="GSSAPI"), 'supported values: "PLAIN", "SCRAM-SHA-256"'),
    "SASL without user": (
        kafka(securityProtocol="SASL_SSL", saslMechanism="PLAIN"),
        "write saslMechanism and credentialsSecret with securityProtocol SASL_PLAINTEXT and SASL_SSL, and only then",
    ),
    "SASL without mechanism": (
        kafka(securityProtocol="SASL_PLAINTEXT", credentialsSecret="user"),
        "write saslMechanism and credentialsSecret with securityProtocol",
    ),
    "a user without SASL": (
        kafka(securityProtocol="SSL", saslMechanism="PLAIN", credentialsSecret="user"),
        "write saslMechanism and credentialsSecret with securityProtocol",
    ),
    "a mechanism without SASL": (kafka(saslMechanism="PLAIN"), "write saslMechanism and credentialsSecret"),
    "OAUTHBEARER without a token server": (
        kafka(securityProtocol="SASL_SSL", saslMechanism="OAUTHBEARER", credentialsSecret="client"),
        "write oauth with saslMechanism OAUTHBEARER, and only then",
    ),
    "a token server for passwords": (
        kafka(
            securityProtocol="SASL_SSL",
            saslMechanism="PLAIN",
            credentialsSecret="user",
            oauth={"tokenUrl": "https://login"},
        ),
        "write oauth with saslMechanism OAUTHBEARER, and only then",
    ),
    "an extension with a comma": (
        kafka(**BEARER | {"oauth": {"tokenUrl": "https://login", "extensions": {"a": "b,c"}}}),
        "a name has letters only, and a value printable ASCII characters without a comma",
    ),
    "a property of the worker": (kafka(properties={"group.id": "mine"}), "remove the property that the worker sets"),
    "a secret property": (kafka(properties={"ssl.key.password": "x"}), "don't belong into properties"),
    "a property of another kind": (kafka(properties={"logger": "x"}), "a name has lower-case letters, digits and dots"),
    "topics without partitions": (
        kafka(createTopics={"partitions": 0, "replicationFactor": 1}),
        "spec.kafka.createTopics.partitions in body should be greater than or equal to 1",
    ),
    "certificates without TLS": (
        kafka(tls={"caSecret": "ca"}),
        "write kafka.securityProtocol SSL or SASL_SSL, or remove kafka.tls",
    ),
    "certificates with a protocol without TLS": (
        kafka(securityProtocol="PLAINTEXT", tls={"caSecret": "ca"}),
        "write securityProtocol SSL or SASL_SSL, or remove tls",
    ),
    "kafka of a connection without transport": (connected(kafka={}), "with transport kafka, and only then"),
    "a connection without a name": ({"engineRef": {}}, "spec.engineRef.name: Required value"),
    "a connection of no name": ({"engineRef": {"name": "The engine"}}, "an object's name has 1 to 253 characters"),
    "a connection of another kind": (
        {"engineRef": {"name": "main", "kind": "Secret"}},
        'supported values: "EngineConnection", "ClusterEngineConnection"',
    ),
    "dedup window": (kafka(dedupWindow="1d"), "write a whole number and ms, s, m or h, at most 24h, such as 10m"),
    "long dedup window": (kafka(dedupWindow="1441m"), "write a whole number and ms, s, m or h, at most 24h"),
    "dead letter as text": (kafka(deadLetter="yes"), 'spec.kafka.deadLetter in body must be of type boolean: "string"'),
    "url without scheme": (
        {"engine": {"url": "engine:8080"}},
        "write an http:// or https:// address, such as http://engine:8080",
    ),
    "url of another scheme": ({"engine": {"url": "ftp://engine"}}, "write an http:// or https:// address"),
    "url without host": ({"engine": {"url": "http://"}}, "write an http:// or https:// address"),
    "url with a port only": ({"engine": {"url": "http://:8080"}}, "write an http:// or https:// address"),
    "url with a user": ({"engine": {"url": "https://shop:x@engine"}}, "without spaces, a user, '?' or '#'"),
    "url with a key": ({"engine": {"url": "https://engine/?key=x"}}, "without spaces, a user, '?' or '#'"),
    "a user in the target": (
        {"transport": "grpc", "engine": {"grpcTarget": "shop:x@engine:9090"}},
        "write host:port, such as engine:9090",
    ),
    "a user in the brokers": (kafka(bootstrapServers="shop:x@kafka:1"), "write host:port, several separated by commas"),
    "unknown transport": (
        {"transport": "pigeon"},
        'Unsupported value: "pigeon": supported values: "rest", "grpc", "kafka"',
    ),
    "no job types": ({"jobTypes": None}, "spec.jobTypes: Required value"),
    "empty job types": ({"jobTypes": []}, "spec.jobTypes in body should have at least 1 items"),
    "too many job types": ({"jobTypes": [f"t{n}" for n in range(65)]}, "must have at most 64 items"),
    "a job type twice": ({"jobTypes": ["a", "b", "a"]}, 'spec.jobTypes[2]: Duplicate value: "a"'),
    "a job type with a space": (
        {"jobTypes": ["charge card"]},
        "a job type has 1 to 200 letters, digits, '.', '_' or '-'",
    ),
    "an empty job type": ({"jobTypes": [""]}, "a job type has 1 to 200 letters"),
    "a long job type": ({"jobTypes": ["x" * 201]}, "a job type has 1 to 200 letters"),
    "no parallelism": ({"parallelism": 0}, "spec.parallelism in body should be greater than or equal to 1"),
    "too much parallelism": ({"parallelism": 1001}, "spec.parallelism in body should be less than or equal to 1000"),
    "parallelism as text": ({"parallelism": "64"}, 'spec.parallelism in body must be of type integer: "string"'),
    "a limit of another type": (
        {"limits": [{"jobType": "refund", "parallelism": 1}]},
        "spec: Invalid value: write only types of jobTypes in limits",
    ),
    "a limit of no type": ({"limits": [{"parallelism": 1}]}, "spec.limits[0].jobType: Required value"),
    "a limit twice": (
        {"limits": [{"jobType": "charge-card", "parallelism": 1}, {"jobType": "charge-card", "perSecond": 1}]},
        'spec.limits[1]: Duplicate value: {"jobType":"charge-card"}',
    ),
    "a limit of nothing": (limit(), "write parallelism, perSecond or breaker: false; without them the item says"),
    "a limit of nothing new": (limit(breaker=True), "write parallelism, perSecond or breaker: false"),
    "a limit of no job": (limit(parallelism=0), "parallelism in body should be greater than or equal to 1"),
    "a limit of too many jobs": (limit(parallelism=1001), "parallelism in body should be less than or equal to 1000"),
    "a limit of half a job": (limit(parallelism=0.5), 'spec.limits[0].parallelism: Invalid value: "float64"'),
    "no rate": (limit(perSecond=0), "write a number above 0, such as 20 or 0.5"),
    "a negative rate": (limit(perSecond=-0.5), "perSecond in body should be greater than or equal to 0"),
    "a rate without bound": (limit(perSecond=100000.5), "perSecond in body should be less than or equal to 100000"),
    "a rate as text": (limit(perSecond="5"), 'perSecond in body must be of type number: "string"'),
    "a scope without a rate": (
        limit(parallelism=1, scope="resource"),
        "write perSecond with scope, or remove scope; it is the scope of perSecond",
    ),
    "an unknown scope": (limit(perSecond=1, scope="cluster"), 'supported values: "pod", "resource"'),
    "a breaker as text": (limit(breaker="off"), 'breaker in body must be of type boolean: "string"'),
    "too many limits": (
        {
            "jobTypes": [f"t{n}" for n in range(64)],
            "limits": [{"jobType": f"t{n}", "parallelism": 1} for n in range(65)],
        },
        "spec.limits: Too many: 65: must have at most 64 items",
    ),
    "interval as a number": ({"pollInterval": 500}, 'spec.pollInterval in body must be of type string: "integer"'),
    "interval without unit": ({"pollInterval": "500"}, "write a whole number and ms, s, m or h, from 10ms to 5m"),
    "short interval": ({"pollInterval": "9ms"}, "from 10ms to 5m, such as 500ms"),
    "long interval": ({"pollInterval": "301s"}, "from 10ms to 5m, such as 500ms"),
    "huge interval": ({"pollInterval": "999999999999999"}, "from 10ms to 5m, such as 500ms"),
    "short lease": ({"lease": "4s"}, "write a whole number and ms, s, m or h, from 5s to 1h, such as 30s"),
    "long lease": ({"lease": "61m"}, "from 5s to 1h, such as 30s"),
    "lease without unit": ({"lease": "30"}, "from 5s to 1h, such as 30s"),
    "no timeout": ({"handlerTimeout": "0s"}, "write a whole number and ms, s, m or h, from 10ms to 24h, such as 20s"),
    "timeout of more than a day": ({"handlerTimeout": "25h"}, "from 10ms to 24h, such as 20s"),
    "timeout beyond a day": ({**KAFKA, "handlerTimeout": "1441m"}, "from 10ms to 24h, such as 20s"),
    "timeout without unit": ({**KAFKA, "handlerTimeout": "20"}, "from 10ms to 24h, such as 20s"),
    "no drain": ({"drainTimeout": "500ms"}, "from 1s to 24h, such as 25s"),
    "long drain": ({"drainTimeout": "1441m"}, "from 1s to 24h, such as 25s"),
    "short shield": ({"disruptionShield": "59s"}, "from 1m to 24h, such as 2h"),
    "long shield": ({"disruptionShield": "25h"}, "from 1m to 24h, such as 2h"),
    "no handlers": ({"handlers": None}, "spec.handlers: Required value"),
    "handlers nowhere": ({"handlers": {}}, "write exactly one of module (code in the image) and configMap"),
    "handlers twice": (
        {"handlers": {"module": "a:b", "configMap": {"name": "c", "module": "a:b"}}},
        "write exactly one of module (code in the image) and configMap",
    ),
    "module without registry": ({"handlers": {"module": "shop.handlers"}}, "write package.module:registry, such as"),
    "module as a file": ({"handlers": {"module": "shop/handlers.py:registry"}}, "write package.module:registry"),
    "ConfigMap without name": (
        {"handlers": {"configMap": {"module": "a:b"}}},
        "spec.handlers.configMap.name: Required",
    ),
    "ConfigMap without module": (
        {"handlers": {"configMap": {"name": "c"}}},
        "spec.handlers.configMap.module: Required",
    ),
    "ConfigMap with a package": (
        {"handlers": {"configMap": {"name": "c", "module": "a.b:registry"}}},
        "write file:registry without the .py",
    ),
    "ConfigMap of a bad name": (
        {"handlers": {"configMap": {"name": "My Code", "module": "a:b"}}},
        "a ConfigMap's name has 1 to 253 characters of a-z, 0-9, '-' and '.'",
    ),
    "image with a space": ({"image": "worker: 1"}, "write an image reference without spaces"),
    "empty image": ({"image": ""}, "write an image reference without spaces"),
    "unknown pull policy": ({"imagePullPolicy": "Sometimes"}, 'supported values: "Always", "IfNotPresent", "Never"'),
    "pull secret without name": ({"imagePullSecrets": [{}]}, "spec.imagePullSecrets[0].name: Required value"),
    "negative replicas": ({"replicas": -1}, "spec.replicas in body should be greater than or equal to 0"),
    "autoscaling without bound": ({"autoscaling": {}}, "spec.autoscaling.maxReplicas: Required value"),
    "autoscaling to nothing": (scaling(maxReplicas=0), "spec.autoscaling.maxReplicas in body should be greater than"),
    "bounds the wrong way round": (
        scaling(minReplicas=3, maxReplicas=2),
        "write a maxReplicas that is at least minReplicas",
    ),
    "no utilization": (scaling(targetUtilization=0), "spec.autoscaling.targetUtilization in body should be greater"),
    "too much utilization": (scaling(targetUtilization=101), "targetUtilization in body should be less than or equal"),
    "unknown provider": (scaling(provider="vpa"), 'supported values: "hpa", "keda"'),
    "hpa from zero": (
        scaling(minReplicas=0),
        "write autoscaling.minReplicas 1 or more, or autoscaling.backlog; pods start from zero only on the backlog",
    ),
    "keda from zero without backlog": (
        scaling(minReplicas=0, provider="keda", prometheus=PROMETHEUS),
        "write autoscaling.minReplicas 1 or more",
    ),
    "keda without prometheus": (
        scaling(provider="keda"),
        "write autoscaling.prometheus.address, such as http://prometheus.monitoring:9090",
    ),
    "prometheus for hpa": (scaling(prometheus=PROMETHEUS), "remove autoscaling.prometheus; it needs provider keda"),
    "prometheus for kafka": (
        KAFKA | scaling(provider="keda", prometheus=PROMETHEUS),
        "remove autoscaling.prometheus; it needs provider keda, and with transport kafka also targetWait",
    ),
    "backlog for kafka with keda": (
        KAFKA | engine(**DATABASE) | scaling(provider="keda", backlog={}),
        "remove autoscaling.backlog; with transport kafka, provider keda scales on the lag of the topics",
    ),
    "credentials for prometheus and kafka": (
        kafka(securityProtocol="SSL", tls={"caSecret": "ca"})
        | scaling(provider="keda", targetWait="1s", prometheus=PROMETHEUS | {"tokenSecret": {"name": "a", "key": "b"}}),
        "remove tokenSecret, credentialsSecret and tls from autoscaling.prometheus; KEDA would use them for Kafka too",
    ),
    "prometheus with TLS over http": (
        scaling(provider="keda", prometheus=PROMETHEUS | {"tls": {"clientCertSecret": "cert"}}),
        "write address with https://, or remove tls",
    ),
    "prometheus with a CA alone": (
        scaling(provider="keda", prometheus={"address": "https://prometheus", "tls": {"caSecret": "ca"}}),
        "write tokenSecret, credentialsSecret or tls.clientCertSecret beside tls.caSecret; without credentials KEDA",
    ),
    "prometheus with a token and a user": (
        scaling(
            provider="keda",
            prometheus=PROMETHEUS | {"tokenSecret": {"name": "a", "key": "b"}, "credentialsSecret": "user"},
        ),
        "write either tokenSecret or credentialsSecret",
    ),
    "prometheus with a header that KEDA would split": (
        scaling(provider="keda", prometheus=PROMETHEUS | {"headers": [{"name": "A", "value": "b,c=d"}]}),
        "a header's value for KEDA is one line of printable ASCII characters without ',' and '='",
    ),
    "wait without prometheus": (
        KAFKA | scaling(provider="keda", targetWait="5s"),
        "write autoscaling.prometheus.address, such as http://prometheus.monitoring:9090; provider keda reads there",
    ),
    "no wait": (scaling(targetWait="0s"), "write a whole number and ms, s, m or h, from 100ms to 24h, such as 5s"),
    "a short wait": (scaling(targetWait="99ms"), "write a whole number and ms, s, m or h, from 100ms to 24h"),
    "a long wait": (scaling(targetWait="1441m"), "write a whole number and ms, s, m or h, from 100ms to 24h"),
    "triggers for hpa": (
        scaling(triggers=[CRON]),
        "remove triggers, or write provider keda; they are triggers of KEDA",
    ),
    "triggers of hpa from zero": (scaling(minReplicas=0, triggers=[CRON]), "write autoscaling.minReplicas 1 or more"),
    "a trigger of no scaler": (
        scaling(provider="keda", triggers=[{"type": "Cron!", "metadata": {}}]),
        "write the name of one of KEDA's scalers, such as cron",
    ),
    "a trigger without settings": (
        scaling(provider="keda", triggers=[{"type": "cron"}]),
        "spec.autoscaling.triggers[0].metadata: Required value",
    ),
    "a trigger with a number": (
        scaling(provider="keda", triggers=[{"type": "cron", "metadata": {"desiredReplicas": 3}}]),
        "spec.autoscaling.triggers[0].metadata.desiredReplicas in body must be of type string",
    ),
    "a trigger with the credentials of a path": (
        scaling(provider="keda", triggers=[CRON | {"authenticationRef": {"name": "../a"}}]),
        "an object's name has 1 to 253 characters of a-z, 0-9, '-' and '.'",
    ),
    "a trigger with credentials of another kind": (
        scaling(provider="keda", triggers=[CRON | {"authenticationRef": {"name": "a", "kind": "Secret"}}]),
        'supported values: "TriggerAuthentication", "ClusterTriggerAuthentication"',
    ),
    "too many triggers": (scaling(provider="keda", triggers=[CRON] * 17), "must have at most 16 items"),
    "a negative tolerance": (
        scaling(behavior={"scaleUp": {"tolerance": -0.1}}),
        "tolerance in body should be greater than or equal to 0",
    ),
    "a tolerance of more than all": (
        scaling(behavior={"scaleDown": {"tolerance": 1.5}}),
        "tolerance in body should be less than or equal to 1",
    ),
    "telemetry to nowhere": ({"telemetry": {"sampleRatio": 1}}, "spec.telemetry.endpoint: Required value"),
    "telemetry over gRPC": (
        {"telemetry": {"endpoint": "collector:4317"}},
        "write an http:// or https:// address, such as http://collector.monitoring:4318",
    ),
    "telemetry of more than all": (
        {"telemetry": {"endpoint": "http://collector:4318", "sampleRatio": 1.1}},
        "spec.telemetry.sampleRatio in body should be less than or equal to 1",
    ),
    "prometheus with a user": (
        scaling(provider="keda", prometheus={"address": "https://shop:x@prometheus"}),
        "without spaces, a user, '?' or '#'",
    ),
    "prometheus without scheme": (
        scaling(provider="keda", prometheus={"address": "prometheus:9090"}),
        "write an http:// or https:// address, such as http://prometheus.monitoring:9090",
    ),
    "prometheus of no port": (
        scaling(provider="keda", prometheus={"address": "http://prometheus:65536"}),
        "write an http:// or https:// address, such as http://prometheus.monitoring:9090",
    ),
    "lag without kafka": (
        scaling(provider="keda", prometheus=PROMETHEUS, kafkaLagThreshold=5),
        "remove autoscaling.kafkaLagThreshold; it needs transport kafka and provider keda",
    ),
    "lag for hpa": (KAFKA | scaling(kafkaLagThreshold=5), "remove autoscaling.kafkaLagThreshold"),
    "backlog without database": (
        scaling(provider="keda", prometheus=PROMETHEUS, backlog={}),
        "write engine.databaseSecret, the Secret and key of the connection string of the engine's database",
    ),
    "backlog with an empty query": (
        engine(**DATABASE) | scaling(provider="keda", prometheus=PROMETHEUS, backlog={"query": ""}),
        "spec.autoscaling.backlog.query in body should be at least 1 chars long",
    ),
    "backlog without jobs": (
        engine(**DATABASE) | scaling(provider="keda", prometheus=PROMETHEUS, backlog={"target": 0}),
        "spec.autoscaling.backlog.target in body should be greater than or equal to 1",
    ),
    "database without key": (
        engine(databaseSecret={"name": "db"}),
        "spec.engine.databaseSecret.key: Required value",
    ),
    "a policy without period": (
        scaling(behavior={"scaleUp": {"policies": [{"type": "Pods", "value": 1}]}}),
        "spec.autoscaling.behavior.scaleUp.policies[0].periodSeconds: Required value",
    ),
    "unknown policy": (
        scaling(behavior={"scaleDown": {"policies": [{"type": "Nodes", "value": 1, "periodSeconds": 1}]}}),
        'supported values: "Pods", "Percent"',
    ),
    "a budget without a number": ({"disruptionBudget": {}}, "spec.disruptionBudget.maxUnavailable: Required value"),
    "a negative budget": (
        {"disruptionBudget": {"maxUnavailable": -1}},
        "write a number of pods such as 1, or a percentage such as 25%",
    ),
    "no step": (
        {"maxSurge": 0},
        "write a maxSurge or a maxUnavailable above 0; with neither, no pod could be replaced",
    ),
    "no step in percent": ({"maxSurge": "0%", "maxUnavailable": "00%"}, "write a maxSurge or a maxUnavailable above 0"),
    "a surge as a word": ({"maxSurge": "some"}, "write a number of pods such as 1, or a percentage such as 25%"),
    "steps without a canary": ({"rollout": {"steps": [STEP]}}, "write strategy Canary with steps and gate"),
    "a share of nothing": (tried(steps=[STEP | {"share": "0%"}]), "write a percentage from 1% to 99%, such as 10%"),
    "a share of all": (tried(steps=[STEP | {"share": "100%"}]), "write a percentage from 1% to 99%, such as 10%"),
    "no pause": (tried(steps=[STEP | {"pause": "0s"}]), "write a whole number and ms, s, m or h, such as 5m"),
    "no steps": (tried(steps=[]), "spec.rollout.steps in body should have at least 1 items"),
    "a gate without jobs": (tried(gate={"minJobs": 0}), "spec.rollout.gate.minJobs in body should be greater than"),
    "a ratio above all": (
        tried(gate={"maxFailureRatio": "101%"}),
        "write a percentage of at most 100%, such as 5% or 0.5%",
    ),
    "a ratio without percent": (
        tried(gate={"worseThanStableBy": "0.05"}),
        "write a percentage of at most 100%, such as 5% or 0.5%",
    ),
    "a handler time without a unit": (
        tried(gate={"maxHandlerP95": "2"}),
        "write a whole number and ms, s, m or h, such as 2s",
    ),
    "a negative surge": ({"maxSurge": -1}, "write a number of pods such as 1, or a percentage such as 25%"),
    "more than all unavailable": (
        {"maxUnavailable": "101%"},
        "write a number of pods such as 1, or a percentage of at most 100%, such as 25%",
    ),
    "ready after the deadline": (
        {"minReadySeconds": 600},
        "write a progressDeadlineSeconds greater than minReadySeconds",
    ),
    "never available": ({"minReadySeconds": 3601}, "spec.minReadySeconds in body should be less than or equal to 3600"),
    "no policies": (
        scaling(behavior={"scaleUp": {"policies": []}}),
        "spec.autoscaling.behavior.scaleUp.policies in body should have at least 1 items",
    ),
    "a budget as a word": ({"disruptionBudget": {"maxUnavailable": "some"}}, "write a number of pods such as 1"),
    "monitor interval": ({"metrics": {"interval": "often"}}, "write a whole number and ms, s, m or h, such as 30s"),
    "monitor label": (
        {"metrics": {"labels": {"a": 1}}},
        'spec.metrics.labels.a in body must be of type string: "integer"',
    ),
    "journal as text": ({"journal": "yes"}, 'spec.journal in body must be of type boolean: "string"'),
    "template as text": ({"template": "x"}, 'spec.template in body must be of type object: "string"'),
    "a pod in place of a template": ({"template": {"nodeSelector": {}}}, 'unknown field "spec.template.nodeSelector"'),
    "suspend as text": ({"suspend": "yes"}, 'spec.suspend in body must be of type boolean: "string"'),
    "quantity": ({"resources": {"limits": {"memory": "lots"}}}, "write a quantity, such as 500m, 2 or 256Mi"),
    "reserved variable": (
        {"env": [{"name": "ROCHALLOR_PARALLELISM", "value": "1"}]},
        "the operator sets this variable from the spec; write the spec field instead",
    ),
    "variable without name": ({"env": [{"value": "1"}]}, "spec.env[0].name: Required value"),
    "variable twice": ({"env": [{"name": "A"}, {"name": "A"}]}, 'spec.env[1]: Duplicate value: {"name":"A"}'),
    "two values": (
        {"env": [{"name": "A", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]},
        "write value or valueFrom, not both",
    ),
    "value from nowhere": (
        {"env": [{"name": "A", "valueFrom": {}}]},
        "write exactly one of secretKeyRef, configMapKeyRef, fieldRef and resourceFieldRef",
    ),
    "value from two places": (
        {
            "env": [
                {
                    "name": "A",
                    "valueFrom": {
                        "secretKeyRef": {"name": "s", "key": "k"},
                        "configMapKeyRef": {"name": "c", "key": "k"},
                    },
                }
            ]
        },
        "write exactly one of secretKeyRef, configMapKeyRef, fieldRef and resourceFieldRef",
    ),
    "all variables of nothing": ({"envFrom": [{}]}, "write exactly one of configMapRef and secretRef"),
    "unknown field": ({"paralelism": 5}, 'unknown field "spec.paralelism"'),
    "unknown field inside": ({"handlers": {"modul": "a:b"}}, 'unknown field "spec.handlers.modul"'),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_spec_is_refused(api: Api, case: str) -> None:
    change, sentence = BAD[case]
    with pytest.raises(RefusedError) as caught:
        api.create(_changed(change), dryRun="All", fieldValidation="Strict")
    assert sentence in str(caught.value)


def _changed(change: Object) -> Object:
    """The sample with other fields; None removes one."""
    changed = resource(**change)
    changed["spec"] = {name: value for name, value in changed["spec"].items() if value is not None}
    return changed


@pytest.mark.parametrize("name", ["1st", "a" * 56, "a.b"])
def test_a_name_that_leaves_no_room_for_children_is_refused(api: Api, name: str) -> None:
    with pytest.raises(RefusedError, match="name must be at most 55 characters, start with a letter"):
        api.create(resource(name), dryRun="All")


def test_no_spec_at_all(api: Api) -> None:
    wrong = resource()
    del wrong["spec"]
    with pytest.raises(RefusedError, match="spec: Required value"):
        api.create(wrong, dryRun="All")


def test_everything_at_once_is_accepted(api: Api) -> None:
    key = {"name": "x", "key": "k", "optional": True}
    accepted = api.create(
        resource(
            "a" * 55,
            jobTypes=["a", "A.b_c-9", "x" * 200],
            parallelism=1000,
            limits=[
                {"jobType": "a", "parallelism": 1000, "perSecond": 100000, "scope": "resource", "breaker": False},
                {"jobType": "A.b_c-9", "perSecond": 0.001, "scope": "pod"},
                {"jobType": "x" * 200, "breaker": False},
            ],
            pollInterval="10ms",
            lease="1h",
            handlerTimeout="24h",
            drainTimeout="24h",
            handlers={"configMap": {"name": "my.code-1", "module": "handlers:registry"}},
            image="registry.example.com:5000/shop/worker@sha256:abc",
            imagePullPolicy="Never",
            imagePullSecrets=[{"name": "one"}, {"name": "two"}],
            replicas=0,
            suspend=True,
            resources={"requests": {"cpu": 1, "memory": "64Mi"}, "limits": {"cpu": "1500m", "example.com/gpu": "2"}},
            env=[
                {"name": "A", "value": "1"},
                {"name": "ROCHALLOR_LOG_LEVEL", "value": "DEBUG"},
                {"name": "B", "valueFrom": {"secretKeyRef": key}},
                {"name": "C", "valueFrom": {"configMapKeyRef": key}},
                {"name": "D", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "E", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
            ],
            journal=False,
            disruptionBudget={"maxUnavailable": "50%"},
            disruptionShield="24h",
            serviceAccount={"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/shop"}},
            maxSurge=0,
            maxUnavailable="100%",
            minReadySeconds=0,
            progressDeadlineSeconds=1,
            metrics={"podMonitor": True, "labels": {"release": "prometheus"}, "interval": "15s"},
            template={
                "metadata": {"labels": {"team": "shop"}, "annotations": {"a": "b"}},
                "spec": {"containers": [{"name": "proxy", "image": "proxy:1"}], "securityContext": None},
            },
            envFrom=[{"prefix": "X_", "configMapRef": {"name": "x"}}, {"secretRef": {"name": "y", "optional": True}}],
        ),
        dryRun="All",
        fieldValidation="Strict",
    )
    assert accepted["spec"]["transport"] == "rest"
    assert accepted["spec"]["template"]["spec"]["securityContext"] is None, "null reaches the operator"


def test_null_in_a_template_survives_server_side_apply(api: Api) -> None:
    api.apply(resource())
    changed = api.apply(resource(template={"spec": {"securityContext": None}}))
    assert changed["spec"]["template"]["spec"] == {"securityContext": None}


FINE: dict[str, Object] = {
    "a CA for the token servers alone": engine(tls={"caSecret": "ca"}, oauth=CLIENT)
    | kafka(**BEARER | {"securityProtocol": "SASL_PLAINTEXT", "tls": {"caFile": "/ca.pem"}}),
    "grpc": {
        "transport": "grpc",
        "engine": {
            "grpcTarget": "https://engine.example.com:65535",
            "tls": {"caSecret": "ca", "clientCertSecret": "cert"},
            "tokenSecret": {"name": "token", "key": "token"},
            "headers": [{"name": "X-Tenant", "value": "a: b, c"}],
        },
    },
    "mounted certificates": engine(
        url="https://e", tls={"caFile": "/run/ca.pem", "certFile": "/run/c.pem", "keyFile": "/run/k.pem"}
    ),
    "tokens": engine(oauth=CLIENT | {"scope": "jobs.read https://engine/.default", "audience": "https://engine"}),
    "a day over grpc": {
        "transport": "grpc",
        "engine": {"grpcTarget": "engine:9090"},
        "lease": "5s",
        "handlerTimeout": "1440m",
        "drainTimeout": "1440m",
    },
    "kafka": KAFKA | {"handlerTimeout": "24h"},
    "kafka with TLS": kafka(securityProtocol="SSL", tls={"caSecret": "ca", "clientCertSecret": "cert"}),
    "kafka with a user": kafka(
        bootstrapServers="a:1,b:65535,[::1]:9092",
        securityProtocol="SASL_SSL",
        saslMechanism="SCRAM-SHA-512",
        credentialsSecret="user",
        tls={"caSecret": "ca"},
        dedupWindow="1440m",
        deadLetter=True,
    ),
    "kafka with tokens": kafka(
        **BEARER,
        groupProtocol="consumer",
        createTopics={"partitions": 6, "replicationFactor": 3},
        properties={"fetch.max.bytes": "1048576", "broker.address.family": "v4"},
    ),
    "kafka with outcomes over grpc": {**KAFKA, "outcomeTransport": "grpc", "engine": {"grpcTarget": "engine:9090"}},
    "hpa": scaling(
        targetUtilization=100,
        behavior={
            "scaleUp": {"policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}], "selectPolicy": "Max"},
            "scaleDown": {"stabilizationWindowSeconds": 0, "selectPolicy": "Disabled"},
        },
    ),
    "hpa from zero": engine(**DATABASE)
    | scaling(
        minReplicas=0,
        targetWait="100ms",
        backlog={},
        behavior={"scaleUp": {"tolerance": 0}, "scaleDown": {"tolerance": 0.05}},
    ),
    "a canary": tried(),
    "a canary with everything": tried(
        steps=[STEP, {"share": "99%", "pause": "24h"}],
        gate={"minJobs": 1, "maxFailureRatio": "100%", "worseThanStableBy": "0.25%", "maxHandlerP95": "500ms"},
        onFailure="Pause",
    ),
    "hpa for kafka": KAFKA | scaling(),
    "hpa for kafka from zero": KAFKA | engine(**DATABASE) | scaling(minReplicas=0, backlog={"target": 10}),
    "keda with a token": scaling(
        provider="keda",
        targetWait="24h",
        prometheus={
            "address": "https://prometheus",
            "tokenSecret": {"name": "a", "key": "b"},
            "tls": {"caSecret": "ca", "clientCertSecret": "cert"},
            "headers": [{"name": "X-Scope-OrgID", "value": "a|b 'c'"}],
        },
    ),
    "keda with a user": scaling(
        provider="keda",
        prometheus={"address": "https://prometheus", "credentialsSecret": "user", "tls": {"caSecret": "ca"}},
    ),
    "keda with the backlog alone": engine(**DATABASE) | scaling(minReplicas=0, provider="keda", backlog={}),
    "keda with triggers alone": scaling(
        minReplicas=0,
        provider="keda",
        triggers=[CRON | {"name": "mornings", "metricType": "AverageValue", "authenticationRef": {"name": "a.b"}}],
    ),
    "waiting for kafka with a user": kafka(
        securityProtocol="SASL_SSL", saslMechanism="PLAIN", credentialsSecret="user", tls={"caSecret": "ca"}
    )
    | scaling(provider="keda", targetWait="5s", prometheus=PROMETHEUS, triggers=[CRON]),
    "waiting for kafka with a token": KAFKA
    | scaling(provider="keda", targetWait="5s", prometheus=PROMETHEUS | {"tokenSecret": {"name": "a", "key": "b"}}),
    "telemetry": {"telemetry": {"endpoint": "https://collector.example.com:4318/otlp", "sampleRatio": 0.001}},
    "keda": scaling(provider="keda", prometheus=PROMETHEUS),
    "database": engine(**DATABASE),
    "database for kafka": KAFKA | engine(**DATABASE),
    "keda from zero": engine(**DATABASE) | scaling(minReplicas=0, provider="keda", prometheus=PROMETHEUS, backlog={}),
    "keda with a query": engine(**DATABASE)
    | scaling(provider="keda", prometheus=PROMETHEUS, backlog={"query": "SELECT 1", "target": 10}),
    "keda for kafka": KAFKA | scaling(minReplicas=0, provider="keda", kafkaLagThreshold=100),
    "a connection": connected(),
    "a connection of the cluster": {"engine": None, "engineRef": {"name": "a.b", "kind": "ClusterEngineConnection"}},
    "a connection over grpc, with a header": connected(
        transport="grpc", engine={"headers": [{"name": "X-Tenant", "value": "a"}]}
    ),
    "a connection for kafka": connected(transport="kafka", outcomeTransport="grpc"),
    "a connection for kafka with some of its own": connected(
        transport="kafka", kafka={"tls": {"caSecret": "ca"}, "deadLetter": True}
    ),
    "a connection with the metrics": connected(**scaling(provider="keda", targetWait="5s")),
    "a connection with the database": connected(**scaling(minReplicas=0, backlog={})),
    "a connection beside everything": {"engineRef": {"name": "main"}, **KAFKA},
}


@pytest.mark.parametrize("case", FINE)
def test_a_correct_spec_is_accepted(api: Api, case: str) -> None:
    api.create(_changed(FINE[case]), dryRun="All", fieldValidation="Strict")


def test_defaults(api: Api) -> None:
    spec = api.create(resource(), dryRun="All")["spec"]
    defaults = {
        name: spec[name] for name in ("transport", "parallelism", "pollInterval", "lease", "drainTimeout", "replicas")
    }
    assert defaults == {
        "transport": "rest",
        "parallelism": 64,
        "pollInterval": "500ms",
        "lease": "30s",
        "drainTimeout": "25s",
        "replicas": 1,
    }
    assert spec["suspend"] is False
    assert "telemetry" not in spec, "pods without it must not be replaced"


def connection(kind: str, **spec: Any) -> Object:
    """A connection with an engine, and for any namespace."""
    selector: Object = {"namespaceSelector": {}} if kind == "ClusterEngineConnection" else {}
    said = {"engine": {"url": "http://engine:8080"}} | selector | spec
    head = {"apiVersion": "rochallor.io/v1alpha1", "kind": kind, "metadata": {"name": "main"}}
    return head | {"spec": {name: value for name, value in said.items() if value is not None}}


SELECTED: Object = {
    "matchLabels": {"team": "shop"},
    "matchExpressions": [
        {"key": "stage", "operator": "In", "values": ["test", "live"]},
        {"key": "example.com/closed", "operator": "DoesNotExist"},
    ],
}
WRONG_CONNECTIONS: dict[str, tuple[Object, str]] = {
    "no engine": ({"engine": None}, "spec.engine: Required value"),
    "no address": ({"engine": {}}, "write url, such as http://engine:8080, or grpcTarget, such as engine:9090"),
    "a url without scheme": ({"engine": {"url": "engine"}}, "write an http:// or https:// address"),
    "two tokens": (engine(tokenSecret={"name": "t", "key": "k"}, oauth=CLIENT), "remove tokenSecret or oauth"),
    "no brokers": ({"kafka": {}}, "spec.kafka.bootstrapServers: Required value"),
    "brokers' certificates without TLS": (
        {"kafka": BROKERS | {"tls": {"caSecret": "ca"}}},
        "write securityProtocol SSL or SASL_SSL, or remove tls",
    ),
    "how jobs are processed": ({"kafka": BROKERS | {"deadLetter": True}}, 'unknown field "spec.kafka.deadLetter"'),
    "no Prometheus": ({"prometheus": {}}, "spec.prometheus.address: Required value"),
    "no collector": ({"telemetry": {}}, "spec.telemetry.endpoint: Required value"),
    "a field of workers": ({"jobTypes": ["a"]}, 'unknown field "spec.jobTypes"'),
}
WRONG_SELECTORS: dict[str, tuple[Object | None, str]] = {
    "none": (None, "spec.namespaceSelector: Required value"),
    "no operator": ({"matchExpressions": [{"key": "a"}]}, "matchExpressions[0].operator: Required value"),
    "an unknown operator": ({"matchExpressions": [{"key": "a", "operator": "Is"}]}, 'supported values: "In", "NotIn"'),
    "no values": (
        {"matchExpressions": [{"key": "a", "operator": "In", "values": []}]},
        "write values with operator In",
    ),
    "values of nothing": (
        {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]},
        "write values with operator In and NotIn, and only then",
    ),
}


@pytest.mark.parametrize("kind", ["EngineConnection", "ClusterEngineConnection"])
@pytest.mark.parametrize("case", WRONG_CONNECTIONS)
def test_a_wrong_connection_is_refused(api: Api, kind: str, case: str) -> None:
    change, sentence = WRONG_CONNECTIONS[case]
    with pytest.raises(RefusedError) as caught:
        api.create(connection(kind, **change), dryRun="All", fieldValidation="Strict")
    assert sentence in str(caught.value)


@pytest.mark.parametrize("case", WRONG_SELECTORS)
def test_a_connection_of_the_cluster_says_for_whom_it_is(api: Api, case: str) -> None:
    selector, sentence = WRONG_SELECTORS[case]
    wrong = connection("ClusterEngineConnection", namespaceSelector=selector)
    with pytest.raises(RefusedError) as caught:
        api.create(wrong, dryRun="All", fieldValidation="Strict")
    assert sentence in str(caught.value)


@pytest.mark.parametrize("kind", ["EngineConnection", "ClusterEngineConnection"])
def test_a_connection_with_everything_is_accepted(api: Api, kind: str) -> None:
    everything = connection(
        kind,
        engine={
            "url": "https://engine.example.com",
            "grpcTarget": "https://engine.example.com:443",
            "tls": {"caSecret": "ca", "clientCertSecret": "cert"},
            "oauth": CLIENT,
            "headers": [{"name": "X-Tenant", "value": "a"}],
            **DATABASE,
        },
        kafka=BROKERS | BEARER | {"tls": {"caSecret": "ca"}, "properties": {"fetch.max.bytes": "1048576"}},
        prometheus=PROMETHEUS | {"tokenSecret": {"name": "a", "key": "b"}},
        telemetry={"endpoint": "http://collector.monitoring:4318"},
        **({"namespaceSelector": SELECTED} if kind == "ClusterEngineConnection" else {}),
    )
    accepted = api.create(everything, dryRun="All", fieldValidation="Strict")
    assert accepted["spec"] == everything["spec"] | {"telemetry": everything["spec"]["telemetry"] | {"sampleRatio": 1}}


def test_what_a_worker_does_not_write_of_its_brokers_is_left_to_the_connection(api: Api) -> None:
    """A default would win over the connection's value."""
    live = api.create(resource(engineRef={"name": "main"}, transport="kafka", kafka={}), dryRun="All")
    assert live["spec"]["kafka"] == {"dedupWindow": "10m", "deadLetter": False, "groupProtocol": "classic"}
    assert live["spec"]["engineRef"]["kind"] == "EngineConnection"


EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*/worker.yaml"))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.parent.name)
def test_the_examples_are_accepted(api: Api, file: Path) -> None:
    ours = [item for item in yaml.safe_load_all(file.read_text()) if item["apiVersion"].startswith("rochallor.io/")]
    assert "RochallorWorker" in {item["kind"] for item in ours}
    for example in ours:
        api.create(example, dryRun="All", fieldValidation="Strict")


PAGES = [pages.ROOT / "README.md", *sorted((pages.ROOT / "docs").glob("*.md"))]
SHOWN = [
    pytest.param(code, id=f"{page.name}-{number}")
    for page in PAGES
    for number, (language, code) in enumerate(pages.BLOCK.findall(page.read_text()))
    if language == "yaml" and "spec:" in code
]


@pytest.mark.parametrize("code", SHOWN)
def test_the_resources_in_the_docs_are_accepted(api: Api, code: str) -> None:
    for shown in yaml.safe_load_all(code):
        ours = shown.get("kind", "RochallorWorker") == "RochallorWorker"
        api.create(resource(**shown["spec"]) if ours else shown, dryRun="All", fieldValidation="Strict")

"""`python crds/connections.py`: writes the CRDs of EngineConnection and ClusterEngineConnection.

Their sections are those of the CRD of RochallorWorker, with the same fields and rules. A test keeps them equal.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

CRDS: Final = Path(__file__).parent
WORKER: Final = CRDS / "rochallorworkers.rochallor.io.yaml"
KINDS: Final = {"EngineConnection": "ec", "ClusterEngineConnection": "cec"}
"""Each kind with its short name."""
OF_KAFKA: Final = (
    "bootstrapServers",
    "securityProtocol",
    "saslMechanism",
    "credentialsSecret",
    "oauth",
    "tls",
    "properties",
)
"""How brokers are reached. The other fields of a worker's kafka say how it processes its jobs."""

_COLUMNS: Final = """
- {name: Workers, type: integer, jsonPath: .status.workers}
- {name: Reachable, type: string, jsonPath: '.status.conditions[?(@.type=="Reachable")].status'}
- {name: Reason, type: string, jsonPath: '.status.conditions[?(@.type=="Reachable")].reason'}
- {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
"""
_STATUS: Final = """
type: object
description: Observed state of the connection. Only the operator writes it.
properties:
  observedGeneration:
    type: integer
    format: int64
    description: The metadata.generation that this status describes.
  workers:
    type: integer
    format: int32
    description: The number of workers that name the connection in spec.engineRef.
"""
_REACHABLE: Final = (
    "Reachable: whether the workers that name the connection reach the engine, as they report; Unknown as long as none"
    " of them has reported. The message counts them."
)
_SELECTOR: Final = """
type: object
description: The namespaces whose workers may use the connection, by their labels; {} is all of them.
properties:
  matchLabels:
    type: object
    maxProperties: 64
    description: Labels that a namespace must have, such as kubernetes.io/metadata.name.
    additionalProperties: {type: string, maxLength: 63}
  matchExpressions:
    type: array
    maxItems: 32
    x-kubernetes-list-type: atomic
    description: Further conditions for the labels of a namespace, which must meet all of them.
    items:
      type: object
      required: [key, operator]
      x-kubernetes-validations:
        - rule: (self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)
          message: write values with operator In and NotIn, and only then
      properties:
        key: {type: string, minLength: 1, maxLength: 317, description: The label's key.}
        operator:
          type: string
          enum: [In, NotIn, Exists, DoesNotExist]
          description: What must hold of the label.
        values:
          type: array
          maxItems: 64
          x-kubernetes-list-type: atomic
          description: The values of In and NotIn.
          items: {type: string, maxLength: 63}
"""
_CLUSTER_WIDE: Final = (
    " A ClusterEngineConnection names Secrets of the operator's own namespace, which must have the label"
    " rochallor.io/for-workers=true; the operator copies the keys in use for each worker, if its chart allows that"
    " (clusterConnections.copySecrets)."
)

Schema = dict[str, Any]


def crd(kind: str) -> Schema:
    """The CRD of one of the kinds."""
    worker: Schema = yaml.safe_load(WORKER.read_text(encoding="utf-8"))
    group, (version,) = worker["spec"]["group"], worker["spec"]["versions"]
    singular = kind.lower()
    return worker | {
        "metadata": {"name": f"{singular}s.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced" if kind == "EngineConnection" else "Cluster",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": f"{singular}s",
                "singular": singular,
                "shortNames": [KINDS[kind]],
                "categories": worker["spec"]["names"]["categories"],
            },
            "versions": [
                {
                    "name": version["name"],
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": yaml.safe_load(_COLUMNS),
                    "schema": {"openAPIV3Schema": _schema(kind, version["schema"]["openAPIV3Schema"])},
                }
            ],
        },
    }


def _schema(kind: str, worker: Schema) -> Schema:
    of_worker = worker["properties"]
    spec, status = _spec(of_worker["spec"]["properties"]), yaml.safe_load(_STATUS)
    users = "of its namespace"
    if kind == "ClusterEngineConnection":
        users = "of the namespaces that namespaceSelector selects"
        spec["description"] += _CLUSTER_WIDE
        spec["required"].insert(0, "namespaceSelector")
        spec["properties"] = {"namespaceSelector": yaml.safe_load(_SELECTOR)} | spec["properties"]
    status["properties"]["conditions"] = _conditions(of_worker["status"]["properties"]["conditions"])
    return {
        "type": "object",
        "required": ["spec"],
        "description": (
            f"How the engine and what goes with it are reached, for all workers {users} that name the {kind} in"
            " spec.engineRef."
        ),
        "properties": of_worker | {"spec": spec, "status": status},
    }


def _spec(of_worker: Schema) -> Schema:
    engine, kafka, telemetry = (of_worker[name] for name in ("engine", "kafka", "telemetry"))
    prometheus = of_worker["autoscaling"]["properties"]["prometheus"]
    protocol = {
        "rule": "!has(self.tls) || (has(self.securityProtocol) && self.securityProtocol in ['SSL', 'SASL_SSL'])",
        "message": "write securityProtocol SSL or SASL_SSL, or remove tls",
    }
    # a worker's own rule leaves to the connection what the worker doesn't write
    brokers = [rule for rule in kafka["x-kubernetes-validations"] if rule["message"] != protocol["message"]]
    return {
        "type": "object",
        "description": (
            "What the workers share. A field that a worker writes itself wins. A change rolls the pods of the workers"
            " that it concerns."
        ),
        "required": ["engine"],
        "properties": {
            "engine": engine
            | {
                "description": "The engine's address, and the credentials that a gateway in front of it requires.",
                "x-kubernetes-validations": [
                    *engine["x-kubernetes-validations"],
                    {
                        "rule": "has(self.url) || has(self.grpcTarget)",
                        "message": "write url, such as http://engine:8080, or grpcTarget, such as engine:9090",
                    },
                ],
            },
            "kafka": kafka
            | {
                "description": "How workers of transport kafka reach the brokers; it does not concern other workers.",
                "required": ["bootstrapServers"],
                "x-kubernetes-validations": [*brokers, protocol],
                "properties": {name: kafka["properties"][name] for name in OF_KAFKA},
            },
            "prometheus": prometheus
            | {
                "description": (
                    "The autoscaling.prometheus of workers with autoscaling.provider keda, and with transport kafka"
                    " also targetWait; it does not concern other workers."
                )
            },
            "telemetry": telemetry,
        },
    }


def _conditions(of_worker: Schema) -> Schema:
    item: Schema = of_worker["items"]
    kind = item["properties"]["type"] | {"description": "The type is Reachable."}
    return of_worker | {
        "description": _REACHABLE,
        "items": item | {"properties": item["properties"] | {"type": kind}},
    }


def files() -> dict[Path, str]:
    """Each file with its content."""
    head = f"# Written by crds/connections.py from {WORKER.name}; edit it there.\n"
    made = map(crd, KINDS)
    return {
        CRDS / f"{each['metadata']['name']}.yaml": head + yaml.safe_dump(each, sort_keys=False, width=118)
        for each in made
    }


if __name__ == "__main__":
    for file, text in files().items():
        file.write_text(text, encoding="utf-8")

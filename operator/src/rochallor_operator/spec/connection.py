"""What a worker takes from the EngineConnection that it names: resource + connection → resource.

Fields of the worker win, one by one in each section; lists and objects such as tls are taken whole. What excludes a
field that the worker writes is not taken from the connection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field, ValidationError, model_validator

from rochallor_operator.errors import InvalidSpecError
from rochallor_operator.names import CLUSTER_CONNECTION, Manifest, ObjectRef, why_no_name
from rochallor_operator.spec.loans import loans_of
from rochallor_operator.spec.sections import (
    Brokers,
    Engine,
    EngineRef,
    Prometheus,
    Section,
    Telemetry,
    Tls,
    wrong_field,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_TOKEN: Final = frozenset({"tokenSecret", "oauth"})
_SASL: Final = frozenset({"securityProtocol", "saslMechanism", "credentialsSecret", "oauth"})
"""Fields that are taken together or not at all."""
_WITHOUT_TLS: Final = ("PLAINTEXT", "SASL_PLAINTEXT")

UNKNOWN: Final[Manifest] = {
    "engine": {
        "url": "https://unknown",
        "grpcTarget": "unknown:1",
        "databaseSecret": {"name": "unknown", "key": "unknown"},
    },
    "kafka": {"bootstrapServers": "unknown:1", "securityProtocol": "SSL"},
    "prometheus": {"address": "http://unknown"},
}
"""A connection with which everything else in a resource can be read while its own can't."""


class Requirement(Section):
    """One of a selector's matchExpressions."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[str, ...] = ()


class NamespaceSelector(Section):
    """Kubernetes' own label selector; an empty one selects every namespace."""

    match_labels: dict[str, str] = Field(default_factory=dict)
    match_expressions: tuple[Requirement, ...] = ()

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether a namespace with these labels is selected."""
        return all(labels.get(key) == value for key, value in self.match_labels.items()) and all(
            _meets(labels, requirement) for requirement in self.match_expressions
        )


class _Spec(Section):
    engine: Engine
    kafka: Brokers | None = None
    prometheus: Prometheus | None = None
    telemetry: Telemetry | None = None
    namespace_selector: NamespaceSelector | None = None

    @model_validator(mode="after")
    def _reachable(self) -> _Spec:
        if self.engine.url is None and self.engine.grpc_target is None:
            raise ValueError("write engine.url or engine.grpcTarget")
        return self


@dataclass(frozen=True)
class Connection:
    """What a connection lends: its sections as they are written, and to which namespaces, None for its own alone."""

    sections: Manifest
    selector: NamespaceSelector | None


def engine_ref(resource: Mapping[str, Any], namespace: str) -> ObjectRef | None:
    """The connection that a resource names, if any. Raises InvalidSpecError for a reference that can't be one."""
    reference = resource.get("spec", {}).get("engineRef")
    if reference is None:
        return None
    try:
        ref = EngineRef.model_validate(reference)
    except ValidationError as error:
        raise InvalidSpecError(wrong_field(error, "spec.engineRef")) from error
    return ObjectRef(ref.kind, "" if ref.kind == CLUSTER_CONNECTION else namespace, ref.name)


def parse_connection(ref: ObjectRef, live: Manifest) -> Connection:
    """A live connection as values. Raises InvalidSpecError, whose text names it and its first wrong field."""
    try:
        spec = _Spec.model_validate(live.get("spec", {}))
    except ValidationError as error:
        raise InvalidSpecError(f"{ref}, {wrong_field(error, 'spec')}") from error
    written = spec.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    sections = {name: section for name, section in written.items() if name != "namespaceSelector"}
    for loan in loans_of(sections):
        if (why := why_no_name("Secret", loan.secret)) is not None:
            raise InvalidSpecError(f"{ref}, spec.{loan.section}.{loan.field}: {why}")
    return Connection(sections, spec.namespace_selector)


def merge(resource: Manifest, sections: Manifest) -> Manifest:
    """The resource with what it doesn't say itself from the sections of its connection."""
    spec: Manifest = resource["spec"]
    merged = {**spec, "engine": _merged(spec.get("engine", {}), sections["engine"], _excluded_by_engine)}
    if spec.get("transport") == "kafka" and "kafka" in sections:
        merged["kafka"] = _merged(spec.get("kafka", {}), sections["kafka"], _excluded_by_kafka)
    if "telemetry" in sections:
        merged.setdefault("telemetry", sections["telemetry"])
    if "prometheus" in sections and _asks_prometheus(spec):
        merged["autoscaling"] = {"prometheus": sections["prometheus"], **spec["autoscaling"]}
    return {**resource, "spec": merged}


def _merged(own: Any, theirs: Manifest, excluded_by: Callable[[Manifest, Manifest], frozenset[str]]) -> Any:
    if not isinstance(own, dict):
        return own  # parse() says what is wrong
    excluded = excluded_by(own, theirs)
    return {field: value for field, value in theirs.items() if field not in excluded} | own


def _excluded_by_engine(own: Manifest, theirs: Manifest) -> frozenset[str]:
    excluded = _TOKEN if own.keys() & _TOKEN else frozenset[str]()
    if not str(own.get("url", "")).startswith("http://"):
        return excluded
    lent = Tls.model_validate(theirs.get("tls", {}))
    for_tokens = not excluded and "oauth" in theirs and lent.is_for(theirs["oauth"]["tokenUrl"])
    return excluded if for_tokens else excluded | {"tls"}


def _excluded_by_kafka(own: Manifest, _: Manifest) -> frozenset[str]:
    excluded = _SASL if own.keys() & _SASL else frozenset[str]()
    return excluded | {"tls"} if own.get("securityProtocol") in _WITHOUT_TLS else excluded


def _asks_prometheus(spec: Manifest) -> bool:
    """Whether KEDA scales on the workers' metrics: over Kafka, only on how long jobs wait."""
    scaling = spec.get("autoscaling")
    if not isinstance(scaling, dict) or scaling.get("provider") != "keda":
        return False
    return spec.get("transport") != "kafka" or "targetWait" in scaling


def _meets(labels: Mapping[str, str], requirement: Requirement) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case "In":
            return value in requirement.values
        case "NotIn":
            return value not in requirement.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None

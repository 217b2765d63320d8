"""Finds the connection that a resource names, and reads the resource as values together with it.

A connection that is missing or wrong changes no object: the resource's pods run on as they are.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from rochallor_operator.content.hashes import Users
from rochallor_operator.errors import DegradedError, InvalidSpecError, KubernetesError
from rochallor_operator.names import CLUSTER_CONNECTION, CONNECTION, ObjectRef
from rochallor_operator.policy import FOR_WORKERS
from rochallor_operator.spec.connection import UNKNOWN, engine_ref, merge, parse_connection
from rochallor_operator.spec.loans import borrowed, lend
from rochallor_operator.spec.worker import parse
from rochallor_operator.status.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.names import Key, Manifest
    from rochallor_operator.spec.connection import Connection
    from rochallor_operator.spec.loans import Loan
    from rochallor_operator.spec.worker import Worker


@dataclass(frozen=True)
class Resolved:
    """A resource as values, with what its connection says."""

    worker: Worker
    copies: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By section, what the worker's copy of the connection's Secrets holds."""
    problem: DegradedError | None = None
    """Why the connection can't be used: the values of its sections are made up then, and nothing may be applied."""


class Connections:
    """The connections of all resources. `namespace` is the operator's own; `sees_all`: whether it serves all
    namespaces; `copy_secrets`: whether it may copy Secrets."""

    def __init__(self, kube: Kube, namespace: str, sees_all: Callable[[], bool], *, copy_secrets: bool) -> None:
        self._kube = kube
        self._namespace: Final = namespace
        self._sees_all: Final = sees_all
        self._copy_secrets: Final = copy_secrets
        self.users: Final = Users()
        """Which resources use which connection, and what else has a say in it: the Secrets that it lends, and the
        resource's own namespace."""
        self.read_kinds: Final[set[str]] = set()
        """Kinds of which a connection has been read; the watch clears it when it starts."""
        self._named: dict[Key, ObjectRef] = {}
        self._seen: dict[ObjectRef, tuple[str, int]] = {}
        """Uid and generation of each connection."""
        self.on_change: Callable[[ObjectRef], None] = lambda _: None
        """Called with a connection that has changed, or of which another resource's name has come or gone."""

    async def resolve(self, key: Key, resource: Manifest) -> Resolved:
        """The resource with its connection. Raises InvalidSpecError when the resource itself is wrong, and
        KubernetesError for a transient one."""
        ref = engine_ref(resource, key.namespace)
        if ref is None:
            self.forget(key)
            return Resolved(parse(resource))
        try:
            return await self._resolved(key, ref, resource)
        except DegradedError as error:
            problem = error
        except KubernetesError as error:
            refusal = error.as_degraded()
            if refusal is None:
                raise
            problem = refusal
        return Resolved(parse(merge(resource, UNKNOWN)), problem=problem)

    def named_by(self, key: Key) -> ObjectRef | None:
        """The connection that a resource names, as far as this operator may read it."""
        return self._named.get(key)

    def forget(self, key: Key) -> None:
        """Drop a resource that is deleted, or names no connection."""
        self.users.forget(key)
        self._name(key, None)

    def on_event(self, ref: ObjectRef, live: Manifest, *, deleted: bool) -> bool:
        """Note an event of a connection; returns whether it concerns its users, which its status doesn't."""
        before = self._seen.pop(ref, None)
        if deleted:
            return True
        self._seen[ref] = (live["metadata"]["uid"], live["metadata"]["generation"])
        if self._seen[ref] == before:
            return False
        self.on_change(ref)
        return True

    def _name(self, key: Key, ref: ObjectRef | None) -> None:
        """Note which connection a resource names."""
        before = self._named.pop(key, None)
        if ref is not None:
            self._named[key] = ref
        if ref != before:
            for changed in (before, ref):
                if changed is not None:
                    self.on_change(changed)

    async def _resolved(self, key: Key, ref: ObjectRef, resource: Manifest) -> Resolved:
        if ref.kind == CLUSTER_CONNECTION and not self._sees_all():
            self.forget(key)
            sentence = f"the operator serves only some namespaces and reads no {ref.kind}: use an {CONNECTION}"
            raise DegradedError(Reason.CONNECTION_NOT_ALLOWED, sentence)
        # Noted before it is read, so that a change in between triggers another reconcile.
        self._name(key, ref)
        self.users.note(key, [ref])
        live = await self._kube.get(*ref)
        if live is None:
            raise await self._not_found(ref)
        self.read_kinds.add(ref.kind)
        connection = parse_connection(ref, live)
        if ref.kind == CLUSTER_CONNECTION:
            return await self._lent(key, ref, resource, connection)
        return Resolved(_parsed(ref, merge(resource, connection.sections)))

    async def _not_found(self, ref: ObjectRef) -> DegradedError:
        if await self._kube.serves(ref.kind):
            sentence = f"{ref} does not exist: create it, or change spec.engineRef"
        else:
            sentence = f"the cluster has no {ref.kind}s: install this release's CRDs"
        return DegradedError(Reason.CONNECTION_NOT_FOUND, sentence)

    async def _lent(self, key: Key, ref: ObjectRef, resource: Manifest, connection: Connection) -> Resolved:
        """The resource with a connection of the cluster, if it is for its namespace; its Secrets become copies."""
        namespace = ObjectRef("Namespace", "", key.namespace)
        self.users.note(key, [ref, namespace])
        place = await self._kube.get(*namespace)
        labels = {} if place is None else place["metadata"].get("labels", {})
        if connection.selector is None or not connection.selector.selects(labels):
            sentence = f"{ref} is not for this namespace: its namespaceSelector doesn't match the namespace's labels"
            raise DegradedError(Reason.CONNECTION_NOT_ALLOWED, sentence)
        spec = resource["spec"]
        scaling, engine = (one if isinstance(one := spec.get(name), dict) else {} for name in ("autoscaling", "engine"))
        by_keda = scaling.get("provider") == "keda" and "backlog" in scaling
        sections, loans = lend(connection.sections, key.name, database=by_keda)
        merged = merge(resource, sections)
        database = None if by_keda else sections["engine"].get("databaseSecret")
        uses = [ref, namespace]
        if database is None or "databaseSecret" in engine:
            worker = _parsed(ref, merged)
        else:
            worker = _parsed(ref, merged, self._namespace)
            uses.append(self._source(database["name"]))
            self.users.note(key, uses)
            await self._source_of(ref, database["name"])
        loans = borrowed(loans, sections, merged["spec"])
        self.users.note(key, [*uses, *{self._source(loan.secret) for loan in loans}])
        return Resolved(worker, await self._copies(ref, loans))

    async def _copies(self, ref: ObjectRef, loans: list[Loan]) -> dict[str, dict[str, str]]:
        if loans and not self._copy_secrets:
            sentence = f"{ref} names Secrets, which the operator is not set to copy (copySecrets of its chart)"
            raise DegradedError(Reason.CONNECTION_NOT_ALLOWED, sentence)
        sources = {name: await self._source_of(ref, name) for name in sorted({loan.secret for loan in loans})}
        copies: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for loan in loans:
            live = sources[loan.secret]
            data = (live or {}).get("data") or {}
            if loan.key not in data:
                there = "does not exist" if live is None else f"has no key {loan.key!r}"
                sentence = f"Secret {loan.secret!r} of {ref} in the namespace {self._namespace!r} {there}"
                raise DegradedError(Reason.SECRET_NOT_FOUND, sentence)
            copies[loan.section][loan.copied_as] = data[loan.key]
        return copies

    async def _source_of(self, ref: ObjectRef, name: str) -> Manifest | None:
        """A Secret that a connection of the cluster names, if there is one."""
        source = self._source(name)
        live = await self._kube.get(*source)
        if live is not None and live["metadata"].get("labels", {}).get(FOR_WORKERS) != "true":
            sentence = (
                f"Secret {name!r} of {ref} in the namespace {self._namespace!r} needs the label {FOR_WORKERS}=true"
            )
            raise DegradedError(Reason.CONNECTION_NOT_ALLOWED, sentence)
        return live

    def _source(self, name: str) -> ObjectRef:
        return ObjectRef("Secret", self._namespace, name)


def _parsed(ref: ObjectRef, merged: Manifest, database_namespace: str | None = None) -> Worker:
    try:
        return parse(merged, database_namespace)
    except InvalidSpecError as error:
        raise InvalidSpecError(f"with {ref}, {error}") from error

"""Which Secrets and ConfigMaps a pod uses, and the operator itself for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rochallor_operator.desired.connections import files, sources
from rochallor_operator.desired.pod import HANDLERS_VOLUME, SCALE_VOLUME, form_of_a_template, storage
from rochallor_operator.errors import InvalidSpecError
from rochallor_operator.names import ObjectRef, why_no_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rochallor_operator.names import Manifest
    from rochallor_operator.spec.worker import Worker


class Reference(NamedTuple):
    """A use of a Secret or ConfigMap (kind): of one key, or of all keys when key is None."""

    kind: str
    name: str
    key: str | None
    optional: bool
    rolls: bool = True
    """Whether a change of its content replaces the pods."""
    namespace: str | None = None
    """Where it is, None for the worker's own namespace."""

    def object_in(self, namespace: str) -> ObjectRef:
        """The object, for a worker of a namespace."""
        return ObjectRef(self.kind, self.namespace or namespace, self.name)


def references(worker: Worker, template: Manifest) -> list[Reference]:
    """The Secrets and ConfigMaps that the pods of a template use, each use once and in a fixed order.

    A change of files that the worker reloads itself replaces no pod, nor does one of handlers, which are copied, or of
    the number of pods. Image pull secrets are left out: they matter only when a pod starts. Raises InvalidSpecError
    when the template doesn't have the form of a pod template.
    """
    with form_of_a_template():
        pod = template["spec"]
        found = set(_volumes(pod, _reloaded(worker)))
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            found |= set(_variables(container))
        handlers = worker.spec.handlers.config_map
        if handlers is not None:
            found.add(Reference("ConfigMap", handlers.name, handlers.key, optional=False, rolls=False))
        for use in found:
            _check_name(use)
        # A use that names its key comes first, so that the message about a missing object names it.
        return sorted(
            found, key=lambda use: (use.kind, use.name, use.key is None, use.key or "", use.optional, use.rolls)
        )


def database(worker: Worker) -> list[Reference]:
    """The Secret with the connection string of the engine's database, which no pod uses, or none."""
    secret = worker.spec.engine.database_secret
    if secret is None:
        return []
    use = Reference("Secret", secret.name, secret.key, optional=False, rolls=False, namespace=worker.database_namespace)
    _check_name(use)
    return [use]


def _check_name(use: Reference) -> None:
    if (why := why_no_name(use.kind, use.name)) is not None:
        raise InvalidSpecError(f"spec: {why}")


def _reloaded(worker: Worker) -> list[tuple[Manifest, Manifest]]:
    """The operator's own volumes and their sources whose changes replace no pod."""
    again = sources([file for file in files(worker.spec) if file.reloaded])
    _, volumes = storage(worker)
    return [
        (volume, source)
        for volume in volumes
        for source in (volume, *volume.get("projected", {}).get("sources", []))
        if volume["name"] in {HANDLERS_VOLUME, SCALE_VOLUME} or source in again
    ]


def _volumes(pod: Manifest, reloaded: list[tuple[Manifest, Manifest]]) -> Iterator[Reference]:
    for volume in pod.get("volumes", []):
        for source in [volume, *volume.get("projected", {}).get("sources", [])]:
            for kind, part in (("Secret", "secret"), ("ConfigMap", "configMap")):
                if part in source:
                    name = source[part].get("name") or source[part].get("secretName", "")
                    yield from _uses(kind, name, source[part], rolls=(volume, source) not in reloaded)


def _uses(kind: str, name: str, source: Manifest, *, rolls: bool) -> Iterator[Reference]:
    optional = bool(source.get("optional", False))
    keys = [item["key"] for item in source.get("items", [])]
    for key in keys or [None]:
        yield Reference(kind, name, key, optional, rolls)


def _variables(container: Manifest) -> Iterator[Reference]:
    for variable in container.get("env", []):
        for kind, part in (("Secret", "secretKeyRef"), ("ConfigMap", "configMapKeyRef")):
            source = variable.get("valueFrom", {}).get(part)
            if source is not None:
                yield Reference(kind, source["name"], source["key"], bool(source.get("optional", False)))
    for origin in container.get("envFrom", []):
        for kind, part in (("Secret", "secretRef"), ("ConfigMap", "configMapRef")):
            source = origin.get(part)
            if source is not None:
                yield Reference(kind, source["name"], None, bool(source.get("optional", False)))

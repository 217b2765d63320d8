"""Which Secrets and ConfigMaps a pod uses."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from rochallor_operator.desired.pod import form_of_a_template
from rochallor_operator.errors import InvalidSpecError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rochallor_operator.names import Manifest
    from rochallor_operator.spec import Worker


_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
"""Of a Secret or ConfigMap: what else a spec may call one can't exist, and must not get into a path."""


class Reference(NamedTuple):
    """A use of a Secret or ConfigMap (kind): of one key, or of all of it when key is None."""

    kind: str
    name: str
    key: str | None
    optional: bool


def references(worker: Worker, template: Manifest) -> list[Reference]:
    """What the pods of a template use, each use once and in a fixed order.

    The pull secrets of images are left out: they matter only when a pod starts. Raises InvalidSpecError when the
    template is not of a template's form.
    """
    with form_of_a_template():
        pod = template["spec"]
        found = set(_volumes(pod))
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            found |= set(_variables(container))
        handlers = worker.spec.handlers.config_map
        if handlers is not None:
            found.add(Reference("ConfigMap", handlers.name, handlers.key, optional=False))
        for use in found:
            if len(use.name) > 253 or not _NAME.fullmatch(use.name):
                form = "a name has 1 to 253 characters of a-z, 0-9, '-' and '.'"
                raise InvalidSpecError(f"spec: no {use.kind} is called {use.name!r}; {form}")
        # A use that names its key comes first, for the sentence when the object is missing.
        return sorted(found, key=lambda use: (use.kind, use.name, use.key is None, use.key or "", use.optional))


def _volumes(pod: Manifest) -> Iterator[Reference]:
    for volume in pod.get("volumes", []):
        for source in [volume, *volume.get("projected", {}).get("sources", [])]:
            for kind, part in (("Secret", "secret"), ("ConfigMap", "configMap")):
                if part in source:
                    name = source[part].get("name") or source[part].get("secretName", "")
                    yield from _uses(kind, name, source[part])


def _uses(kind: str, name: str, source: Manifest) -> Iterator[Reference]:
    optional = bool(source.get("optional", False))
    keys = [item["key"] for item in source.get("items", [])]
    for key in keys or [None]:
        yield Reference(kind, name, key, optional)


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

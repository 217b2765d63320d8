"""Pod templates of a worker's versions, in ControllerRevisions: the stable pods keep theirs while the spec has another.

A version is a keyed hash of its template, so nobody else can make a template that the operator takes for one of its
own.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from rochallor_operator.children import is_ours, log_keys, name_conflict
from rochallor_operator.content.hashes import keyed_digest
from rochallor_operator.errors import DegradedError
from rochallor_operator.names import (
    MANAGED_BY_LABEL,
    MANAGER,
    Key,
    Manifest,
    metadata,
    revision_name,
    selector,
)
from rochallor_operator.status.reasons import Reason

if TYPE_CHECKING:
    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.spec.worker import Worker

log = logging.getLogger(__name__)

KIND: Final = "ControllerRevision"


class Revisions:
    """Keeps, reads and removes templates."""

    def __init__(self, kube: Kube, key: bytes) -> None:
        self._kube = kube
        self._key: Final = key
        self._kept: dict[Key, set[str]] = {}
        """The versions of each worker that are certainly there."""
        self._pruned: dict[Key, frozenset[str]] = {}
        """All versions of each worker, where no other ones are left."""

    def forget(self, key: Key) -> None:
        """Drop what is remembered about a deleted worker."""
        self._kept.pop(key, None)
        self._pruned.pop(key, None)

    def of(self, worker: Worker, template: Manifest) -> str:
        """The version of a template."""
        return keyed_digest(self._key, ["template", [worker.namespace, worker.name], template])

    async def keep(self, worker: Worker, template: Manifest) -> None:
        """Keep a template. Raises DegradedError when the name is taken, KubernetesError when it is refused."""
        revision = self.of(worker, template)
        kept = self._kept.setdefault(Key(worker.namespace, worker.name), set())
        if revision in kept:
            return
        name = revision_name(worker.name, revision)
        live = await self._kube.get(KIND, worker.namespace, name)
        if live is not None and not is_ours(live, worker.name, worker.uid):
            raise name_conflict(KIND, name)
        if live is not None and self._template(worker, live, revision) is None:
            await self._kube.delete(KIND, worker.namespace, name, live["metadata"]["uid"])
            live = None
        if live is None:
            head = {"apiVersion": "apps/v1", "kind": KIND, "metadata": metadata(worker, name)}
            await self._kube.create(head | {"revision": worker.generation, "data": {"template": template}})
            log.info("created", extra=log_keys(Key(worker.namespace, worker.name), KIND, name))
        kept.add(revision)

    async def template(self, worker: Worker, revision: str) -> Manifest:
        """The template of a version. Raises DegradedError when it is lost."""
        name = revision_name(worker.name, revision)
        live = await self._kube.get(KIND, worker.namespace, name)
        template = None if live is None else self._template(worker, live, revision)
        if template is None:
            self._kept.get(Key(worker.namespace, worker.name), set()).discard(revision)
            sentence = (
                f"{KIND} {name!r} with the template of the stable pods was deleted or changed: their Deployment is left"
                f" as it is until the new version is promoted"
            )
            raise DegradedError(Reason.DRIFTED, sentence)
        return template

    async def prune(self, worker: Worker, kept: frozenset[str]) -> None:
        """Remove the templates of all other versions, once after each change."""
        key = Key(worker.namespace, worker.name)
        if self._pruned.get(key) == kept:
            return
        names = {revision_name(worker.name, revision) for revision in kept}
        for live in await self._kube.metadata(KIND, worker.namespace, selector(worker.name) | _OURS):
            name = live["metadata"]["name"]
            if name not in names and is_ours(live, worker.name, worker.uid):
                await self._kube.delete(KIND, worker.namespace, name, live["metadata"]["uid"])
                log.info("removed", extra=log_keys(key, KIND, name))
        self._kept[key] = set(kept)
        self._pruned[key] = kept

    def _template(self, worker: Worker, live: Manifest, revision: str) -> Manifest | None:
        """The template in a live object, if it is that of the version."""
        data: Any = live.get("data")
        template: Manifest | None = data.get("template") if isinstance(data, dict) else None
        return template if template is not None and self.of(worker, template) == revision else None


_OURS: Final = {MANAGED_BY_LABEL: MANAGER}

"""The random key of the hashes on the pods: without it nobody can guess what a Secret holds.

It is kept in a Secret of the operator's own namespace, so that a restart doesn't replace all pods, and all replicas
compute the same hashes. The operator makes it, not the chart: tools that render a chart without the cluster (`helm
template`, Argo CD) would make another key each time.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import secrets
from typing import TYPE_CHECKING, Final

from rochallor_operator.errors import KubernetesError

if TYPE_CHECKING:
    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.names import Manifest
    from rochallor_operator.runtime.health import Health

log = logging.getLogger(__name__)

SUFFIX: Final = "-hash-key"
RETRY_S: Final = 3.0
_ENTRY: Final = "key"
_BYTES: Final = 32


async def wait_for_key(kube: Kube, state: Health, namespace: str, operator: str) -> bytes:
    """The key. Waits until it can be read, or created where there is none; /readyz says what it waits for."""
    name = operator + SUFFIX
    while True:
        try:
            live = await kube.read("Secret", namespace, name)
            return _key(live if live is not None else await _create(kube, namespace, name))
        except KubernetesError as error:
            sentence = (
                f"the Secret {namespace}/{name} with the hash key can't be read or created: {error}; trying again"
            )
        except ValueError:
            sentence = f"the Secret {namespace}/{name} holds no valid hash key: delete it; waiting for that"
        if sentence != state.not_ready:
            log.warning(sentence)
            state.not_ready = sentence
        await asyncio.sleep(RETRY_S)


async def _create(kube: Kube, namespace: str, name: str) -> Manifest:
    """The Secret, with a new key unless another replica was faster."""
    data = {_ENTRY: base64.b64encode(secrets.token_bytes(_BYTES)).decode()}
    metadata = {"namespace": namespace, "name": name}
    try:
        return await kube.create(
            {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data, "immutable": True}
        )
    except KubernetesError as error:
        live = await kube.read("Secret", namespace, name) if error.status == 409 else None
        if live is None:
            raise
        return live


def _key(live: Manifest) -> bytes:
    key = base64.b64decode((live.get("data") or {}).get(_ENTRY, ""), validate=True)
    if len(key) < _BYTES:
        raise ValueError("too short")
    return key

"""Merges one pod template over another: Kubernetes' strategic merge, as far as pod templates need it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from rochallor_operator.names import Manifest

_MERGED: Final = {
    "containers": "name",
    "initContainers": "name",
    "ports": "containerPort",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "resourceClaims": "name",
}
_REPLACED: Final = {"volumes": "name", "env": "name"}
"""Lists whose items are matched by a key too, but an item replaces the other as a whole: it has exactly one of several
sources, and two merged items would have both."""
_KEYS: Final = _MERGED | _REPLACED


def merge(base: Manifest, patch: Manifest) -> Manifest:
    """base with patch merged over it; neither is changed.

    Maps are merged field by field, null removes a field. Lists named above are merged item by item: an item with the
    key of an old one is merged into it, any other is added at the end. Every other list is replaced. Raises
    ValueError when an item of a merged list has no key.
    """
    merged = dict(base)
    for field, value in patch.items():
        if value is None:
            merged.pop(field, None)
        elif isinstance(value, dict):
            old = merged.get(field)
            merged[field] = merge(old if isinstance(old, dict) else {}, value)
        elif isinstance(value, list) and field in _KEYS:
            merged[field] = _merge_items(field, merged.get(field) or [], value)
        else:
            merged[field] = value
    return merged


def _merge_items(field: str, base: Sequence[Manifest], patch: Sequence[Any]) -> list[Manifest]:
    merged = {_key(field, item): item for item in base}
    for item in patch:
        key = _key(field, item)
        merged[key] = merge(merged.get(key, {}) if field in _MERGED else {}, item)
    return list(merged.values())


def _key(field: str, item: Any) -> Hashable:
    name = _KEYS[field]
    key = item.get(name) if isinstance(item, dict) else None
    if not isinstance(key, str | int):
        raise ValueError(f"each item of {field} needs its {name}")
    return key

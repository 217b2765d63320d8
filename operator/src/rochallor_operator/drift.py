"""Drift that an apply alone can't revert: fields that others added beside ours, where both can't coexist.

Server-side apply restores our fields and leaves what others added. The API server refuses that where only one of them
may exist: a volume with two sources, a variable with value and valueFrom, two ports of one name. But an apply does
remove fields that its manager owns and no longer wishes. So such fields are made ours in the object's managedFields,
and the next apply removes them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from rochallor_operator.names import MANAGER, REPLICAS_MANAGER

if TYPE_CHECKING:
    from rochallor_operator.names import Manifest

Path = tuple[str, ...]

_TEMPLATE: Final[Path] = ("f:spec", "f:template")
_OPEN: Final[set[Path]] = {(), ("f:spec",), _TEMPLATE, (*_TEMPLATE, "f:spec")}
"""Where others may add fields to a Deployment. Anywhere deeper within a field of ours they may not."""
_CONTAINERS: Final = {"f:containers", "f:initContainers"}


def claimed(live: Manifest, wish: Manifest) -> list[Manifest]:
    """The managedFields of a live object, with everything that contradicts the wish made ours.

    Labels, annotations, an autoscaler's replicas, whole containers, volumes and variables of others stay theirs.
    """
    ours: Manifest = {
        "manager": MANAGER,
        "operation": "Apply",
        "apiVersion": wish["apiVersion"],
        "fieldsType": "FieldsV1",
        "fieldsV1": {},
    }
    others = []
    taken: Manifest = {}
    for entry in live["metadata"].get("managedFields", []):
        if (entry["manager"], entry["operation"]) == (MANAGER, "Apply") and "subresource" not in entry:
            ours = entry
        elif (
            "subresource" in entry or entry["manager"] == REPLICAS_MANAGER or entry["apiVersion"] != wish["apiVersion"]
        ):
            others.append(entry)
        else:
            part, left = _divide(entry.get("fieldsV1", {}), wish, (), deployment=wish["kind"] == "Deployment")
            taken = _union(taken, part)
            if left:
                others.append(entry | {"fieldsV1": left})
    return [ours | {"fieldsV1": _union(ours["fieldsV1"], taken)}, *others]


def _divide(theirs: Manifest, wish: Any, path: Path, *, deployment: bool) -> tuple[Manifest, Manifest]:
    """A set of fields divided into those that contradict the wish, and the rest."""
    taken: Manifest = {}
    left: Manifest = {}
    for key, below in theirs.items():
        wished = _at(wish, key)
        if wished is not None:
            part, rest = _divide(below, wished, (*path, key), deployment=deployment)
            if part:
                taken[key] = part
            if rest or not below:
                left[key] = rest
        elif _is_open(path, key, deployment=deployment):
            left[key] = below
        else:
            taken[key] = below
    return taken, left


def _at(wish: Any, key: str) -> Any:
    """The wish's value at a key of FieldsV1: f:FIELD, or k:{…} for the list item with these values."""
    kind, _, name = key.partition(":")
    if kind == "f" and isinstance(wish, dict):
        return wish.get(name)
    if kind == "k" and isinstance(wish, list):
        named = json.loads(name).items()
        return next((item for item in wish if isinstance(item, dict) and named <= item.items()), None)
    return None


def _is_open(path: Path, key: str, *, deployment: bool) -> bool:
    """Whether others may have a field or an item here that the wish doesn't have."""
    if "f:metadata" in path:
        return True
    if key.startswith("k:"):
        return path[-1] != "f:ports"  # a port of another number may have the name of ours
    in_container = path[:3] == (*_TEMPLATE, "f:spec") and len(path) == 5 and path[3] in _CONTAINERS
    return path == () or (deployment and (path in _OPEN or in_container))


def _union(one: Manifest, other: Manifest) -> Manifest:
    return one | {key: _union(one.get(key, {}), below) for key, below in other.items()}

"""Runs the workflow of an example on an engine, as its README does; and a workflow for handlers of a test's own."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import httpx

END_S = 180.0
POLL_S = 0.1
PAGE = 200


def calls(retries: int) -> dict[str, Any]:
    """Return the workflow `calls`, of one job of the type `call`."""
    call = {"id": "call", "name": "Call", "type": "SERVICE_TASK", "jobType": "call", "retryCount": retries}
    return {
        "id": "calls",
        "name": "Calls",
        "steps": [call | {"nextStep": "end"}, {"id": "end", "name": "End", "type": "END"}],
    }


def run(engine: httpx.Client, example: Path, variables: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Upload the workflow.json of an example and start an instance with each of the variables (at most a page of them).

    Return the instances in that order once they have ended, whatever their status.
    """
    definition = engine.post("/v1/definitions", content=(example / "workflow.json").read_bytes()).raise_for_status()
    query = {"definitionId": definition.json()["id"], "pageSize": PAGE}
    started = []
    for each in variables:
        body = {"definitionId": query["definitionId"], "variables": each}
        started.append(engine.post("/v1/instances", json=body).raise_for_status().json()["id"])
    gives_up_at = time.monotonic() + END_S
    while True:
        items = engine.get("/v1/instances", params=query).raise_for_status().json()["items"]
        found = {item["id"]: item for item in items}
        if all(found[one]["status"] != "ACTIVE" for one in started):
            return [found[one] for one in started]
        assert time.monotonic() < gives_up_at, f"not ended: {[one for one in items if one['status'] == 'ACTIVE']}"
        time.sleep(POLL_S)

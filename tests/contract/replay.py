"""Replays the recorded cases (`cases/`) against any engine, over REST.

    PYTHONPATH=tests python -m contract.replay http://127.0.0.1:8080 --generation D

Each case was recorded from the real engine and is sent step by step. It uses definition ids and job types of its own,
so that it can run on an engine in use; it leaves instances behind.
"""

import argparse
import json
import re
import secrets
import sys
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import httpx
import msgspec

from contract.compare import Names, difference, fill, loosened

CASES = Path(__file__).parent / "cases"
CALLS = {
    "upload": "POST /v1/definitions",
    "definitions": "GET /v1/definitions",
    "definition": "GET /v1/definitions/{id}",
    "definition_version": "GET /v1/definitions/{id}/versions/{version}",
    "start": "POST /v1/instances",
    "list": "GET /v1/instances",
    "get": "GET /v1/instances/{id}",
    "history": "GET /v1/instances/{id}/history",
    "cancel": "POST /v1/instances/{id}/cancel",
    "retry_step": "POST /v1/instances/{id}/steps/{step}/retry",
    "poll": "POST /v1/jobs/poll",
    "complete": "POST /v1/jobs/{id}/complete",
    "fail": "POST /v1/jobs/{id}/fail",
    "heartbeat": "POST /v1/jobs/{id}/heartbeat",
    "user_task": "POST /v1/instances/{id}/user-tasks/{step}/complete",
    "signal": "POST /v1/instances/{id}/signals/{step}",
    "path": "GET {path}",
}
"""Calls by the name that the cases give them."""
GENERATIONS = ("A", "C", "D")
OTHERWISE = {
    "definitions-wrong": {
        22: "recorded on A: DECISION_TABLE is a type of newer engines",
        25: "recorded on A: newer engines take the step's id for a job type that is missing",
        62: "recorded on A: newer engines know input_schema",
        63: "recorded on A: newer engines know outputs_schema",
        64: "recorded on A: newer engines know hitPolicy",
    },
    "unknown-ids-fenced": {
        3: 'engine.md, "Errors": a fail of an unknown job is `lock job instance: no rows in result set`',
        4: "the same",
        14: 'engine.md, "RetryStep": it came before fencing, which the recorded engine was built without',
    },
}
"""Steps of cases that are left out on C and D, with the reason: what else is known about these contradicts them."""
PAUSE_SECONDS = 1.0
"""Between two tries of a step that is repeated until it matches."""


class Step(msgspec.Struct):
    """One call, or a wait for so many seconds."""

    call: str
    request: dict[str, Any]
    expect: dict[str, Any] = {}
    until: float = 0.0
    """For how many seconds it is repeated until it matches."""


class Case(msgspec.Struct):
    """A recorded case. `any`: recorded on generation A, and the same on fenced engines."""

    name: str
    generation: Literal["A", "fenced", "any"]
    note: str
    definitions: list[dict[str, Any]]
    steps: list[Step]
    quirk: str | None = None


def load(generation: str, only: str = "") -> list[Case]:
    """Return the cases that hold for a generation and have `only` in their name.

    The fenced ones were recorded on D: those that renew a lease, or ask for a length, do not hold for C.
    """
    recorded = "A" if generation == "A" else "fenced"
    cases = (msgspec.json.decode(file.read_bytes(), type=Case) for file in sorted(CASES.glob("*.json")))
    return [
        case
        for case in cases
        if case.generation in {recorded, "any"}
        and only in case.name
        and not (generation == "C" and case.generation == "fenced" and _leases(case))
    ]


def _leases(case: Case) -> bool:
    return any("leaseSeconds" in step.request.get("body", {}) for step in case.steps if step.call == "poll")


def left_out(generation: str, case: Case) -> Collection[int]:
    """Return the steps of a case, numbered from 1, that do not hold for a generation."""
    if generation == "A":
        return ()
    renewals = [number for number, step in enumerate(case.steps, 1) if step.call == "heartbeat"]
    return {*OTHERWISE.get(case.name, ()), *(renewals if generation == "C" else ())}


def run(
    http: httpx.Client,
    case: Case,
    *,
    loose: bool = False,
    without: Collection[int] = (),
    sleep: Callable[[float], object] = time.sleep,
) -> str | None:
    """Run a case; return None when it passed, else where it first differed.

    `loose` ignores the reasons of errors. `without` are steps, numbered from 1, to leave out. `sleep` lets seconds
    pass, for an engine whose clock tests move.
    """
    names: Names = {"$RUN": secrets.token_hex(4)}
    for number, step in enumerate(case.steps, 1):
        if step.call == "wait":
            sleep(step.request["seconds"])
        elif number not in without and (found := _repeat(http, case, step, names, loose=loose, sleep=sleep)):
            return f"step {number} {step.call}{found}"
    return None


def _repeat(
    http: httpx.Client, case: Case, step: Step, names: Names, *, loose: bool, sleep: Callable[[float], object]
) -> str | None:
    """Send a step until it matches or its time is over; return the last difference. Binds names when it matches."""
    want = loosened(step.expect) if loose else step.expect
    slept = 0.0
    while True:
        try:
            status, body = _send(http, case, step, names)
        except (httpx.HTTPError, ValueError) as error:
            return f": {error!r}"
        trial = dict(names)
        got = {"status": status, "body": body} if "body" in want else {"status": status}
        found = difference(want, got, trial)
        if found is None:
            names.update(trial)
            return None
        if slept >= step.until:
            return f"{found} [{status} {json.dumps(body, ensure_ascii=False)[:200]}]"
        sleep(PAUSE_SECONDS)
        slept += PAUSE_SECONDS


def _send(http: httpx.Client, case: Case, step: Step, names: Names) -> tuple[int, Any]:
    """Send one call; return the status and the body, which is parsed when it is JSON."""
    method, template = CALLS[step.call].split()
    request = step.request
    if "definition" in request:
        request = {**request, "body": case.definitions[request["definition"]]}

    def part(found: re.Match[str]) -> str:
        return quote(str(fill(request[found[1]], names)), safe="/" if found[1] == "path" else "")

    content = fill(request["raw"], names) if "raw" in request else None
    if "body" in request:
        content = json.dumps(fill(request["body"], names))
    answer = http.request(
        request.get("method", method),
        re.sub(r"\{(\w+)\}", part, template),
        content=None if content is None else content.encode(),
        params=fill(request.get("query"), names) or None,
        headers={"Content-Type": "application/json", **request.get("headers", {})},
    )
    try:
        return answer.status_code, answer.json()
    except ValueError:
        return answer.status_code, answer.text or None


def main() -> int:
    """Replay the cases; print a line for each, and exit with 1 if one failed."""
    parser = argparse.ArgumentParser(description="Replay the recorded cases against an engine.")
    parser.add_argument("url", help="the engine's REST address")
    parser.add_argument("--generation", choices=GENERATIONS, default="D")
    parser.add_argument("--only", default="", help="a part of the name of the cases to replay")
    parser.add_argument("--jobs", type=int, default=8, help="how many cases run at once")
    parser.add_argument("--loose", action="store_true", help="ignore the reasons of errors")
    options = parser.parse_args()
    cases = load(options.generation, options.only)

    def one(case: Case) -> str | None:
        return run(http, case, loose=options.loose, without=left_out(options.generation, case))

    with httpx.Client(base_url=options.url, timeout=60) as http, ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(one, cases))
    for case, result in zip(cases, results, strict=True):
        print(f"{'FAILED' if result else 'passed'}  {case.name:<32} {result or ''}".rstrip())
    print(f"{results.count(None)} of {len(cases)} passed")
    return 0 if results.count(None) == len(cases) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Shows that handlers are idempotent, as far as it can be seen; or what happened twice, and how it came to that."""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from typing import Any, NamedTuple

from rochallor_worker.chaos.effects import Watched
from rochallor_worker.chaos.plan import Fault, Scenario, drawn, singly
from rochallor_worker.chaos.play import Play
from rochallor_worker.chaos.stage import Stage
from rochallor_worker.chaos.verdict import NONE, Run, Usual, twice, usual
from rochallor_worker.devengine import DevEngine
from rochallor_worker.devengine.definition import Definition
from rochallor_worker.devengine.errors import CallError
from rochallor_worker.errors import StartError

NUMBER = "{n}"
"""In variables: a number that no other instance has, now or in an earlier test."""
INSTANCE_SECONDS = 60.0
"""How long an instance may take."""


class Doubled(NamedTuple):
    """An effect that happened twice."""

    step: str
    what: str


@dataclass(frozen=True)
class Trial:
    """What became of one scenario."""

    scenario: Scenario
    struck: bool
    """Whether everything went wrong that was to: of two faults in a row the second may find no second run."""
    found: Sequence[Doubled] = ()
    lines: Sequence[str] = ()
    """The interleaving that led to it."""


@dataclass
class Proof:
    """What was tried, and what was found."""

    effects: Mapping[str, Usual]
    """Those of an undisturbed run, by step."""
    trials: list[Trial] = field(default_factory=list)
    left_out: int = 0
    """Scenarios that there was no time for."""

    @property
    def untried(self) -> list[Scenario]:
        """Single faults that did not come up: a run may send fewer requests than another one."""
        return [one.scenario for one in self.trials if not one.struck and len(one.scenario.disturbances) == 1]

    @property
    def found(self) -> list[Trial]:
        """The trials in which something happened twice."""
        return [trial for trial in self.trials if trial.found]


async def prove(
    handlers: str,
    definition: Definition,
    variables: Mapping[str, Any],
    *,
    services: Mapping[str, str],
    watched: Watched,
    seed: int,
    rounds: int,
    seconds: float,
    progress: Callable[[Trial], None] = lambda _: None,
) -> Proof:
    """Run an instance with each fault alone at each step, then `rounds` with two; begin none after `seconds`.

    Raises `StartError` if that is not possible, or if nothing can be seen of what the handlers change.
    """
    until = time.monotonic() + seconds
    numbers = count(time.time_ns() // 1_000_000)
    async with DevEngine() as engine:
        with tempfile.TemporaryDirectory(prefix="rochallor-chaos-") as folder:
            stage = Stage(engine, handlers, services, watched, Path(folder), INSTANCE_SECONDS)

            async def play(scenario: Scenario | None = None) -> Play:
                try:
                    return await stage.play(definition.id, _numbered(variables, next(numbers)), scenario)
                except CallError as error:
                    raise StartError(f"an instance cannot be started: {error}") from error

            try:
                engine.state.definitions.upload(definition, engine.state.generation)
            except CallError as error:
                raise StartError(f"the engine refuses the definition: {error}") from error
            async with stage.open():
                undisturbed = [await play(), await play()]
                proof = Proof(_effects(undisturbed))
                requests = {
                    step: max(len(run.requests) for play in undisturbed for run in play.runs if run.step == step)
                    for step, effects in proof.effects.items()
                    if effects
                }
                for scenario in chain(singly(requests), drawn(requests, rounds, seed)):
                    if time.monotonic() > until:
                        proof.left_out += 1
                        continue
                    trial = _judged(await play(scenario), scenario, proof.effects)
                    proof.trials.append(trial)
                    progress(trial)
                return proof


def _effects(undisturbed: Sequence[Play]) -> Mapping[str, Usual]:
    """Return the effects of each step. Raises `StartError` if they are no measure for other instances."""
    for play in undisturbed:
        if play.instance.status != "COMPLETED":
            why = play.instance.failure_reason or "it was cancelled"
            raise StartError(f"an instance without any fault ends {play.instance.status}: {why}")
    first, second = ({step: usual(runs) for step, runs in _by_step(play).items()} for play in undisturbed)
    for step, effects in first.items():
        if effects and not second.get(step):
            raise StartError(
                f"step {step!r} changes nothing for a second instance with these variables: write {NUMBER} into "
                '--variables, such as {"order": "order-{n}"}, for a number that each instance has for its own'
            )
    if not any(first.values()):
        raise StartError("nothing can be seen of what the handlers change: name it with --watch, --effects or --http")
    return {step: first.get(step, NONE) | second.get(step, NONE) for step in first | second}


def _judged(play: Play, scenario: Scenario, effects: Mapping[str, Usual]) -> Trial:
    found = [
        Doubled(step, what)
        for step, of_step in _by_step(play).items()
        for runs in _by_key(of_step)
        for what in twice(runs, effects.get(step, NONE))
    ]
    may_fail = any(one.fault is Fault.UNANSWERED for one in play.struck)  # as often as its step is retried
    if play.instance.status == "FAILED" and not may_fail:
        found.append(Doubled(scenario.step, f"the instance has failed permanently: {play.instance.failure_reason}"))
    struck = len(play.struck) == len(scenario.disturbances)
    return Trial(scenario, struck, found, play.lines if found else ())


def _by_step(play: Play) -> Mapping[str, list[Run]]:
    found: dict[str, list[Run]] = {}
    for run in play.runs:
        found.setdefault(run.step, []).append(run)
    return found


def _by_key(runs: Sequence[Run]) -> list[list[Run]]:
    return [[run for run in runs if run.key == key] for key in dict.fromkeys(run.key for run in runs)]


def _numbered(value: Any, number: int) -> Any:
    """Return variables with the number in place of `{n}`: as a number where that is all of a text."""
    match value:
        case str():
            return number if value == NUMBER else value.replace(NUMBER, str(number))
        case dict():
            return {name: _numbered(part, number) for name, part in value.items()}
        case list():
            return [_numbered(part, number) for part in value]
        case _:
            return value

"""What `chaos` shows: each scenario as it ends, what happened twice and the interleaving that led to it."""

import asyncio
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from rochallor_worker.chaos.effects import Watched
from rochallor_worker.chaos.prove import Proof, Trial, prove
from rochallor_worker.cli.calling import read_definition
from rochallor_worker.cli.checking import compare
from rochallor_worker.devengine.definition import Definition
from rochallor_worker.errors import StartError
from rochallor_worker.handlers.loading import load_registry


def run(
    handlers: str,
    definition: Path,
    variables: str,
    *,
    services: Sequence[str],
    watched: Watched,
    seed: int,
    rounds: int,
    seconds: float,
) -> bool:
    """Test handlers and print what is found; return whether they are idempotent as far as it can be seen.

    Raises `StartError` if they cannot be tested, or not completely.
    """
    loaded = read_definition(definition, Definition)
    for remark in compare(loaded, list(load_registry(handlers))):
        if remark.certain:
            raise StartError(f"{definition}: {remark.text}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: no worker outlives this process
    proof = asyncio.run(
        prove(
            handlers,
            loaded,
            _variables(variables),
            services={name: _base_url(name) for name in services},
            watched=watched,
            seed=seed,
            rounds=rounds,
            seconds=seconds,
            progress=_show,
        )
    )
    _report(proof, seed)
    if not proof.found and proof.left_out:
        raise StartError(f"there was no time for {proof.left_out} scenarios: give it more with --seconds")
    if not proof.found and proof.untried:
        raise StartError(f"this could not be tried: {'; '.join(map(str, proof.untried))}")
    return not proof.found


def _variables(text: str) -> dict[str, Any]:
    try:
        variables = json.loads(text)
    except ValueError as error:
        raise StartError(f"--variables is not JSON: {error}") from error
    if not isinstance(variables, dict):
        raise StartError(f"--variables must be a JSON object, is {text[:100]!r}")
    return variables


def _base_url(name: str) -> str:
    url = os.environ.get(name, "")
    if not url.startswith(("http://", "https://")):
        raise StartError(f"--http {name}: this variable must hold the base URL of a service, is {url[:100]!r}")
    return url


def _show(trial: Trial) -> None:
    typer.echo(f"{'TWICE' if trial.found else 'ok   '} {trial.scenario}{'' if trial.struck else ' (not all came up)'}")


def _report(proof: Proof, seed: int) -> None:
    told: set[str] = set()
    for trial in proof.found:
        steps = {doubled.step for doubled in trial.found}
        if steps <= told:
            continue  # one interleaving is enough to see what is wrong
        told |= steps
        typer.echo(f"\n{trial.scenario}")
        for doubled in trial.found:
            typer.echo(f"  {doubled.step}: {doubled.what}")
        typer.echo("  how it came to that:")
        for line in trial.lines:
            typer.echo(f"  {line}")
    typer.echo("\neffects of an undisturbed run:")
    for step, effects in proof.effects.items():
        seen = [f"{count} × {what}" for what, count in (effects.requests + effects.lines).items()]
        typer.echo(f"  step {step!r}: {', '.join(seen) or 'none seen, so nothing is known of it'}")
    verdict = f"in {len(proof.found)} something happened twice" if proof.found else "nothing happened twice"
    typer.echo(f"{len(proof.trials)} scenarios, seed {seed}: {verdict}")

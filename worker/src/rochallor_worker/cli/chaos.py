"""`rochallor-worker chaos`: shows each scenario as it ends, what happened twice, and how it came to that."""

import asyncio
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rochallor_worker.cli.calling import FAILED, Handlers, read_definition, told, variables_of
from rochallor_worker.errors import StartError

if TYPE_CHECKING:
    from rochallor_worker.chaos.prove import Proof, Trial
    from rochallor_worker.devengine.definition import Definition


def chaos(
    handlers: Handlers,
    definition: Annotated[Path, typer.Option(metavar="FILE", help="The workflow definition (JSON) to run them in.")],
    variables: Annotated[
        str,
        typer.Option(
            metavar="JSON|@FILE", help="What instances start with; {n} in a text is a number of each instance's own."
        ),
    ] = "{}",
    watch: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH", help="A file, a folder or a SQLite database that handlers change. May be repeated."
        ),
    ] = None,
    effects: Annotated[
        list[str] | None,
        typer.Option(metavar="COMMAND", help="A shell command that prints one effect per line. May be repeated."),
    ] = None,
    http: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VARIABLE",
            help="A variable with the base URL of a service; what is sent there is recorded. May be repeated.",
        ),
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="Effects with this text in them don't count. May be repeated."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=0, help="Scenarios of two faults, drawn by the seed.")] = 5,
    seed: Annotated[int, typer.Option(help="Draws the same scenarios each time.")] = 1,
    seconds: Annotated[float, typer.Option(min=1, help="No scenario begins later than this.")] = 120,
) -> None:
    """Test whether your handlers are idempotent: run them in a workflow on a dev engine while things go wrong.

    Workers are killed, get the same job, lose answers and leases. Needs test services: handlers really run, and often.
    Exit status 0 if no effect was seen to happen twice, 1 if one did, 2 if that cannot be said.
    """
    from rochallor_worker.chaos.effects import Watched  # noqa: PLC0415 — other commands need none of it
    from rochallor_worker.chaos.prove import prove  # noqa: PLC0415
    from rochallor_worker.cli import logs  # noqa: PLC0415

    logs.configure("CRITICAL", "text")  # the report says everything
    with told():
        loaded = _fitting(handlers, definition)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: no worker outlives this process
        proof = asyncio.run(
            prove(
                handlers,
                loaded,
                variables_of(variables),
                services={name: _base_url(name) for name in http or ()},
                watched=Watched(watch or (), effects or (), ignore or ()),
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
    if proof.found:
        raise typer.Exit(FAILED)


def _fitting(handlers: str, path: Path) -> "Definition":
    """Return the definition in a file, if it can work with the handlers. Raises `StartError`."""
    from rochallor_worker.cli.checking import compare  # noqa: PLC0415
    from rochallor_worker.devengine.definition import Definition  # noqa: PLC0415
    from rochallor_worker.handlers.loading import load_registry  # noqa: PLC0415

    definition = read_definition(path, Definition)
    for remark in compare(definition, list(load_registry(handlers))):
        if remark.certain:
            raise StartError(f"{path}: {remark.text}")
    return definition


def _base_url(name: str) -> str:
    url = os.environ.get(name, "")
    if not url.startswith(("http://", "https://")):
        raise StartError(f"--http {name}: this variable must hold the base URL of a service, is {url[:100]!r}")
    return url


def _show(trial: "Trial") -> None:
    typer.echo(f"{'TWICE' if trial.found else 'ok   '} {trial.scenario}{'' if trial.struck else ' (not all came up)'}")


def _report(proof: "Proof", seed: int) -> None:
    shown: set[str] = set()
    for trial in proof.found:
        steps = {doubled.step for doubled in trial.found}
        if steps <= shown:
            continue  # one interleaving is enough to see what is wrong
        shown |= steps
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

"""`rochallor-worker check`: whether the handlers can be run, and fit a workflow."""

import os
from pathlib import Path
from typing import Annotated

import typer

from rochallor_worker.cli.calling import FAILED, Handlers, read_definition, told


def check(
    handlers: Handlers = "",
    definition: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Also look at a workflow definition (JSON): do the handlers fit? May be repeated."
        ),
    ] = None,
) -> None:
    """Import the handlers, read the settings, and list the handlers that would run; needs no engine.

    With `--definition`, also list its job types without a handler, and the variables that handlers need and no step
    provides. Exit status 2 if `run` would refuse the handlers, 1 if a definition cannot work with them.
    """
    from rochallor_worker.cli import checking, settings  # noqa: PLC0415 — other commands need none of it
    from rochallor_worker.devengine.definition import Definition  # noqa: PLC0415
    from rochallor_worker.handlers.loading import load_registry  # noqa: PLC0415
    from rochallor_worker.registry import checked_job_types  # noqa: PLC0415

    with told():
        loaded = settings.load(**({"handlers": handlers} if handlers else {}))
        for name in settings.unknown_variables(os.environ):
            typer.echo(f"{name} is not a setting and is ignored: check its spelling", err=True)
        registry = load_registry(loaded.handlers)
        loaded.limit(registry)
        served = checked_job_types(registry, loaded.job_types)
        checking.load_clients(loaded)
        definitions = {path: read_definition(path, Definition) for path in definition or ()}
    running = [handler for handler in registry if handler.job_type in served]
    checking.show(running)
    remarks = [(path, remark) for path, known in definitions.items() for remark in checking.compare(known, running)]
    for path, remark in remarks:
        typer.echo(f"{path}: {remark.text}")
    if any(remark.certain for _, remark in remarks):
        raise typer.Exit(FAILED)

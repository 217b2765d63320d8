"""`rochallor-worker deploy`: uploads definitions."""

from pathlib import Path
from typing import Annotated, Any

import typer

from rochallor_worker.cli.calling import FAILED, call, read_definition, told
from rochallor_worker.cli.output import printable
from rochallor_worker.engine.client import EngineClient


def deploy(
    file: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Workflow definitions (JSON).")],
    handlers: Annotated[
        str,
        typer.Option(
            metavar="PACKAGE.MODULE:REGISTRY",
            help="Upload nothing unless these handlers serve every job type of the definitions.",
        ),
    ] = "",
) -> None:
    """Upload workflow definitions. Running instances keep their version; the same content again makes no new one."""
    with told():
        definitions = {path: read_definition(path, dict[str, Any]) for path in file}
        unfit = _unfit(file, handlers) if handlers else []
    for remark in unfit:
        typer.echo(printable(remark), err=True)
    if unfit:
        typer.echo("nothing was uploaded", err=True)
        raise typer.Exit(FAILED)

    async def upload(engine: EngineClient) -> None:
        for path, definition in definitions.items():
            uploaded = await engine.upload_definition(definition)
            typer.echo(printable(f"{path}: {uploaded.id} version {uploaded.version}"))

    call(upload)


def _unfit(files: list[Path], reference: str) -> list[str]:
    """Return what cannot work in the definitions with these handlers."""
    from rochallor_worker.cli import checking  # noqa: PLC0415 — it loads much
    from rochallor_worker.devengine.definition import Definition  # noqa: PLC0415
    from rochallor_worker.handlers.loading import load_registry  # noqa: PLC0415

    handlers = list(load_registry(reference))
    definitions = {path: read_definition(path, Definition) for path in files}
    remarks = [(path, one) for path, known in definitions.items() for one in checking.compare(known, handlers)]
    return [f"{path}: {one.text}" for path, one in remarks if one.certain]

"""`rochallor-worker deploy`: uploads definitions."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from rochallor_worker.cli.calling import FAILED, call, told
from rochallor_worker.cli.output import printable
from rochallor_worker.engine.client import UNREADABLE, EngineClient
from rochallor_worker.errors import StartError


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
        definitions = {path: _read(path) for path in file}
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


def _read(path: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise StartError(f"definition {str(path)!r} cannot be read: {error.strerror or error}") from error
    except UNREADABLE as error:
        raise StartError(f"definition {str(path)!r} is not valid: {error}") from error


def _unfit(files: list[Path], reference: str) -> list[str]:
    """Return what cannot work in the definitions with these handlers."""
    from rochallor_worker.cli import checking  # noqa: PLC0415 — it loads much
    from rochallor_worker.handlers.loading import load_registry  # noqa: PLC0415

    handlers = list(load_registry(reference))
    definitions = {path: checking.load_definition(path) for path in files}
    remarks = [(path, one) for path, known in definitions.items() for one in checking.compare(known, handlers)]
    return [f"{path}: {one.text}" for path, one in remarks if one.certain]

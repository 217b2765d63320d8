"""What commands share: they reach the engine as a worker with the same settings would, and read definitions alike."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
import typer

from rochallor_worker.engine.client import UNREADABLE, EngineClient
from rochallor_worker.errors import NotFound, RochallorError, StartError

if TYPE_CHECKING:
    from rochallor_worker.cli.output import Shown

FAILED = 1
"""Exit status when the engine refused a call or was not reached, or something does not work."""
START_ERROR = 2
"""Exit status for a start error: a bad setting or argument."""
INTERRUPTED = 130
"""Exit status after Ctrl-C, as a shell has it."""

T = TypeVar("T")

Handlers = Annotated[
    str,
    typer.Argument(
        envvar="ROCHALLOR_HANDLERS",
        help="Your handlers, as package.module:registry: a module and the name of the Registry in it.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Definition = Annotated[str, typer.Option(metavar="ID", help="Only instances of this definition.")]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Print it again when it changes, until Ctrl-C.")]


@contextmanager
def told() -> Iterator[None]:
    """Turn an error into one line and an exit status."""
    from rochallor_worker.cli.output import printable  # noqa: PLC0415 — rich takes time to load

    try:
        yield
    except RochallorError as error:
        typer.echo(printable(str(error)), err=True)
        raise typer.Exit(START_ERROR if isinstance(error, StartError) else FAILED) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def read_definition(path: Path, kind: type[T]) -> T:
    """Read a workflow definition, as JSON. Raises `StartError`."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise StartError(f"definition {str(path)!r} cannot be read: {error.strerror or error}") from error
    except UNREADABLE as error:
        what = "must be a workflow definition, a JSON object with id, name and steps"
        raise StartError(f"definition {str(path)!r} is not valid: {what}: {error}") from error


def variables_of(text: str) -> dict[str, Any]:
    """Return the variables of an option; none without a text. Raises `StartError`."""
    try:
        content = Path(text[1:]).read_bytes() if text.startswith("@") else text.encode()
        return msgspec.json.decode(content, type=dict[str, Any]) if text else {}
    except OSError as error:
        raise StartError(f"--variables: {text[1:]!r} cannot be read: {error.strerror or error}") from error
    except UNREADABLE as error:
        raise StartError(f"--variables is not valid: must be a JSON object, or @FILE: {error}") from error


async def must_exist(engine: EngineClient, definition: str) -> None:
    """Raise `NotFound` if the engine has no such definition: where nothing is found, its name may be mistyped."""
    try:
        await engine.get_definition(definition)
    except NotFound:
        raise NotFound(f"the engine has no definition {definition!r}: check its spelling, or deploy it") from None


def call(action: Callable[[EngineClient], Awaitable[T]]) -> T:
    """Return what `action` does with the engine of the settings; an error ends the program with one line."""
    from rochallor_worker.cli import logs, settings  # noqa: PLC0415
    from rochallor_worker.cli.process import connect  # noqa: PLC0415

    logs.configure("CRITICAL", "text")  # the answer says everything

    async def connected() -> T:
        async with connect(settings.load()) as engine:
            return await action(engine)

    with told():
        return asyncio.run(connected())


def answer(look: Callable[[EngineClient], Awaitable["Shown"]], *, as_json: bool, again: bool) -> None:
    """Print an answer, once or again and again."""
    from rochallor_worker.cli.output import present  # noqa: PLC0415 — rich takes time to load

    call(lambda engine: present(lambda: look(engine), as_json=as_json, again=again))

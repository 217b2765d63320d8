"""`rochallor-worker why`: why an instance does not move on."""

from typing import Annotated

import typer
from rich.console import Group
from rich.text import Text

from rochallor_worker.cli.calling import FAILED, AsJson, Watch, answer
from rochallor_worker.cli.output import Shown, printable, table
from rochallor_worker.engine.client import EngineClient
from rochallor_worker.why.stops import State
from rochallor_worker.why.verdict import Verdict

Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Only workers of this namespace. Default: all.")]
Context = Annotated[str, typer.Option(metavar="NAME", help="The context of kubectl's configuration to use.")]
Pages = Annotated[
    list[str] | None,
    typer.Option("--page", metavar="URL", help="A worker's status page, where no kubectl leads. May be repeated."),
]
_COLOURS: dict[State, str] = {"stops": "red", "unknown": "yellow", "waits": "cyan", "moves": "green", "ended": "green"}


def why(
    instance: Annotated[str, typer.Argument(metavar="INSTANCE", help="Its id, or business key.")],
    namespace: Namespace = "",
    context: Context = "",
    page: Pages = None,
    as_json: AsJson = False,
    again: Watch = False,
) -> None:
    """Say why an instance does not move on: its step, the workers of its job type, their pods, and what stops it.

    The engine is asked, and Kubernetes through `kubectl`, with its own configuration. What could not be asked is named.
    Exit status 1 if something stops it.
    """
    from rochallor_worker.why.gather import gather  # noqa: PLC0415 — it loads much
    from rochallor_worker.why.kubectl import Kubectl  # noqa: PLC0415
    from rochallor_worker.why.verdict import verdict  # noqa: PLC0415

    stopped = False

    async def look(engine: EngineClient) -> Shown:
        nonlocal stopped
        found = verdict(await gather(engine, instance, Kubectl(namespace, context), page or ()))
        stopped = found.state == "stops"
        return Shown(_described(found), found, final=found.state == "ended")

    answer(look, as_json=as_json, again=again)
    if stopped:
        raise typer.Exit(FAILED)


def _described(found: Verdict) -> Group:
    parts = [Text(printable(f"{found.state}: {found.why}"), style=f"bold {_COLOURS[found.state]}")]
    parts += [Text(f"read on in docs/{found.page}")] if found.page else []
    unknown = [Text(printable(f"not known: {one}"), style="yellow") for one in found.unknown]
    chain = table(("", "what was found"), ((link.what, link.found) for link in found.chain))
    return Group(*parts, *([chain] if found.chain else []), *unknown)

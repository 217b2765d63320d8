"""`rochallor-worker instances`: list, show, history, start, cancel, retry."""

from dataclasses import replace
from typing import Annotated, Any

import msgspec
import typer

from rochallor_worker.asking.failures import explain
from rochallor_worker.asking.instances import RUNNING, find, newest
from rochallor_worker.cli.calling import FAILED, AsJson, Definition, Watch, answer, call, must_exist, told, variables_of
from rochallor_worker.cli.failures import retry_and_tell
from rochallor_worker.cli.output import Shown, moment, printable, show, table
from rochallor_worker.engine.client import EngineClient, Instance, InstanceStatus
from rochallor_worker.errors import EngineError, InternalError, NotFound

app = typer.Typer(no_args_is_help=True, help="List, show, start, cancel and retry instances.")

Reference = Annotated[str, typer.Argument(metavar="INSTANCE", help="Its id or business key; of several, the newest.")]
Variables = Annotated[
    str, typer.Option(metavar="JSON|@FILE", help="Variables: a JSON object, or @ and the name of a file with one.")
]


@app.command("list")
def list_(
    definition: Definition = "",
    status: Annotated[
        InstanceStatus | None, typer.Option(case_sensitive=False, help="Only instances with this status.")
    ] = None,
    business_key: Annotated[str, typer.Option(metavar="KEY", help="Only instances with this business key.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many.")] = 50,
    as_json: AsJson = False,
    again: Watch = False,
) -> None:
    """List instances, the newest first."""

    async def look(engine: EngineClient) -> Shown:
        found = await newest(engine, limit, definition_id=definition, status=status, business_key=business_key)
        if definition and not found.total:
            await must_exist(engine, definition)
        shown = table(
            ("id", "definition", "status", "business key", "started (UTC)", "at step", "failure"),
            (
                (
                    one.id,
                    f"{one.definition_id} v{one.definition_version}",
                    one.status,
                    one.business_key,
                    moment(one.started_at),
                    ", ".join(one.current_step_ids or ()),
                    " ".join(one.failure_reason.split()),
                )
                for one in found.items
            ),
        )
        shown.caption = f"{len(found.items)} of {found.total}"
        return Shown(shown, found)

    answer(look, as_json=as_json, again=again)


@app.command("show")
def show_(instance: Reference, as_json: AsJson = False, again: Watch = False) -> None:
    """Show an instance with its variables. With --watch, until it has ended."""

    async def look(engine: EngineClient) -> Shown:
        one = await find(engine, instance)
        return Shown(_described(one), one, final=one.status not in RUNNING)

    answer(look, as_json=as_json, again=again)


@app.command()
def history(instance: Reference, as_json: AsJson = False, again: Watch = False) -> None:
    """Show each entry into a step. Retries of a job are of one entry. With --watch, until the instance has ended."""

    async def look(engine: EngineClient) -> Shown:
        one = await find(engine, instance)
        entries = await engine.get_instance_history(one.id)
        shown = table(
            ("step", "type", "entry", "status", "began (UTC)", "ended (UTC)", "failure"),
            (
                (
                    entry.step_id,
                    entry.step_type,
                    entry.attempt_number,
                    entry.status,
                    moment(entry.started_at),
                    moment(entry.ended_at),
                    " ".join((entry.failure_reason or "").split()),
                )
                for entry in sorted(entries, key=lambda entry: entry.id)  # in order of entry
            ),
        )
        return Shown(shown, entries, final=one.status not in RUNNING)

    answer(look, as_json=as_json, again=again)


@app.command()
def start(
    definition: Annotated[str, typer.Argument(help="The definition's id.")],
    variables: Variables = "",
    business_key: Annotated[str, typer.Option(metavar="KEY", help="The instance's business key.")] = "",
    version: Annotated[int | None, typer.Option(min=1, help="The definition's version. Default: the newest.")] = None,
    as_json: AsJson = False,
) -> None:
    """Start an instance, and print its id."""
    with told():
        given = variables_of(variables)

    async def begin(engine: EngineClient) -> Instance:
        try:
            return await engine.start_instance(definition, given, version=version, business_key=business_key)
        except (InternalError, NotFound):  # engines say in different ways that there is no such definition
            await must_exist(engine, definition)
            raise

    started = call(begin)
    show(Shown(started.id, started), as_json=as_json)


@app.command()
def cancel(
    instance: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of running instances.")],
    reason: Annotated[str, typer.Option(help="Why; the engine keeps it.")] = "",
) -> None:
    """Cancel instances. Exit status 1 if one of them could not be cancelled."""

    async def each(engine: EngineClient) -> int:
        refused = 0
        for one in instance:
            try:
                await engine.cancel_instance(one, reason=reason)
            except NotFound:
                refused += 1
                typer.echo(printable(f"{one}: not cancelled: no running instance has this id"), err=True)
            except EngineError as error:
                refused += 1
                typer.echo(printable(f"{one}: not cancelled: {error}"), err=True)
            else:
                typer.echo(f"{one}: cancelled")
        return refused

    if call(each):
        raise typer.Exit(FAILED)


@app.command()
def retry(
    instance: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of FAILED instances.")],
    step: Annotated[str, typer.Option(metavar="ID", help="The step to run again. Default: the one that failed.")] = "",
    variables: Variables = "",
) -> None:
    """Run the failed step of FAILED instances again, with all its retries; `failures --retry` does it for many.

    The variables are merged into each instance first. The run has another `job.key`: an effect that was made before the
    failure can happen again. Engines of generation A have no retry; start another instance there.
    """
    with told():
        given = variables_of(variables)

    async def run(engine: EngineClient) -> int:
        found = await explain(engine, [await _failed(engine, one) for one in instance])
        chosen = [replace(one, step_id=step or one.step_id) for one in found]
        return await retry_and_tell(engine, chosen, variables=given)

    if call(run):
        raise typer.Exit(FAILED)


async def _failed(engine: EngineClient, instance: str) -> Instance:
    try:
        return await engine.get_instance(instance)
    except NotFound:
        raise NotFound(f"{instance}: not retried: no instance has this id") from None


def _described(one: Instance) -> Any:
    rows = (
        ("id", one.id),
        ("definition", f"{one.definition_id} v{one.definition_version}"),
        ("status", one.status),
        ("business key", one.business_key or "–"),
        ("started (UTC)", moment(one.started_at)),
        ("ended (UTC)", moment(one.completed_at)),
        ("at step", ", ".join(one.current_step_ids or ()) or "–"),
        ("failure", " ".join(one.failure_reason.split()) or "–"),
        ("variables", msgspec.json.format(msgspec.json.encode(one.variables or {}), indent=2).decode()),
    )
    shown = table(("", ""), rows)
    shown.show_header = False
    return shown

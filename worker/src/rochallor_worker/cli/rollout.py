"""`kubectl rochallor rollout`: how a canary rollout stands; promotes or aborts the version on trial."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rochallor_worker.cli.calling import FAILED, AsJson, Watch, told
from rochallor_worker.cli.output import Shown, present, table
from rochallor_worker.cli.why import Context
from rochallor_worker.errors import RochallorError

if TYPE_CHECKING:
    from rochallor_worker.why.kubectl import Kubectl
    from rochallor_worker.why.kubernetes import Counts, Resource, Rollout

PROMOTE, ABORT = "rochallor.io/promote", "rochallor.io/abort"
"""Annotations that name a version; the operator acts on them."""
ON_TRIAL = frozenset({"Progressing", "Waiting", "Paused"})
STOPPED = frozenset({"Paused", "Failed"})
"""The version has failed."""
AT_REST = STOPPED | {"Stable"}
"""Nothing more happens by itself."""

app = typer.Typer(no_args_is_help=True, help="Show a canary rollout; promote or abort the version on trial.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The RochallorWorker.")]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Its namespace. Default: the one of the context.")]


class NotOnTrial(RochallorError):  # noqa: N818 — named for the state it describes
    """A resource has no version on trial that could be shown, promoted or aborted; one line says why."""


@app.command()
def status(
    name: Name, namespace: Namespace = "", context: Context = "", as_json: AsJson = False, again: Watch = False
) -> None:
    """Show the phase of a canary rollout, its step and share, and what the pods of both versions have counted.

    With --watch, until the new version has reached all pods, or has failed. Exit status 1 if it has failed.
    """
    failed = False

    async def look() -> Shown:
        nonlocal failed
        resource = await _kubectl(namespace, context).worker(name)
        state = _rollout(resource)
        failed = resource.is_observed and state.phase in STOPPED
        return Shown(_described(resource, state), state, final=resource.is_observed and state.phase in AT_REST)

    with told():
        asyncio.run(present(look, as_json=as_json, again=again))
    if failed:
        raise typer.Exit(FAILED)


@app.command()
def promote(name: Name, namespace: Namespace = "", context: Context = "") -> None:
    """Promote the version on trial to all pods, without further steps. It may be one that has failed."""
    with told():
        asyncio.run(_decide(_kubectl(namespace, context), name, "promote", ON_TRIAL | STOPPED, (PROMOTE, ABORT)))


@app.command()
def abort(name: Name, namespace: Namespace = "", context: Context = "") -> None:
    """Abort the trial: the canary's pods drain, and the stable ones stay as they are."""
    with told():
        asyncio.run(_decide(_kubectl(namespace, context), name, "abort", ON_TRIAL, (ABORT, PROMOTE)))


async def _decide(
    kubectl: "Kubectl", name: str, verb: str, possible: frozenset[str], annotations: tuple[str, str]
) -> None:
    """Write the first annotation for the version on trial, and remove the second, which would contradict it.

    It names the version: for one that the resource gets meanwhile, it means nothing.
    """
    resource = await kubectl.worker(name)
    state = _rollout(resource)
    if not resource.is_observed:
        raise NotOnTrial(f"{resource}: the operator has not seen its last change yet: is it running?")
    if state.phase not in possible:
        raise NotOnTrial(f"{resource}: nothing to {verb}: the rollout is {state.phase}")
    written, removed = annotations
    await kubectl.annotate(name, f"{written}={state.revision}", f"{removed}-")
    typer.echo(f"{resource}: the operator is asked to {verb} version {state.revision}")


def _kubectl(namespace: str, context: str) -> "Kubectl":
    from rochallor_worker.why.kubectl import Kubectl  # noqa: PLC0415 — it loads much

    return Kubectl(namespace, context)


def _rollout(resource: "Resource") -> "Rollout":
    if resource.spec.rollout.strategy != "Canary":
        raise NotOnTrial(f"{resource}: no canary rollouts: spec.rollout.strategy is {resource.spec.rollout.strategy}")
    if resource.status.rollout is None:
        raise NotOnTrial(f"{resource}: the operator has not written a rollout to its status yet: is it running?")
    return resource.status.rollout


def _described(resource: "Resource", state: "Rollout") -> Any:
    rows = [
        ("phase", state.phase if resource.is_observed else f"{state.phase}, before the last change of the resource"),
        ("version", state.revision),
    ]
    if state.phase != "Stable":
        rows += [
            ("stable version", state.stable_revision),
            ("step", f"{state.step} of {state.steps}"),
            ("share", state.share or "–"),
            ("new pods", _counted(state.canary)),
            ("stable pods", _counted(state.stable)),
            ("message", state.message or "–"),
        ]
    shown = table(("", ""), rows)
    shown.show_header = False
    return shown


def _counted(counts: "Counts") -> str:
    slow = f", {counts.slow} slow" if counts.slow else ""
    return f"{counts.jobs} jobs in this step, {counts.failures} failed{slow}"

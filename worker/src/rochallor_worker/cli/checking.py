"""What `check` shows: the handlers with their inputs, and how they fit a workflow definition."""

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import NamedTuple

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rochallor_worker.cli.settings import Settings
from rochallor_worker.devengine.definition import Definition, Step
from rochallor_worker.extras import needs
from rochallor_worker.registry import Handler

Handlers = Mapping[str, Handler]
"""By job type."""
_FROM_PEOPLE = {"USER_TASK", "WAIT"}
"""Types of steps that may be completed with any variables."""


class Remark(NamedTuple):
    """Something that does not fit; a `certain` one cannot work, whatever an instance is started with."""

    text: str
    certain: bool


def show(handlers: Sequence[Handler]) -> None:
    """Print a table of handlers, then the JSON schema of each input."""
    table = Table("job type", "handler", "kind", "timeout", "input")
    for handler in handlers:
        kind = "async" if handler.is_async else "sync" if handler.executor == "thread" else "process"
        timeout = f"{handler.timeout:g} s" if handler.timeout else "-"
        takes = handler.signature.input_name if handler.signature else ""
        table.add_row(escape(handler.job_type), escape(handler.name), kind, timeout, escape(takes or "-"))
    Console().print(table)
    for handler in handlers:
        if handler.signature and (schema := handler.signature.schema):
            typer.echo(f"input of {handler.job_type}: {json.dumps(schema, indent=2)}")


def load_clients(settings: Settings) -> None:
    """Load what the settings' transports need. Raises `StartError` for an extra that is not installed."""
    if settings.calls_over == "grpc":
        with needs("grpc", "gRPC"):
            import_module("rochallor_worker.engine.grpc.client")
    if settings.transport == "kafka":
        with needs("kafka", "Kafka"):
            import_module("rochallor_worker.source.kafka.source")


def compare(definition: Definition, handlers: Sequence[Handler]) -> Iterator[Remark]:
    """Yield the job types without a handler, then the variables that handlers need and no step provides."""
    known = {handler.job_type: handler for handler in handlers}
    tasks = [step for step in definition.steps if step.type == "SERVICE_TASK"]
    for step in tasks:
        if known.get(_job_type(step)) is None:
            yield Remark(f"step {step.id!r}: job type {_job_type(step)!r} has no handler", certain=True)
    for step in tasks:
        handler = known.get(_job_type(step))
        for name in sorted(handler.signature.needs) if handler and handler.signature else ():
            if (remark := _lacking(definition, known, step, name)) is not None:
                yield remark


def _lacking(definition: Definition, known: Handlers, step: Step, name: str) -> Remark | None:
    """Return what to say of a variable that a step needs; None if it is provided."""
    if definition.input_schema is not None and name in definition.input_schema.get("properties", {}):
        return None
    open_steps = []
    for other in definition.steps:
        provided = _provided(other, known)
        if other is not step and provided is None:
            open_steps.append(repr(other.id))
        elif other is not step and provided is not None and name in provided:
            return None
    text = f"step {step.id!r}: no step provides the variable {name!r} of {_job_type(step)}"
    if definition.input_schema is None:
        text += "; give it to instances when they start"
    if open_steps:
        text += f" (what these return is not declared: {', '.join(open_steps)})"
    return Remark(text, certain=definition.input_schema is not None and not open_steps)


def _provided(step: Step, known: Handlers) -> frozenset[str] | None:
    """Return the variables that a step provides; None if any are possible."""
    if step.type in _FROM_PEOPLE:
        return None
    if step.type == "SERVICE_TASK":
        if step.outputs_schema is not None:
            return frozenset(step.outputs_schema.get("properties", ()))
        handler = known.get(_job_type(step))
        return handler.signature.gives if handler and handler.signature else None
    outputs = [rule.outputs or {} for rule in step.decision_table.rules or ()] if step.decision_table else []
    return frozenset(step.transformations or ()).union(*outputs)


def _job_type(step: Step) -> str:
    return step.job_type or step.id

"""`rochallor-worker settings`: every setting with its value, and where that comes from."""

import os
from typing import Any

import typer
from pydantic_core import to_json

from rochallor_worker.cli.calling import AsJson, told

HIDDEN = "(hidden)"
"""Shown in place of a secret."""


def show_settings(as_json: AsJson = False) -> None:
    """Show every setting with the value in force, and whether it comes from the environment; secrets are hidden."""
    from rochallor_worker.cli.output import Shown, show, table  # noqa: PLC0415
    from rochallor_worker.cli.settings import PREFIX, Settings, load, unknown_variables  # noqa: PLC0415 — loads slowly

    with told():
        loaded = load()
    rows = [
        {
            "variable": f"{PREFIX}{name.upper()}",
            "value": _text(getattr(loaded, name), field.description or "") if field.repr else _hidden(loaded, name),
            "from": "environment" if name in loaded.model_fields_set else "default",
        }
        for name, field in Settings.model_fields.items()
    ]
    people = table(("variable", "value", "from"), ([*row.values()] for row in rows))
    show(Shown(people, rows), as_json=as_json)
    for name in unknown_variables(os.environ):
        typer.echo(f"{name} is not a setting and is ignored: check its spelling", err=True)


def _hidden(loaded: Any, name: str) -> str:
    return HIDDEN if getattr(loaded, name) else ""


def _text(value: Any, must_be: str) -> str:
    """Return a value as its variable would have it; nothing if it is not set."""
    match value:
        case None:
            return ""
        case bool():
            return str(int(value))
        case float() if must_be.startswith("a duration"):
            return f"{value:.6f}".rstrip("0").rstrip(".") + "s"
        case str() | int():
            return str(value)
        case list():
            return ", ".join(value)
    return to_json(value, by_alias=True, exclude_none=True).decode() if value else ""

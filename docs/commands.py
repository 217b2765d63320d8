"""The reference page of the command line, from its parser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from rochallor_worker.cli.main import app

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = "rochallor-worker"


def page() -> str:
    """Every command with its arguments and options."""
    return (
        f"# Commands\n\n`{PROGRAM} COMMAND --help` says the same. Settings are environment variables: see"
        " [Settings of a worker](settings.md). Exit status: 0, or 1 if something failed, or 2 for a bad setting or"
        " argument.\n\n" + "\n".join(_sections(typer.main.get_command(app), PROGRAM))
    )


def _sections(command: Any, name: str) -> Iterator[str]:
    if commands := getattr(command, "commands", None):
        for part, below in commands.items():
            yield from _sections(below, f"{name} {part}")
        return
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option" and one.help]
    usage = " ".join([name, *(_argument(one) for one in arguments)])
    rows = [_row(f"`{_argument(one)}`", one) for one in arguments] + [_row(_option(one), one) for one in options]
    table = "| | meaning | default |\n|---|---|---|\n" + "".join(rows) if rows else ""
    yield f"## {name.removeprefix(PROGRAM).strip()}\n\n`{usage}`\n\n{command.help}\n\n{table}"


def _argument(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    return name if argument.required or name.startswith("[") else f"[{name}]"


def _option(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in option.opts)
    return names if option.is_flag else f"{names} {_value(option)}"


def _value(option: Any) -> str:
    kind = option.type_descriptor.annotation
    members = getattr(kind, "__members__", None)
    text = option.metavar or ("|".join(members) if members else getattr(kind, "__name__", "text").upper())
    return "`" + text.replace("|", "\\|") + "`"


def _row(name: str, parameter: Any) -> str:
    default = parameter.default
    shown = "*required*" if parameter.required else "–" if default in (None, "", False) else f"`{default}`"
    variable = f" Also `{parameter.envvar}`." if parameter.envvar else ""
    return f"| {name} | {parameter.help}{variable} | {shown} |\n"

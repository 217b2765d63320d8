"""The command line: run, check, init, dev-engine, demo."""

import asyncio
import contextlib
import os
import signal
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import structlog
import typer

from rochallor_worker.errors import StartError

TERMINATION_LOG = Path("/dev/termination-log")
"""Kubernetes shows what a container writes here as the reason of its end."""
START_ERROR = 2
"""Exit status for a start error."""

app = typer.Typer(
    help="Runs your Python handlers for the jobs of a rochallor engine.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="markdown",  # folds lines into paragraphs
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rochallor-worker {version('rochallor-worker')}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None: ...


Handlers = Annotated[
    str,
    typer.Argument(
        envvar="ROCHALLOR_HANDLERS",
        help="Where your handlers are: package.module:registry, a module and the name of the Registry in it.",
    ),
]


@app.command()
def run(handlers: Handlers = "") -> None:
    """Claim jobs and run their handlers until SIGTERM, then finish running jobs and exit.

    Settings are environment variables. ROCHALLOR_ENGINE_URL (such as http://localhost:8080) is the only one required;
    with ROCHALLOR_TRANSPORT=grpc it is ROCHALLOR_ENGINE_GRPC_TARGET instead. A bad value stops the start with one line
    that says what it must be, and exit status 2.
    """
    # process 1 of a container is deaf to what it has no handler for; until jobs are claimed, an end costs nothing
    signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))

    from rochallor_worker import logs, process, settings  # noqa: PLC0415 — `--help` need not load the runtime

    log = structlog.get_logger("rochallor_worker")
    logs.configure("INFO", "text" if sys.stderr.isatty() else "json")  # the setting is not known yet
    try:
        loaded = settings.load(**({"handlers": handlers} if handlers else {}))
        logs.configure(loaded.log_level, loaded.log_format)
        process.run(loaded)
    except StartError as error:
        log.error(str(error))
        with contextlib.suppress(OSError):
            if TERMINATION_LOG.exists():
                TERMINATION_LOG.write_text(f"{error}\n", encoding="utf-8")
        raise typer.Exit(START_ERROR) from None


@app.command()
def check(handlers: Handlers = "") -> None:
    """Import the handlers and list them; needs no engine. Exit status 2 when that fails."""
    from rich.console import Console  # noqa: PLC0415
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from rochallor_worker.loading import load_registry  # noqa: PLC0415

    try:
        registry = load_registry(handlers)
    except StartError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(START_ERROR) from None
    table = Table("job type", "handler", "kind", "timeout")
    for handler in registry:
        kind = "async" if handler.is_async else "sync"
        timeout = f"{handler.timeout:g} s" if handler.timeout else "-"
        table.add_row(escape(handler.job_type), escape(handler.name), kind, timeout)
    Console().print(table)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="The project's folder; the worker is named after it.")],
) -> None:
    """Write a small project to start from: handlers, a test, a Dockerfile and worker.yaml."""
    from rochallor_worker.init import create  # noqa: PLC0415

    try:
        for path in create(folder):
            typer.echo(f"wrote {path}")
    except (StartError, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(START_ERROR) from None


@app.command()
def dev_engine(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="REST port; 0 takes a free one.")] = 8080,
    grpc_port: Annotated[int, typer.Option(min=0, max=65535, help="gRPC port; 0 takes a free one.")] = 8081,
    kafka: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Dispatch jobs over these Kafka brokers (PLAINTEXT only) instead of letting workers poll; "
            "the topics workflow.jobs.TYPE must exist.",
        ),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Serve with TLS: the certificate (PEM); needs --tls-key.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="The certificate's key (PEM).")] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Refuse calls without the bearer token in this file."),
    ] = None,
) -> None:
    """Run an engine in memory, for development and tests. It knows SERVICE_TASK and END steps.

    Nothing is kept when it exits.
    """
    from rochallor_worker import logs  # noqa: PLC0415
    from rochallor_worker.devengine import server  # noqa: PLC0415

    logs.configure("INFO", "json")
    raise typer.Exit(
        server.run(host, port, grpc_port, kafka, cert_file=tls_cert, key_file=tls_key, token_file=token_file)
    )


@app.command()
def demo(
    engine_url: Annotated[str, typer.Option(envvar="ROCHALLOR_ENGINE_URL", help="REST base URL of the engine.")],
    instances: Annotated[int, typer.Option(min=1, help="Instances to start.")] = 300,
) -> None:
    """Start instances of the workflow "hello" for the worker of examples/hello, and show how they end.

    Exit status 0 when all end as expected: every tenth FAILED, the others COMPLETED.
    """
    from rochallor_worker.demo import run_demo  # noqa: PLC0415

    raise typer.Exit(asyncio.run(run_demo(engine_url, instances)))


def main() -> None:
    """Run the command line."""
    app()

"""The command line. Larger commands, and those that ask the engine, are in modules of their own."""

import asyncio
import contextlib
import shlex
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from rochallor_worker.cli import instances, rollout
from rochallor_worker.cli.calling import FAILED, START_ERROR, Handlers, told
from rochallor_worker.cli.chaos import chaos
from rochallor_worker.cli.check import check
from rochallor_worker.cli.deploy import deploy
from rochallor_worker.cli.failures import failures
from rochallor_worker.cli.in_force import show_settings
from rochallor_worker.cli.top import top
from rochallor_worker.cli.why import why
from rochallor_worker.errors import StartError
from rochallor_worker.logger import get_logger

TERMINATION_LOG = Path("/dev/termination-log")
"""Kubernetes shows what a container writes here as the reason it ended."""

GRPC_PORT = 8081
"""Of the dev engine."""

WORKER, ENGINE, TRY = "The worker", "What happens", "Try it"
"""Panels of --help."""

app = typer.Typer(
    help="Runs your Python handlers for the jobs of a rochallor engine.",
    epilog="New here? `rochallor-worker demo` shows a worker at work; `rochallor-worker init hello` writes your own.",
    no_args_is_help=True,
    rich_markup_mode="markdown",  # joins lines into paragraphs
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


@app.command(rich_help_panel=WORKER)
def run(
    handlers: Handlers = "",
    reload: Annotated[
        bool,
        typer.Option(
            "--reload", help="For development: start again when a Python file below the working directory changes."
        ),
    ] = False,
) -> None:
    """Claim jobs and run their handlers until SIGTERM, then finish running jobs and exit.

    Settings are environment variables. Only ROCHALLOR_ENGINE_URL (such as http://localhost:8080) is required, or
    ROCHALLOR_ENGINE_GRPC_TARGET with ROCHALLOR_TRANSPORT=grpc. A bad value stops the start with exit status 2 and one
    line that says what it must be.
    """
    from rochallor_worker.cli import logs, process, settings  # noqa: PLC0415 — other commands need none of it
    from rochallor_worker.cli.reloading import keep_running  # noqa: PLC0415

    log = get_logger("rochallor_worker")
    logs.configure("INFO", "text" if sys.stderr.isatty() else "json")  # the setting is not known yet
    if reload:
        command = [sys.executable, "-m", "rochallor_worker", "run", *([handlers] if handlers else [])]
        raise typer.Exit(asyncio.run(keep_running(command, Path.cwd())))
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
    except Exception:
        log.exception("the worker crashed")
        raise typer.Exit(1) from None


app.command(rich_help_panel=WORKER)(check)


@app.command(rich_help_panel=WORKER)
def doctor(
    handlers: Handlers = "",
    probe: Annotated[
        bool, typer.Option("--probe", help="Upload the definition rochallor-doctor and run an instance of it.")
    ] = False,
) -> None:
    """Check the engine, Kafka, handlers and journal of the ROCHALLOR_* settings, and what kind of engine it is.

    Changes nothing in the engine unless `--probe` is given. Exit status 1 if a check failed.
    """
    from rochallor_worker.cli import logs  # noqa: PLC0415
    from rochallor_worker.doctor.examine import examine  # noqa: PLC0415
    from rochallor_worker.doctor.findings import failed, show  # noqa: PLC0415

    logs.configure("CRITICAL", "text")  # the table says everything
    findings = examine(handlers, probing=probe)
    show(findings)
    if failed(findings):
        raise typer.Exit(FAILED)


app.command("settings", rich_help_panel=WORKER)(show_settings)


def _ask(into: typer.Typer) -> None:
    into.command(rich_help_panel=ENGINE)(why)
    into.command(rich_help_panel=ENGINE)(top)
    into.command(rich_help_panel=ENGINE)(failures)
    into.add_typer(instances.app, name="instances", rich_help_panel=ENGINE)
    into.command(rich_help_panel=ENGINE)(deploy)
    into.add_typer(rollout.app, name="rollout", rich_help_panel=ENGINE)


plugin = typer.Typer(
    name="kubectl rochallor",
    help="Says what the workflows and workers of a rochallor engine do.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    add_completion=False,
    pretty_exceptions_enable=False,
)
"""`kubectl rochallor`: what can be asked from outside a worker."""
_ask(app)
_ask(plugin)


@app.command(rich_help_panel=TRY)
def demo(
    engine_url: Annotated[
        str, typer.Option(metavar="URL", help="Not an engine of its own: one that the worker of examples/hello serves.")
    ] = "",
    instances: Annotated[int, typer.Option(min=1, help="Instances to start.")] = 300,
) -> None:
    """Run instances of the workflow "hello", and show how they end; needs nothing else.

    Without `--engine-url` it starts an engine in memory and a worker with a status page. On a terminal they go on until
    you press Enter.

    Exit status 0 when all end as expected: every tenth FAILED, the others COMPLETED.
    """
    from rochallor_worker.cli.demo import run_demo  # noqa: PLC0415
    from rochallor_worker.cli.demo_here import run_here  # noqa: PLC0415

    with told():
        raise typer.Exit(asyncio.run(run_demo(engine_url, instances) if engine_url else run_here(instances)))


@app.command(rich_help_panel=TRY)
def init(
    folder: Annotated[Path, typer.Argument(help="Folder of the project; the worker is named after it.")],
) -> None:
    """Write a small project to start from: handlers, a test, a Dockerfile and worker.yaml.

    The last lines say what to run next.
    """
    from rochallor_worker.cli.init import NEXT, create  # noqa: PLC0415

    try:
        for path in create(folder):
            typer.echo(f"wrote {path}")
    except (StartError, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(START_ERROR) from None
    typer.echo(NEXT.format(folder=shlex.quote(str(folder))))


@app.command(rich_help_panel=TRY)
def dev_engine(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="REST port; 0 for any free one.")] = 8080,
    grpc_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="gRPC port; 0 for any free one. If not given, 8081 where the extra grpc is installed.",
        ),
    ] = None,
    generation: Annotated[
        str,
        typer.Option(
            metavar="A|C|D",
            help="Generation to behave as: A (up to spring 2026), C (only the lease's holder may report an outcome) or "
            "D (v1.2: leases can be renewed, too).",
        ),
    ] = "D",
    lease: Annotated[
        float, typer.Option(min=0.01, help="Seconds that a claim lasts, unless its poll requests another length.")
    ] = 30,
    kafka: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Dispatch jobs over these Kafka brokers (PLAINTEXT only) instead of letting workers poll; "
            "the topics workflow.jobs.TYPE must exist.",
        ),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Serve with TLS: the certificate (PEM). Needs --tls-key.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="The certificate's key (PEM).")] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Refuse calls without the bearer token in this file."),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keep definitions, instances, jobs and timers in this file, and go on from there at the next start.",
        ),
    ] = None,
) -> None:
    """Run an engine in memory, for development and tests. It runs whole definitions.

    Nothing is kept when it exits, unless `--state` names a file. That one is written before each answer, so that a kill
    loses nothing; leases and timers run on by the clock while no engine runs.
    """
    from rochallor_worker.cli import logs  # noqa: PLC0415
    from rochallor_worker.devengine import server  # noqa: PLC0415

    logs.configure("INFO", "text" if sys.stderr.isatty() else "json")
    raise typer.Exit(
        server.run(
            host,
            port,
            GRPC_PORT if grpc_port is None and find_spec("grpc") else grpc_port,
            kafka,
            generation=generation,
            lease=lease,
            cert_file=tls_cert,
            key_file=tls_key,
            token_file=token_file,
            state=state,
        )
    )


app.command(rich_help_panel=TRY)(chaos)

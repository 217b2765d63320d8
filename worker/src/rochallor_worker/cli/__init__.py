"""The worker as a process of its own: its command line, settings and logs."""

import os
import signal
import sys
import threading

from rochallor_worker.errors import StartError
from rochallor_worker.extras import needs


def main() -> None:
    """Run the command line of a worker. Exits with status 2 if it is not installed.

    Threads that a module of handlers has started cannot keep the process from ending.
    """
    # process 1 of a container ignores signals it has no handler for; until a command has its own, ending costs nothing
    signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))
    try:
        with needs("cli", "the command line"):
            from rochallor_worker.cli.main import app  # noqa: PLC0415 — the extra may be missing
    except StartError as error:
        print(f"rochallor-worker: {error}", file=sys.stderr)
        sys.exit(2)
    try:
        app()
    except SystemExit as ended:
        if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
            from rochallor_worker.cli.process import EXIT_SECONDS, exit_within  # noqa: PLC0415

            exit_within(EXIT_SECONDS, ended.code if isinstance(ended.code, int) else 0)
        raise


def kubectl() -> None:
    """Run the plugin of kubectl, `kubectl rochallor`. Exits with status 2 if the command line is not installed."""
    try:
        with needs("cli", "the plugin"):
            from rochallor_worker.cli.main import plugin  # noqa: PLC0415 — the extra may be missing
    except StartError as error:
        print(f"kubectl-rochallor: {error}", file=sys.stderr)
        sys.exit(2)
    plugin(prog_name="kubectl rochallor")

"""Programs of a cluster as child processes, with log files and ports of their own."""

from __future__ import annotations

import socket
import subprocess
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Iterator

LOG_LINES = 8
TERMINATE_S = 30.0


class Process:
    """A program that can be started and stopped; it is killed when the thread that started it ends."""

    def __init__(self, argv: list[str], log: Path) -> None:
        self.name = Path(argv[0]).name
        self._argv = argv
        self._log = log
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the program; its output goes to the end of its log."""
        with self._log.open("ab") as log:
            # setpriv (util-linux): a killed test run leaves no server behind
            self._child = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *self._argv], stdout=log, stderr=log)

    @property
    def pid(self) -> int | None:
        """The running program's process id; None if it was not started."""
        return None if self._child is None else self._child.pid

    def check(self) -> None:
        """Raise ClusterError with the end of the log if the program has ended by itself."""
        if self._child is not None and self._child.poll() is not None:
            end = self._log.read_text(errors="replace").splitlines()[-LOG_LINES:]
            raise ClusterError(f"{self.name} ended with status {self._child.returncode}:\n" + "\n".join(end))

    def stop(self) -> None:
        """Kill the program: a graceful stop takes a minute, and its state is no longer needed."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

    def terminate(self) -> None:
        """Ask the program to end, and wait for it; kill it after 30 s."""
        if self._child is not None:
            self._child.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(TERMINATE_S)
            self.stop()


@contextmanager
def reserved_ports(count: int) -> Iterator[list[int]]:
    """Yield `count` different ports of 127.0.0.1, which nobody who asks for any free port gets during the block.

    They stay bound here without a listener: programs that reuse addresses, as Go's and Java's do, can listen on them.
    """
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.bind(("127.0.0.1", 0))
        yield [each.getsockname()[1] for each in sockets]

"""Shows long phases: a spinner on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOG_EVERY_S = 30.0

console = Console(stderr=True, highlight=False, soft_wrap=True)


@contextmanager
def phase(title: str) -> Iterator[Callable[[str], None]]:
    """Show that `title` is in progress, and at the end how long it took.

    Yields a function to report progress; without a terminal its text is printed at most every 30 s.
    """
    started = logged = time.monotonic()

    def note(text: str) -> None:
        nonlocal logged
        now = time.monotonic()
        status.update(f"{title}: {text}")
        if not console.is_terminal and now - logged >= LOG_EVERY_S:
            logged = now
            console.print(f"… {title}: {text} ({now - started:.0f} s)")

    with console.status(title) as status:
        try:
            yield note
        except BaseException:
            console.print(f"✗ {title} ({time.monotonic() - started:.1f} s)")
            raise
    console.print(f"✓ {title} ({time.monotonic() - started:.1f} s)")

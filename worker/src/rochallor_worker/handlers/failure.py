"""What a handler raised: whether a retry can help, and its description. Nothing here raises, whatever the error."""

import importlib
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path

from rochallor_worker.errors import NonRetryableError, RochallorError
from rochallor_worker.handlers.postpone import Postpone

MAX_MESSAGE_CHARS = 2000
"""Longest failure text sent to the engine."""
MAX_TRACEBACK_CHARS = 20_000
"""Longest traceback in a log line; its end shows what was raised."""
MAX_LEAVES = 1000
"""Errors of a group that are inspected."""
_PACKAGE = Path(__file__).parents[1]
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})


Kinds = tuple[type[BaseException], ...]


class ChildError(RochallorError):
    """A handler failed in a process of its own: its description, as decided there, or how its process died."""

    def __init__(self, message: str, *, permanent: bool = False, trace: str = "") -> None:
        super().__init__(message)
        self.permanent = permanent
        self.trace = trace


def permanent(error: BaseException, kinds: Kinds = ()) -> bool:
    """Whether the handler raised `NonRetryableError` or one of `kinds`: among several errors, one is enough.

    `Postpone` is none, even where all exceptions are in `kinds`: it asks for another run.
    """
    if isinstance(error, ChildError):
        return error.permanent
    leaves = (leaf for leaf in _leaves(error) if not isinstance(leaf, Postpone))
    return any(isinstance(leaf, (NonRetryableError, *kinds)) for leaf in leaves)


def postponement(error: BaseException, kinds: Kinds = ()) -> Postpone | None:
    """Return the handler's wish to postpone the job, if it has one; an error that is final counts for more."""
    if permanent(error, kinds):
        return None
    wishes = (_understood(leaf) for leaf in _leaves(error) if isinstance(leaf, Postpone))
    return next((wish for wish in wishes if wish is not None), None)


def describe(error: BaseException, kinds: Kinds = ()) -> str:
    """Return `Type: message`; of several errors, that of the decisive one and how many more there are."""
    if isinstance(error, ChildError):
        return str(error)
    leaves = list(_leaves(error))
    first = next((leaf for leaf in leaves if isinstance(leaf, (NonRetryableError, *kinds))), leaves[0])
    more = f" (and {len(leaves) - 1} more)" if len(leaves) > 1 else ""
    return f"{_text(first)[: MAX_MESSAGE_CHARS - len(more)]}{more}"


def traceback_of(error: BaseException) -> str:
    """Return the traceback as text, without local variables, which may be secrets."""
    if isinstance(error, ChildError):
        return error.trace
    try:
        text = "".join(traceback.format_exception(error))
    except BaseException:  # noqa: BLE001 — an error that raises when formatted costs its traceback, not its job
        return "(it cannot be printed)"
    return text if len(text) <= MAX_TRACEBACK_CHARS else f"…{text[-MAX_TRACEBACK_CHARS:]}"


def where(error: BaseException) -> str:
    """Name an error, in one line, and the last line of user code it came from; of a library's if there is none."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_internal(frame.filename)]
    frames = [frame for frame in frames if not frame.filename.startswith(_LIBRARIES)] or frames
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    if isinstance(error, SyntaxError):  # its text includes the place
        place = ""
    return f"{' '.join(describe(error).split())}{place}"


def _leaves(error: BaseException) -> Iterator[BaseException]:
    pending, seen = [error], 0
    while pending and seen < MAX_LEAVES:
        one = pending.pop(0)
        if isinstance(one, BaseExceptionGroup) and one.exceptions:
            pending[:0] = one.exceptions
        else:
            seen += 1
            yield one


def _understood(wish: Postpone) -> Postpone | None:
    """Return an equal wish that is certainly whole; None if a subclass, or who raised it, has left none: a failure."""
    try:
        return Postpone(wish.message, after=wish.after)
    except BaseException:  # noqa: BLE001 — such a class may do anything
        return None


def _text(error: BaseException) -> str:
    name = type(error).__name__
    try:
        text = str(error)
        whole = f"{name}: {text}" if text else name
    except BaseException:  # noqa: BLE001 — an exception whose own __str__ raises, SystemExit perhaps
        whole = f"{name}: (its text cannot be read)"
    # half of a surrogate pair (a file name can hold one) cannot be sent, and PostgreSQL cannot store a NUL: a Fail with
    # either would be retried forever
    return whole.encode(errors="replace").decode().replace("\0", "?")


def _is_internal(filename: str) -> bool:
    """Whether a frame is of the import machinery or of this package, which are not at fault."""
    return filename.startswith("<frozen") or filename == importlib.__file__ or Path(filename).is_relative_to(_PACKAGE)

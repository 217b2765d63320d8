"""Files of a connection: how they are read, and how a change is noticed."""

from pathlib import Path

from rochallor_worker.errors import StartError


def stamp_of(path: str) -> object:
    """Return a value that changes when a file does; a mounted secret changes by a link to a new file."""
    if not path:
        return None
    try:
        status = Path(path).stat()
    except OSError as error:
        return error.errno
    return status.st_mtime_ns, status.st_ino, status.st_size


def read(what: str, path: str) -> bytes:
    """Read a file. `what` must not contain its path if that may be a secret: people set it to the token itself."""
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise StartError(f"the engine's {what} cannot be read: {getattr(error, 'strerror', None) or error}") from None

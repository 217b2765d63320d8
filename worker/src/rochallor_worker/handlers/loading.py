"""From the setting `package.module:registry` to a Registry, with one message for each way it can be wrong."""

import importlib
import sys
from pathlib import Path

from rochallor_worker.errors import StartError
from rochallor_worker.handlers.failure import where
from rochallor_worker.registry import Registry


def load_registry(reference: str | None) -> Registry:
    """Import the module and return its registry. Raises `StartError`.

    The working directory is importable, as with `python -m`.
    """
    if not reference:
        raise StartError(
            "no handlers named: give the argument package.module:registry, or set ROCHALLOR_HANDLERS to it"
        )
    module_name, colon, attribute = reference.partition(":")
    if not (module_name and colon and attribute):
        raise StartError(f"handlers {reference!r} is not valid: must be package.module:registry")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # user code: a SyntaxError and sys.exit() included
        raise StartError(f"handlers {reference!r} cannot be imported: {where(error)}") from error
    registry = getattr(module, attribute, None)
    if registry is None:
        raise StartError(f"handlers {reference!r}: module {module_name!r} has no {attribute!r}")
    if not isinstance(registry, Registry):
        raise StartError(f"handlers {reference!r}: {attribute!r} is a {type(registry).__name__}, not a Registry")
    if not len(registry):
        raise StartError(
            f"handlers {reference!r}: the registry has no handler; register at least one with "
            "@registry.handler(job_type)"
        )
    return registry

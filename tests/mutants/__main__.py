"""`python -m mutants [--seconds N] [MODULE…]`: mutate the core's modules and check that a test notices."""

import argparse
import sys
import time
import tomllib
from pathlib import Path

import pytest

from mutants.hunt import Hunt

FOLDER = Path(__file__).parent
AT_LEAST = 0.9
"""The share of a module's mutants that its tests must kill."""


def main() -> int:
    """Hunt the mutants of all modules in targets.toml; return 0 if all survivors are in survivors.toml."""
    parser = argparse.ArgumentParser(prog="mutants")
    parser.add_argument("modules", nargs="*")
    parser.add_argument("--seconds", type=float, default=3600)
    given = parser.parse_args()
    targets = tomllib.loads((FOLDER / "targets.toml").read_text())
    accepted = tomllib.loads((FOLDER / "survivors.toml").read_text())
    ends_at = time.monotonic() + given.seconds
    wrong = [_hunt(name, targets[name], accepted.get(name, {}), ends_at) for name in given.modules or targets]
    return 1 if any(wrong) else 0


def _hunt(module: str, tests: list[str], accepted: dict[str, str], ends_at: float) -> bool:
    """Hunt the mutants of one module; return whether something is wrong."""
    began = time.monotonic()
    hunt = Hunt(module, ends_at)
    # -x: one test that notices is enough; the same examples each time
    options = ["-qq", "-x", "-p", "no:cacheprovider", "--hypothesis-profile=mutants", "--timeout=0"]
    pytest.main([*options, *tests], plugins=[hunt])
    killed = hunt.made - len(hunt.survivors)
    new = [name for name in hunt.survivors if name not in accepted]
    print(
        f"{module}: {killed} of {hunt.made} mutants killed ({killed / max(hunt.made, 1):.0%}), "
        f"{len(hunt.survivors) - len(new)} accepted, {len(new)} new, {time.monotonic() - began:.0f} s",
        flush=True,
    )
    for name in new:
        print(f"  survives: {name}")
    if not hunt.problem:
        for name in sorted(set(accepted) - set(hunt.survivors)):
            print(f"  no longer survives, remove it from survivors.toml: {name}")
    if hunt.problem:
        print(f"  {hunt.problem}")
    few = killed < AT_LEAST * hunt.made
    if few:
        print(f"  too few: at least {AT_LEAST:.0%} must be killed")
    return bool(new or hunt.problem or few)


sys.exit(main())

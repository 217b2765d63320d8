"""How many CPUs this process may use: in a pod fewer than the machine has."""

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def cpu_limit(cgroup: Path = CGROUP) -> int:
    """Return the CPU limit of the pod, rounded up, of cgroup v2 or v1; without one, the machine's CPUs."""
    machine = os.cpu_count() or 1
    words = _read(cgroup / "cpu.max").split()
    if len(words) != 2:
        words = [_read(cgroup / "cpu" / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    if not all(word.isdecimal() and int(word) > 0 for word in words):  # "max" and -1 mean no limit
        return machine
    return min(machine, math.ceil(int(words[0]) / int(words[1])))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""

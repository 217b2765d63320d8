"""What this process may use: in a pod fewer CPUs and less memory than the machine has."""

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
NO_LIMIT = 2**62
"""A limit of memory from which on cgroup v1 means none; it writes the largest number of pages."""


def cpu_limit(cgroup: Path = CGROUP) -> int:
    """Return the CPU limit of the pod, rounded up, of cgroup v2 or v1; without one, the machine's CPUs."""
    machine = os.cpu_count() or 1
    words = _read(cgroup / "cpu.max").split()
    if len(words) != 2:
        words = [_read(cgroup / "cpu" / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    if not all(word.isdecimal() and int(word) > 0 for word in words):  # "max" and -1 mean no limit
        return machine
    return min(machine, math.ceil(int(words[0]) / int(words[1])))


def memory_limit(cgroup: Path = CGROUP) -> int | None:
    """Return the memory limit of the pod in bytes, of cgroup v2 or v1; None without one."""
    word = (_read(cgroup / "memory.max") or _read(cgroup / "memory" / "memory.limit_in_bytes")).strip()
    return int(word) if word.isdecimal() and 0 < int(word) < NO_LIMIT else None  # "max" means no limit


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""

"""The peak of this process's memory."""

from __future__ import annotations

import resource
import sys
from pathlib import Path


def peak_gib() -> float:
    """The most memory that this program has held so far, mapped files that it has touched included.

    Linux's ``getrusage`` would count what its parent held when it started this process.
    """
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 2**20

"""Where there is a file system in memory: on a disk, databases take longer to be flushed than to be written."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

MEMORY = Path("/dev/shm")
LEAST_BYTES = 2**31
"""Room that there has to be: the folders of tests take some 100 MB, and so does each worker's PostgreSQL server."""


def find_memory() -> Path | None:
    """A folder in memory with room for tests; None where there is none, as in a container that was given 64 MB."""
    has_room = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > LEAST_BYTES
    return MEMORY if has_room else None

"""The history that trials append to while they run, and that is read afterwards."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

HISTORY = "CHAOS_HISTORY"
"""Environment variable that names the file for real trials; scripted ones read it in their script."""


def read_history(file: Path) -> list[dict[str, Any]]:
    """The lines that trials appended; a line that its writer's death cut off was not answered, and is left out."""
    if not file.exists():
        return []
    found = []
    for line in file.read_text().splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            found.append(json.loads(line))
    return found

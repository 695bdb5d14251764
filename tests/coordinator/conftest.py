from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import end_group, start_script
from runs import RUN, Start


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Runs a study in a process of its own; what it prints in error is a failure of the test."""
    started: list[subprocess.Popen[str]] = []
    errors = tmp_path / "errors.txt"

    def start_one(file: Path, *, pause_s: float = 20.0) -> subprocess.Popen[str]:
        started.append(start_script(RUN, [str(file), str(pause_s)], folder=tmp_path, errors=errors))
        return started[-1]

    yield start_one
    for process in started:
        end_group(process.pid)
        process.communicate()

"""Commands whose output nobody can read: a full disk, a pipe without a reader, a descriptor that is closed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from scripted import run

from sweep.testing import write_toy_study

needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
FULL = "sweep: standard output: cannot be written: No space left on device\n"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a finished study."""
    file = write_toy_study(tmp_path_factory.mktemp("output"), script={}, budget={"trials": 1})
    run(file)
    return file


@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        pytest.param("status {file} > /dev/full", 2, FULL, marks=needs_full, id="unbuffered"),
        pytest.param("status {file} > /dev/full", 2, FULL, marks=needs_full),
        pytest.param("run {file} > /dev/full", 0, "", marks=needs_full),  # the study is finished, whoever reads that
        pytest.param("run missing.toml 2> /dev/full", 2, "", marks=needs_full),
        ("run {file} | true", 0, ""),
        ("status {file} | true", 0, ""),
        ("--help | true", 0, ""),
        ("run {file} >&-", 0, ""),
    ],
)
def test_the_exit_status_follows_the_command_whoever_reads_its_output(
    study: Path, tmp_path: Path, request: pytest.FixtureRequest, line: str, status: int, said: str
) -> None:
    places = os.pathsep.join(place for place in sys.path if place)
    command = f"{sys.executable} -m sweep {line.format(file=study)}"
    ended = subprocess.run(
        ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": places, "PYTHONUNBUFFERED": "1" if "unbuffered" in request.node.name else ""},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=120,
    )
    assert (ended.returncode, ended.stderr) == (status, said)

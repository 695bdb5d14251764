"""Commands whose output nobody can read: a full disk, a pipe without a reader, a descriptor that is closed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from scripted import run

from sweep.cli import main
from sweep.run_folder import RunFolder
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


def test_a_report_that_cannot_be_written_hides_no_leaderboard_and_changes_no_exit_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_toy_study(tmp_path, script={}, budget={"trials": 1})
    run(file)
    report = RunFolder.beside(file).report
    report.mkdir()
    assert main(["run", str(file)]) == 0
    said = capsys.readouterr()
    assert said.err == (
        f"sweep: {report}: the report cannot be written: Is a directory; name another place with --output\n"
    )
    assert "1 of 1 trials, finished" in said.out

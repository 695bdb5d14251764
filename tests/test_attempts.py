from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processes import TESTS

from sweep.attempts import end_older_attempt, hold_attempt
from sweep.errors import AttemptHeldError

HOLD = """
import sys, time
from pathlib import Path
from sweep.attempts import hold_attempt
hold_attempt(Path(sys.argv[1]), 3)
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "attempt.lock"


@pytest.fixture
def holder(lock: Path):
    """A process that holds the lock as attempt 3."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)],
        env={**os.environ, "PYTHONPATH": str(TESTS.parent)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_where_nothing_was_ever_held_there_is_nobody_to_end(lock: Path) -> None:
    assert end_older_attempt(lock) is None


def test_a_lock_outlives_nobody(lock: Path, holder: subprocess.Popen[str]) -> None:
    assert json.loads(lock.read_text())["attempt"] == 3
    holder.kill()
    holder.wait()
    assert end_older_attempt(lock) is None


@pytest.mark.parametrize("stopped", [False, True])
def test_an_older_attempt_is_ended_whether_it_runs_or_is_stopped(
    lock: Path, holder: subprocess.Popen[str], stopped: bool
) -> None:
    if stopped:
        os.kill(holder.pid, signal.SIGSTOP)
    assert end_older_attempt(lock) == holder.pid
    assert holder.wait() == -signal.SIGKILL


def test_a_second_process_of_a_trial_does_not_get_its_lock(lock: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(AttemptHeldError, match=rf"another process of this trial is alive: .*'pid': {holder.pid}"):
        hold_attempt(lock, 4)
    assert json.loads(lock.read_text())["attempt"] == 3


def test_a_process_of_another_machine_is_left_alone(lock: Path, holder: subprocess.Popen[str]) -> None:
    lock.write_text(json.dumps({"pid": holder.pid, "attempt": 3, "place": "elsewhere"}))
    with pytest.raises(AttemptHeldError, match="cannot be ended from here"):
        end_older_attempt(lock)
    assert holder.poll() is None

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from processes import hold_elsewhere

from sweep.attempts import end_older_attempt, hold_attempt
from sweep.errors import AttemptHeldError


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "attempt.lock"


@pytest.fixture
def owner(lock: Path):
    """A process that holds the lock as attempt 3."""
    with hold_elsewhere(lock) as process:
        yield process


def test_where_nothing_was_ever_held_there_is_nobody_to_end(lock: Path) -> None:
    assert end_older_attempt(lock) is None


def test_a_lock_outlives_nobody(lock: Path, owner: subprocess.Popen[str]) -> None:
    assert json.loads(lock.read_text())["attempt"] == 3
    owner.kill()
    owner.wait()
    assert end_older_attempt(lock) is None


def test_a_second_process_of_a_trial_does_not_get_its_lock(lock: Path, owner: subprocess.Popen[str]) -> None:
    with pytest.raises(AttemptHeldError, match=rf"another process of this trial is alive: .*'pid': {owner.pid}"):
        hold_attempt(lock, 4)
    assert json.loads(lock.read_text())["attempt"] == 3

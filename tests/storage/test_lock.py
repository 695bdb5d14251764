from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from processes import end_group, start_script

from sweep.errors import StudyLockedError
from sweep.storage.lock import StudyLock, find_owner

HOLD = """
import sys, time
from pathlib import Path
from sweep.launch import LocalLauncher
from sweep.storage.lock import StudyLock
from sweep.messages import Job

launcher = LocalLauncher()
with StudyLock(Path(sys.argv[1])):
    if sys.argv[2] == "worker":
        launcher.start(Job(name="job", body="launcher_jobs:sleep_long", task=None, log=Path("job.log")))
        print(*launcher.process_ids("job"), flush=True)
    else:
        print("held", flush=True)
    time.sleep(600)
"""

Hold = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "a 'study'" / "study.lock"


@pytest.fixture
def hold(tmp_path: Path, lock: Path) -> Iterator[Hold]:
    """Starts another process that holds the lock, and gives back once it does."""
    lock.parent.mkdir()
    started: list[subprocess.Popen[str]] = []

    def start(what: str = "nothing") -> subprocess.Popen[str]:
        started.append(start_script(HOLD, [str(lock), what], folder=tmp_path, errors=tmp_path / "errors.txt"))
        return started[-1]

    yield start
    for process in started:
        end_group(process.pid)
        process.communicate()


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_a_second_coordinator_is_refused_and_told_who_holds_the_study(hold: Hold, lock: Path) -> None:
    process = hold()
    read_line(process)
    expected = f"this study is being run by process {process.pid} on {socket.gethostname()} since 20"
    with pytest.raises(StudyLockedError, match=expected), StudyLock(lock):
        pass
    owner = find_owner(lock)
    assert owner is not None
    assert (owner.pid, owner.host) == (process.pid, socket.gethostname())


def test_the_lock_is_free_once_its_holder_was_killed(hold: Hold, lock: Path) -> None:
    process = hold()
    read_line(process)
    process.kill()
    process.wait()
    assert find_owner(lock) is None
    with StudyLock(lock):
        assert find_owner(lock) is not None


def test_workers_do_not_inherit_the_lock(hold: Hold, lock: Path) -> None:
    process = hold("worker")
    worker = int(read_line(process))
    os.kill(worker, signal.SIGSTOP)  # it lives on, whatever becomes of its coordinator
    process.kill()
    process.wait()
    os.kill(worker, 0)
    assert find_owner(lock) is None
    with StudyLock(lock):
        os.kill(worker, 0)


def test_the_lock_is_free_after_its_block_and_after_an_error_in_it(tmp_path: Path) -> None:
    file = tmp_path / "study.lock"
    with pytest.raises(RuntimeError, match="scripted"), StudyLock(file):
        raise RuntimeError("scripted")
    assert find_owner(file) is None
    with StudyLock(file), pytest.raises(StudyLockedError, match=f"process {os.getpid()} "), StudyLock(file):
        pass
    with StudyLock(file):
        pass


def test_a_study_that_was_never_run_has_no_holder(tmp_path: Path) -> None:
    assert find_owner(tmp_path / "study.lock") is None
    assert list(tmp_path.iterdir()) == []


def test_what_an_earlier_holder_wrote_means_nothing(tmp_path: Path) -> None:
    file = tmp_path / "study.lock"
    file.write_text('{"pid": 1, "host": "elsewhere", "since": "2020-01-01T00:00:00+00:00"}')
    assert find_owner(file) is None
    with StudyLock(file):
        owner = find_owner(file)
    assert owner is not None
    assert owner.pid == os.getpid()


def test_a_holder_that_wrote_nothing_readable_is_seen_all_the_same(tmp_path: Path) -> None:
    file = tmp_path / "study.lock"
    with StudyLock(file):
        file.write_text("not json")
        owner = find_owner(file)
        with pytest.raises(StudyLockedError, match="being run by another process"), StudyLock(file):
            pass
    assert owner is not None
    assert owner.pid == 0


def test_looking_for_the_holder_never_disturbs_a_start(tmp_path: Path) -> None:
    file = tmp_path / "study.lock"
    file.touch()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            find_owner(file)
            done.wait(0.001)

    lookers = [threading.Thread(target=look) for _ in range(3)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(100):
            with StudyLock(file):
                pass
    finally:
        done.set()
        for looker in lookers:
            looker.join()

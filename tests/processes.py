"""Real processes for tests: a script in a process group of its own, and who of that group is still alive."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil

TESTS = Path(__file__).resolve().parent
DEADLINE_S = 120.0
"""Seconds after which a test that waits for a process gives up."""


def start_script(code: str, arguments: Sequence[str] = (), *, folder: Path, errors: Path) -> subprocess.Popen[str]:
    """Starts Python on ``code`` in a process group of its own; its standard error goes to a file."""
    places = [TESTS.parent, TESTS / "contracts", TESTS / "coordinator", TESTS / "launch"]
    with errors.open("a") as stream:
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-c", code, *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places)), "CUDA_VISIBLE_DEVICES": ""},
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
            start_new_session=True,
        )


HOLD = """
import sys, time
from pathlib import Path
from sweep.attempts import hold_attempt
hold_attempt(Path(sys.argv[1]), 3)
print("held", flush=True)
time.sleep(600)
"""


@contextlib.contextmanager
def hold_elsewhere(lock: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds a trial's lock as its attempt 3."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)],
        env={**os.environ, "PYTHONPATH": str(TESTS.parent)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def living(group: int) -> list[str]:
    """The processes of a process group that are alive, as lines of ps."""
    listed = subprocess.run(["ps", "-A", "-o", "pgid=,stat=,pid=,args="], capture_output=True, text=True, check=True)
    found = [line.split(None, 2) for line in listed.stdout.splitlines()]
    return [rest for pgid, state, rest in found if int(pgid) == group and not state.startswith("Z")]


def wait_until(holds: Callable[[], bool], *, within_s: float = DEADLINE_S) -> bool:
    """Whether a condition comes to hold within some seconds."""
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@contextlib.contextmanager
def freeze(pid: int) -> Iterator[None]:
    """Stops a process and all that it has started, for the life of a block."""
    stopped: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        first = psutil.Process(pid)
        first.suspend()  # so that it starts nothing more
        stopped = [first, *first.children(recursive=True)]
        for process in stopped[1:]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
    try:
        yield
    finally:
        for process in stopped:
            with contextlib.suppress(psutil.NoSuchProcess):  # psutil looks whether the id is still the same process's
                process.resume()


def end_group(group: int) -> None:
    """Kills what is left of a process group, so that a failed test leaves nothing behind."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return

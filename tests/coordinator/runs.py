"""Runs of scripted studies in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from processes import living, wait_until

Start = Callable[..., "subprocess.Popen[str]"]

RUN = """
import sys
import optuna
from sweep.storage.location import locate_study
from sweep.signals import StopSignal
from sweep.coordinator.run import run_study
from sweep.errors import SweepError
from sweep.plan import plan_study

class Printer:
    def show(self, event):
        print(event.kind, event.trial, event.text, flush=True)
    def refresh(self, sweep):
        pass

optuna.logging.set_verbosity(optuna.logging.WARNING)
plan = plan_study(locate_study(sys.argv[1]))
try:
    with StopSignal() as stop:
        run_study(plan, watcher=Printer(), stop=stop, jobs="sweep.testing", pause_s=float(sys.argv[2]))
    print("ended", None, flush=True)
except SweepError as error:
    print("error", None, error, flush=True)
    sys.exit(error.exit_code)
"""


def read_until(process: subprocess.Popen[str], *kinds: str) -> list[str]:
    """The lines up to the first event of one of the kinds, or to the end."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.split()[0] in kinds:
            break
    return lines


def run_through_kills(start: Start, file: Path, *moments: str, kills: int) -> str:
    """Runs a study to its end, but kills it a number of times before, each time once it has told of these events.

    Returns what the run said that came to the end.
    """
    for _ in range(kills):
        process = start(file)
        for moment in moments:
            read_until(process, moment)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        check_gone(process)
    said, _ = start(file).communicate(timeout=240)
    return str(said)


def check_gone(process: subprocess.Popen[str]) -> None:
    assert wait_until(lambda: not living(process.pid), within_s=5), living(process.pid)


def workers(group: int) -> list[int]:
    """The processes of a run that the fork server made."""
    listed = subprocess.run(["ps", "-A", "-o", "pgid=,ppid=,pid="], capture_output=True, text=True, check=True)
    rows = [tuple(map(int, line.split())) for line in listed.stdout.splitlines()]
    return [pid for pgid, parent, pid in rows if pgid == group and parent != group and pid != group]

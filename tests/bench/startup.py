"""How long the command takes to start, and a trial's process. Run by overhead.py with --startup, or alone.

A trial's process imports the main module anew, so this file, like the command itself, imports at its top nothing that a
trial does not have: Optuna here would count for every start. Every command is run once unmeasured, so that Python's
byte code is there and the files are in memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.launch import Died, InlineLauncher, LocalLauncher
from sweep.messages import Channel, Done, Failure, Job, Started, StudyTask
from sweep.storage.location import locate_study

if TYPE_CHECKING:
    from sweep.coordinator.events import Event, SweepView
    from sweep.plan import StudyPlan

RUNS = 7
STARTS = 6
"""Trial processes in a row; the first, which waits for the fork server's imports, is told apart."""


class SilentWatcher:
    def show(self, event: Event) -> None:
        pass

    def refresh(self, sweep: SweepView) -> None:
        pass


def do_nothing(task: StudyTask, channel: Channel) -> None:
    """Body of a job that has nothing to do but to start."""


def time_command(arguments: Sequence[str]) -> list[float]:
    """Seconds of each run of a whole Python process."""
    found = []
    for _ in range(RUNS + 1):
        began = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        found.append(time.perf_counter() - began)
    return found[1:]


def time_starts(plan: StudyPlan) -> list[float]:
    """Seconds from LocalLauncher.start to Started, of one trial process after another."""
    launcher = LocalLauncher(("sweep.trial",))
    task = StudyTask(spec=plan.spec, folder=plan.folder, run_folder=plan.run_folder.path)
    try:
        return [time_start(launcher, task, f"start-{number}") for number in range(STARTS)]
    finally:
        launcher.close()


def time_start(launcher: LocalLauncher, task: StudyTask, name: str) -> float:
    began, seconds = time.perf_counter(), 0.0
    launcher.start(Job(name=name, body="startup:do_nothing", task=task, log=task.run_folder / "start.log"))
    while True:
        for message in launcher.wait(60.0):
            match message.payload:
                case Started(warm):
                    seconds = time.perf_counter() - began
                    if not warm:
                        raise SystemExit("a trial's process was started cold: the fork server could not import")
                case Done():
                    return seconds
                case Failure(traceback=text) | Died(reason=text):
                    raise SystemExit(text)


def measure(folder: Path) -> dict[str, list[float]]:
    """Seconds by what was started."""
    from sweep.coordinator.run import run_study
    from sweep.plan import plan_study
    from sweep.signals import StopSignal
    from sweep.testing import write_toy_study

    plan = plan_study(locate_study(write_toy_study(folder, script={})))
    run_study(plan, watcher=SilentWatcher(), stop=StopSignal(), launcher=InlineLauncher(), jobs="sweep.testing")
    first, *warm = time_starts(plan)
    return {
        "python -c pass": time_command(["-c", "pass"]),
        "python -m sweep --help": time_command(["-m", "sweep", "--help"]),
        "python -m sweep status STUDY": time_command(["-m", "sweep", "status", str(plan.file)]),
        "first trial process": [first],
        "each further trial process": warm,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the start of the command and of trials.")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write what was found as JSON too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        found = measure(Path(scratch) / "toy")
    print(f"{'start':<32}{'runs':>6}{'median s':>10}{'min s':>10}{'max s':>10}")
    summary: dict[str, Any] = {}
    for name, seconds in found.items():
        summary[name] = {"median": statistics.median(seconds), "min": min(seconds), "max": max(seconds)}
        row = "".join(f"{value:>10.3f}" for value in summary[name].values())
        print(f"{name:<32}{len(seconds):>6}{row}")
        summary[name]["runs_s"] = seconds
    if options.save:
        options.save.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

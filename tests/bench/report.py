"""Measures the report on a large study: the seconds of the command, and the size of the page.

    python tests/bench/report.py    # 200 trials of 30 evaluations

The study is a scripted one, run by the real coordinator on SQLite.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sweep.coordinator.events import Event, SweepView
from sweep.coordinator.run import run_study
from sweep.launch import InlineLauncher
from sweep.plan import plan_study
from sweep.run_folder import RunFolder
from sweep.signals import StopSignal
from sweep.storage.location import locate_study
from sweep.testing import write_toy_study

EVALUATIONS = 30


class Silent:
    """A watcher that shows nothing."""

    def show(self, event: Event) -> None:
        """Shows nothing."""

    def refresh(self, sweep: SweepView) -> None:
        """Shows nothing."""


def run_large(folder: Path, *, trials: int) -> tuple[Path, float]:
    """Runs a scripted study of whole trials; its file, and the seconds that it took."""
    grid = [round((place + 1) / EVALUATIONS, 3) for place in range(EVALUATIONS - 1)] + [1.0]
    file = write_toy_study(
        folder,
        script={},
        budget={"trials": trials, "examples": 640},
        evaluation={"max_queries": 60, "grid": grid},
        stopping={"drop_off": False},
    )
    plan = plan_study(locate_study(file))
    began = time.perf_counter()
    with StopSignal() as stop:
        run_study(plan, watcher=Silent(), stop=stop, jobs="sweep.testing", launcher=InlineLauncher())
    return file, time.perf_counter() - began


def measure_report(file: Path, *, times: int = 3) -> None:
    """Prints the seconds of the command in a process of its own, and the size of the page."""
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "sweep", "report", str(file)], check=True, capture_output=True)
        seconds.append(time.perf_counter() - began)
    size = RunFolder.beside(file).report.stat().st_size / 2**20
    fastest, median = min(seconds), statistics.median(seconds)
    print(f"report: {fastest:.1f} s (the fastest of {times}; median {median:.1f} s), {size:.2f} MiB")


def main() -> None:
    """Measures what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file, seconds = run_large(Path(folder) / "study", trials=options.trials)
        print(f"{options.trials} trials of {EVALUATIONS} evaluations, run in {seconds:.0f} s")
        measure_report(file)


if __name__ == "__main__":
    main()

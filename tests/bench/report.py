"""Measures the report on a large study, and what a dashboard that is looked at costs a running one.

    python tests/bench/report.py             # 200 trials of 30 evaluations: seconds and size of the page
    python tests/bench/report.py --dashboard # the same study run with and without a dashboard that is asked every 2 s

The studies are scripted ones, run by the real coordinator on SQLite.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sweep.coordinator.events import Event, SweepView
from sweep.coordinator.jobs import StopSignal
from sweep.coordinator.run import run_study
from sweep.dashboard import open_dashboard
from sweep.launch import InlineLauncher
from sweep.plan import plan_study
from sweep.run_folder import RunFolder
from sweep.testing import write_toy_study

EVALUATIONS = 30
ASKED_S = 2.0
"""Seconds between two questions of an open dashboard page at its fastest."""


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
    plan = plan_study(file)
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


@contextmanager
def watched(file: Path) -> Iterator[list[float]]:
    """A dashboard that is asked for the study every two seconds, as soon as that has begun; seconds of each answer."""
    answers: list[float] = []
    is_over = threading.Event()

    def watch() -> None:
        while not RunFolder.beside(file).database.exists() and not is_over.wait(0.05):
            continue
        server = open_dashboard(file, port=0)
        serving = threading.Thread(target=server.serve_forever, daemon=True)
        serving.start()
        while not is_over.wait(ASKED_S):
            began = time.perf_counter()
            with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/api/studies/1?after=0") as answer:
                answer.read()
            answers.append(time.perf_counter() - began)
        server.shutdown()
        server.server_close()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield answers
    finally:
        is_over.set()
        thread.join()


def measure_dashboard(folder: Path, *, trials: int) -> None:
    """Prints how long a study takes without and with a dashboard that is looked at, in turns."""
    for turn in range(2):
        _, alone = run_large(folder / f"alone-{turn}", trials=trials)
        file = folder / f"watched-{turn}" / "toy.toml"
        with watched(file) as answers:
            _, together = run_large(file.parent, trials=trials)
        print(
            f"{trials} trials of {EVALUATIONS} evaluations: {alone:.1f} s alone, {together:.1f} s watched"
            f" ({together / alone - 1:+.0%}; {len(answers)} answers, median {statistics.median(answers):.2f} s)"
        )


def main() -> None:
    """Measures what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--dashboard", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.dashboard:
            measure_dashboard(Path(folder), trials=options.trials)
        else:
            file, seconds = run_large(Path(folder) / "study", trials=options.trials)
            print(f"{options.trials} trials of {EVALUATIONS} evaluations, run in {seconds:.0f} s")
            measure_report(file)


if __name__ == "__main__":
    main()

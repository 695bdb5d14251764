"""What the engine answers like on a large study with many slots: SQLite and PostgreSQL, one after the other.

    make bench-engine ARGS="--trials 5000 --slots 64 --seconds 300"

A study is filled with finished trials of twenty measurements; then scripted trials, each in a process of its own and
measured once a second, run in all slots until the time is over. Shown are the seconds from the start of the run to its
first trial, from a report to its answer, of asking for a trial, and the coordinator's memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "bench"), str(TESTS.parent)]

from postgres import PostgresServer  # noqa: E402
from readers import fill  # noqa: E402

from sweep.coordinator.events import Event, SweepView  # noqa: E402
from sweep.coordinator.jobs import StopSignal  # noqa: E402
from sweep.coordinator.proposals import Proposal, Proposer  # noqa: E402
from sweep.coordinator.run import run_study  # noqa: E402
from sweep.launch import LocalLauncher  # noqa: E402
from sweep.plan import plan_study  # noqa: E402
from sweep.testing import QUERIES, write_toy_study  # noqa: E402

POINTS = 20
EXAMPLES = 320
BATCH = 4


class Clock:
    """A watcher that notes when the first trial began."""

    def __init__(self) -> None:
        self.first: float | None = None

    def show(self, event: Event) -> None:
        if event.kind == "start" and self.first is None:
            self.first = time.perf_counter()

    def refresh(self, sweep: SweepView) -> None:
        pass


def run(file: Path) -> dict[str, Any]:
    """Runs a study in this process, its coordinator; what it took."""
    asked: list[float] = []
    propose = Proposer.propose

    def timed(self: Proposer, *arguments: Any, **settings: Any) -> Proposal:
        before = time.perf_counter()
        try:
            return propose(self, *arguments, **settings)
        finally:
            asked.append(time.perf_counter() - before)

    Proposer.propose = timed  # type: ignore[method-assign]
    plan, clock = plan_study(file), Clock()
    began = time.perf_counter()
    with StopSignal() as stop:
        run_study(plan, watcher=clock, stop=stop, jobs="sweep.testing", launcher=LocalLauncher(("sweep.testing",)))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"start_s": (clock.first or began) - began, "asked_s": asked, "memory_mib": memory / 2**20}


def answer_times(history: Path) -> list[float]:
    """Seconds from each report to its answer, as its trial saw them."""
    sent: dict[tuple[int, int], float] = {}
    took = []
    for line in map(json.loads, history.read_text().splitlines()):
        if line["event"] == "report":
            sent[line["trial"], line["progress"]] = line["time"]
        elif line["event"] == "answered":
            took.append(line["time"] - sent[line["trial"], line["progress"]])
    return took


def measure(scratch: Path, server: PostgresServer | None, options: argparse.Namespace) -> dict[str, Any]:
    """One storage."""
    history = scratch / "history.jsonl"
    file = write_toy_study(
        scratch,
        script={"step_s": POINTS / (EXAMPLES / BATCH), "history": str(history)},
        budget={"trials": 10**6, "examples": EXAMPLES, "wall_clock_h": options.seconds / 3600},
        evaluation={"max_queries": QUERIES, "grid": [(point + 1) / POINTS for point in range(POINTS)]},
        space={"batch_size": BATCH},
        stopping={"drop_off": False},
        workers={"devices": f"cpu:{options.slots}"},
    )
    environment = {**os.environ, "PYTHONPATH": str(TESTS.parent), "OMP_NUM_THREADS": "1"}
    if server is not None:
        os.environ["SWEEP_STORAGE"] = environment["SWEEP_STORAGE"] = server.url
    plan = plan_study(file)
    os.environ.pop("SWEEP_STORAGE", None)
    plan.run_folder.path.mkdir()
    fill(plan.place, plan, trials=options.trials, queries=QUERIES)
    words = [sys.executable, __file__, "--run", str(file)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return {**json.loads(done.stdout.splitlines()[-1]), "answered_s": answer_times(history)}


def percentiles(seconds: Sequence[float]) -> str:
    p50, p99 = np.percentile(np.array(seconds) * 1000, [50, 99])
    return f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, max {max(seconds) * 1000:.0f} ms ({len(seconds)})"


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the engine on a large study with many slots.")
    parser.add_argument("--trials", type=int, default=5000, help="trials in the study (default: %(default)s)")
    parser.add_argument("--slots", type=int, default=64, help="trials at once (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=300, help="length of the run (default: %(default)s)")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if options.run:
        print(json.dumps(run(options.run)))
        return
    server = PostgresServer()
    try:
        for name, place in (("SQLite", None), ("PostgreSQL", server)):
            with tempfile.TemporaryDirectory(prefix=".bench-", dir=TESTS.parent / "studies") as scratch:
                found = measure(Path(scratch) / "study", place, options)
            print(f"{name}, {options.trials} trials before, {options.slots} slots, {options.seconds} s")
            print(f"  start            {found['start_s']:.1f} s")
            print(f"  report answered  {percentiles(found['answered_s'])}")
            print(f"  ask              {percentiles(found['asked_s'])}")
            print(f"  memory           {found['memory_mib']:.0f} MiB", flush=True)
    finally:
        server.close()


if __name__ == "__main__":
    main()

"""What a writer waits for while a dashboard and a report read its study: SQLite with either journal, and PostgreSQL.

    make bench-readers ARGS="--trials 1000 --seconds 60"

A study is filled with trials of twenty measurements of 200 queries. Then a writer commits ten measurements a second, as
a coordinator does, first by itself, then while one process serves optuna-dashboard and asks it for the whole study over
and over, and another one reads the study and renders its report over and over.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import optuna

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "bench"), str(TESTS.parent)]

from ledgers import end_trial, make_report  # noqa: E402
from postgres import PostgresServer  # noqa: E402
from prefill import POINTS, fill, make_trial  # noqa: E402

from sweep.coordinator.ledger import Ledger, Measurement  # noqa: E402
from sweep.plan import StudyPlan, plan_study  # noqa: E402
from sweep.storage.location import (  # noqa: E402
    DatabaseLocation,
    PostgresLocation,
    SqliteLocation,
    Waiting,
    locate_study,
    lock_study,
)
from sweep.testing import write_toy_study  # noqa: E402

QUERIES = 200
RATE = 10.0
"""Measurements a second: 64 trials that are measured every six seconds."""

DASHBOARD = """
import http.client, sys, threading
from sweep.dashboard import open_dashboard
from sweep.storage.location import locate_study

server = open_dashboard(locate_study(sys.argv[1]), port=0)
threading.Thread(target=server.serve_forever, daemon=True).start()
count = 0
while True:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=600)
    connection.request("GET", "/api/studies/1?after=0")
    assert connection.getresponse().read().startswith(b"{")
    connection.close()
    count += 1
    print(count, flush=True)
"""

REPORT = """
import sys
from sweep.report.page import render_page
from sweep.study import open_study

count = 0
while True:
    assert render_page(open_study(sys.argv[1]), []).startswith("<!doctype html>")
    count += 1
    print(count, flush=True)
"""


def write(place: DatabaseLocation, plan: StudyPlan, *, seconds: float) -> list[float]:
    """Commits measurements at a steady rate; how many seconds each took."""
    took: list[float] = []
    with lock_study(place, waiting=Waiting()) as held:
        ledger = Ledger(held.storage, "toy")
        number, points = begin_trial(ledger, plan), iter(POINTS)  # which reads the whole study
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            point = next(points, None)
            if point is None:
                end_trial(ledger, number, 0.5)
                number, points = begin_trial(ledger, plan), iter(POINTS)
                continue
            report = make_report(point, 0.5, queries=QUERIES)
            before = time.perf_counter()
            ledger.commit([Measurement(number, report)])
            took.append(time.perf_counter() - before)
            time.sleep(max(0.0, began + len(took) / RATE - time.perf_counter()))
        end_trial(ledger, number, 0.5)
    return took


def begin_trial(ledger: Ledger, plan: StudyPlan) -> int:
    """Begins a trial of the study's own space, whose values a report can compare with those of the others."""
    trial = make_trial(0, plan.space, np.random.default_rng(), queries=QUERIES)
    attributes = {name: trial.attributes[name] for name in ("params", "effective_learning_rate", "seed", "steps")}
    return ledger.begin_trial(trial.values, distributions=trial.distributions, attributes=attributes)


@contextmanager
def reading(file: Path, environment: dict[str, str], folder: Path) -> Iterator[Callable[[], list[int]]]:
    """Runs the readers for the life of a block; the function gives how often each has read the study."""
    logs = [folder / f"reader-{number}.txt" for number in range(2)]
    started = []
    for code, log in zip((DASHBOARD, REPORT), logs, strict=True):
        with log.open("w") as stream:
            words = [sys.executable, "-c", code, str(file)]
            started.append(subprocess.Popen(words, stdout=stream, stderr=subprocess.STDOUT, env=environment))

    def counts() -> list[int]:
        for process, log in zip(started, logs, strict=True):
            if process.poll() is not None:
                raise RuntimeError(f"a reader ended: {log.read_text()}")
        return [int((log.read_text().split() or ["0"])[-1]) for log in logs]

    try:
        while min(counts()) < 1:  # both have their imports behind them
            time.sleep(0.2)
        yield counts
    finally:
        for process in started:
            process.kill()
            process.wait()


def measure(name: str, server: PostgresServer, scratch: Path, *, trials: int, seconds: float) -> dict[str, Any]:
    """One storage: the writer by itself, and with its readers."""
    folder = scratch / name
    plan = plan_study(locate_study(write_toy_study(folder, script={})))
    plan.run_folder.path.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(TESTS.parent)}
    place: DatabaseLocation = SqliteLocation(plan.run_folder, "wal" if name == "wal" else "delete")
    if name == "postgresql":
        environment["SWEEP_STORAGE"] = server.url
        place = PostgresLocation(server.address(), plan.spec.name, plan.run_folder)
    fill(place, plan, trials=trials, queries=QUERIES)
    alone = write(place, plan, seconds=seconds / 2)
    with reading(plan.file, environment, folder) as counts:
        before = counts()
        beside = write(place, plan, seconds=seconds)
        read = [after - earlier for after, earlier in zip(counts(), before, strict=True)]
    return {"alone": describe(alone), "with readers": describe(beside), "dashboard reads": read[0], "reports": read[1]}


def describe(took: list[float]) -> dict[str, float]:
    p50, p99 = np.percentile(np.array(took) * 1000, [50, 99])
    return {"commits": len(took), "p50_ms": float(p50), "p99_ms": float(p99), "max_ms": max(took) * 1000}


def main() -> None:
    parser = argparse.ArgumentParser(description="Time a writer's commits while a dashboard and a report read.")
    parser.add_argument("--trials", type=int, default=1000, help="trials in the study (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of writing beside readers (default: %(default)s)")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write what was found as JSON too")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found: dict[str, Any] = {}
    server = PostgresServer(durable=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".bench-", dir=TESTS.parent / "studies") as scratch:
            print(f"{'storage':<12}{'':<14}{'commits':>8}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}")
            for name in ("delete", "wal", "postgresql"):
                one = measure(name, server, Path(scratch), trials=options.trials, seconds=options.seconds)
                for row in ("alone", "with readers"):
                    shown = "".join(f"{one[row][key]:>9.1f}" for key in ("p50_ms", "p99_ms", "max_ms"))
                    print(f"{name:<12}{row:<14}{one[row]['commits']:>8}{shown}", flush=True)
                print(f"{'':<12}{one['dashboard reads']} times the dashboard, {one['reports']} reports", flush=True)
                found[name] = one
    finally:
        server.close()
    if options.save:
        options.save.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

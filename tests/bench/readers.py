"""What a writer waits for while a dashboard and a report read its study: SQLite with either journal, and PostgreSQL.

    make bench-readers ARGS="--trials 1000 --seconds 60"

A study is filled with trials of twenty measurements of 200 queries. Then a writer commits ten measurements a second, as
a coordinator does, first by itself, then while one process serves optuna-dashboard and asks it for the whole study over
and over, and another one reads the study and renders its report over and over.
"""

from __future__ import annotations

import argparse
import json
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
import sqlalchemy
from optuna.trial import TrialState, create_trial

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

from ledgers import BASELINE, DISTRIBUTIONS, VALUES, begin_trial, end_trial, make_report  # noqa: E402
from postgres import PostgresServer  # noqa: E402

from sweep.coordinator.changes import describe_beginning  # noqa: E402
from sweep.coordinator.ledger import Ledger  # noqa: E402
from sweep.plan import StudyPlan, plan_study  # noqa: E402
from sweep.storage.place import PostgresPlace, SqlitePlace, StudyPlace, Waiting, hold_study  # noqa: E402
from sweep.storage.schema import EVALUATIONS  # noqa: E402
from sweep.testing import write_toy_study  # noqa: E402

QUERIES = 200
POINTS = range(50, 1001, 50)
RATE = 10.0
"""Measurements a second: 64 trials that are measured every six seconds."""

DASHBOARD = """
import http.client, sys, threading
from sweep.dashboard import open_dashboard

server = open_dashboard(sys.argv[1], port=0)
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


def fill(place: StudyPlace, plan: StudyPlan, *, trials: int, queries: int = QUERIES) -> None:
    """Writes a study of finished trials of twenty measurements, in few transactions."""
    random = np.random.default_rng(0)
    with hold_study(place, waiting=Waiting()) as held:
        ledger = Ledger(held.storage, "toy")
        began = describe_beginning(plan.spec, revision=plan.revision, collection_hash=plan.collection.content_hash)
        ledger.begin_study({"parameters": 1, **began}, make_report(0, BASELINE, queries=queries).evaluation)
        rows: list[dict[str, Any]] = []
        template = {column.name: None for column in EVALUATIONS.columns}
        for number in range(trials):
            curve = {point: float(random.uniform(0.4, 0.8)) for point in POINTS}
            trial = create_trial(
                state=TrialState.COMPLETE,
                value=max(curve.values()),
                params=VALUES,
                distributions=DISTRIBUTIONS,
                intermediate_values={0: BASELINE, **curve},
                user_attrs={"seed": 0, "steps": 1000, "params": params()},
            )
            ledger.study.add_trial(trial)
            for point, ndcg in curve.items():
                values = {"trial": number, "split": "dev", "progress": point, "step": point, "examples": point * 32}
                vector = random.random(queries, dtype=np.float32).tobytes()
                rows.append(
                    {**template, **values, "seconds": 1.0, "evaluation_seconds": 0.1, "ndcg": ndcg, "per_query": vector}
                )
        with held.storage.engine.begin() as connection:
            connection.execute(sqlalchemy.insert(EVALUATIONS), rows)


def params() -> dict[str, Any]:
    fixed = {name: VALUES[name] for name in ("learning_rate", "warmup_ratio", "data_format", "scale", "scheduler")}
    return {**fixed, "effective_learning_rate": VALUES["learning_rate"], "batch_size": 32}


def write(place: StudyPlace, *, seconds: float) -> list[float]:
    """Commits measurements at a steady rate; how many seconds each took."""
    took: list[float] = []
    with hold_study(place, waiting=Waiting()) as held:
        ledger = Ledger(held.storage, "toy")
        number, points = begin_trial(ledger), iter(POINTS)  # which reads the whole study
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            point = next(points, None)
            if point is None:
                end_trial(ledger, number, 0.5)
                number, points = begin_trial(ledger), iter(POINTS)
                continue
            report = make_report(point, 0.5, queries=QUERIES)
            before = time.perf_counter()
            ledger.commit(number, report)
            took.append(time.perf_counter() - before)
            time.sleep(max(0.0, began + len(took) / RATE - time.perf_counter()))
        end_trial(ledger, number, 0.5)
    return took


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
    import os

    folder = scratch / name
    plan = plan_study(write_toy_study(folder, script={}))
    plan.run_folder.path.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(TESTS.parent)}
    place: StudyPlace = SqlitePlace(plan.run_folder, "wal" if name == "wal" else "delete")
    if name == "postgresql":
        environment["SWEEP_STORAGE"] = server.url
        place = PostgresPlace(server.address(), plan.spec.name, plan.run_folder)
    fill(place, plan, trials=trials)
    alone = write(place, seconds=seconds / 2)
    with reading(plan.file, environment, folder) as counts:
        before = counts()
        beside = write(place, seconds=seconds)
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
    server = PostgresServer()
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

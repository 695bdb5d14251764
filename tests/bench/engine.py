"""What the engine answers like on a large study with many slots, and what it costs beside short trials.

    make bench-engine ARGS="--parts large --storage wal"

``large``: a study is filled with finished trials of twenty measurements; then scripted trials, each in a process of its
own and measured once a second, run in all slots until the time is over. Shown are the seconds from the start of the run
to its first trial, from a report to its answer, of asking for a trial, and the coordinator's memory.

``short``: a thousand trials of a second on sixteen slots. Shown is by how much they took longer than their own seconds.
What the proposer draws at random is measured on the first trials of a study of five times as many, since a fifth of a
study is drawn at random; what TPE proposes on a whole study.

``many``: a thousand slots on a study of ten thousand trials, the trials threads of one process (many_slots.py), with
ten reports a second in all. It goes on with as many trials that were interrupted, each at a place of its own; what is
shown is from when all of them ran. A proposal that a free slot finds in stock takes it no time.

Each on SQLite with either journal, and on a PostgreSQL server that flushes what it commits to the disk.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import dataclasses
import json
import os
import platform
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "bench"), str(TESTS.parent)]

from many_slots import ManySlots  # noqa: E402
from postgres import PostgresServer  # noqa: E402
from prefill import POINTS, fill  # noqa: E402

from sweep.coordinator.events import Event, SweepView  # noqa: E402
from sweep.coordinator.proposal_stock import ProposalStock  # noqa: E402
from sweep.coordinator.proposals import Proposal, Proposer  # noqa: E402
from sweep.coordinator.run import run_study  # noqa: E402
from sweep.launch import LocalLauncher  # noqa: E402
from sweep.plan import plan_study  # noqa: E402
from sweep.signals import InterruptedRunError, StopSignal  # noqa: E402
from sweep.storage.journal import Journal  # noqa: E402
from sweep.storage.location import DatabaseLocation, PostgresLocation, SqliteLocation, locate_study  # noqa: E402
from sweep.testing import QUERIES, write_toy_study  # noqa: E402

STORAGES = ("delete", "wal", "postgresql")
BATCH = 4
STEPS = 20
FREE_S = 0.001
"""Seconds below which a proposal was in stock."""

RANDOM_SHARE = 5
"""A study of so many times the trials draws all of them at random (see Proposer)."""


class Clock:
    """A watcher that notes when the first trial began and the last one ended, and ends the run after so many."""

    def __init__(self, trials: int | None) -> None:
        self.first: float | None = None
        self.last: float | None = None
        self._left = trials

    def show(self, event: Event) -> None:
        if event.kind == "start" and self.first is None:
            self.first = time.perf_counter()
        if event.kind == "end" and self._left is not None:
            self._left -= 1
            if self._left == 0:
                self.last = time.perf_counter()
                for _ in range(2):
                    os.kill(os.getpid(), signal.SIGTERM)

    def refresh(self, sweep: SweepView) -> None:
        pass


class Asks:
    """Notes of each proposal how long the sampler took, and how long a slot waited for it and when.

    Attributes:
        made_s: Seconds of each, of the sampler.
        waited_s: The time at which each trial's was asked for first, and the seconds until it was there.
    """

    def __init__(self) -> None:
        self.made_s: list[float] = []
        self.waited_s: dict[int, tuple[float, float]] = {}
        make, take, asked = Proposer.propose, ProposalStock.propose, dict[int, float]()

        def propose(proposer: Proposer, *arguments: Any, **settings: Any) -> Proposal:
            before = time.perf_counter()
            try:
                return make(proposer, *arguments, **settings)
            finally:
                self.made_s.append(time.perf_counter() - before)

        def find(stock: ProposalStock, number: int, **settings: Any) -> Proposal | None:
            at = asked.setdefault(number, time.time())
            found = take(stock, number, **settings)
            if found is not None:
                self.waited_s[number] = (at, time.time() - at)
            return found

        Proposer.propose, ProposalStock.propose = propose, find  # type: ignore[method-assign]


def run(
    file: Path, *, journal: Journal | None, trials: int | None, many: int | None, profile: Path | None
) -> dict[str, Any]:
    """Runs a study in this process, its coordinator, to its end or to the end of its first trials; what it took."""
    asks = Asks()
    plan, clock = plan_study(locate_study(file)), Clock(trials)
    if journal is not None:
        database = SqliteLocation(plan.run_folder, journal)
        plan = dataclasses.replace(plan, location=dataclasses.replace(plan.location, database=database))
    launcher = ManySlots(many) if many else LocalLauncher(("sweep.testing",))
    began, spent = time.perf_counter(), time.process_time()
    with StopSignal() as stop, contextlib.suppress(InterruptedRunError), profiled(profile):
        run_study(plan, watcher=clock, stop=stop, jobs="sweep.testing", launcher=launcher)
    last, first = clock.last or time.perf_counter(), clock.first or began
    memory = read_peak_bytes()
    return {
        "start_s": first - began,
        "seconds": last - first,
        "busy": (time.process_time() - spent) / (time.perf_counter() - began),
        "asked_s": asks.made_s,
        "waited_s": list(asks.waited_s.values()),
        "memory_mib": memory / 2**20,
    }


def read_peak_bytes() -> int:
    """Most memory that this process has had; the kernel's own word, since what it says of a process's resources counts
    that of the process which started it, and here that one has filled a study.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("/proc/self/status does not say how much memory this process has had")


@contextlib.contextmanager
def profiled(file: Path | None) -> Iterator[None]:
    if file is None:
        yield
        return
    with cProfile.Profile() as found:
        try:
            yield
        finally:
            found.dump_stats(file)


def read_history(history: Path) -> dict[str, list[float]]:
    """Seconds as the trials saw them: from each report to its answer, and of each trial without them.

    The second are what a trial takes by itself, its checkpoints and models written to the disk included.
    """
    at: dict[tuple[Any, ...], float] = {}
    answered, answered_at, own = [], [], defaultdict(float)
    for line in map(json.loads, history.read_text().splitlines()):
        event, trial, time_s = line["event"], line["trial"], line["time"]
        if event == "answered":
            answered.append(time_s - at[trial, "report", line["progress"]])
            answered_at.append(time_s)
            own[trial] -= answered[-1]
        elif event == "end":
            own[trial] += time_s - at[trial, "begin", None]
        else:
            at[trial, event, line.get("progress")] = time_s
    begun = sorted(time_s for (_, event, _), time_s in at.items() if event == "begin")
    own_s = [seconds for seconds in own.values() if seconds > 0]
    return {"answered_s": answered, "answered_at": answered_at, "own_s": own_s, "begun_at": begun}


def measure(
    storage: str,
    scratch: Path,
    server: PostgresServer,
    *,
    points: int,
    slots: int,
    trial_s: float,
    budget: dict[str, Any],
    filled: int = 0,
    first: int | None = None,
    many: bool = False,
    profile: Path | None = None,
) -> dict[str, Any]:
    """A study on one storage: filled with trials, then run; with many slots, each has a trial to go on with."""
    history = scratch / "history.jsonl"
    file = write_toy_study(
        scratch,
        script={"step_s": trial_s / STEPS, "history": str(history)},
        budget={"examples": STEPS * BATCH, **budget},
        evaluation={"max_queries": QUERIES, "grid": [(point + 1) / points for point in range(points)]},
        space={"batch_size": BATCH, "data_format": "query-document"},  # whose curves rise: no trial is stopped
        workers={"devices": f"cpu:{slots}", "stall_s": 10 * trial_s},
    )
    environment = {**os.environ, "PYTHONPATH": f"{TESTS / 'bench'}:{TESTS.parent}", "OMP_NUM_THREADS": "1"}
    # a main module of its own would be imported by every trial's process
    words = [sys.executable, "-c", "import engine; engine.main()", "--run", str(file)]
    plan = plan_study(locate_study(file))
    place: DatabaseLocation = SqliteLocation(plan.run_folder, "wal" if storage == "wal" else "delete")
    if storage == "postgresql":
        environment["SWEEP_STORAGE"] = server.url
        place = PostgresLocation(server.address(), plan.spec.name, plan.run_folder)
        server.execute(f"DROP SCHEMA IF EXISTS {place.schema} CASCADE")
    else:
        words += ["--journal", storage]
    if filled:
        plan.run_folder.path.mkdir()
        fill(place, plan, trials=filled, queries=QUERIES, interrupted=slots if many else 0)
    words += ["--first", str(first)] if first else []
    words += ["--many", str(slots)] if many else []
    words += ["--profile", str(profile)] if profile else []
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return {**json.loads(done.stdout.splitlines()[-1]), **read_history(history)}


def percentiles(seconds: Sequence[float]) -> str:
    p50, p99 = np.percentile(np.array(seconds) * 1000, [50, 99])
    return f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, max {max(seconds) * 1000:.0f} ms ({len(seconds)})"


def show_large(found: dict[str, Any], options: argparse.Namespace) -> None:
    print(f"  start            {found['start_s']:.1f} s")
    print(f"  report answered  {percentiles(found['answered_s'])}; {len(found['answered_s']) / options.seconds:.1f}/s")
    print(f"  ask              {percentiles(found['asked_s'])}")
    print(f"  memory           {found['memory_mib']:.0f} MiB; coordinator busy {found['busy']:.0%}", flush=True)


def show_many(found: dict[str, Any], options: argparse.Namespace) -> None:
    full = found["begun_at"][options.many_slots - 1]
    late = [answer for answer, at in zip(found["answered_s"], found["answered_at"], strict=True) if at > full]
    waited = [waited for at, waited in found["waited_s"] if at > full]
    in_stock = sum(seconds < FREE_S for seconds in waited) / len(waited)
    print(f"  start            {found['start_s']:.1f} s; all slots full after {full - found['begun_at'][0]:.1f} s more")
    print(f"  report answered  {percentiles(late)}; {len(late) / (max(found['answered_at']) - full):.1f}/s")
    print(
        f"  ask              in stock {in_stock:.1%}, else {percentiles(waited)}; made {percentiles(found['asked_s'])}"
    )
    print(f"  memory           {found['memory_mib']:.0f} MiB; coordinator busy {found['busy']:.0%}", flush=True)


def show_short(found: dict[str, Any], options: argparse.Namespace) -> None:
    ideal, own = options.short_trials * options.short_s / options.short_slots, float(np.mean(found["own_s"]))
    print(
        f"  {found['seconds']:.1f} s: {found['seconds'] / ideal - 1:+.1%} beside {ideal:.1f} s of sleep alone,", end=""
    )
    print(
        f" {found['seconds'] / (ideal * own / options.short_s) - 1:+.1%} beside what the trials took by themselves",
        end="",
    )
    print(f" ({own:.3f} s each, with their own files); start {found['start_s']:.1f} s")
    print(f"  report answered  {percentiles(found['answered_s'])}; ask {percentiles(found['asked_s'])}")
    print(f"  coordinator busy {found['busy']:.0%}", flush=True)


def describe_machine() -> str:
    load = os.getloadavg()[0]
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, load {load:.1f}; Python"
        f" {platform.python_version()}, Optuna {optuna.__version__}, SQLite {sqlite3.sqlite_version}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the engine on a large study with many slots, and short trials.")
    parser.add_argument("--parts", nargs="+", default=["large", "short"], choices=["large", "short", "many"])
    parser.add_argument("--storage", nargs="+", default=list(STORAGES), choices=STORAGES)
    parser.add_argument("--trials", type=int, default=5000, help="large: trials in the study (default: %(default)s)")
    parser.add_argument("--slots", type=int, default=64, help="large: trials at once (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=300, help="large: length of the run (default: %(default)s)")
    parser.add_argument("--many-slots", type=int, default=1000, help="many: trials at once (default: %(default)s)")
    parser.add_argument(
        "--many-trials", type=int, default=10_000, help="many: trials in the study (default: %(default)s)"
    )
    parser.add_argument("--rate", type=float, default=10, help="many: reports a second, of all (default: %(default)s)")
    parser.add_argument("--short-trials", type=int, default=1000, help="short: trials (default: %(default)s)")
    parser.add_argument("--short-slots", type=int, default=16, help="short: trials at once (default: %(default)s)")
    parser.add_argument("--short-s", type=float, default=1.0, help="short: seconds a trial (default: %(default)s)")
    parser.add_argument("--short-points", type=int, default=4, help="short: reports a trial (default: %(default)s)")
    parser.add_argument("--samplers", nargs="+", default=["random", "tpe"], choices=["random", "tpe"])
    parser.add_argument("--profile", type=Path, help="write the coordinator's profile here")
    for name in ("--run", "--journal", "--first", "--many"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if options.run:
        first = int(options.first) if options.first else None
        many = int(options.many) if options.many else None
        found = run(Path(options.run), journal=options.journal, trials=first, many=many, profile=options.profile)
        print(json.dumps(found))
        return
    print(describe_machine(), flush=True)
    with contextlib.closing(PostgresServer(durable=True)) as server:
        for storage in options.storage:
            measure_storage(storage, server, options)


def measure_storage(storage: str, server: PostgresServer, options: argparse.Namespace) -> None:
    many_s = len(POINTS) * options.many_slots / options.rate
    filled = {
        "large": (options.trials, options.slots, len(POINTS), show_large),
        "many": (options.many_trials, options.many_slots, many_s, show_many),
    }
    for part in (part for part in filled if part in options.parts):
        trials, slots, trial_s, show = filled[part]
        print(f"{storage}: {trials} trials before, {slots} slots, {options.seconds} s")
        with scratch() as folder:
            found = measure(
                storage,
                folder,
                server,
                points=len(POINTS),
                slots=slots,
                trial_s=trial_s,
                # of which every trial that runs is TPE's
                budget={"trials": trials * 4, "wall_clock_h": options.seconds / 3600},
                filled=trials,
                many=part == "many",
                profile=options.profile,
            )
        show(found, options)
    for sampler in options.samplers if "short" in options.parts else ():
        print(
            f"{storage}: {options.short_trials} trials of {options.short_s:g} s, {options.short_slots} slots, {sampler}"
        )
        trials = options.short_trials
        with scratch() as folder:
            found = measure(
                storage,
                folder,
                server,
                points=options.short_points,
                slots=options.short_slots,
                trial_s=options.short_s,
                budget={"trials": trials * RANDOM_SHARE if sampler == "random" else trials},
                first=trials,
                profile=options.profile,
            )
        show_short(found, options)


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=TESTS.parent / "studies") as folder:
        yield Path(folder) / "study"


if __name__ == "__main__":
    main()

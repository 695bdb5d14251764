"""Kills, stops, locks and starves running sweeps, and checks afterwards that nothing was lost.

    make chaos ARGS="--kills 1000 --seed 0 --storage sqlite --trials scripted"

One study after another is run and attacked until enough processes were killed. The exit status is 1 where something did
not hold. The full disk needs the right to mount a small file system; where that is missing it is left out, and said.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "chaos"), str(TESTS), str(TESTS.parent)]

from arena import Arena  # noqa: E402
from checker import check_study, read_history  # noqa: E402
from nemesis import KILLS, Kind, plan_attacks  # noqa: E402
from postgres import PostgresServer  # noqa: E402

from sweep.run_folder import RunFolder  # noqa: E402
from sweep.storage.place import PostgresPlace, SqlitePlace, StudyPlace  # noqa: E402
from sweep.testing import write_tiny_model, write_toy_study  # noqa: E402

PROMISES = (
    "acknowledged reports lost",
    "reports altered or doubled",
    "trials running without a process 5 s after a start",
    "trials left running",
    "trials above or below the budget",
    "processes left behind",
    "database integrity errors",
    "checkpoints that do not load",
)
DISK_MIB = 128


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """A file system of its own for a folder, for the life of a block; gives whether that was allowed."""
    size = f"size={DISK_MIB}m"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], capture_output=True, check=False)
    try:
        yield mounted.returncode == 0
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "-l", folder], check=True)


def write_study(folder: Path, history: Path, *, real: bool, trials: int) -> Path:
    if real:
        write_tiny_model(folder / "model", dropout=0.1)
        space = {"batch_size": 4, "learning_rate": {"low": 1e-4, "high": 1e-3, "log": True}}
        return write_toy_study(folder, budget={"trials": trials, "examples": 320}, space=space, workers=WORKERS)
    script = {"step_s": 0.05, "history": str(history)}
    return write_toy_study(folder, script=script, budget={"trials": trials}, workers=WORKERS)


WORKERS = {"devices": "cpu:2"}


def run_round(
    seed: int, scratch: Path, *, server: PostgresServer | None, kills: int, options: argparse.Namespace
) -> Counter[str]:
    """One study, attacked until it has ended; what was done, and what did not hold."""
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(dir=scratch) as name, small_disk(Path(name)) as has_disk:
        folder, history = Path(name) / "study", Path(name) / "history.jsonl"
        kinds: set[Kind] = set(KILLS) | {"terminate", "freeze", "lock"}
        kinds |= {"disk"} if has_disk and options.trials == "scripted" else set()
        kinds -= set() if server else {"server"}
        real = options.trials == "real"
        budget = options.budget
        file = write_study(folder, history, real=real, trials=budget)
        run_folder = RunFolder.beside(file)
        place: StudyPlace = SqlitePlace(run_folder)
        if server is not None:
            server.execute("DROP SCHEMA IF EXISTS sweep_toy CASCADE")
            place = PostgresPlace(server.address(), "toy", run_folder)
        arena = Arena(file, "real_jobs" if real else "sweep.testing", history, server)
        attacks = plan_attacks(seed, kinds=frozenset(kinds), pace_s=options.pace, longest_s=options.longest)
        try:
            goes_on = True
            while goes_on and found["kills"] < kills:
                attack = next(attacks)
                goes_on = arena.attack(attack)
                found["kills"] += KILLS.get(attack.kind, 0) if goes_on else 0
                found[attack.kind] += goes_on
            while goes_on:  # enough: it may come to its end
                goes_on = arena.go_on()
        finally:
            arena.close()
        found += arena.violations
        found += check_study(place, run_folder, history, budget=budget)
        found["starts"] += arena.starts
        found["answered"] += sum(line["event"] == "answered" for line in read_history(history))
        if set(found) & set(PROMISES) or any(key.startswith("coordinators that") for key in found):
            print("\n".join(arena.said), flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Attack running sweeps and check that nothing is lost.")
    parser.add_argument("--kills", type=int, default=60, help="processes to kill (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the attacks (default: %(default)s)")
    parser.add_argument("--storage", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--trials", choices=["scripted", "real"], default="scripted")
    parser.add_argument("--budget", type=int, default=12, help="trials of each study (default: %(default)s)")
    parser.add_argument("--pace", type=float, default=0.4, help="mean seconds between attacks (default: %(default)s)")
    parser.add_argument("--longest", type=float, default=30.0, help="longest attack, in seconds (default: %(default)s)")
    options = parser.parse_args()
    os.environ.pop("SWEEP_STORAGE", None)
    began, total = time.monotonic(), Counter[str]()
    server = PostgresServer() if options.storage == "postgresql" else None
    try:
        with tempfile.TemporaryDirectory(prefix="sweep-chaos-") as scratch:
            for number in itertools.count():
                left = options.kills - total["kills"]
                if left <= 0:
                    break
                found = run_round(
                    options.seed * 1000 + number, Path(scratch), server=server, kills=left, options=options
                )
                total += found
                total["studies"] += 1
                print(f"study {number}: {dict(+found)}", flush=True)
    finally:
        if server is not None:
            server.close()
    print(f"\n{total['studies']} studies, {total['kills']} kills, {time.monotonic() - began:.0f} s")
    others = [key for key in total if key.startswith("coordinators that")]
    for promise in (*PROMISES, *others):
        print(f"{total[promise]:>6}  {promise}")
    if "disk" not in total and options.trials == "scripted":
        print("the disk was never filled: no attack of that kind was drawn, or no file system may be mounted")
    return 1 if any(total[promise] for promise in (*PROMISES, *others)) else 0


if __name__ == "__main__":
    sys.exit(main())

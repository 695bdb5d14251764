"""Kills, stops, locks and starves running sweeps, and checks afterwards that nothing was lost.

    make chaos ARGS="--kills 1000 --seed 0 --launcher local command ray --storage sqlite --trials scripted"

One study after another is run and attacked until enough processes were killed; its trials run on this machine, in
workers of a command, or on a Ray cluster that is started for it. The exit status is 1 where something did not hold.
The full disk needs the right to mount a small file system, and the broken one needs strace and the right to use it;
what is missing is left out, and said.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "chaos"), str(TESTS), str(TESTS.parent)]

from arena import Arena  # noqa: E402
from attacks import Attacker, can_trace  # noqa: E402
from checker import check_study  # noqa: E402
from history import read_history  # noqa: E402
from looks import SCHEMA  # noqa: E402
from nemesis import WEIGHTS, Attack, Kind, plan_attacks  # noqa: E402
from places import PLACES  # noqa: E402
from postgres import PostgresServer  # noqa: E402

from sweep.run_folder import RunFolder  # noqa: E402
from sweep.storage.location import DatabaseLocation, PostgresLocation, SqliteLocation  # noqa: E402
from sweep.testing import write_tiny_model, write_toy_study  # noqa: E402

PROMISES = (
    "acknowledged reports lost",
    "reports altered or doubled",
    "words of an older attempt",
    "trials running without a process 5 s after a start",
    "trials left running",
    "best models left paused",
    "trials above or below the budget",
    "longer or confirming trials made twice",
    "trials that failed of anything but kills",
    "interruptions where nothing was killed",
    "processes left behind",
    "database integrity errors",
    "checkpoints that do not load",
)
DISK_MIB = 128
EXAMPLES = 320
CONFIRM = {"top": 2, "seeds": 2}

GENTLE: frozenset[Kind] = frozenset({"terminate", "hangup", "reader"})
"""Attacks that kill nothing."""


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """A file system of its own for a folder, for the life of a block; None where that is not allowed."""
    size = f"size={DISK_MIB}m"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], capture_output=True, check=False)
    try:
        yield folder if mounted.returncode == 0 else None
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "-l", folder], check=True)


def write_study(
    folder: Path, history: Path, *, workers: Mapping[str, object], real: bool, trials: int, has_rungs: bool
) -> Path:
    """A study of two trials at once: they end at once, or pause at rungs, and the best train longer and again."""
    tables: dict[str, Mapping[str, object]] = {"rungs": {"keep": [0.5, 0.5]}, "confirm": CONFIRM} if has_rungs else {}
    total = {"total_examples": trials * EXAMPLES} if has_rungs else {}
    tables |= {"budget": {"trials": trials, "examples": EXAMPLES, **total}, "workers": workers}
    if real:
        write_tiny_model(folder / "model", dropout=0.1)
        space = {"batch_size": 4, "learning_rate": {"low": 1e-4, "high": 1e-3, "log": True}}
        return write_toy_study(folder, **tables | {"space": space})
    script = {"step_s": 0.05, "save_every": 2, "history": str(history)}  # what is killed measures again
    return write_toy_study(folder, script=script, **tables)


def find_kinds(wanted: Sequence[Kind], *, scratch: Path, has_server: bool) -> frozenset[Kind]:
    """What is wanted and can be done here; says what cannot."""
    with tempfile.TemporaryDirectory(dir=scratch) as name, small_disk(Path(name)) as disk:
        missing: dict[Kind, str | None] = {
            "server": None if has_server else "there is no server",
            "full": None if disk else "no file system may be mounted",
            "broken": None if can_trace() else "strace is not there, or may not be used",
        }
    for kind in wanted:
        if missing.get(kind):
            print(f"left out: {kind}, because {missing[kind]}", flush=True)
    return frozenset(kind for kind in wanted if not missing.get(kind))


def run_round(
    seed: int,
    scratch: Path,
    *,
    launcher: str,
    kinds: frozenset[Kind],
    server: PostgresServer | None,
    kills: int,
    options: argparse.Namespace,
) -> Counter[str]:
    """One study, attacked until it has ended; what was done, and what did not hold."""
    history = scratch / f"history-{seed}.jsonl"  # not on the disk that is filled
    with tempfile.TemporaryDirectory(dir=scratch) as name, small_disk(Path(name)) as disk:
        real, workers, has_rungs = options.trials == "real", PLACES[launcher].workers, seed % 2 == 0
        file = Path(name) / "study"
        file = write_study(file, history, workers=workers, real=real, trials=options.budget, has_rungs=has_rungs)
        run_folder = RunFolder.beside(file)
        location: DatabaseLocation = SqliteLocation(run_folder)
        if server is not None:
            server.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
            location = PostgresLocation(server.address(), "toy", run_folder)
        kinds &= PLACES[launcher].kinds
        attacks = plan_attacks(seed, kinds=kinds, pace_s=options.pace, longest_s=options.longest)
        with contextlib.closing(PLACES[launcher](history)) as place:
            arena = Arena(file, "real_jobs" if real else "sweep.testing", place, history, server)
            attacker = Attacker(arena, disk=disk)
            attack_until_ended(arena, attacker, attacks, kills=kills)
        found = attacker.done + arena.violations
        found += check_study(location, run_folder, history, budget=options.budget, server=server)
        if kinds <= GENTLE:
            found["interruptions where nothing was killed"] += found["interruptions"]
        found["kills"] += arena.kills
        found["starts"] += arena.starts
        found["answered"] += sum(line["event"] == "answered" for line in read_history(history))
        if any(found[promise] for promise in promises(found)):
            print("\n".join(arena.said), flush=True)
    return found


def attack_until_ended(arena: Arena, attacker: Attacker, attacks: Iterator[Attack], *, kills: int) -> None:
    """Attacks a sweep until enough was killed, and lets it come to its end."""
    try:
        goes_on = True
        while goes_on and arena.kills < kills:
            goes_on = attacker.attack(next(attacks))
        while goes_on:
            goes_on = arena.go_on()
    finally:
        arena.close()


def promises(found: Counter[str]) -> list[str]:
    """What must be 0 of all that was counted."""
    return [*PROMISES, *(key for key in found if key.startswith("coordinators that"))]


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Attack running sweeps and check that nothing is lost.")
    kills = "processes to kill, hang-ups, and readers to take away (default: %(default)s)"
    parser.add_argument("--kills", type=int, default=60, help=kills)
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no study after so many minutes")
    parser.add_argument("--seed", type=int, default=0, help="seed of the attacks (default: %(default)s)")
    parser.add_argument("--storage", choices=["sqlite", "postgresql"], default="sqlite")
    launchers = "where trials run; of several, one after the other, with as many kills each (default: local)"
    parser.add_argument("--launcher", nargs="+", choices=list(PLACES), default=["local"], help=launchers)
    parser.add_argument("--trials", choices=["scripted", "real"], default="scripted")
    parser.add_argument("--budget", type=int, default=12, help="trials of each study (default: %(default)s)")
    parser.add_argument("--pace", type=float, default=0.4, help="mean seconds between attacks (default: %(default)s)")
    parser.add_argument("--longest", type=float, default=60.0, help="longest attack, in seconds (default: %(default)s)")
    parser.add_argument("--kinds", nargs="+", choices=list(WEIGHTS), default=list(WEIGHTS), help="these attacks alone")
    return parser.parse_args()


def run_rounds(options: argparse.Namespace, server: PostgresServer | None) -> Counter[str]:
    """One study after another, until enough processes were killed; everything that was counted."""
    began, total = time.monotonic(), Counter[str]()
    with tempfile.TemporaryDirectory(prefix="sweep-chaos-") as name:
        scratch = Path(name)
        kinds = find_kinds(options.kinds, scratch=scratch, has_server=server is not None)
        while total["kills"] < options.kills and time.monotonic() - began < options.minutes * 60:
            launcher = min(options.launcher, key=lambda name: total[f"kills on {name}"])
            kills = math.ceil(options.kills / len(options.launcher)) - total[f"kills on {launcher}"]
            seed = options.seed * 1000 + total["studies"]
            found = run_round(
                seed, scratch, launcher=launcher, kinds=kinds, server=server, kills=kills, options=options
            )
            print(f"study {total['studies']}, {launcher}: {dict(+found)}", flush=True)
            total += found
            total["studies"] += 1
            total[f"kills on {launcher}"] += found["kills"]
    print(f"\n{total['studies']} studies, {total['kills']} kills, {time.monotonic() - began:.0f} s")
    print(", ".join(f"{kind} {total[kind]}" for kind in WEIGHTS))
    return total


def main() -> int:
    options = parse_options()
    os.environ.pop("SWEEP_STORAGE", None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the file system goes too
    server = PostgresServer() if options.storage == "postgresql" else None
    try:
        total = run_rounds(options, server)
    finally:
        if server is not None:
            server.close()
    for promise in promises(total):
        print(f"{total[promise]:>6}  {promise}")
    return 1 if any(total[promise] for promise in promises(total)) else 0


if __name__ == "__main__":
    sys.exit(main())

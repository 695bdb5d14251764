"""The command ``run``: a watcher for the place where it prints, the sweep, and the leaderboard."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager
from pathlib import Path

from sweep.cli.leaderboard import print_leaderboard
from sweep.cli.watchers import LiveWatcher, PlainWatcher
from sweep.coordinator.jobs import StopSignal
from sweep.coordinator.run import run_study
from sweep.plan import plan_study
from sweep.status import read_standing


def run(study: str, *, trials: int | None, plain: bool) -> None:
    """Runs a study to the end of its budget, writes its report and prints its leaderboard.

    Raises:
        SweepError: If it cannot run, was interrupted, or its trials keep failing.
    """
    with StopSignal() as stop:
        plan = plan_study(study, trials=trials)
        with _open_watcher(plain=plain) as watcher:
            run_study(plan, watcher=watcher, stop=stop)
    from sweep.cli.report import write_report  # what draws is loaded when there is something to draw

    standing = read_standing(study)
    write_report(study)
    print_leaderboard(standing, study=Path(study))


def _open_watcher(*, plain: bool) -> AbstractContextManager[LiveWatcher | PlainWatcher]:
    if plain or not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return PlainWatcher()
    return LiveWatcher()

"""The command ``run``: a watcher for the place where it prints, the sweep, and the leaderboard."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING

from sweep.cli.leaderboard import print_leaderboard
from sweep.cli.watchers import JsonWatcher, LiveWatcher, PlainWatcher
from sweep.coordinator.run import run_study
from sweep.plan import plan_study
from sweep.signals import StopSignal
from sweep.status import read_standing
from sweep.storage.location import StudyLocation

if TYPE_CHECKING:
    import optuna


def run(location: StudyLocation, *, trials: int | None, plain: bool, log: str = "text") -> None:
    """Runs a study to the end of its budget, writes its report and prints its leaderboard.

    With ``log="json"`` the coordinator's log is printed, and nothing else.

    Raises:
        SweepError: If it cannot run, was interrupted, or its trials keep failing.
    """
    with StopSignal() as stop:
        with stop.at_once():
            plan = plan_study(location, trials=trials)
        with _open_watcher(plain=plain, log=log) as watcher:
            run_study(plan, watcher=watcher, stop=stop, exhibit=partial(_exhibit, location))
    from sweep.cli.report import write_report  # what draws is loaded when there is something to draw

    standing = read_standing(location)
    write_report(location)
    if log != "json":
        print_leaderboard(standing, location)


def _exhibit(location: StudyLocation, target: optuna.Study) -> None:
    from sweep.report.diagnosis import diagnose
    from sweep.report.showcase import exhibit
    from sweep.study import read_study

    opened = read_study(location)
    exhibit(target, opened, diagnose(opened))


def _open_watcher(*, plain: bool, log: str) -> AbstractContextManager[LiveWatcher | PlainWatcher | JsonWatcher]:
    if log == "json":
        return JsonWatcher()
    if plain or not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return PlainWatcher()
    return LiveWatcher()

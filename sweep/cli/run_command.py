"""The command ``run``: the sweep under a watcher, its report and its leaderboard."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from sweep.cli.leaderboard import print_leaderboard
from sweep.cli.output import complain, unread_output
from sweep.cli.watchers import JsonWatcher, LiveWatcher, PlainWatcher
from sweep.coordinator.run import run_study
from sweep.errors import SweepError
from sweep.plan import plan_study
from sweep.signals import StopSignal
from sweep.storage.location import StudyLocation
from sweep.study import Study, read_study

if TYPE_CHECKING:
    from sweep.report.diagnosis import Finding


def run(
    location: StudyLocation,
    *,
    trials: int | None,
    plain: bool,
    log: str = "text",
    finish: Sequence[int] = (),
    confirm: Mapping[str, int] | None = None,
) -> None:
    """Runs a study to the end of its budget, writes its report and prints its leaderboard.

    Trials to ``finish`` go to their end, though they are paused at rungs or were not promoted; the best configurations
    are confirmed where that is asked for with settings of it.

    With ``log="json"`` the coordinator's log is printed, and nothing else.

    Raises:
        SweepError: If it cannot run, was interrupted, or its trials keep failing.
    """
    look = cache(partial(_look, location))  # opened and diagnosed once
    with StopSignal() as stop:
        with stop.at_once():
            plan = plan_study(location, trials=trials, confirm=confirm)
        with _open_watcher(plain=plain, log=log) as watcher:
            run_study(plan, watcher=watcher, stop=stop, finish=finish, exhibit=partial(_exhibit, look))
    from sweep.cli.report import write_report  # loads plotly, which is not needed before

    study, findings = look()
    with study, unread_output():  # a study outlives whoever reads it
        try:
            write_report(study, findings)
        except SweepError as error:  # the study is finished all the same
            complain(str(error))
        if log != "json":
            print_leaderboard(study)


def _look(location: StudyLocation) -> tuple[Study, Sequence[Finding]]:
    """The study as this run leaves it, without the owner that the run still is, and its diagnosis."""
    from sweep.report.diagnosis import diagnose

    study = replace(read_study(location), owner=None)
    return study, diagnose(study)


def _exhibit(look: Callable[[], tuple[Study, Sequence[Finding]]]) -> tuple[str, dict[str, Any]]:
    from sweep.report.dashboard_export import exhibit

    return exhibit(*look())


def _open_watcher(*, plain: bool, log: str) -> AbstractContextManager[LiveWatcher | PlainWatcher | JsonWatcher]:
    if log == "json":
        return nullcontext(JsonWatcher())
    if plain or not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return nullcontext(PlainWatcher())
    return closing(LiveWatcher())

"""The command ``generate``: the queries that data formats train on, with its progress, and what the gates did."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from sweep.cli.leaderboard import print_table
from sweep.cli.watchers import format_time
from sweep.errors import SweepError
from sweep.generation import Outcome, Show, Step, generate_queries, plan_generation
from sweep.output_files import write_output
from sweep.report.queries.queries_page import render_queries
from sweep.report.queries.queries_view import view_queries
from sweep.run_folder import seen_from_here
from sweep.signals import StopSignal
from sweep.storage.location import StudyLocation

LINE_S = 30.0
"""Seconds between two lines of progress where output goes to no terminal."""


def generate(location: StudyLocation) -> None:
    """Generates what is missing of a study's queries, and prints what each gate did.

    Raises:
        SweepError: If it cannot go on, or no query passes the gates.
    """
    with StopSignal() as stop, stop.at_once():
        plan = plan_generation(location)
        with _open_progress() as show:
            outcomes = generate_queries(plan, show=show, stop=stop)
    for outcome in outcomes:
        print(f"\n{outcome.recipe.title}: {_say_kept(outcome)}")
        rows = [
            (passage.gate.name, f"{len(passage.rejected):,}", f"{len(passage.kept):,}", passage.gate.label)
            for passage in outcome.passages
        ]
        print_table(("gate", "rejected", "left", "rejects"), rows)
    print(f"\nLook at them: sweep generate {seen_from_here(location.file)} --show")


def show_queries(location: StudyLocation, *, output: str | None) -> Path:
    """Writes the generated queries of a study and what each gate did as one HTML file, and returns its path.

    Raises:
        SweepError: If queries have still to be generated, or the file cannot be written.
    """
    plan = plan_generation(location)
    file = Path(output) if output else location.file.with_suffix(".queries.html")
    views = [view_queries(stage, recipe) for stage, recipe in plan.stages()]
    page = render_queries(plan.spec, plan.collection, views)
    try:
        write_output(file, page)
    except OSError as error:
        raise SweepError(f"{file}: the page cannot be written: {error.strerror}; name another place") from error
    return file


def _say_kept(outcome: Outcome) -> str:
    kept = len(outcome.passages[-1].kept) if outcome.passages else outcome.answers
    by = ", ".join(generator.describe() for generator in outcome.recipe.generators)
    return f"{kept:,} of {outcome.answers:,} queries kept, for {outcome.documents:,} documents, by {by}"


@contextmanager
def _open_progress() -> Iterator[Show]:
    """A bar for each generator on a terminal; a line now and then elsewhere."""
    if not sys.stdout.isatty():
        yield _Lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("left"), TimeRemainingColumn(compact=True)) as progress:
        yield _Bars(progress)


class _Bars:
    """Bars of a terminal."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, TaskID] = {}

    def __call__(self, step: Step) -> None:
        name = f"{step.recipe.title}: {step.generator.describe()}"
        if step.estimate:
            self._progress.console.print(f"{name}: {step.estimate}", markup=False, highlight=False)
        if name not in self._bars:
            self._bars[name] = self._progress.add_task(name, total=step.of, completed=step.before)
        self._progress.update(self._bars[name], completed=step.done)


class _Lines:
    """Lines of progress: at the beginning of a generator, now and then, and at its end."""

    def __init__(self) -> None:
        self._began, self._said = time.monotonic(), 0.0
        self._name, self._done = "", -1

    def __call__(self, step: Step) -> None:
        now, name = time.monotonic(), f"{step.recipe.title}: {step.generator.describe()}"
        if name != self._name:
            self._name, self._began, self._said, self._done = name, now, 0.0, -1
        if step.estimate:
            print(f"{name}: {step.estimate}", flush=True)
        if step.done < step.of and (now - self._said < LINE_S or step.done == self._done):
            return
        self._said, self._done = now, step.done
        made = step.done - step.before
        left = (now - self._began) / made * (step.of - step.done) if made else 0.0
        until = f", about {format_time(left)} left" if made and step.done < step.of else ""
        print(f"{name}: {step.done:,} of {step.of:,} documents{until}", flush=True)

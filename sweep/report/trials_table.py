"""The table of all trials, which the page's script sorts and filters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sweep.columns import BY_KEY, OUTCOME, Column, choose_settings, rank_trials
from sweep.storage.records import StudyRecord, TrialRecord
from sweep.study import Study

COLUMNS = ("steps", "micro_batch", "seconds", "restarts", "why")
"""What is shown after how a trial came out and its settings."""

FILTERED = ("data_format", "outcome")


@dataclass(frozen=True)
class Cell:
    """A cell of the table: its text, and the number it is sorted by, empty where that is missing; None for text."""

    text: str
    number: str | None
    is_long: bool


@dataclass(frozen=True)
class Row:
    """A trial's cells, and whether it is the best."""

    cells: Sequence[Cell]
    is_best: bool


@dataclass(frozen=True)
class Head:
    """A column's heading, and whether its cells are numbers."""

    text: str
    is_number: bool


@dataclass(frozen=True)
class Filter:
    """A column that can be filtered by the values found in it."""

    column: int
    heading: str
    found: Sequence[str]


@dataclass(frozen=True)
class Listing:
    """The table of all trials; no rows where none has begun."""

    heads: Sequence[Head]
    rows: Sequence[Row]
    filters: Sequence[Filter]


def make_listing(study: Study) -> Listing:
    """The table of all trials, the highest peak first, without columns that tell nothing of this study."""
    record, trials = study.record, rank_trials(study.record)
    keys = [*OUTCOME, *choose_settings(record, study.spec.space), *COLUMNS]
    columns = [BY_KEY[key] for key in keys if not _is_idle(key, trials)]
    return Listing(
        heads=[Head(column.heading, column.is_number) for column in columns],
        rows=[Row([_make_cell(column, trial, record) for column in columns], trial is record.best) for trial in trials],
        filters=[
            Filter(place, column.heading, sorted({column.text(trial, record) for trial in trials if trial.params}))
            for place, column in enumerate(columns)
            if column.key in FILTERED
        ],
    )


def _is_idle(key: str, trials: Sequence[TrialRecord]) -> bool:
    """Whether a column says nothing: no trial was begun again, or none had to be cut into micro-batches."""
    if key == "restarts":
        return len({trial.attributes.get("interruptions", 0) for trial in trials}) <= 1
    sizes = [(trial.attributes.get("micro_batch"), trial.params) for trial in trials]
    return key == "micro_batch" and all(
        size is None or (params is not None and size == params.batch_size) for size, params in sizes
    )


def _make_cell(column: Column, trial: TrialRecord, record: StudyRecord) -> Cell:
    value, text = column.value(trial, record), column.text(trial, record)
    if not column.is_number:
        return Cell("" if value is None else text, None, is_long=column.key == "why")
    return Cell(text, "" if value is None else repr(float(value)), is_long=False)

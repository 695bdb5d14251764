"""The table of all trials, which the page's script sorts and filters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sweep.columns import BY_KEY, OUTCOME, Column, choose_settings, rank_trials
from sweep.storage.records import StudyRecord, TrialRecord
from sweep.study import Study

COLUMNS = ("steps", "micro_batch", "seconds", "restarts", "why")
"""Columns after a trial's outcome and its settings."""

FILTERED = ("data_format", "outcome")


@dataclass(frozen=True)
class Cell:
    """A cell: its text, and the number it is sorted by, empty where that is missing; None for text."""

    text: str
    number: str | None
    is_long: bool


@dataclass(frozen=True)
class TrialsTable:
    """The table of all trials; no rows where none has begun.

    Attributes:
        columns: Its columns.
        rows: The cells of each trial, and whether it is the best.
        filters: (place, heading, values) of each column that can be filtered by its values.
    """

    columns: Sequence[Column]
    rows: Sequence[tuple[Sequence[Cell], bool]]
    filters: Sequence[tuple[int, str, Sequence[str]]]


def make_trials_table(study: Study) -> TrialsTable:
    """The table of all trials, the highest peak first, without columns that tell nothing of this study."""
    record, trials = study.record, rank_trials(study.record)
    keys = [*OUTCOME, *choose_settings(record, study.spec.space), *COLUMNS]
    columns = [BY_KEY[key] for key in keys if not _is_idle(key, trials)]
    return TrialsTable(
        columns=columns,
        rows=[([_make_cell(column, trial, record) for column in columns], trial is record.best) for trial in trials],
        filters=[
            (place, column.heading, sorted({column.text(trial, record) for trial in trials if trial.params}))
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

"""The table of all trials, which the page's script sorts and filters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sweep.report.tables import tabulate_trials
from sweep.study import Study

COLUMNS: Mapping[str, tuple[str, Callable[[Any], str] | None]] = {
    "trial": ("trial", str),
    "peak": ("peak", "{:.4f}".format),
    "peak_progress": ("at", lambda progress: f"{progress / 10:g} %"),
    "retention": ("retention", "{:.3f}".format),
    "state": ("state", None),
    "data_format": ("format", None),
    "effective_learning_rate": ("rate", "{:.2e}".format),
    "warmup_ratio": ("warm-up", "{:.2f}".format),
    "batch_size": ("batch", str),
    "scale": ("scale", "{:g}".format),
    "scheduler": ("scheduler", None),
    "steps": ("steps", str),
    "micro_batch": ("micro-batch", str),
    "seconds": ("seconds", "{:.0f}".format),
    "restarts": ("restarts", str),
    "why": ("why it ended", None),
}
"""Heading of each column, and how its numbers are written; None for text."""

VARYING = frozenset({"scale", "scheduler", "restarts"})
"""Columns that are left out where no two trials differ in them."""

FILTERED = ("data_format", "state")


def list_trials(study: Study) -> pd.DataFrame:
    """What the table shows: a row a trial, the highest peak first."""
    frame = tabulate_trials(study)
    frame["why"] = [_why(row) for row in frame.to_dict("records")]
    frame["state"] = frame["state"].mask(frame["is_excused"], "excused")
    return frame


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


def make_listing(frame: pd.DataFrame) -> Listing:
    """The table of the trials that `list_trials` lists; columns in which no two trials differ are left out."""
    names = [name for name in COLUMNS if name not in VARYING or frame[name].nunique(dropna=False) > 1]
    if (frame["micro_batch"].isna() | (frame["micro_batch"] == frame["batch_size"])).all():
        names.remove("micro_batch")
    return Listing(
        heads=[Head(text, write is not None) for text, write in (COLUMNS[name] for name in names)],
        rows=[Row([_make_cell(row, name) for name in names], row["is_best"]) for row in frame.to_dict("records")],
        filters=[
            Filter(names.index(name), COLUMNS[name][0], sorted(str(value) for value in frame[name].dropna().unique()))
            for name in FILTERED
        ],
    )


def _make_cell(row: Mapping[str, Any], name: str) -> Cell:
    value, write = row[name], COLUMNS[name][1]
    is_missing = pd.isna(value)
    if write is None:
        return Cell("" if is_missing else str(value), None, is_long=name == "why")
    return Cell("-" if is_missing else write(value), "" if is_missing else repr(float(value)), is_long=False)


def _why(row: Mapping[str, Any]) -> str:
    if not pd.isna(row["error"]):
        return f"failed: {row['error']}"
    if not pd.isna(row["stop_reason"]):
        return f"stopped at {row['progress'] / 10:g} %: {row['stop_reason']}"
    return "ran to its end" if row["ended_by"] == "budget" else "goes on"

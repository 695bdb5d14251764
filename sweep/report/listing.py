"""The table of all trials, which the page's script sorts and filters."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
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


def render_trials(study: Study) -> str:
    """The table with its filters."""
    frame = list_trials(study)
    if frame.empty:
        return "<section><h2>All trials</h2><p class='missing'>No trial has begun yet.</p></section>"
    names = [name for name in COLUMNS if name not in VARYING or frame[name].nunique(dropna=False) > 1]
    if (frame["micro_batch"].isna() | (frame["micro_batch"] == frame["batch_size"])).all():
        names.remove("micro_batch")
    heads = "".join(
        f"<th{'' if write is None else ' class=number'}><button type='button'>{text}</button></th>"
        for text, write in (COLUMNS[name] for name in names)
    )
    rows = "".join(_render_row(row, names) for row in frame.to_dict("records"))
    choices = "".join(_render_choice(frame, name, names.index(name)) for name in FILTERED)
    return (
        "<section><h2>All trials</h2><p>A click on a heading sorts; the best trial is in bold.</p><div class='filters'>"
        "<input id='words' type='search' placeholder='Filter by any word' aria-label='Filter by any word'>"
        f"{choices}<span id='count' class='muted' role='status'></span></div>"
        f"<div class='wide'><table id='trials'><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
        "</section>"
    )


def _render_row(row: Mapping[str, Any], names: Sequence[str]) -> str:
    cells = []
    for name in names:
        value, (_, write) = row[name], COLUMNS[name]
        is_missing = pd.isna(value)
        if write is None:
            kind = " class=text" if name == "why" else ""
            cells.append(f"<td{kind}><bdi>{'' if is_missing else html.escape(str(value))}</bdi></td>")
        else:
            number = "" if is_missing else repr(float(value))
            cells.append(f"<td class=number data-value='{number}'>{'-' if is_missing else write(value)}</td>")
    return f"<tr{' class=best' if row['is_best'] else ''}>{''.join(cells)}</tr>"


def _render_choice(frame: pd.DataFrame, name: str, column: int) -> str:
    heading = COLUMNS[name][0]
    found = sorted(str(value) for value in frame[name].dropna().unique())
    options = "".join(f"<option>{html.escape(value)}</option>" for value in found)
    every = f"<option value=''>every {heading}</option>"
    return f"<select data-column='{column}' aria-label='{heading}'>{every}{options}</select>"


def _why(row: Mapping[str, Any]) -> str:
    if not pd.isna(row["error"]):
        return f"failed: {row['error']}"
    if not pd.isna(row["stop_reason"]):
        return f"stopped at {row['progress'] / 10:g} %: {row['stop_reason']}"
    return "ran to its end" if row["ended_by"] == "budget" else "goes on"

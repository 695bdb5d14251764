"""The columns of a trial, from which frames, leaderboards, notes and the report's table of trials are made."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sweep.printable import make_printable
from sweep.progress import COMPLETE, warmup_end
from sweep.settings.dimension import Dimension
from sweep.settings.dimensions import DIMENSIONS, SHOWN, SpaceSettings
from sweep.storage.evaluations import EvaluationRow
from sweep.storage.notes import quote
from sweep.storage.records import TO_ITS_END, StudyRecord, TrialRecord

LEADERS = 10
"""Trials of a study's note; the dashboard's readers load it again and again."""

REASON_WIDTH = 44


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of trials.

    Attributes:
        key: Its name in `sweep.study.Study.trials`.
        value: A trial's value, given its study; None where it does not exist.
        dtype: Its type in a frame; empty where no frame has it.
        heading: Its heading in a table, where one shows it.
        write: Writes a value as text.
        is_foreign: Whether its text can come from outside.
    """

    key: str
    value: Callable[[TrialRecord, StudyRecord], Any]
    dtype: str = ""
    heading: str = ""
    write: Callable[[Any], str] = str
    is_foreign: bool = False

    @property
    def is_number(self) -> bool:
        """Whether a table sorts it by number."""
        return self.dtype in ("float64", "Int64")

    def text(self, trial: TrialRecord, record: StudyRecord) -> str:
        """A trial's cell in a table; ``-`` where it has no value."""
        value = self.value(trial, record)
        return "-" if value is None else self.write(value)


def _column(key: str, dtype: str, value: Callable[[TrialRecord], Any], **shown: Any) -> Column:
    return Column(key=key, dtype=dtype, value=lambda trial, _: value(trial), **shown)


def _attribute(key: str, dtype: str, name: str = "", **shown: Any) -> Column:
    return _column(key, dtype, lambda trial: trial.attributes.get(name or key), **shown)


def _last(key: str, dtype: str, value: Callable[[EvaluationRow], Any], **shown: Any) -> Column:
    return _column(key, dtype, lambda trial: value(trial.rows[-1]) if trial.rows else None, **shown)


def _setting(name: str, dimension: Dimension) -> Column:
    dtype = {"real": "float64", "power of two": "Int64", "choice": "str", "seed": "Int64"}[dimension.kind]
    shown = {"heading": dimension.column, "write": dimension.write, "is_foreign": dimension.kind == "choice"}
    if dimension.makes_replicates:  # the one that training used, be it the trial's own or the study's
        return _column(name, dtype, lambda trial: trial.attributes.get(name), **shown)
    return _column(name, dtype, lambda trial: getattr(trial.params, name) if trial.params else None, **shown)


def _warmup_end(trial: TrialRecord) -> float | None:
    steps = trial.attributes.get("steps")
    return warmup_end(trial.params.warmup_ratio, steps) if trial.params and steps else None


def write_progress(progress: int) -> str:
    """Thousandths as percent."""
    return f"{progress * 100 / COMPLETE:g}%"


def say_end(trial: TrialRecord, record: StudyRecord, *, is_short: bool = False) -> str | None:
    """The reason why a trial ended, in short a rule's name or the beginning of an error; None while it goes on."""
    if trial.state == "paused":
        known = record.rung_ranks.get(trial.number)
        rank = f", rank {known[0]} of {known[1]}" if known else ""
        return f"paused at {write_progress(trial.progress)}{rank}"
    if error := trial.attributes.get("error"):
        return _shorten(f"failed: {error}") if is_short else f"failed: {error}"
    if trial.equal_to is not None:
        return f"equal to trial {trial.equal_to}" + (
            "" if is_short else ", whose curve it has: it was not trained again"
        )
    collapsed = trial.attributes.get("collapsed_at")
    ending = "" if collapsed is None else f"; its embeddings collapsed at {write_progress(collapsed)}"
    if trial.confirms is not None:
        ending += f"; trial {trial.confirms} with seed {trial.attributes.get('seed')}"
    if trial.longer_than is not None:
        ending += f"; trial {trial.longer_than} for twice as long"
    if trial.stop is None:
        return f"ran to its end{ending}" if trial.ended_by == TO_ITS_END else None
    why = trial.stop.kind if is_short else trial.stop.text
    if trial.is_unpromoted and trial.stop.numbers:
        place = ", rank {rank} of {trials}".format(**trial.stop.numbers) if is_short else ""
        return f"paused at {write_progress(trial.progress)}: {why}{place}{ending}"
    return f"stopped at {write_progress(trial.progress)}: {why}{ending}"


def _shorten(text: str) -> str:
    printable = make_printable(text)
    return printable if len(printable) <= REASON_WIDTH else printable[: REASON_WIDTH - 3] + "..."


COLUMNS: tuple[Column, ...] = (
    _column("trial", "Int64", lambda trial: trial.number, heading="trial"),
    _column("state", "str", lambda trial: trial.state),
    _column("outcome", "", lambda trial: "excused" if trial.is_excused else trial.state, heading="state"),
    _column("value", "float64", lambda trial: trial.value),
    _column("peak", "float64", lambda trial: trial.peak and trial.peak.value, heading="peak", write="{:.4f}".format),
    _column(
        "peak_progress", "Int64", lambda trial: trial.peak and trial.peak.progress, heading="at", write=write_progress
    ),
    _column("last", "float64", lambda trial: trial.curve[-1].value if trial.curve else None),
    Column(
        key="retention",
        dtype="float64",
        value=lambda trial, record: trial.retention(record.baseline),
        heading="retention",
        write="{:.3f}".format,
    ),
    _column("ended_by", "str", lambda trial: trial.ended_by),
    _column("stop_reason", "str", lambda trial: trial.stop and trial.stop.text),
    _column("stop_numbers", "object", lambda trial: dict(trial.stop.numbers) if trial.stop else {}),
    _column("error", "str", lambda trial: trial.attributes.get("error")),
    *(_setting(name, setting) for setting in DIMENSIONS for name in dict.fromkeys((setting.name, setting.shown))),
    _column("warmup_end", "float64", _warmup_end),
    _attribute("steps", "Int64", heading="steps"),
    _attribute("micro_batch", "Int64", heading="micro-batch"),
    _attribute("device", "str"),
    _attribute("node", "str", heading="node", is_foreign=True),
    _column("restarts", "Int64", lambda trial: trial.attributes.get("interruptions", 0), heading="restarts"),
    _attribute("false_negatives", "float64"),
    _attribute("collapsed_at", "Int64"),
    _column("progress", "Int64", lambda trial: trial.progress),
    _column("examples", "Int64", lambda trial: trial.examples),
    _column("planned_examples", "Int64", lambda trial: trial.planned_examples, heading="pairs", write="{:,}".format),
    _column("retrained_examples", "Int64", lambda trial: trial.retrained_examples),
    _last("seconds", "float64", lambda row: row.seconds, heading="seconds", write="{:.0f}".format),
    _last("evaluation_seconds", "float64", lambda row: row.evaluation_seconds),
    Column(key="is_best", dtype="bool", value=lambda trial, record: trial is record.best),
    _column("is_excused", "bool", lambda trial: trial.is_excused),
    _column("equal_to", "Int64", lambda trial: trial.equal_to),
    Column(
        key="ending",
        value=lambda trial, record: say_end(trial, record, is_short=True),
        heading="why it ended",
        is_foreign=True,
    ),
    Column(key="why", value=say_end, heading="why it ended", is_foreign=True),
)
"""Every column; those with a type are a frame's."""

BY_KEY = {column.key: column for column in COLUMNS}

OUTCOME = ("trial", "peak", "peak_progress", "retention", "outcome")
"""Columns with which every table of trials begins."""


def choose_settings(record: StudyRecord, space: SpaceSettings) -> list[str]:
    """Keys of the settings that a table shows: the usual ones, those that are searched, those that trials differ in."""
    tried = [trial for trial in record.trials if trial.params]
    settings = [
        setting.shown
        for setting in SHOWN
        if setting.is_always_shown
        or setting.varies(getattr(space, setting.name))
        or len({BY_KEY[setting.name].value(trial, record) for trial in tried}) > 1
    ]
    if any(trial.length > 1 for trial in tried):
        settings.append("planned_examples")
    return [*settings, *(["node"] if any(trial.attributes.get("node") for trial in tried) else [])]


def rank_trials(record: StudyRecord) -> list[TrialRecord]:
    """Every trial, the highest peak first and those without one last."""
    return sorted(record.trials, key=lambda trial: (-trial.peak.value if trial.peak else math.inf, trial.number))


def write_rows(record: StudyRecord, trials: Sequence[TrialRecord], keys: Sequence[str]) -> list[list[str]]:
    """A table as text: its headings, then a row a trial; the first column marks the best."""
    columns = [BY_KEY[key] for key in keys]
    rows = [
        ["*" if trial is record.best else "", *(column.text(trial, record) for column in columns)] for trial in trials
    ]
    return [["", *(column.heading for column in columns)], *rows]


def write_leaderboard(record: StudyRecord, space: SpaceSettings) -> str:
    """The trials with the highest peaks as a table of Markdown."""
    ranked = record.leaderboard()
    if not ranked:
        return "No trial has been measured yet."
    has_rungs = any(trial.may_be_promoted for trial in record.trials)
    keys = [*OUTCOME, *(["ending"] if has_rungs else []), *choose_settings(record, space)]
    heads, *rows = write_rows(record, ranked[:LEADERS], keys)
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    for mark, *cells in rows:
        shown = [quote(cell) if BY_KEY[key].is_foreign else cell for key, cell in zip(keys, cells, strict=True)]
        lines.append(f"| {' | '.join(['**best**' if mark else '', *shown])} |")
    if len(ranked) > LEADERS:
        lines += ["", f"The best {LEADERS} of {len(ranked)} measured trials."]
    return "\n".join(lines)

"""Cause: one suspected cause with its comparison, outcomes, terms and sentences, and its questions to a study."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from sweep.measures.measures import DEFAULT_METRIC, find_measure
from sweep.report.diagnosis.axes import Axis
from sweep.report.diagnosis.run_outcomes import COMMON, RunOutcome
from sweep.report.diagnosis.surface import DATA_FORMAT, Contrast, FloatArray, IntArray, Settings, Term, join_settings
from sweep.settings.dimension import Value
from sweep.settings.study_file import SpaceSpec

OVERALL = "overall"

Answer = Literal["supported", "not supported", "cannot tell"]

Outcome = tuple[Literal["fall", "held"], int]
"""The fall since the peak, or the value held, at a place of `COMMON`."""

AT_END: Outcome = ("held", len(COMMON) - 1)
FALLS: tuple[Outcome, ...] = (*(("fall", place) for place in reversed(range(len(COMMON)))), AT_END)
"""Falls on the way, before runs were stopped, and at the end; and the value held at the end, since a run that rises for
another reason hides its fall."""

MIN_RATIO = 2.0
"""Learning rates and scales that differ by less tell nothing."""

MAX_POINTS = 12
"""Trials at whose other settings a contrast is taken."""

Start = dict[str, Value]
"""A start point of the study file."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The part of a study that a cause is decided by.

    Attributes:
        runs: The runs that have ended.
        space: The search space.
        margin: Effect that matters, above 0.
        axes: The axes of the surface.
        metric: Label of the measure that an effect is of.
    """

    runs: Sequence[RunOutcome]
    space: SpaceSpec
    margin: float
    axes: Sequence[Axis]
    metric: str = find_measure(DEFAULT_METRIC).label

    @cached_property
    def formats(self) -> tuple[str, ...]:
        """Names of the formats that may be tried or were."""
        return tuple(dict.fromkeys([*self.space.data_format, *(run.params.data_format for run in self.runs)]))

    @cached_property
    def settings(self) -> Settings:
        """The settings of the runs, scaled."""
        values = {axis.name: self.scale(axis, [axis.read(run) for run in self.runs]) for axis in self.axes}
        formats = [float(self.formats.index(run.params.data_format)) for run in self.runs]
        return Settings(values={DATA_FORMAT: np.array(formats), **values})

    def scale(self, axis: Axis, values: Sequence[float]) -> FloatArray:
        """Values of an axis, scaled as those of the runs are."""
        return axis.scale(values, self.runs, self.space)

    def scopes(self) -> Iterator[tuple[str, IntArray]]:
        """Overall and each format that a study has, with the runs in it; of a single format only overall."""
        yield OVERALL, np.arange(len(self.runs))
        if len(self.formats) > 1:
            for index, name in enumerate(self.formats):
                yield name, np.flatnonzero(self.settings.values[DATA_FORMAT] == index)

    def choose_points(self, rows: IntArray) -> Settings:
        """The settings of at most MAX_POINTS of the runs, evenly spread over the study."""
        if len(rows) > MAX_POINTS:
            rows = rows[np.linspace(0, len(rows) - 1, MAX_POINTS).round().astype(np.int64)]
        return self.settings.take(rows)


@dataclass(frozen=True, kw_only=True)
class Effect:
    """An effect as it was seen, and its bounds; None where there are none."""

    seen: float
    interval: tuple[float, float] | None
    outcome: Outcome = AT_END


@dataclass(frozen=True, kw_only=True)
class Question:
    """One cause in one scope.

    Attributes:
        scope: ``overall`` or a format's name.
        rows: (M,) the runs it rests on, as places in the list of runs.
        better: The value that is suspected to be harmless, in the setting's own unit.
        worse: The value that is suspected to do harm.
        compared: The comparison in words.
        contrast: The comparison as a question to the surface; None where the surface cannot answer it.
        measured: The effect, where it is measured without the surface.
        reason: The reason why nothing can be told.
        settle: Advice where the space has no trials that would settle it, if not a wider setting.
    """

    scope: str
    rows: IntArray
    better: float = math.nan
    worse: float = math.nan
    compared: str = ""
    contrast: Contrast | None = None
    measured: Effect | None = None
    reason: str = ""
    settle: str = ""


@dataclass(frozen=True, kw_only=True)
class Cause:
    """A suspected cause of a fall.

    Attributes:
        name: The cause, in words.
        claim: A sentence without its end that is true where the cause is supported.
        setting: The setting of the space in which further trials would differ.
        ask: Its questions to a study, one a scope.
        advise: Advice where it is supported.
        pair: The values of the setting that further trials take, None for none; both ends of its range by default.
        beside: The setting in which pairs of further trials differ from each other.
        outcomes: The outcomes that decide it; the first one says whether it is no cause.
        terms: Its terms of the surface.
        axes: The axes that those need, besides the numbers that are searched.
        reverse_claim: The claim where the effect has the other sign; empty where that does not support it.
        matters: The smallest effect that matters; the study's margin where it is None.
        note: An addition to the sentence where it is supported.
        say: The sentence, in place of the usual one.
        propose: Further trials, in place of pairs.
        proposal: The words before them.
    """

    name: str
    claim: str
    setting: str
    ask: Callable[[Evidence], Iterable[Question]]
    advise: Callable[[Question, Effect, Evidence], str]
    pair: Callable[[Evidence], tuple[Value, Value] | None] | None = None
    beside: str = "warmup_ratio"
    outcomes: tuple[Outcome, ...] = FALLS
    terms: tuple[Term, ...] = ()
    axes: tuple[Axis, ...] = ()
    reverse_claim: str = ""
    matters: float | None = None
    note: Callable[[Evidence, IntArray], str] | None = None
    say: Callable[[Question, Answer, Effect], str] | None = None
    propose: Callable[[Question, Evidence], list[Start]] | None = None
    proposal: str = "Run these trials"


Pick = Callable[[Question, FloatArray, SpaceSpec], Question]
"""Completes a question with the two of the tried values that are compared, or with the reason why there are none."""


def ask_scopes(evidence: Evidence, *, axis: Axis, pick: Pick) -> Iterator[Question]:
    """A question in each scope: two values of an axis, picked among those that were tried there."""
    for scope, rows in evidence.scopes():
        question = Question(scope=scope, rows=rows)
        if len(rows) < 2:
            yield replace(question, reason=f"{'one run alone' if len(rows) else 'no run'} has ended there")
            continue
        question = pick(question, np.array([axis.read(evidence.runs[row]) for row in rows]), evidence.space)
        yield question if question.reason else _with_contrast(question, evidence, axis)


def _with_contrast(question: Question, evidence: Evidence, axis: Axis) -> Question:
    """The question with its two sets of points; overall, every format counts alike."""
    points = evidence.choose_points(question.rows)
    if question.scope == OVERALL:
        present = np.unique(evidence.settings.values[DATA_FORMAT])
        points = join_settings([points.at(**{DATA_FORMAT: float(index)}) for index in present])
    values = evidence.scale(axis, [question.better, question.worse])
    better, worse = (points.at(**{axis.name: float(value)}) for value in values)
    return replace(question, contrast=Contrast(better=better, worse=worse))

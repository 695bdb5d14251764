"""What is asked about each suspected cause: which settings are compared, in which scope, and by which outcome."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sweep.report.diagnosis.runs import COMMON, RunOutcome
from sweep.report.diagnosis.surface import Contrast, FloatArray, Outcomes, Settings
from sweep.settings.ranges import ends
from sweep.settings.study_file import SpaceSpec

RETRIEVAL_FORMAT = "query-document"
"""The data format of the task that models are judged on."""

TOO_HIGH = "learning rate too high for its batch size"
TOO_LOW = "learning rate too low for its batch size"
FORMAT = "training format"
WARMUP = "end of the warm-up"
SCALE = "loss scale"
NEGATIVES = "in-batch false negatives"
OVERFITTING = "plain overfitting"

CAUSES = (TOO_HIGH, TOO_LOW, FORMAT, WARMUP, SCALE, NEGATIVES, OVERFITTING)
OVERALL = "overall"

OutcomeName = Literal["fall", "held"]

Surface = tuple[OutcomeName, int]
"""An outcome, NDCG lost since the peak or NDCG held, at a place of `COMMON`."""

AT_END: Surface = ("held", len(COMMON) - 1)
FALLS: tuple[Surface, ...] = (*(("fall", place) for place in reversed(range(len(COMMON)))), AT_END)

OUTCOMES: dict[str, tuple[Surface, ...]] = {
    TOO_HIGH: FALLS,
    TOO_LOW: (AT_END,),
    FORMAT: (AT_END,),
    WARMUP: FALLS,
    SCALE: FALLS,
    NEGATIVES: FALLS,
}
"""What each cause is judged by, the one that says that it is no cause first. Falls are compared on the way as well,
before runs were stopped; and what is held at the end, for a run that rises for another reason hides its fall."""

LEAST_RATIO = 2.0
"""Learning rates and scales that differ by less tell nothing."""

LEAST_WARMUP = 0.05
LEAST_SHARE = 0.01

MOST_POINTS = 12
"""Trials at whose other settings a contrast is taken."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """One cause in one scope.

    Attributes:
        cause: The cause.
        scope: ``overall`` or a format's name.
        better: The value that is suspected to be harmless, in the setting's own unit.
        worse: The value that is suspected to do harm.
        contrast: The same as a question to the surface; None where the trials cannot answer it.
        reason: Why they cannot.
        rows: (M,) the runs it rests on, as places in the list of runs.
        rate: The rate, at batch 64, at which formats are compared.
    """

    cause: str
    scope: str
    better: float | str = math.nan
    worse: float | str = math.nan
    contrast: Contrast | None = None
    reason: str = ""
    rows: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    rate: float = math.nan


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """How settings of a study are scaled to [0, 1] over what was tried or may be.

    Attributes:
        formats: Names of the formats.
        rate: Lowest and highest logarithm of the learning rate for its batch size.
        scale: Lowest and highest logarithm of the loss scale.
        batch: Lowest and highest logarithm of the batch size.
        warmup: Lowest and highest warm-up ratio.
    """

    formats: tuple[str, ...]
    rate: tuple[float, float]
    scale: tuple[float, float]
    batch: tuple[float, float]
    warmup: tuple[float, float]


def plan_scaling(runs: Sequence[RunOutcome], space: SpaceSpec) -> Scaling:
    """The scaling of a study: over its space, widened to what was tried."""
    lowest, highest = ends(space.learning_rate)
    scales, warmups = ends(space.scale), ends(space.warmup_ratio)
    return Scaling(
        formats=tuple(dict.fromkeys([*space.data_format, *(run.params.data_format for run in runs)])),
        rate=_spread([math.log(lowest), math.log(highest), *(math.log(run.rate) for run in runs)]),
        scale=_spread([*map(math.log, scales), *(math.log(run.params.scale) for run in runs)]),
        batch=_spread([*map(math.log, space.batch_sizes), *(math.log(run.params.batch_size) for run in runs)]),
        warmup=_spread([*warmups, *(run.params.warmup_ratio for run in runs)]),
    )


def scale_settings(runs: Sequence[RunOutcome], scaling: Scaling) -> Settings:
    """Settings of the runs, scaled."""
    return Settings(
        data_format=np.array([scaling.formats.index(run.params.data_format) for run in runs], dtype=np.int64),
        rate=_scaled([math.log(run.rate) for run in runs], scaling.rate),
        warmup=_scaled([run.params.warmup_ratio for run in runs], scaling.warmup),
        scale=_scaled([math.log(run.params.scale) for run in runs], scaling.scale),
        batch=_scaled([math.log(run.params.batch_size) for run in runs], scaling.batch),
        share=np.array([run.share or 0.0 for run in runs], dtype=np.float64),
    )


def collect_outcomes(runs: Sequence[RunOutcome], surface: Surface) -> Outcomes:
    """The outcomes of the runs by which a cause is judged; higher is better."""
    name, place = surface
    reached = [run.reached[place] for run in runs]
    is_fall = name == "fall"
    return Outcomes(
        value=np.array([-one.fall if is_fall else one.held for one in reached]),
        noise=np.array([one.fall_noise if is_fall else one.held_noise for one in reached]),
        stopped=np.array([one.is_stopped for one in reached]),
        most=np.array([-one.least_fall if is_fall else one.most for one in reached]),
        lowest=np.array([-one.peak if is_fall else 0.0 for one in reached]),
    )


def ask_all(runs: Sequence[RunOutcome], scaling: Scaling, space: SpaceSpec) -> list[Question]:
    """Every question that is put to a surface, in the order of the causes; none about overfitting."""
    settings = scale_settings(runs, scaling)
    found = [*_ask_rate(runs, settings, scaling, space), _ask_format(runs, settings, scaling, space)]
    found += _ask_range(WARMUP, [run.params.warmup_ratio for run in runs], settings, scaling)
    found += _ask_range(SCALE, [run.params.scale for run in runs], settings, scaling)
    return [*found, _ask_negatives(runs, settings)]


def _scopes(settings: Settings, scaling: Scaling) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Overall and each format that a study has, with the runs in it; of a single format only the whole."""
    yield OVERALL, np.arange(len(settings))
    if len(scaling.formats) > 1:
        for index, name in enumerate(scaling.formats):
            yield name, np.flatnonzero(settings.data_format == index)


def _ask_rate(runs: Sequence[RunOutcome], settings: Settings, scaling: Scaling, space: SpaceSpec) -> Iterator[Question]:
    """The highest and the lowest rate that were tried, each against the one nearest to the middle of the space."""
    rates = np.array([run.rate for run in runs])
    for cause in (TOO_HIGH, TOO_LOW):
        for scope, rows in _scopes(settings, scaling):
            if len(rows) < 2:
                yield Question(cause=cause, scope=scope, reason=_too_few(len(rows)), rows=rows)
                continue
            tried = rates[rows]
            reference = _nearest_to_middle(tried, space)
            worse = tried.max() if cause == TOO_HIGH else tried.min()
            ratio = worse / reference if cause == TOO_HIGH else reference / worse
            question = Question(cause=cause, scope=scope, better=float(reference), worse=float(worse), rows=rows)
            if ratio < LEAST_RATIO:
                side = "above" if cause == TOO_HIGH else "below"
                reason = f"no rate was tried far enough {side} {reference:.2g}"
                yield Question(cause=cause, scope=scope, reason=reason, better=float(reference), rows=rows)
                continue
            values = _scaled([math.log(reference), math.log(worse)], scaling.rate)
            yield _with_contrast(question, settings, "rate", values)


def _ask_range(cause: str, tried: Sequence[float], settings: Settings, scaling: Scaling) -> Iterator[Question]:
    """The shortest warm-up against the longest that were tried, or the highest scale against the lowest."""
    values = np.array(tried)
    for scope, rows in _scopes(settings, scaling):
        if len(rows) < 2:
            yield Question(cause=cause, scope=scope, reason=_too_few(len(rows)), rows=rows)
            continue
        low, high = float(values[rows].min()), float(values[rows].max())
        if cause == WARMUP:
            question = Question(cause=cause, scope=scope, better=high, worse=low, rows=rows)
            known = high - low >= LEAST_WARMUP
            scaled = _scaled([high, low], scaling.warmup)
            reason = f"every warm-up that was tried is about {low:.2g} of the steps"
        else:
            question = Question(cause=cause, scope=scope, better=low, worse=high, rows=rows)
            known = high / low >= LEAST_RATIO
            scaled = _scaled([math.log(low), math.log(high)], scaling.scale)
            reason = f"every scale that was tried is about {low:.3g}"
        if not known:
            yield Question(cause=cause, scope=scope, reason=reason, better=low, rows=rows)
            continue
        yield _with_contrast(question, settings, "warmup" if cause == WARMUP else "scale", scaled)


def _nearest_to_middle(rates: FloatArray, space: SpaceSpec) -> float:
    """The rate that was tried nearest to the middle of the space: the one least suspected of being too high or low."""
    low, high = ends(space.learning_rate)
    return float(rates[np.argmin(np.abs(np.log(rates / math.sqrt(low * high))))])


def _ask_format(runs: Sequence[RunOutcome], settings: Settings, scaling: Scaling, space: SpaceSpec) -> Question:
    """The retrieval task's own format against the others, at the same settings and without false negatives.

    They are compared at a middling rate: what a format suffers from a rate that is too high for it alone is the rate's
    doing, and named there.
    """
    rows = np.arange(len(runs))
    tried = {run.params.data_format for run in runs}
    others = [name for name in scaling.formats if name in tried and name != RETRIEVAL_FORMAT]
    if RETRIEVAL_FORMAT not in tried or not others:
        return Question(cause=FORMAT, scope=OVERALL, reason=f"only {_names(sorted(tried))} was tried", rows=rows)
    rate = _nearest_to_middle(np.array([run.rate for run in runs]), space)
    points = settings.take(_chosen(rows)).at(share=0.0, rate=float(_scaled([math.log(rate)], scaling.rate)[0]))
    worse = [points.at(data_format=scaling.formats.index(name)) for name in others]
    contrast = Contrast(better=points.at(data_format=scaling.formats.index(RETRIEVAL_FORMAT)), worse=_joined(worse))
    question = Question(
        cause=FORMAT, scope=OVERALL, better=RETRIEVAL_FORMAT, worse=_names(others), rows=rows, rate=rate
    )
    return replace(question, contrast=contrast)


def _ask_negatives(runs: Sequence[RunOutcome], settings: Settings) -> Question:
    """The largest share of false negatives against the smallest, or against none where every run has about as many."""
    rows = np.array([place for place, run in enumerate(runs) if run.share is not None], dtype=np.int64)
    if len(rows) < len(runs) or not runs:
        return Question(cause=NEGATIVES, scope=OVERALL, reason="their share was not recorded for every run", rows=rows)
    low, high = float(settings.share.min()), float(settings.share.max())
    low = low if high - low >= LEAST_SHARE else 0.0
    points = settings.take(_chosen(rows))
    contrast = Contrast(better=points.at(share=low), worse=points.at(share=high))
    return Question(cause=NEGATIVES, scope=OVERALL, better=low, worse=high, contrast=contrast, rows=rows)


def _with_contrast(question: Question, settings: Settings, name: str, values: FloatArray) -> Question:
    """The question with its two sets of points: for the whole, every format counts alike."""
    points = settings.take(_chosen(question.rows))
    if question.scope == OVERALL:
        present = np.unique(settings.data_format)
        points = _joined([points.at(data_format=int(index)) for index in present])
    better, worse = (points.at(**{name: float(value)}) for value in values)
    return replace(question, contrast=Contrast(better=better, worse=worse))


def _chosen(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """At most MOST_POINTS of the rows, evenly spread over the study."""
    if len(rows) <= MOST_POINTS:
        return rows
    return rows[np.linspace(0, len(rows) - 1, MOST_POINTS).round().astype(np.int64)]


def _joined(parts: Sequence[Settings]) -> Settings:
    return Settings(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in Settings.__dataclass_fields__}
    )


def _spread(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)


def _scaled(values: Sequence[float], spread: tuple[float, float]) -> FloatArray:
    low, high = spread
    if high - low < 1e-9:
        return np.full(len(values), 0.5)
    found: FloatArray = (np.array(values, dtype=np.float64) - low) / (high - low)
    return found


def _too_few(count: int) -> str:
    return "no run has ended there" if count == 0 else "one run alone has ended there"


def _names(names: Sequence[str]) -> str:
    return " and ".join(names) if names else "nothing"

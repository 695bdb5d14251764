"""A study's trials on each of its benchmarks: their curves, where they fell and where not, and the test split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sweep.measures.benchmarks import slice_queries
from sweep.measures.score import Score
from sweep.storage.evaluations import UNTRAINED
from sweep.study import Study


@dataclass(frozen=True, kw_only=True)
class BenchmarkCurve:
    """A trial on one benchmark.

    Attributes:
        name: Name of the benchmark.
        progress: (T,) thousandths of its measurements, the untrained model's (0) first.
        values: (T,) mean over the benchmark's queries.
        peak: Value at the trial's peak, which the objective of all benchmarks decides.
        change: From the trial's peak to its last measurement, with the ends of its paired 95 % interval.
    """

    name: str
    progress: Sequence[int]
    values: Sequence[float]
    peak: float
    change: tuple[float, float, float]

    @property
    def has_fallen(self) -> bool:
        """Whether the trial has fallen on it beyond the noise of its queries."""
        return self.change[2] < 0.0

    def __str__(self) -> str:
        mean, low, high = self.change
        return f"{self.name} ({mean:+.3f}, {low:+.3f} to {high:+.3f})"


def curves_by_benchmark(study: Study, number: int) -> list[BenchmarkCurve]:
    """A trial's curve on each benchmark; none where the study has one, or the trial was not measured."""
    slices = slice_queries(study.record.benchmarks, "dev")
    peak = study.record.trials[number].peak
    if not slices or number not in study.per_query or peak is None:
        return []
    points, values = study.per_query[number]
    untrained = study.per_query[UNTRAINED][1]
    progress, per_query = [0, *points], np.concatenate([untrained[:1], values])
    return [
        _make_curve(name, progress, per_query[:, place], top=progress.index(peak.progress))
        for name, place in slices.items()
    ]


def describe_fall(curves: Sequence[BenchmarkCurve]) -> str:
    """On which benchmarks a trial fell from its peak, and on which it did not; empty where it fell on none."""
    fallen = [str(curve) for curve in curves if curve.has_fallen]
    held = [str(curve) for curve in curves if not curve.has_fallen]
    if not fallen:
        return ""
    return f"fell on {' and '.join(fallen)}" + (f", not on {' and '.join(held)}" if held else "")


def describe_falls(study: Study) -> list[str]:
    """Of each trial that ended below its peak on a benchmark, a sentence on which."""
    numbers = [trial.number for trial in study.record.trials]
    described = {number: describe_fall(curves_by_benchmark(study, number)) for number in numbers}
    return [f"Trial {number} {text}." for number, text in described.items() if text]


def compare_on_test(study: Study, number: int) -> list[str]:
    """A model beside the untrained one on the test split of each benchmark, in a line each."""
    ours, untrained = study.tests.get(number), study.tests.get(UNTRAINED)
    if ours is None or untrained is None:
        return []
    lines = []
    for name, place in slice_queries(study.record.benchmarks, "test").items():
        gain = Score(ours[place]).minus(Score(untrained[place]))
        low, high = gain.interval()
        lines.append(
            f"{name}: untrained {Score(untrained[place]).mean:.4f}, best {Score(ours[place]).mean:.4f};"
            f" {gain.mean:+.4f}, 95 % interval {low:+.4f} to {high:+.4f} ({gain.queries} queries)"
        )
    return lines


def _make_curve(name: str, progress: list[int], per_query: np.ndarray, *, top: int) -> BenchmarkCurve:
    finite = np.where(np.isfinite(per_query), per_query, 0.0)
    change = Score(finite[-1]).minus(Score(finite[top]))
    return BenchmarkCurve(
        name=name,
        progress=progress,
        values=Score(per_query).means.tolist(),
        peak=Score(per_query[top]).mean,
        change=(change.mean, *change.interval()),
    )

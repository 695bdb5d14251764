"""Axis: a number of a run that outcomes depend on, and its scale over a study."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sweep.report.diagnosis.run_outcomes import RunOutcome
from sweep.report.diagnosis.surface import FloatArray
from sweep.settings.dimension import Dimension
from sweep.settings.dimensions import DIMENSIONS
from sweep.settings.ranges import ends
from sweep.settings.study_file import SpaceSpec


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A number of a run that an outcome is a function of.

    Attributes:
        name: Its name on the surface.
        read: The number of a run.
        span: The ends of the space along it; an axis without is not scaled.
        is_logarithmic: Whether it acts by its logarithm.
    """

    name: str
    read: Callable[[RunOutcome], float]
    span: Callable[[SpaceSpec], Sequence[float]] | None = None
    is_logarithmic: bool = False

    def scale(self, values: Sequence[float], runs: Sequence[RunOutcome], space: SpaceSpec) -> FloatArray:
        """Values on a scale from 0 to 1 over the space, widened to what the runs tried."""
        if self.span is None:
            return np.array(values, dtype=np.float64)
        ends = self._measure([*self.span(space), *map(self.read, runs)])
        low, high = min(ends), max(ends)
        if high - low < 1e-9:
            return np.full(len(values), 0.5)
        scaled: FloatArray = (np.array(self._measure(values)) - low) / (high - low)
        return scaled

    def _measure(self, values: Sequence[float]) -> list[float]:
        return [math.log(value) if self.is_logarithmic else value for value in values]


def _axis_of(dimension: Dimension) -> Axis:
    """The axis of a searched number; a run without one has its value in older studies, or its lowest."""
    missing: Any = dimension.before
    if missing is None and dimension.default is not None:
        missing = dimension.lowest(dimension.default)

    def read(run: RunOutcome) -> float:
        value = getattr(run.params, dimension.name)
        return float(missing if value is None else value)

    return Axis(
        name=dimension.name,
        read=read,
        span=lambda space: ends(getattr(space, dimension.name)),
        is_logarithmic=dimension.log or dimension.kind == "power of two",
    )


_BY_NAME = {each.name: _axis_of(each) for each in DIMENSIONS if each.kind in ("real", "power of two")}

RATE = replace(_BY_NAME["learning_rate"], read=lambda run: run.rate)
"""The learning rate for its batch size."""

WARMUP, BATCH = _BY_NAME["warmup_ratio"], _BY_NAME["batch_size"]
SCALE = replace(_BY_NAME["scale"], is_logarithmic=True)

_NAMED = (RATE, WARMUP, SCALE, BATCH)
SEARCHED = (*_NAMED, *(axis for name, axis in _BY_NAME.items() if name not in [named.name for named in _NAMED]))
"""The searched numbers; an outcome may turn smoothly along them whether or not a cause asks about them."""

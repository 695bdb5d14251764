"""A dimension that only tests know, and that matters only where the scheduler is a cosine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sweep.settings.dimension import Condition, Dimension
from sweep.settings.dimensions import DIMENSIONS, Params, StartSpec
from sweep.settings.ranges import FloatRange, RealSetting
from sweep.settings.space import SearchSpace
from sweep.settings.study_file import SpaceSpec

CYCLES = Dimension(
    name="cycles",
    kind="real",
    label="cycles",
    about="Cycles of the cosine.",
    default=FloatRange(low=0.5, high=4.0),
    digits=".1f",
    needs=Condition(dimension="scheduler", is_met=lambda name: name == "cosine", text="cosine"),
)
TABLE = (*DIMENSIONS, CYCLES)


class ToySpec(SpaceSpec):
    cycles: RealSetting = FloatRange(low=0.5, high=4.0)


class ToyStart(StartSpec):
    cycles: float | None = None


@dataclass(frozen=True, kw_only=True)
class ToyParams(Params):
    cycles: float | None = None


def toy_space(*starts: ToyStart, **settings: Any) -> SearchSpace:
    return SearchSpace(ToySpec(start=starts, **settings), dimensions=TABLE, point=ToyParams)

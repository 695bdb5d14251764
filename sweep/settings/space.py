"""SearchSpace: the only room that reads a range.

It turns the study file's settings into Optuna's distributions, a sampler's values into Params, and start points into
values. Every setting is one parameter of the Optuna study, a fixed one as a range of a single value, so that it can be
widened later. The batch size is searched as its base-2 logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from sweep.errors import StudyFileError
from sweep.settings.params import Params
from sweep.settings.study_file import FloatRange, SpaceSpec, StartSpec

REFERENCE_BATCH = 64
"""Batch size at which a learning-rate range is meant where a rule scales it."""

LOG2_BATCH_SIZE = "log2_batch_size"
"""Name of the batch size's parameter in the Optuna study."""


@dataclass(frozen=True)
class SearchSpace:
    """The search space of a study.

    Attributes:
        spec: The settings as the study file has them.
    """

    spec: SpaceSpec

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Optuna's distribution of every parameter, by its name in the Optuna study."""
        sizes = self.spec.batch_sizes
        return {
            "learning_rate": _float_distribution(self.spec.learning_rate, fixed_log=True),
            "warmup_ratio": _float_distribution(self.spec.warmup_ratio, fixed_log=False),
            LOG2_BATCH_SIZE: IntDistribution(int(math.log2(sizes[0])), int(math.log2(sizes[-1]))),
            "data_format": CategoricalDistribution(self.spec.data_format),
            "scale": _float_distribution(self.spec.scale, fixed_log=False),
            "scheduler": CategoricalDistribution(self.spec.scheduler),
        }

    def params(self, values: Mapping[str, Any]) -> Params:
        """What training is told, from the values of all parameters by their names in the Optuna study."""
        batch_size = 2 ** int(values[LOG2_BATCH_SIZE])
        learning_rate = float(values["learning_rate"])
        return Params(
            learning_rate=learning_rate,
            effective_learning_rate=self.effective_learning_rate(learning_rate, batch_size),
            warmup_ratio=float(values["warmup_ratio"]),
            batch_size=batch_size,
            data_format=str(values["data_format"]),
            scale=float(values["scale"]),
            scheduler=values["scheduler"],
        )

    def effective_learning_rate(self, learning_rate: float, batch_size: int) -> float:
        """The rate that training uses at ``batch_size``, by the study's learning-rate rule.

        The square-root rule follows google-research/simclr#166: 5e-5 at 64 becomes 5.66e-4 at 8192. Nothing is
        clipped.
        """
        ratio = batch_size / REFERENCE_BATCH
        factor = {"none": 1.0, "sqrt": math.sqrt(ratio), "linear": ratio}[self.spec.learning_rate_rule]
        return learning_rate * factor

    def accepts(self, params: Params) -> bool:
        """Whether a point may be tried: its effective rate is at most ``max_learning_rate``."""
        limit = self.spec.max_learning_rate
        return limit is None or params.effective_learning_rate <= limit

    def start_values(self, start: StartSpec) -> dict[str, Any]:
        """The values that a start point fixes, by their names in the Optuna study."""
        values = start.model_dump(exclude_none=True)
        if "batch_size" in values:
            values[LOG2_BATCH_SIZE] = math.log2(values.pop("batch_size"))
            if values[LOG2_BATCH_SIZE].is_integer():
                values[LOG2_BATCH_SIZE] = int(values[LOG2_BATCH_SIZE])
        return values

    def check(self, file: Path) -> None:
        """Refuses start points outside the ranges, and a space without a point that may be tried.

        Args:
            file: The study file, for the message.

        Raises:
            StudyFileError: If a start point's value lies outside its range, or ``max_learning_rate`` rejects a start
                point or every point.
        """
        distributions = self.distributions
        for index, start in enumerate(self.spec.start):
            where = f"space.start[{index}]"
            values = self.start_values(start)
            for name, value in values.items():
                if not holds(distributions[name], value):
                    key = "batch_size" if name == LOG2_BATCH_SIZE else name
                    raise StudyFileError(
                        file,
                        f"{getattr(start, key)!r} lies outside space.{key} ({self._describe(key)})",
                        key=f"{where}.{key}",
                    )
            if {"learning_rate", LOG2_BATCH_SIZE} <= values.keys():
                rate = self.effective_learning_rate(values["learning_rate"], 2 ** values[LOG2_BATCH_SIZE])
                if self.spec.max_learning_rate is not None and rate > self.spec.max_learning_rate:
                    raise StudyFileError(
                        file,
                        f"its effective learning rate {rate:.3g} is above max_learning_rate"
                        f" {self.spec.max_learning_rate:.3g}",
                        key=where,
                    )
        self._check_reachable(file)

    def _check_reachable(self, file: Path) -> None:
        setting = self.spec.learning_rate
        low = setting.low if isinstance(setting, FloatRange) else setting
        smallest = self.effective_learning_rate(low, self.spec.batch_sizes[0])
        if self.spec.max_learning_rate is not None and smallest > self.spec.max_learning_rate:
            raise StudyFileError(
                file,
                f"{self.spec.max_learning_rate:.3g} rejects every point: the smallest effective rate is {smallest:.3g}",
                key="space.max_learning_rate",
            )

    def _describe(self, key: str) -> str:
        setting = getattr(self.spec, key)
        if key == "batch_size":
            return ", ".join(map(str, self.spec.batch_sizes))
        if isinstance(setting, FloatRange):
            return f"{setting.low:g} to {setting.high:g}"
        return ", ".join(setting) if isinstance(setting, tuple) else f"{setting:g}"


def _float_distribution(setting: FloatRange | float, *, fixed_log: bool) -> FloatDistribution:
    if isinstance(setting, FloatRange):
        return FloatDistribution(setting.low, setting.high, log=setting.log)
    return FloatDistribution(setting, setting, log=fixed_log)


def holds(distribution: BaseDistribution, value: Any) -> bool:
    """Whether ``value`` is one that the distribution can give."""
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    if isinstance(distribution, IntDistribution) and not isinstance(value, int):
        return False
    return bool(distribution.low <= value <= distribution.high)  # type: ignore[attr-defined]

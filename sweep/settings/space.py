"""SearchSpace: the only module that reads a range.

It turns the study file's settings into Optuna's distributions, a sampler's values into Params, and start points into
values, all by the table of dimensions. Every setting is one parameter of the Optuna study, a fixed one as a range of a
single value, so that it can be widened later; a trial lacks the settings that do not matter with its others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

from sweep.errors import StudyFileError
from sweep.settings.dimension import Dimension
from sweep.settings.dimensions import DIMENSIONS, Params, StartSpec
from sweep.settings.ranges import FloatRange, Setting, ends
from sweep.settings.study_file import SpaceSpec

REFERENCE_BATCH = 64
"""Batch size at which a learning-rate range is meant where a rule scales it."""

LOG2_BATCH_SIZE = "log2_batch_size"
"""Name of the batch size's parameter in the Optuna study."""


@dataclass(frozen=True)
class SearchSpace:
    """The search space of a study: the settings of its file, the dimensions to search, and the type of a point.

    The seed is the study's, which trials without one of their own are trained with.
    """

    spec: SpaceSpec
    seed: int = 0
    dimensions: tuple[Dimension, ...] = DIMENSIONS
    point: type[Params] = Params

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Optuna's distribution of every parameter that the space sets, by its name in the Optuna study."""
        settings = ((each, getattr(self.spec, each.name)) for each in self.dimensions)
        return {each.parameter: _distribution(each, known) for each, known in settings if known is not None}

    @property
    def searched(self) -> dict[str, BaseDistribution]:
        """The distributions of the parameters that a sampler chooses, and learns from: all but seeds."""
        chosen = {each.parameter for each in self.dimensions if not each.makes_replicates}
        return {name: distribution for name, distribution in self.distributions.items() if name in chosen}

    @property
    def unconditional(self) -> dict[str, BaseDistribution]:
        """Those of them that every trial has."""
        always = {dimension.parameter for dimension in self.dimensions if dimension.needs is None}
        return {name: distribution for name, distribution in self.searched.items() if name in always}

    @property
    def replicates(self) -> dict[str, tuple[int, ...]]:
        """The seeds that the space lists, by the name of their parameter in the Optuna study."""
        seeds = {each.parameter: getattr(self.spec, each.name) for each in self.dimensions if each.makes_replicates}
        return {name: listed for name, listed in seeds.items() if listed is not None}

    def suggest(self, trial: Trial, distributions: Mapping[str, BaseDistribution]) -> None:
        """Has an Optuna trial take a value of each distribution whose parameter it lacks and that matters for it."""
        for each in self.dimensions:
            values = trial.params
            lacks = each.parameter in distributions.keys() - values.keys()
            if lacks and each.matters(self.settings(values)):
                _suggest(trial, each.parameter, distributions[each.parameter])

    def settings(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The settings by name, from the values of all parameters by their names in the Optuna study.

        What a trial that is older than a dimension lacks has its value from before; None where it does not matter.
        """
        settings: dict[str, Any] = {}
        for each in self.dimensions:
            given = each.from_parameter(values[each.parameter]) if each.parameter in values else each.before
            settings[each.name] = given if each.matters(settings) else None
        return settings

    def complete(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values of a trial, with those of dimensions that are newer than it; none stay none.

        The study's seed is a value of the trial's own only where the space lists seeds.
        """
        if not values:
            return {}
        settings = self.settings(values)
        mattering = [each for each in self.dimensions if settings[each.name] is not None]
        known = {each.parameter: each.to_parameter(settings[each.name]) for each in mattering} | dict(values)
        seeds = {each.parameter for each in self.dimensions if each.makes_replicates}
        own = {name: value for name, value in known.items() if name not in seeds or value != self.seed}
        return dict.fromkeys(self.replicates, self.seed) | own

    def lowest(self) -> dict[str, Any]:
        """The values of the point with the smallest number or first choice of every dimension that matters there."""
        lowest = {
            each.parameter: each.to_parameter(each.lowest(getattr(self.spec, each.name)))
            for each in self.dimensions
            if each.parameter in self.distributions
        }
        settings = self.settings(lowest)
        return {each.parameter: lowest[each.parameter] for each in self.dimensions if settings[each.name] is not None}

    def params(self, values: Mapping[str, Any]) -> Params:
        """The settings for training, from the values of all parameters by their names in the Optuna study."""
        settings = self.settings(values)
        effective = self.effective_learning_rate(settings["learning_rate"], settings["batch_size"])
        return self.point(**settings, effective_learning_rate=effective)

    def effective_learning_rate(self, learning_rate: float, batch_size: int) -> float:
        """The rate that training uses at ``batch_size``, by the study's learning-rate rule.

        The square-root rule follows google-research/simclr#166: 5e-5 at 64 is 5.66e-4 at 8192. Nothing is clipped.
        """
        ratio = batch_size / REFERENCE_BATCH
        factor = {"none": 1.0, "sqrt": math.sqrt(ratio), "linear": ratio}[self.spec.learning_rate_rule]
        return learning_rate * factor

    def accepts(self, params: Params) -> bool:
        """Whether a point may be tried: its effective rate is at most ``max_learning_rate``."""
        limit = self.spec.max_learning_rate
        return limit is None or params.effective_learning_rate <= limit

    def holds(self, parameter: str, value: Any) -> bool:
        """Whether the space sets a parameter, by its name in the Optuna study, and the value is one of those there."""
        if parameter in self.replicates:
            return value in self.replicates[parameter]
        distribution = self.distributions.get(parameter)
        return distribution is not None and holds(distribution, value)

    def start_values(self, start: StartSpec) -> dict[str, Any]:
        """The values that a start point fixes, by their names in the Optuna study."""
        given = start.model_dump(exclude_none=True)
        return {each.parameter: each.to_parameter(given[each.name]) for each in self.dimensions if each.name in given}

    def check(self, file: Path) -> None:
        """Refuses start points outside the ranges, and a space without a point that may be tried.

        Raises:
            StudyFileError: If a start point's value lies outside its range, or ``max_learning_rate`` rejects a start
                point or every point.
        """
        for index, start in enumerate(self.spec.start):
            where = f"space.start[{index}]"
            given = start.model_dump(exclude_none=True)
            for each in self.dimensions:
                if each.name in given:
                    self._check_start(file, f"{where}.{each.name}", each, given)
            if {"learning_rate", "batch_size"} <= given.keys():
                rate = self.effective_learning_rate(given["learning_rate"], given["batch_size"])
                if self.spec.max_learning_rate is not None and rate > self.spec.max_learning_rate:
                    raise StudyFileError(
                        file,
                        f"its effective learning rate {rate:.3g} is above max_learning_rate"
                        f" {self.spec.max_learning_rate:.3g}",
                        key=where,
                    )
        self._check_reachable(file)

    def _check_start(self, file: Path, key: str, each: Dimension, given: Mapping[str, Any]) -> None:
        if not self.holds(each.parameter, each.to_parameter(given[each.name])):
            setting = getattr(self.spec, each.name)
            inside = "which is left out: list the seeds there" if setting is None else each.describe(setting)
            raise StudyFileError(file, f"{given[each.name]!r} lies outside space.{each.name} ({inside})", key=key)
        if each.needs is not None and each.needs.dimension in given and not each.matters(given):
            raise StudyFileError(file, f"matters only where {each.needs.dimension} is {each.needs.text}", key=key)

    def _check_reachable(self, file: Path) -> None:
        smallest = self.effective_learning_rate(ends(self.spec.learning_rate)[0], self.spec.batch_sizes[0])
        if self.spec.max_learning_rate is not None and smallest > self.spec.max_learning_rate:
            raise StudyFileError(
                file,
                f"{self.spec.max_learning_rate:.3g} rejects every point: the smallest effective rate is {smallest:.3g}",
                key="space.max_learning_rate",
            )


def _distribution(dimension: Dimension, setting: Setting) -> BaseDistribution:
    if isinstance(setting, tuple) and dimension.kind == "choice":
        return CategoricalDistribution(setting)
    low, high = map(dimension.to_parameter, ends(setting))
    if dimension.kind in ("power of two", "seed"):
        return IntDistribution(low, high)
    return FloatDistribution(low, high, log=setting.log if isinstance(setting, FloatRange) else dimension.log)


def _suggest(trial: Trial, name: str, distribution: BaseDistribution) -> None:
    if isinstance(distribution, FloatDistribution):
        trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)
    elif isinstance(distribution, IntDistribution):
        trial.suggest_int(name, distribution.low, distribution.high)
    elif isinstance(distribution, CategoricalDistribution):
        trial.suggest_categorical(name, distribution.choices)


def holds(distribution: BaseDistribution, value: Any) -> bool:
    """Whether ``value`` is one that the distribution can give."""
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    if isinstance(distribution, IntDistribution) and not isinstance(value, int):
        return False
    return bool(distribution.low <= value <= distribution.high)  # type: ignore[attr-defined]

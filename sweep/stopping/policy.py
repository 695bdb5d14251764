"""StopPolicy: whether a run is stopped at a measurement, and why. The coordinator and replay both ask it.

A `Look` is all that the rules see of a run. It depends neither on what a study lets them stop nor on other runs, so
replay takes each look once and decides upon it under many policies and in many orders.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweep.measures.measures import DEFAULT_METRIC, find_measure
from sweep.progress import COMPLETE
from sweep.settings.study_file import DropOffSpec, StoppingSpec
from sweep.stopping.forecast import Forecast, RecoveryForecast, spent_rate
from sweep.stopping.rules import CurveRule, DropOff, Fall, summarize
from sweep.stopping.stop import Stop


@dataclass(frozen=True, kw_only=True)
class Look:
    """All that the rules see of a run at its last measurement.

    Attributes:
        progress: Progress of that measurement in thousandths.
        is_finite: Whether its embeddings were finite.
        peak: The run's highest mean after at least one optimizer step.
        fall: The numbers behind whether it has fallen.
        recovery: The numbers behind whether it has a way back.
    """

    progress: int
    is_finite: bool
    peak: float
    fall: Fall
    recovery: RecoveryForecast

    @property
    def numbers(self) -> dict[str, Any]:
        """The numbers behind both, by name."""
        return asdict(self.recovery) | asdict(self.fall)

    def leads(self, incumbent: float | None) -> bool:
        """Whether the run is above the best of all other runs."""
        return incumbent is None or self.peak > incumbent


def take_look(
    rule: CurveRule,
    *,
    progress: Sequence[int] | NDArray[np.int64],
    per_query: NDArray[np.float32],
    warmup_end: float,
    scheduler: str = "linear",
    weights: NDArray[np.float64] | None = None,
) -> Look:
    """A look at a run at its last measurement.

    Args:
        rule: Margin, alpha and grace.
        progress: (T,) thousandths, ascending, the untrained model's first.
        per_query: (T, Q) value of each query.
        warmup_end: Progress in [0, 1] at which the learning rate has risen.
        scheduler: Course of the learning rate after that.
        weights: (Q,) weight of each query; None where all count the same.
    """
    own = {"margin": rule.margin, "alpha": rule.alpha, "grace": rule.grace}
    points = np.asarray(progress) / COMPLETE
    means, covariance, freedom = summarize(points, per_query, weights)
    spent = spent_rate(points, warmup_end, scheduler)
    return Look(
        progress=int(progress[-1]),
        is_finite=bool(np.isfinite(per_query[-1]).all()),
        peak=float(means[1:].max(initial=-math.inf)),
        fall=DropOff(**own).assess(points, means, covariance, freedom, warmup_end),
        recovery=Forecast(**own).assess(points, means, covariance, spent, warmup_end),
    )


@dataclass(frozen=True, kw_only=True)
class StopPolicy(CurveRule):
    """The rules that may stop the runs of a study.

    Attributes:
        drop_off: Whether a run's own fall stops it.
        forecast: Whether it does so once the run has no way back, and not as soon as the fall is proved. The run that
            leads is not stopped on a forecast alone: a gain within the margin would be the study's own there.
        metric: Label of the metric.
    """

    drop_off: bool = True
    forecast: bool = True
    metric: str = find_measure(DEFAULT_METRIC).label

    def decide(self, look: Look, *, incumbent: float | None) -> Stop | None:
        """Why a run is stopped at a look, or None where it goes on.

        Args:
            look: The look, with this policy's margin, alpha and grace.
            incumbent: The highest peak of all other runs so far, or None.
        """
        if not look.is_finite:
            where = f"{look.progress / COMPLETE:.1%} of its budget"
            return Stop("diverged", f"diverged: the embeddings are not finite at {where}")
        if look.progress >= COMPLETE:
            return None
        fall, recovery = look.fall, look.recovery
        if self.drop_off and fall.fallen and (recovery.cannot_recover or not self.forecast):
            return Stop("drop-off", _describe_fall(fall, self.margin, self.metric), look.numbers)
        if self.drop_off and self.forecast and recovery.cannot_recover and not look.leads(incumbent):
            return Stop("forecast", _describe_forecast(recovery, self.metric), look.numbers)
        return None

    def describe(self, look: Look, *, stop: Stop | None) -> str:
        """A few words on where a run stands, for the live view."""
        if not look.is_finite:
            return "diverged"
        if not self.drop_off:
            return "goes on"
        may_come_back = look.fall.fallen and stop is None and look.progress < COMPLETE
        return _describe_standing(look.fall) + ("; it may come back" if may_come_back else "")


def make_policy(stopping: StoppingSpec, metric: str = StopPolicy.metric) -> StopPolicy:
    """The policy that a study file asks for."""
    if isinstance(stopping.drop_off, DropOffSpec):
        return StopPolicy(**stopping.drop_off.model_dump(), metric=metric)
    return StopPolicy(drop_off=False, metric=metric)


def _describe_standing(fall: Fall) -> str:
    if not fall.can_stop:
        return "warming up"
    if fall.now >= fall.peak:
        return "at its peak"
    return f"{fall.peak - fall.now:.3f} below its peak, noise {fall.standard_error:.3f}"


def _describe_fall(fall: Fall, margin: float, metric: str) -> str:
    against = "the peak" if fall.against == fall.peak_progress else "what it was"
    return (
        f"drop-off: {metric} {fall.now:.4f} is {fall.difference:.4f} below {against} at {fall.against:.1%}, beyond the"
        f" margin of {margin:g} by {fall.excess:.1f} standard errors of {fall.standard_error:.4f};"
        f" {fall.threshold:.1f} were enough"
    )


def _describe_forecast(recovery: RecoveryForecast, metric: str) -> str:
    return (
        f"forecast: from {metric} {recovery.now:.4f} it will reach {recovery.highest:.4f} at most, and"
        f" {recovery.needed:.4f} would be needed to beat its peak of {recovery.peak:.4f} at"
        f" {recovery.peak_progress:.1%} by the margin"
    )

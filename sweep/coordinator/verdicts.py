"""What is decided at an evaluation, and how a trial that has ended is recorded: plain values in, plain values out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from sweep.coordinator.proposals import DIVERGED
from sweep.messages import Verdict
from sweep.progress import WHOLE
from sweep.settings.study_file import DropOffSpec, StoppingSpec
from sweep.stopping import DropOff, Fall, Forecast, Outlook
from sweep.storage.records import Peak

DROP_OFF = "drop-off"
"""How the reason for stopping a run begins that fell from its peak."""

FORECAST = "forecast"
"""How that begins for one that is past its peak and will not beat it again."""

OUTCLASSED = "outclassed"
"""How that begins for one that will not beat the best run of the study."""


@dataclass(frozen=True)
class Conclusion:
    """How a trial is recorded: its value where it is complete, else None; and whether it is pruned."""

    value: float | None
    pruned: bool


def decide(
    stopping: StoppingSpec,
    *,
    progress: Sequence[int],
    per_query: NDArray[np.float32],
    warmup_end: float,
    scheduler: str = "linear",
    rival: float | None = None,
) -> tuple[Verdict, str]:
    """The verdict on a trial's last measurement, and the same in a few words for whoever watches.

    Args:
        stopping: What the study file says of stopping.
        progress: (T,) thousandths, the untrained point first.
        per_query: (T, Q) NDCG of each query.
        warmup_end: Progress in [0, 1] at which the learning rate has risen.
        scheduler: Course of the learning rate after that.
        rival: The highest peak of all other trials so far, or None. A trial that is above it leads the study, and is
            not given up on a forecast alone, since a gain within the margin, which does not matter elsewhere, would be
            the study's own there.

    Returns:
        Whether to stop and why, and the words.
    """
    if not np.isfinite(per_query[-1]).all():
        where = f"at {progress[-1] / WHOLE:.1%} of its budget"
        return Verdict(stop=True, reason=f"{DIVERGED}: the embeddings are not finite {where}"), DIVERGED
    rule = stopping.drop_off if isinstance(stopping.drop_off, DropOffSpec) else None
    if rule is None and not stopping.outclassed:
        return Verdict(), "goes on"
    settings = (rule or DropOffSpec()).model_dump(exclude={"forecast"})
    points = np.array(progress) / WHOLE
    fall = DropOff(**settings).explain(points, per_query, warmup_end)
    words = _describe_standing(fall)
    if progress[-1] >= WHOLE:
        return Verdict(), words
    outlook = Forecast(**settings).explain(points, per_query, not_before=warmup_end, scheduler=scheduler)
    peak = float(np.mean(per_query[1:], axis=1, dtype=np.float64).max(initial=-math.inf))
    leads = rival is None or peak > rival
    proof = _describe_fall(fall, rule.margin) if rule and fall.fallen else None
    if rule and not rule.forecast and proof:
        return Verdict(stop=True, reason=proof, numbers=asdict(fall)), words
    numbers = asdict(outlook) | asdict(fall)
    if rule and rule.forecast and outlook.settled and (fall.fallen or not leads):
        return Verdict(stop=True, reason=proof or _describe_outlook(outlook), numbers=numbers), words
    if stopping.outclassed and rival is not None and not leads and outlook.can_stop and outlook.highest < rival:
        numbers["rival"] = rival
        return Verdict(stop=True, reason=_describe_outclassed(outlook, rival), numbers=numbers), words
    return Verdict(), f"{words}; it may come back" if proof else words


def _describe_standing(fall: Fall) -> str:
    if not fall.can_stop:
        return "warming up"
    if fall.now >= fall.peak:
        return "at its peak"
    return f"{fall.peak - fall.now:.3f} below its peak, noise {fall.standard_error:.3f}"


def _describe_fall(fall: Fall, margin: float) -> str:
    against = "the peak" if fall.against == fall.peak_progress else "what it was"
    return (
        f"{DROP_OFF}: {fall.now:.4f} is {fall.difference:.4f} below {against} at {fall.against:.1%}, beyond the margin"
        f" of {margin:g} by {fall.excess:.1f} standard errors of {fall.standard_error:.4f}; {fall.threshold:.1f} were"
        " enough"
    )


def _describe_outlook(outlook: Outlook) -> str:
    return (
        f"{FORECAST}: from {outlook.now:.4f} it will reach {outlook.highest:.4f} at most, and {outlook.needed:.4f}"
        f" would be needed to beat its peak of {outlook.peak:.4f} at {outlook.peak_progress:.1%} by the margin"
    )


def _describe_outclassed(outlook: Outlook, rival: float) -> str:
    return (
        f"{OUTCLASSED}: from {outlook.now:.4f} it will reach {outlook.highest:.4f} at most, and the study's best run"
        f" reached {rival:.4f}"
    )


def conclude(stop_reason: str | None, peak: Peak | None, best_peak: float | None) -> Conclusion:
    """How a trial that has ended without a failure is recorded.

    Args:
        stop_reason: Why it was stopped, or None where it went to its end.
        peak: Its best evaluation.
        best_peak: The highest peak of all complete trials; that of a trial that failed or diverged is no model to keep.

    Returns:
        COMPLETE with its peak where it went to its end, or where it was stopped by a rule and its peak beats every
        complete trial's, so that the study's best trial is always the best model there is; else PRUNED.
    """
    if peak is None or not math.isfinite(peak.ndcg):
        return Conclusion(None, pruned=True)
    beats_all = best_peak is None or peak.ndcg > best_peak
    if stop_reason is not None and (stop_reason.startswith(DIVERGED) or not beats_all):
        return Conclusion(None, pruned=True)
    return Conclusion(peak.ndcg, pruned=False)

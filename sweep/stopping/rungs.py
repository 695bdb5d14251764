"""Rungs: where a trial pauses, and which of the paused trials go on.

Successive halving as it is known kills: whoever is behind at a rung is gone, and with it every slow riser. A trial that
only pauses can be continued later, exactly as if it had never stopped, so a comparison that was made too early costs
time and not the best model. What makes the comparison fair:

- A rung is a share of the learning rate that is spent, not of the steps (see `forecast`). A trial reaches it at a
  measurement, and some have spent more there than others; so each is taken to gain over a further tenth of the rate
  as fast as it has gained so far, and compared is where that leads it. It is the slow risers that profit.
- Three trials go on from a rung at least: of few, the best in the end is often the third there.
- The best model so far is never left paused.
- Trials are compared query by query, and some that cannot be told from the last one kept go on as well.
- None is compared before the end of its own warm-up and the grace.

Tried on the 64 recorded runs, in orders of 24 and of 12, and given up: the peak so far, or its mean with the value of
now (no better); the gain over the last 0.1 to 0.4 of the rate instead of the whole (no better); a fifth of the rate
instead of a tenth (worse at 24), or none (worse within one base model); a pause within the warm-up, too (.03 less
of the budget, but of trials whose rate has not risen yet); a second rung at .5 (loses more) or .65 (.01 more of the
budget); a quarter of the trials and room for undecided ones (.05 more); room only where few are kept (as good as three
at least); no place for stopped runs (the same); four at least (.43 of the budget at 12); a third of the trials (.39 at
24); three rungs (no better, and worse at 12 of one base model). The figures: `make bench-stopping ARGS="--parts
rungs"`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweep.measures.score import Score
from sweep.progress import COMPLETE
from sweep.stopping.forecast import spent_rate

ROUNDING = 1e-9
"""Share of a rate, or of a number of trials, that is a float's rounding."""

AHEAD = 0.1
"""Share of the whole spent rate over which a trial is taken to gain as fast as it has so far."""

FEWEST = 3
"""Trials that go on from a rung, at least."""


def find_rungs(
    at: Sequence[float],
    progress: Sequence[int] | NDArray[np.int64],
    *,
    warmup_end: float,
    grace: float | None = None,
    scheduler: str = "linear",
) -> tuple[int, ...]:
    """The measurements of a run at which it pauses, one a rung; that of its end where no earlier one reaches the rung.

    Args:
        at: Rungs as shares of the learning rate spent, in (0, 1), ascending.
        progress: (T,) thousandths of its measurements after the untrained one, ascending.
        warmup_end: Progress in [0, 1] at which its learning rate has risen.
        grace: Progress after the warm-up before which it does not pause; None where it may pause in its warm-up.
        scheduler: Course of the learning rate after the warm-up.

    Returns:
        Progress in thousandths for each rung, ascending, not necessarily strictly.
    """
    points = np.asarray(progress, dtype=np.float64) / COMPLETE
    spent = spent_rate(points, warmup_end, scheduler)
    not_before = 0.0 if grace is None else min(1.0, warmup_end + grace)
    is_open = points >= not_before - ROUNDING
    reached = (np.flatnonzero(is_open & (spent >= share - ROUNDING)) for share in at)
    return tuple(int(progress[int(places[0])]) if len(places) else int(progress[-1]) for places in reached)


def carry_on(gain: float, spent: float) -> float:
    """A mean gain carried on over a further tenth of the rate, at its pace so far; one that is none stays as it is.

    Args:
        gain: Gain over the untrained model.
        spent: Share of the learning rate that was spent for it, in [0, 1].
    """
    return gain * (1.0 + min(AHEAD, 1.0 - spent) / spent) if gain > 0.0 and spent > 0.0 else gain


@dataclass(frozen=True, kw_only=True)
class RungResult:
    """A trial at a rung.

    Attributes:
        number: Its number.
        gains: (Q,) gain of each query over the untrained model, at the rung or, where it ended before, at its end.
        weights: (Q,) weight of each query; None where all count the same.
        group: The evaluation set; gains of different ones cannot be paired.
        is_leading: Whether its peak is the highest of the study.
        spent: Share of its learning rate that it has spent there, in [0, 1], by `spent_rate`.
        untrained: Mean of the untrained model, where trials of the rung have different ones; else 0.
    """

    number: int
    gains: NDArray[np.floating[Any]]
    weights: NDArray[np.float64] | None = None
    group: str = ""
    is_leading: bool = False
    spent: float = 1.0
    untrained: float = 0.0

    @cached_property
    def score(self) -> Score:
        """Its gain; what is not finite counts as 0 retrieved."""
        return Score(np.where(np.isfinite(self.gains), self.gains, -1.0), self.weights)

    @cached_property
    def standing(self) -> Score:
        """What it is ranked by: its value after a further tenth of the rate, at the pace of its gain so far."""
        pace = carry_on(1.0, self.spent) if self.score.mean > 0.0 else 1.0
        return Score(self.untrained + pace * self.score.per_query, self.weights)


@dataclass(frozen=True, kw_only=True)
class RungPlace:
    """A trial's place among those of a rung.

    Attributes:
        rank: Its rank by `RungResult.standing`, from 1.
        trials: Trials at the rung.
        gain: Its mean gain over the untrained model.
        behind: How far its standing is behind that of the last one that is kept for its rank, and the 95 % interval of
            that paired difference over queries; None for those that are kept for their rank.
        is_kept: Whether it goes on.
    """

    rank: int
    trials: int
    gain: float
    behind: tuple[float, float, float] | None
    is_kept: bool

    @property
    def numbers(self) -> dict[str, Any]:
        """The numbers behind the place, by name."""
        low, high = self.behind[1:] if self.behind else (None, None)
        behind = self.behind[0] if self.behind else None
        return {
            **{"rank": self.rank, "trials": self.trials, "gain": self.gain},
            **{"behind": behind, "behind_low": low, "behind_high": high},
        }


def compare(
    results: Sequence[RungResult], *, keep: float, undecided: float, expected: int | None = None
) -> dict[int, RungPlace]:
    """The place of each trial of a rung, by its number.

    Args:
        results: The trials that have reached the rung, or ended before it.
        keep: Share of them that goes on for its rank, in (0, 1], rounded up, and at least `FEWEST`.
        undecided: Share of those, at most, that goes on besides because it cannot be told from the last of them.
        expected: Trials that the rung will have in the end, of which the share is taken; None where these are all.
    """
    if not results:
        return {}
    quota = count_kept(keep, max(len(results), expected or 0))
    ranked = sorted(results, key=lambda each: (-each.standing.mean, each.number))
    last, room = ranked[:quota][-1], math.floor(undecided * quota + ROUNDING)
    places = {}
    for rank, each in enumerate(ranked, 1):
        behind = None if rank <= quota else _compare_pair(last, each)
        is_undecided = behind is not None and behind[1] <= 0.0 and room > 0
        room -= is_undecided
        is_kept = rank <= quota or is_undecided or each.is_leading
        gain = each.score.mean
        places[each.number] = RungPlace(rank=rank, trials=len(ranked), gain=gain, behind=behind, is_kept=is_kept)
    return places


def estimate_trained(at: Sequence[float], keep: Sequence[float], trials: int) -> float:
    """What trials train where each rung keeps its share of them, counted in trials that go to their end."""
    total, going, before = 0.0, trials, 0.0
    for share, kept in zip([*at, 1.0], [*keep, 1.0], strict=True):
        total += going * (share - before)
        going, before = count_kept(kept, going), share
    return total


def count_kept(keep: float, trials: int) -> int:
    """Trials that go on for their rank: a share of those of a rung, rounded up, and `FEWEST` at least."""
    return min(trials, max(FEWEST, math.ceil(keep * trials - ROUNDING)))


def _compare_pair(better: RungResult, worse: RungResult) -> tuple[float, float, float]:
    """How far one result is behind another, with the 95 % interval; not paired where the queries are others."""
    ours, theirs = better.standing, worse.standing
    if better.group == worse.group:
        difference = ours.minus(theirs)
        return (difference.mean, *difference.interval())
    behind, half = ours.mean - theirs.mean, 1.96 * math.hypot(ours.standard_error, theirs.standard_error)
    return behind, behind - half, behind + half

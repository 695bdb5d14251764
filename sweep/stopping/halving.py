"""Halving: recorded runs as a study whose trials pause at rungs would have trained them, leg by leg.

`promote_in_waves` is a study with `[rungs]` on one device. `promote_asynchronously` is what it is held against:
asynchronous successive halving (Li et al., MLSys 2020) with trials that pause, which promotes a trial as soon as it is
in the top share of those that have reached its rung so far, and begins another one else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sweep.progress import COMPLETE
from sweep.settings.study_file import RungsSpec
from sweep.stopping.forecast import spent_rate
from sweep.stopping.outcome import Legs
from sweep.stopping.policy import Look, StopPolicy
from sweep.stopping.recorded import RecordedRun
from sweep.stopping.rungs import RungResult, compare, find_rungs


def promote_in_waves(
    runs: Sequence[RecordedRun],
    looks: Mapping[str, Sequence[Look]],
    policy: StopPolicy,
    rungs: RungsSpec,
    *,
    grace: float | None = None,
) -> Legs:
    """The legs of a study that begins all runs, compares them at a rung and has the best go on to the next.

    Args:
        runs: The runs in the order in which they are begun.
        looks: Looks at each, by its name, with the policy's margin, alpha and grace.
        policy: The policy, which stops runs meanwhile.
        rungs: The rungs and the shares that go on.
        grace: As in `find_rungs`.
    """
    study = _Study(runs, looks, policy)
    pauses = [_find_pauses(run, rungs, grace) for run in runs]
    going: list[int] = list(range(len(runs)))
    for rung, keep in enumerate(rungs.keep):
        for place in going:
            study.train(place, pauses[place][rung])
        ranks = compare(study.results(going), keep=keep, undecided=rungs.undecided)
        kept = [place for place in going if ranks[place].is_kept and place not in study.ended]
        going = sorted(kept, key=lambda place: ranks[place].rank)
    for place in going:
        study.train(place, len(runs[place].progress) - 1)
    return study.legs


class _Study:
    """A study on one device: the legs so far, the measurement at which each run stands, and who has ended."""

    def __init__(self, runs: Sequence[RecordedRun], looks: Mapping[str, Sequence[Look]], policy: StopPolicy) -> None:
        self._runs = runs
        self._looks = [looks[run.name] for run in runs]
        self._policy = policy
        self._peaks: dict[int, float] = {}
        self._reached = [0] * len(runs)
        self.ended: set[int] = set()
        self.legs: Legs = []

    def train(self, place: int, until: int) -> None:
        """Trains a run to a measurement, or until it is stopped."""
        incumbent = max((peak for other, peak in self._peaks.items() if other != place), default=None)
        looks, last = self._looks[place], len(self._runs[place].progress) - 1
        after = range(self._reached[place] + 1, until + 1)
        stop = next((at for at in after if self._policy.decide(looks[at], incumbent=incumbent) is not None), None)
        self._reached[place] = until if stop is None else stop
        self._peaks[place] = looks[self._reached[place]].peak
        self.legs.append((place, self._reached[place]))
        if stop is not None or until == last:
            self.ended.add(place)

    def results(self, going: Sequence[int]) -> list[RungResult]:
        """What is compared of these runs: each where it stands."""
        leading = max(self._peaks, key=lambda place: (self._peaks[place], -place))
        return [self._result(place, is_leading=place == leading) for place in going]

    def _result(self, place: int, *, is_leading: bool) -> RungResult:
        run, at = self._runs[place], self._reached[place]
        return RungResult(
            number=place,
            gains=run.per_query[at].astype(np.float64) - run.per_query[0],
            weights=run.weights,
            group=run.group,
            is_leading=is_leading,
            spent=float(_spent_rates(run)[at]),
            untrained=float(run.means[0]),
        )


def promote_asynchronously(runs: Sequence[RecordedRun], rungs: RungsSpec) -> Legs:
    """The legs of asynchronous successive halving on one device: the value at the rung decides, and nobody is stopped.

    Args:
        runs: The runs in the order in which they are begun.
        rungs: The rungs and the shares that go on, rounded down as there.
    """
    ends = [[*_find_pauses(run, rungs), len(run.progress) - 1] for run in runs]
    reached: list[dict[int, float]] = [{} for _ in rungs.at]  # for each rung, the value of each run there
    promoted: list[set[int]] = [set() for _ in rungs.at]
    legs: Legs = []
    while (leg := _choose_next(reached, promoted, rungs.keep, begun=len(reached[0]), runs=len(runs))) is not None:
        place, rung = leg
        if rung:
            promoted[rung - 1].add(place)
        if rung < len(reached):
            reached[rung][place] = float(runs[place].means[ends[place][rung]])
        legs.append((place, ends[place][rung]))
    return legs


def _choose_next(
    reached: Sequence[Mapping[int, float]],
    promoted: Sequence[set[int]],
    keep: Sequence[float],
    *,
    begun: int,
    runs: int,
) -> tuple[int, int] | None:
    """The run that is trained next, and the rung (its end after the last one); promotions come first, the top ones."""
    for rung in reversed(range(len(reached))):
        ranked = sorted(reached[rung], key=lambda place: (-reached[rung][place], place))
        top = ranked[: math.floor(keep[rung] * len(ranked))]
        waiting = [place for place in top if place not in promoted[rung]]
        if waiting:
            return waiting[0], rung + 1
    return (begun, 0) if begun < runs else None


def _find_pauses(run: RecordedRun, rungs: RungsSpec, grace: float | None = None) -> list[int]:
    """The places of the measurements at which a run pauses, one a rung."""
    pauses = find_rungs(rungs.at, run.progress[1:], warmup_end=run.warmup_end, grace=grace, scheduler=run.scheduler)
    places: list[int] = np.searchsorted(run.progress, pauses).tolist()
    return places


def _spent_rates(run: RecordedRun) -> NDArray[np.float64]:
    return spent_rate(run.progress / COMPLETE, run.warmup_end, run.scheduler)

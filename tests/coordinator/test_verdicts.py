from __future__ import annotations

import math

import pytest

from sweep.coordinator.failures import FailureStreak
from sweep.coordinator.verdicts import Conclusion, conclude
from sweep.stopping.stop import Stop
from sweep.storage.records import Peak, TrialRecord

DROP_OFF = Stop("drop-off", "drop-off: fell")
DIVERGED = Stop("diverged", "diverged: not finite")


@pytest.mark.parametrize(
    ("stop", "peak", "best", "expected"),
    [
        pytest.param(None, 0.6, None, Conclusion(0.6, pruned=False), id="finished: complete with its peak"),
        pytest.param(None, 0.6, 0.7, Conclusion(0.6, pruned=False), id="finished below the best: complete"),
        pytest.param(DROP_OFF, 0.6, 0.7, Conclusion(None, pruned=True), id="dropped off below the best: pruned"),
        pytest.param(DROP_OFF, 0.7, 0.7, Conclusion(None, pruned=True), id="dropped off level with the best: pruned"),
        pytest.param(DROP_OFF, 0.71, 0.7, Conclusion(0.71, pruned=False), id="dropped off above the best: complete"),
        pytest.param(DROP_OFF, 0.1, None, Conclusion(0.1, pruned=False), id="dropped off as the first: complete"),
        pytest.param(DIVERGED, 0.9, 0.7, Conclusion(None, pruned=True), id="diverged above the best: pruned"),
        pytest.param(DIVERGED, 0.9, None, Conclusion(None, pruned=True), id="diverged as the first: pruned"),
        pytest.param(DIVERGED, None, 0.7, Conclusion(None, pruned=True), id="never finite: pruned"),
        pytest.param(None, None, None, Conclusion(None, pruned=True), id="no value at all: pruned"),
    ],
)
def test_how_a_trial_is_recorded(
    stop: Stop | None, peak: float | None, best: float | None, expected: Conclusion
) -> None:
    assert conclude(stop, None if peak is None else Peak(100, peak), best) == expected


def test_a_peak_that_is_not_finite_is_no_value() -> None:
    assert conclude(None, Peak(100, math.nan), None) == Conclusion(None, pruned=True)


# ---- failures in a row


def make_trials(*states: str) -> list[TrialRecord]:
    return [
        TrialRecord(number=number, state=state, value=None, params=None, rows=(), attributes={})  # type: ignore[arg-type]
        for number, state in enumerate(states)
    ]


@pytest.mark.parametrize(
    ("causes", "ended", "expected"),
    [
        (["a"], ["fail"], []),
        (["a", "a"], ["fail", "fail"], [0, 1]),
        (["a", "b"], ["fail", "fail"], [0, 1]),
        (["a", "a"], ["complete", "fail", "fail"], []),
        (["a", "a", "a"], ["complete", "fail", "fail", "fail"], [1, 2, 3]),
        (["a", "b", "a"], ["complete", "fail", "fail", "fail"], []),
        (["b", "a", "a", "a"], ["complete", "fail", "fail", "fail", "fail"], [2, 3, 4]),
        (["a", "a", None, "a"], ["complete", "fail", "fail", "complete", "fail"], []),
    ],
)
def test_what_failures_end_a_study(causes: list[str | None], ended: list[str], expected: list[int]) -> None:
    streak = FailureStreak()
    for number, cause in enumerate(causes, start=len(ended) - len(causes)):
        streak.add(number, cause) if cause else streak.clear()
    assert streak.ending(make_trials(*ended)) == expected

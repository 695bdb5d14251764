from __future__ import annotations

import math

import pytest

from sweep.coordinator.trial_completion import Conclusion, conclude
from sweep.stopping.stop import Stop
from sweep.storage.records import Peak

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

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from sweep.coordinator.failures import FailureStreak
from sweep.coordinator.verdicts import Conclusion, conclude, decide
from sweep.messages import Verdict
from sweep.settings.study_file import DropOffSpec, StoppingSpec
from sweep.storage.records import Peak, TrialRecord

QUERIES = 60
DROP_OFF = "drop-off: fell"
DIVERGED = "diverged: not finite"


def curve(*means: float) -> np.ndarray:
    """(T, Q) NDCG per query with these means, and noise that differs between any two measurements."""
    noise = np.random.default_rng(0).normal(0.0, 0.02, (len(means), QUERIES))
    return (np.array(means)[:, None] + noise - noise.mean(axis=1, keepdims=True)).astype(np.float32)


PROVED = StoppingSpec(drop_off=DropOffSpec(forecast=False))
"""Stops a run once its fall is proved, whether it may come back or not."""


def verdict(
    progress: list[int], *means: float, warmup_end: float = 0.0, stopping: StoppingSpec | None = None
) -> Verdict:
    return decide(
        stopping or StoppingSpec(),
        progress=progress,
        per_query=curve(*means),
        warmup_end=warmup_end,
        rival=0.99,  # it does not lead
    )[0]


@pytest.mark.parametrize(
    ("progress", "means", "warmup_end", "stops"),
    [
        pytest.param([0, 100, 200], [0.5, 0.6, 0.5], 0.0, True, id="it fell from its own peak"),
        pytest.param([0, 100, 200], [0.5, 0.6, 0.595], 0.0, False, id="it fell by less than the margin"),
        pytest.param([0, 100, 200], [0.5, 0.6, 0.7], 0.0, False, id="it rises"),
        pytest.param([0, 100], [0.6, 0.5], 0.0, True, id="the untrained point is a peak"),
        pytest.param([0, 100, 200], [0.6, 0.5, 0.55], 0.0, True, id="it stays below the untrained point"),
        pytest.param([0, 100, 200], [0.5, 0.6, 0.5], 0.3, False, id="within its warm-up"),
        pytest.param([0, 100, 300], [0.5, 0.6, 0.5], 0.3, False, id="at the end of its warm-up"),
        pytest.param([0, 100, 310], [0.5, 0.6, 0.5], 0.3, False, id="within the grace"),
        pytest.param([0, 100, 320], [0.5, 0.6, 0.5], 0.3, True, id="after the grace, from a peak within the warm-up"),
        pytest.param([0, 100, 1000], [0.5, 0.6, 0.3], 0.0, False, id="at its end there is nothing left to stop"),
    ],
)
def test_a_run_is_stopped_for_drop_off(progress: list[int], means: list[float], warmup_end: float, stops: bool) -> None:
    found = verdict(progress, *means, warmup_end=warmup_end, stopping=PROVED)
    assert found.stop == stops
    assert (found.reason or "").startswith("drop-off: ") == stops


def test_the_reason_says_from_where_to_where_and_beyond_what() -> None:
    reason = verdict([0, 100, 200], 0.5, 0.6, 0.5, stopping=PROVED).reason
    assert reason is not None
    assert reason.startswith("drop-off: 0.5000 is 0.1000 below the peak at 10.0%, beyond the margin of 0.01 by ")


def test_without_a_drop_off_rule_every_finite_run_goes_on() -> None:
    stopping = StoppingSpec(drop_off=False)
    assert verdict([0, 100, 200], 0.5, 0.9, 0.1, stopping=stopping) == Verdict()


@pytest.mark.parametrize("settings", [{"margin": 0.2}, {"grace": 0.3}])
def test_margin_and_grace_of_the_study_are_obeyed(settings: dict[str, float]) -> None:
    stopping = StoppingSpec(drop_off=DropOffSpec(**settings, forecast=False))
    assert verdict([0, 100, 200], 0.5, 0.6, 0.5, stopping=PROVED).stop
    assert not verdict([0, 100, 200], 0.5, 0.6, 0.5, stopping=stopping).stop


FLAT = ([0, 200, 400, 600, 700], [0.58, 0.6, 0.598, 0.597, 0.596])
FALLEN = ([0, 200, 400, 600, 700], [0.58, 0.6, 0.56, 0.5, 0.45])


def test_a_run_past_its_peak_is_stopped_where_it_has_no_way_back() -> None:
    reason = verdict(FLAT[0], *FLAT[1]).reason
    assert reason is not None
    assert reason.startswith("forecast: from 0.5960 it will reach 0.")
    assert reason.endswith("and 0.6100 would be needed to beat its peak of 0.6000 at 20.0% by the margin")
    assert not verdict(FLAT[0], *FLAT[1], stopping=PROVED).stop
    assert not verdict([*FLAT[0][:-1], 1000], *FLAT[1]).stop


def test_a_run_that_has_fallen_goes_on_while_it_may_come_back() -> None:
    fell_early = ([0, 100, 200], [0.5, 0.6, 0.5])
    found, words = decide(StoppingSpec(), progress=fell_early[0], per_query=curve(*fell_early[1]), warmup_end=0.0)
    assert not found.stop
    assert words.endswith("; it may come back")
    found = verdict(FALLEN[0], *FALLEN[1])
    assert (found.reason or "").startswith("drop-off: ")
    assert {"highest", "needed", "difference", "standard_error", "interval", "looks"} <= set(found.numbers)


def test_the_run_that_leads_is_not_given_up_on_a_forecast_alone() -> None:
    def stops(progress: list[int], means: list[float], rival: float | None) -> bool:
        found, _ = decide(StoppingSpec(), progress=progress, per_query=curve(*means), warmup_end=0.0, rival=rival)
        return found.stop

    assert not stops(*FLAT, rival=None)
    assert not stops(*FLAT, rival=0.55)
    assert stops(*FLAT, rival=0.65)
    assert stops(*FALLEN, rival=None)


SLOW_RISE = ([0, 100, 200, 300, 400], [0.5, 0.51, 0.52, 0.53, 0.54])


@pytest.mark.parametrize(
    ("stopping", "rival", "stops"),
    [
        pytest.param({"outclassed": True}, 0.9, True, id="it will not beat the best run"),
        pytest.param({"outclassed": True, "drop_off": False}, 0.9, True, id="without a drop-off rule as well"),
        pytest.param({}, 0.9, False, id="unless the study asks for it, a slow rise lives"),
        pytest.param({"outclassed": True}, 0.55, False, id="it may still beat the best run"),
        pytest.param({"outclassed": True}, 0.53, False, id="it leads"),
        pytest.param({"outclassed": True}, None, False, id="there is no other run"),
    ],
)
def test_a_run_that_is_outclassed_is_stopped(stopping: dict[str, Any], rival: float | None, stops: bool) -> None:
    progress, means = SLOW_RISE
    found, _ = decide(StoppingSpec(**stopping), progress=progress, per_query=curve(*means), warmup_end=0.0, rival=rival)
    assert found.stop == stops
    assert (found.reason or "").startswith("outclassed: from 0.5400 it will reach 0.") == stops
    assert found.numbers.get("rival") == (rival if stops else None)


@pytest.mark.parametrize("progress", [[0, 100], [0, 100, 300, 310, 320], [0, 100, 200, 300, 1000]])
def test_no_run_is_outclassed_before_there_is_enough_of_its_curve_or_at_its_end(progress: list[int]) -> None:
    means = SLOW_RISE[1][: len(progress)]
    found, _ = decide(
        StoppingSpec(outclassed=True), progress=progress, per_query=curve(*means), warmup_end=0.31, rival=0.9
    )
    assert found == Verdict()


@pytest.mark.parametrize("stopping", [StoppingSpec(), StoppingSpec(drop_off=False)])
@pytest.mark.parametrize("place", [100, 1000])
def test_a_run_that_is_not_finite_is_stopped_at_once(stopping: StoppingSpec, place: int) -> None:
    per_query = curve(0.5, 0.6)
    per_query[1, 7] = np.nan
    found, words = decide(stopping, progress=[0, place], per_query=per_query, warmup_end=0.9)
    assert found.stop
    assert (found.reason or "").startswith(f"diverged: the embeddings are not finite at {place / 1000:.1%}")
    assert words == "diverged"


@pytest.mark.parametrize(
    ("stop_reason", "peak", "best", "expected"),
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
    stop_reason: str | None, peak: float | None, best: float | None, expected: Conclusion
) -> None:
    assert conclude(stop_reason, None if peak is None else Peak(100, peak), best) == expected


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

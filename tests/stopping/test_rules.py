from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from sweep.stopping.rules import DropOff, Fall, summarize

QUERIES = 100
SPREAD = np.random.default_rng(0).normal(0.0, 0.05, (20, QUERIES))
SPREAD -= SPREAD.mean(axis=1, keepdims=True)

measurements = st.integers(2, 6).flatmap(
    lambda looks: st.integers(2, 12).flatmap(
        lambda queries: arrays(np.float64, (looks, queries), elements=st.integers(0, 64).map(lambda n: n / 64))
    )
)


def measure(*means: float) -> tuple[np.ndarray, np.ndarray]:
    """Progress (T,) and NDCG per query (T, Q) of a run with these means, each point with noise of its own."""
    progress = np.linspace(0.0, 1.0, len(means))
    return progress, np.array([mean + SPREAD[place] for place, mean in enumerate(means)])


def explain(rule: DropOff, progress: np.ndarray, per_query: np.ndarray, not_before: float = 0.0) -> Fall:
    return rule.assess(progress, *summarize(progress, per_query), not_before)


@pytest.mark.parametrize(
    ("means", "fallen"),
    [
        pytest.param([0.5, 0.6, 0.5], True, id="fell"),
        pytest.param([0.5, 0.6, 0.55, 0.5], True, id="fell slowly"),
        pytest.param([0.5, 0.6, 0.6, 0.6], False, id="a plateau: equal but for rounding"),
        pytest.param([0.5, 0.6, 0.592], False, id="within the margin"),
        pytest.param([0.5, 0.6, 0.585], False, id="beyond the margin, within the noise"),
        pytest.param([0.5, 0.55, 0.6], False, id="rising"),
        pytest.param([0.5, 0.6, 0.4, 0.7], False, id="fell, and rose to a new peak"),
        pytest.param([0.6, 0.5], True, id="below the untrained model from the start: that is a peak too"),
        pytest.param([0.6, 0.4, 0.45], True, id="rises again, but is still below"),
        pytest.param([0.6, 0.5, 0.6, math.nan], True, id="no longer finite: retrieves nothing"),
        pytest.param([0.5], False, id="one measurement"),
    ],
)
def test_a_run_is_stopped_when_it_fell_by_more_than_margin_and_noise(means: list[float], fallen: bool) -> None:
    progress, per_query = measure(*means)
    rule = DropOff(margin=0.01, alpha=0.05, grace=0.0)
    fall = explain(rule, progress, per_query)
    assert fall.fallen is fallen
    finite = [0.0 if math.isnan(mean) else mean for mean in means]
    assert (fall.peak, fall.now, fall.looks) == pytest.approx((max(finite), finite[-1], len(means)))
    assert fall.peak_progress == progress[int(np.argmax(finite))]


@pytest.mark.parametrize(
    ("now", "not_before", "stops"),
    [(0.09, 0.1, False), (0.1, 0.1, False), (0.119, 0.1, False), (0.121, 0.1, True), (0.021, 0.0, True)],
)
def test_warmup_and_grace_set_the_peak_but_do_not_stop(now: float, not_before: float, stops: bool) -> None:
    _, per_query = measure(0.5, 0.7, 0.4)
    rule = DropOff(grace=0.02)
    fall = explain(rule, np.array([0.0, now / 2, now]), per_query, not_before)
    assert (fall.fallen, fall.can_stop) == (stops, stops)
    later = explain(rule, np.array([0.0, now / 2, now, 1.0]), np.vstack([per_query, per_query[-1:]]), not_before)
    assert later.peak == pytest.approx(0.7)
    assert later.fallen


def test_a_single_query_never_stops_a_run() -> None:
    fall = explain(DropOff(grace=0.0), np.array([0.0, 0.5, 1.0]), np.array([[0.5], [1.0], [0.0]]))
    assert fall.threshold == math.inf
    assert not fall.fallen


@pytest.mark.parametrize(("drop", "fallen"), [(0.25, True), (0.0625, False), (0.125, False)])
def test_without_noise_the_margin_alone_decides(drop: float, fallen: bool) -> None:
    per_query = np.stack([np.full(8, 0.5), np.full(8, 0.75), np.full(8, 0.75 - drop)])
    fall = explain(DropOff(margin=0.125, grace=0.0), np.array([0.0, 0.5, 1.0]), per_query)
    assert fall.standard_error == 0.0
    assert abs(fall.excess) == math.inf
    assert fall.fallen is fallen


@given(measurements, st.sampled_from([0.0, 0.01, 0.1]), st.sampled_from([0.01, 0.05, 0.3]))
def test_the_numbers_are_those_of_the_strongest_paired_test(per_query: np.ndarray, margin: float, alpha: float) -> None:
    progress = np.arange(len(per_query)) / len(per_query)
    fall = explain(DropOff(margin=margin, alpha=alpha, grace=0.0), progress, per_query)
    found = []
    for earlier in per_query[:-1]:
        differences = earlier - per_query[-1]
        error = np.std(differences, ddof=1) / math.sqrt(len(differences))
        if error > 1e-9:
            found.append(float(stats.ttest_1samp(differences, margin).statistic))
        else:
            found.append(math.inf if differences.mean() > margin + 1e-9 else -math.inf)
    assert fall.excess == pytest.approx(max(found), rel=1e-6, abs=1e-6)
    if math.isfinite(fall.excess):
        assert fall.difference - margin == pytest.approx(fall.excess * fall.standard_error, abs=1e-9)
    assert fall.fallen == (fall.excess > fall.threshold)
    assert fall.fallen == (fall.level < alpha) or fall.level == pytest.approx(alpha)
    if fall.fallen:
        assert fall.interval[0] > margin


def test_the_numbers_of_a_small_run_are_those_on_paper() -> None:
    per_query = np.array([[1.0, 0.5, 1.0, 0.5], [0.5, 0.25, 0.25, 0.5]])
    fall = explain(DropOff(margin=0.0, alpha=0.1, grace=0.0), np.array([0.0, 0.25]), per_query)
    # differences 1/2, 1/4, 3/4, 0: mean 3/8, sum of squares 5/16, error sqrt(5/16 / 3 / 4); at a quarter of the run
    # half of alpha has come due: t(0.95, 3) = 2.3534
    assert (fall.peak, fall.now, fall.difference) == (0.75, 0.375, 0.375)
    assert fall.standard_error == pytest.approx(math.sqrt(5 / 192))
    assert fall.excess == pytest.approx(0.375 / math.sqrt(5 / 192))
    assert fall.threshold == pytest.approx(2.3533634)
    width = 2.3533634 * math.sqrt(5 / 192)
    assert fall.interval == pytest.approx((0.375 - width, 0.375 + width), abs=1e-7)


@given(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=30, unique=True), st.floats(0.0, 0.9), st.floats(0.0, 0.5))
def test_what_all_looks_spend_is_at_most_alpha(points: list[float], not_before: float, grace: float) -> None:
    progress = np.array([0.0, *sorted(points)])
    rule = DropOff(alpha=0.05, grace=grace)
    spent = 0.0
    for looks in range(2, len(progress) + 1):
        two = np.zeros((looks, 2))
        two[:-1, 0] = 1.0  # all comparisons are one and the same, so that the threshold is that of one
        threshold = explain(rule, progress[:looks], two, not_before).threshold
        spent += float(stats.t.sf(threshold, 1))
        if progress[looks - 1] < not_before + grace:
            assert threshold == math.inf
    assert spent <= 0.05 + 1e-9


def test_looks_that_are_equal_but_for_rounding_give_no_warning() -> None:
    row = np.random.default_rng(3).random(50).astype(np.float32)
    per_query = np.vstack([row, row, row + np.float32(1e-7), row])
    assert not explain(DropOff(), np.linspace(0.0, 1.0, 4), per_query).fallen


def test_looks_that_tell_the_same_ask_for_less_than_looks_that_differ() -> None:
    progress = np.linspace(0.0, 1.0, 20)
    alike = np.vstack([np.tile(SPREAD[:1], (19, 1)), SPREAD[1:2]])
    rule = DropOff()
    assert explain(rule, progress, alike).threshold < explain(rule, progress, SPREAD).threshold


@pytest.mark.parametrize(
    ("progress", "shape"), [((0.0, 0.5), (3, 4)), ((0.0, 0.5), (2,)), ((0.0, 0.5), (2, 0)), ((), (0, 4))]
)
def test_shapes_that_disagree_are_refused(progress: tuple[float, ...], shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"per_query must be \(T, Q\) with T = \d, got shape"):
        explain(DropOff(), np.array(progress), np.zeros(shape))


@pytest.mark.parametrize("progress", [(0.0, 0.0), (0.5, 0.2), (0.0, math.nan)])
def test_progress_that_does_not_ascend_is_refused(progress: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="progress must ascend"):
        explain(DropOff(), np.array(progress), np.zeros((2, 3)))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"margin": -0.01}, r"margin must lie in \[0, 1\), got -0\.01"),
        ({"margin": 1.0}, r"margin must lie in \[0, 1\), got 1\.0"),
        ({"margin": math.nan}, r"margin must lie in \[0, 1\), got nan"),
        ({"alpha": 0.0}, r"alpha must lie in \(0, 0\.5\), got 0\.0"),
        ({"alpha": 0.5}, r"alpha must lie in \(0, 0\.5\), got 0\.5"),
        ({"grace": -0.1}, r"grace must lie in \[0, 1\], got -0\.1"),
        ({"grace": 1.1}, r"grace must lie in \[0, 1\], got 1\.1"),
    ],
)
def test_a_rule_that_does_not_stand_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DropOff(**settings)

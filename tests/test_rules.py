from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from sweep.stopping import DropOff

QUERIES = 100
SPREAD = np.random.default_rng(0).normal(0.0, 0.05, (20, QUERIES))
SPREAD -= SPREAD.mean(axis=1, keepdims=True)


def measure(*means: float) -> tuple[np.ndarray, np.ndarray]:
    """Progress (T,) and NDCG per query (T, Q) of a run with these means, each point with noise of its own."""
    progress = np.linspace(0.0, 1.0, len(means))
    return progress, np.array([mean + SPREAD[place] for place, mean in enumerate(means)])


@pytest.mark.parametrize(
    ("means", "fallen"),
    [
        ([0.5, 0.6, 0.5], True),  # fell
        ([0.5, 0.6, 0.55, 0.5], True),
        ([0.5, 0.6, 0.6, 0.6], None),  # a plateau: equal but for rounding
        ([0.5, 0.6, 0.599], False),
        ([0.5, 0.6, 0.592], False),  # within the margin
        ([0.5, 0.6, 0.585], False),  # beyond the margin, within the noise
        ([0.5, 0.55, 0.6], None),  # rising
        ([0.5, 0.6, 0.4, 0.7], None),  # fell, and rose to a new peak
        ([0.6, 0.5], True),  # below the untrained model from the start: that is a peak too
        ([0.6, 0.4, 0.45], True),
        ([0.5], None),  # one measurement
    ],
)
def test_a_run_is_stopped_when_it_fell_by_more_than_margin_and_noise(means: list[float], fallen: bool | None) -> None:
    progress, per_query = measure(*means)
    fall = DropOff(margin=0.01, alpha=0.05, grace=0.0).explain(progress, per_query, looks=10)
    if fallen is None:
        assert fall is None or not fall.fallen
    else:
        assert fall is not None
        assert fall.fallen is fallen
        assert (fall.peak, fall.now) == pytest.approx((max(means), means[-1]))


@pytest.mark.parametrize(
    ("now", "not_before", "stops"),
    [(0.09, 0.1, False), (0.1, 0.1, False), (0.119, 0.1, False), (0.121, 0.1, True), (0.021, 0.0, True)],
)
def test_warmup_and_grace_set_the_peak_but_do_not_stop(now: float, not_before: float, stops: bool) -> None:
    _, per_query = measure(0.5, 0.7, 0.4)
    fall = DropOff(grace=0.02).explain(np.array([0.0, now / 2, now]), per_query, looks=10, not_before=not_before)
    assert (fall is not None and fall.fallen) is stops
    later = DropOff(grace=0.02).explain(
        np.array([0.0, now / 2, now, 1.0]), np.vstack([per_query, per_query[-1:]]), looks=10, not_before=not_before
    )
    assert later is not None
    assert later.peak == pytest.approx(0.7)
    assert later.fallen


def test_a_single_query_never_stops_a_run() -> None:
    fall = DropOff(grace=0.0).explain(np.array([0.0, 0.5, 1.0]), np.array([[0.5], [1.0], [0.0]]), looks=2)
    assert fall is not None
    assert fall.standard_error == math.inf
    assert not fall.fallen


@pytest.mark.parametrize(("drop", "fallen"), [(0.25, True), (0.0625, False), (0.125, False)])
def test_without_noise_the_margin_alone_decides(drop: float, fallen: bool) -> None:
    per_query = np.stack([np.full(8, 0.5), np.full(8, 0.75), np.full(8, 0.75 - drop)])
    fall = DropOff(margin=0.125, grace=0.0).explain(np.array([0.0, 0.5, 1.0]), per_query, looks=2)
    assert fall is not None
    assert fall.standard_error == 0.0
    assert abs(fall.excess) == math.inf
    assert fall.fallen is fallen


@given(
    per_query=st.integers(2, 6).flatmap(
        lambda points: st.integers(2, 12).flatmap(
            lambda queries: arrays(np.float64, (points, queries), elements=st.integers(0, 64).map(lambda n: n / 64))
        )
    ),
    margin=st.sampled_from([0.0, 0.01, 0.1]),
    alpha=st.sampled_from([0.01, 0.05, 0.3]),
    looks=st.integers(1, 20),
)
def test_the_numbers_are_those_of_a_paired_test_with_bonferroni(
    per_query: np.ndarray, margin: float, alpha: float, looks: int
) -> None:
    progress = np.arange(len(per_query)) / len(per_query)
    fall = DropOff(margin=margin, alpha=alpha, grace=0.0).explain(progress, per_query, looks=looks)
    means = [sum(row) / len(row) for row in per_query.tolist()]
    peak = max(range(len(means)), key=lambda place: (means[place], -place))
    if peak == len(means) - 1:
        assert fall is None
        return
    assert fall is not None
    assert (fall.peak, fall.now) == pytest.approx((means[peak], means[-1]))
    assert fall.threshold == pytest.approx(stats.norm.isf(alpha / looks))
    differences = [a - b for a, b in zip(per_query[peak].tolist(), per_query[-1].tolist(), strict=True)]
    mean = sum(differences) / len(differences)
    squares = sum((difference - mean) ** 2 for difference in differences)
    error = math.sqrt(squares / (len(differences) - 1) / len(differences))
    assert fall.standard_error == pytest.approx(error, abs=1e-12)
    if error > 1e-9:
        statistic = stats.ttest_1samp(differences, margin).statistic
        assert fall.excess == pytest.approx(statistic, rel=1e-6, abs=1e-9)
        assert fall.excess == pytest.approx((mean - margin) / error, rel=1e-6, abs=1e-9)
    assert fall.fallen == (fall.excess > fall.threshold)


def test_the_numbers_of_a_small_run_are_those_on_paper() -> None:
    per_query = np.array([[0.0, 0.0, 0.0, 0.0], [1.0, 0.5, 1.0, 0.5], [0.5, 0.25, 0.25, 0.5]])
    fall = DropOff(margin=0.0, alpha=0.1, grace=0.0).explain(np.array([0.0, 0.5, 1.0]), per_query, looks=2)
    # differences 1/2, 1/4, 3/4, 0: mean 3/8, sum of squares 5/16, error sqrt(5/16 / 3 / 4); z(0.95) = 1.6449
    assert fall is not None
    assert (fall.peak, fall.now) == (0.75, 0.375)
    assert fall.standard_error == pytest.approx(math.sqrt(5 / 192))
    assert fall.excess == pytest.approx(0.375 / math.sqrt(5 / 192))
    assert fall.threshold == pytest.approx(1.6448536)
    assert fall.fallen


def test_more_looks_ask_for_more_evidence() -> None:
    progress, per_query = measure(0.5, 0.6, 0.5)
    thresholds = [
        fall.threshold
        for looks in (1, 2, 10, 100)
        if (fall := DropOff(grace=0.0).explain(progress, per_query, looks=looks)) is not None
    ]
    assert len(thresholds) == 4
    assert thresholds == sorted(set(thresholds))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    progress, per_query = measure(0.5, 0.6, 0.5)
    per_query[1, 3] = value
    with pytest.raises(ValueError, match="per_query must be finite"):
        DropOff().explain(progress, per_query, looks=3)


@pytest.mark.parametrize(
    ("progress", "shape"), [((0.0, 0.5), (3, 4)), ((0.0, 0.5), (2,)), ((0.0, 0.5), (2, 0)), ((), (0, 4))]
)
def test_shapes_that_disagree_are_refused(progress: tuple[float, ...], shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"per_query must be \(T, Q\) with T = \d, got shape"):
        DropOff().explain(np.array(progress), np.zeros(shape), looks=3)


def test_no_looks_are_refused() -> None:
    with pytest.raises(ValueError, match="looks must be at least 1, got 0"):
        DropOff().explain(*measure(0.5, 0.6), looks=0)


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

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.progress import COMPLETE
from sweep.stopping.forecast import spent_rate
from sweep.stopping.rungs import AHEAD, FEWEST, RungResult, compare, count_kept, find_rungs

GRID = (50, 100, 150, 200, 250, 300, 400, 500, 600, 700, 800, 900, 1000)
NOISE = np.random.default_rng(0).normal(0.0, 0.05, (12, 100))
NOISE -= NOISE.mean(axis=1, keepdims=True)


def result(number: int, gain: float, **others: object) -> RungResult:
    """A trial at a rung with this mean gain over 100 queries."""
    return RungResult(number=number, gains=gain + NOISE[number % 12], **others)  # type: ignore[arg-type]


def kept(results: list[RungResult], *, keep: float = 0.25, undecided: float = 0.0, **others: int) -> list[int]:
    places = compare(results, keep=keep, undecided=undecided, **others)
    return sorted(number for number, place in places.items() if place.is_kept)


@pytest.mark.parametrize(
    ("at", "warmup_end", "grace", "rungs"),
    [
        pytest.param((0.15, 0.65), 0.0, None, (100, 500), id="a linear rate is spent early"),
        pytest.param((0.15, 0.65), 0.3, None, (250, 600), id="and later with a warm-up, in which a trial may pause"),
        pytest.param((0.15, 0.65), 0.3, 0.0, (300, 600), id="or may not"),
        pytest.param((0.15, 0.65), 0.3, 0.02, (400, 600), id="nor in the grace after it"),
        pytest.param((0.15, 0.2), 0.3, 0.02, (400, 400), id="two rungs at one measurement"),
        pytest.param((0.999,), 0.0, None, (1000,), id="no measurement before the end reaches it"),
        pytest.param((0.15,), 0.9, 0.5, (1000,), id="a grace beyond the end"),
    ],
)
def test_a_trial_pauses_at_the_first_measurement_that_has_spent_a_share_of_its_rate(
    at: tuple[float, ...], warmup_end: float, grace: float | None, rungs: tuple[int, ...]
) -> None:
    assert find_rungs(at, GRID, warmup_end=warmup_end, grace=grace) == rungs


@settings(deadline=None)
@given(
    at=st.lists(st.floats(0.01, 0.99), min_size=1, max_size=4, unique=True).map(sorted),
    points=st.sets(st.integers(1, COMPLETE - 1), max_size=30),
    warmup_end=st.floats(0.0, 1.0),
    grace=st.none() | st.floats(0.0, 1.0),
    scheduler=st.sampled_from(["linear", "cosine", "constant", "cosine-with-floor"]),
)
def test_rungs_ascend_are_measured_and_lie_after_the_grace_where_there_is_one(
    at: list[float], points: set[int], warmup_end: float, grace: float | None, scheduler: str
) -> None:
    progress = [*sorted(points), COMPLETE]
    rungs = find_rungs(at, progress, warmup_end=warmup_end, grace=grace, scheduler=scheduler)
    assert len(rungs) == len(at)
    assert list(rungs) == sorted(rungs)
    assert set(rungs) <= set(progress)
    if grace is not None:
        assert all(rung / COMPLETE >= min(1.0, warmup_end + grace) - 1e-6 for rung in rungs)
    spent = spent_rate(np.array(rungs) / COMPLETE, warmup_end, scheduler)
    assert (spent >= np.array(at) - 1e-6).all()


@pytest.mark.parametrize(
    ("keep", "trials", "count"),
    [(0.25, 24, 6), (0.25, 25, 7), (0.25, 12, FEWEST), (0.1, 30, FEWEST), (0.5, 6, 3), (0.5, 2, 2), (1.0, 9, 9)],
)
def test_a_share_of_the_trials_goes_on_and_three_at_least(keep: float, trials: int, count: int) -> None:
    assert count_kept(keep, trials) == count


def test_the_best_go_on_by_rank_and_the_others_are_told_how_far_behind_they_are() -> None:
    results = [result(number, 0.01 * number) for number in range(10)]
    places = compare(results, keep=0.4, undecided=0.0)
    assert [places[number].rank for number in range(10)] == list(range(10, 0, -1))
    assert [number for number in range(10) if places[number].is_kept] == [6, 7, 8, 9]
    assert places[9].gain == pytest.approx(0.09)
    assert places[6].behind is None
    behind = places[5].behind
    assert behind is not None
    assert behind[0] == pytest.approx(0.01)
    assert behind[1] < behind[0] < behind[2]
    assert places[5].numbers["behind_low"] == behind[1]
    assert places[9].numbers["behind"] is None


@pytest.mark.parametrize("trials", [1, 2, 3])
def test_of_three_trials_nobody_stays_behind(trials: int) -> None:
    assert kept([result(number, -0.1 * number) for number in range(trials)]) == list(range(trials))


def test_a_rung_that_nobody_has_reached_has_no_places() -> None:
    assert compare([], keep=0.25, undecided=0.0) == {}


def test_of_equal_trials_the_first_ones_go_on() -> None:
    results = [RungResult(number=number, gains=np.full(5, 0.1)) for number in (4, 0, 3, 1, 2)]
    assert kept(results, keep=0.2) == [0, 1, 2]
    assert kept(results, keep=0.2, undecided=0.34) == [
        0,
        1,
        2,
        3,
    ]  # nobody can be told apart, and there is room for one


def test_the_leading_one_goes_on_whatever_its_rank() -> None:
    results = [result(number, -0.1 * number) for number in range(8)]
    assert kept(results) == [0, 1, 2]
    assert kept([*results[:7], replace(results[7], is_leading=True)]) == [0, 1, 2, 7]


def test_trials_that_cannot_be_told_from_the_last_one_kept_go_on_as_far_as_there_is_room() -> None:
    results = [*(result(number, 0.3) for number in range(4)), *(result(number, 0.295) for number in range(4, 8))]
    results += [result(number, 0.1) for number in range(8, 12)]
    assert kept(results, keep=1 / 3) == [0, 1, 2, 3]
    assert len(kept(results, keep=1 / 3, undecided=0.5)) == 6
    assert kept(results, keep=1 / 3, undecided=1.0) == list(range(8))  # the others are worse beyond the noise


def test_a_share_is_taken_of_all_trials_that_the_rung_will_have() -> None:
    results = [result(number, -0.01 * number) for number in range(10)]
    assert kept(results, expected=24) == [0, 1, 2, 3, 4, 5]
    assert kept(results, expected=100) == list(range(10))
    assert kept(results, expected=2) == [0, 1, 2]


def test_gains_on_other_queries_are_compared_without_pairing() -> None:
    def widths(group: str) -> float:
        gains = np.random.default_rng(1).normal(0.2, 0.1, 400)
        better = [RungResult(number=number, gains=gains, group="one") for number in range(3)]
        places = compare([*better, RungResult(number=3, gains=gains - 0.05, group=group)], keep=0.25, undecided=0.0)
        behind = places[3].behind
        assert behind is not None
        assert behind[0] == pytest.approx(0.05)
        return behind[2] - behind[1]

    assert widths("one") == pytest.approx(0.0, abs=1e-9)
    assert widths("another") == pytest.approx(2 * 1.96 * math.sqrt(2) * 0.1 / 20, rel=0.1)


def test_trials_of_other_untrained_models_are_compared_by_their_values() -> None:
    results = [result(number, 0.2, untrained=0.5, group="one") for number in range(3)]
    results += [result(number, 0.1, untrained=0.7, group="another") for number in range(3, 6)]
    assert kept(results) == [3, 4, 5]
    assert compare(results, keep=0.25, undecided=0.0)[5].gain == pytest.approx(0.1)


def test_a_trial_that_has_spent_less_is_taken_to_gain_on_at_its_pace() -> None:
    fast, slow = result(0, 0.1, spent=0.2), result(1, 0.11, spent=0.4)
    assert fast.standing.mean == pytest.approx(0.1 * (1 + AHEAD / 0.2))
    assert slow.standing.mean == pytest.approx(0.11 * (1 + AHEAD / 0.4))
    assert compare([fast, slow], keep=0.25, undecided=0.0)[0].rank == 1
    assert result(2, 0.1, spent=0.95).standing.mean == pytest.approx(0.1 * (1 + 0.05 / 0.95))  # no more is left
    assert result(2, 0.1).standing.mean == pytest.approx(0.1)
    assert result(2, -0.1, spent=0.2).standing.mean == pytest.approx(-0.1)  # a dip is not taken to go on
    assert result(2, 0.1, spent=0.0).standing.mean == pytest.approx(0.1)


def test_weights_of_queries_count() -> None:
    weights = np.array([9.0, 1.0])
    results = [RungResult(number=0, gains=np.array([0.0, 0.5]), weights=weights)]
    results += [RungResult(number=number, gains=np.array([0.2, 0.0]), weights=weights) for number in (1, 2, 3)]
    assert kept(results) == [1, 2, 3]


def test_embeddings_that_are_not_finite_retrieve_nothing() -> None:
    broken = RungResult(number=0, gains=np.full(100, np.nan))
    results = [broken, *(result(number, -0.3) for number in (1, 2, 3))]
    places = compare(results, keep=0.25, undecided=1.0)
    assert (places[0].rank, places[0].is_kept) == (4, False)
    assert places[0].gain == -1.0


@st.composite
def rung_results(draw: st.DrawFn) -> list[RungResult]:
    gains = draw(st.lists(st.floats(-0.5, 0.5), min_size=1, max_size=12))
    leading = draw(st.integers(0, len(gains) - 1))
    spent = draw(st.lists(st.floats(0.01, 1.0), min_size=len(gains), max_size=len(gains)))
    groups = draw(st.lists(st.sampled_from(["one", "another"]), min_size=len(gains), max_size=len(gains)))
    return [
        result(number, gain, spent=spent[number], group=groups[number], is_leading=number == leading)
        for number, gain in enumerate(gains)
    ]


@settings(deadline=None)
@given(results=rung_results(), keep=st.floats(0.05, 1.0), undecided=st.floats(0.0, 1.0))
def test_nobody_who_stays_behind_is_better_than_somebody_who_goes_on_for_its_rank(
    results: list[RungResult], keep: float, undecided: float
) -> None:
    places = compare(results, keep=keep, undecided=undecided)
    standings = {each.number: each.standing.mean for each in results}
    quota = count_kept(keep, len(results))
    by_rank = [number for number, place in places.items() if place.behind is None]
    left = [number for number, place in places.items() if not place.is_kept]
    leading = next(each.number for each in results if each.is_leading)
    assert len(by_rank) == quota >= min(FEWEST, len(results))
    assert all(places[number].is_kept for number in by_rank)
    assert max((standings[number] for number in left), default=-math.inf) <= min(standings[n] for n in by_rank)
    assert places[leading].is_kept
    besides = [number for number, place in places.items() if place.is_kept and number not in (*by_rank, leading)]
    assert len(besides) <= undecided * quota + 1e-6
    assert all((behind := places[number].behind) is not None and behind[1] <= 0.0 for number in besides)
    assert sorted(place.rank for place in places.values()) == list(range(1, len(results) + 1))


@settings(deadline=None)
@given(results=rung_results(), keep=st.floats(0.05, 1.0), seed=st.integers(0, 9))
def test_the_order_in_which_trials_arrive_does_not_matter(results: list[RungResult], keep: float, seed: int) -> None:
    shuffled = [results[place] for place in np.random.default_rng(seed).permutation(len(results))]
    assert compare(results, keep=keep, undecided=0.5) == compare(shuffled, keep=keep, undecided=0.5)

from __future__ import annotations

import numpy as np

from sweep.settings.study_file import RungsSpec
from sweep.stopping.halving import promote_asynchronously, promote_in_waves
from sweep.stopping.outcome import Legs, find_stops
from sweep.stopping.policy import StopPolicy
from sweep.stopping.recorded import RecordedRun
from sweep.stopping.replay import look_at_run

PROGRESS = np.arange(0, 1001, 100)
RUNGS = RungsSpec(at=(0.2, 0.5), keep=(0.5, 0.5))
PAUSES = (2, 5)
"""Places of the measurements at which a run with a constant rate pauses."""


def run_to(end: float, *, number: int, group: str = "one", untrained: float = 0.5) -> RecordedRun:
    """A run that rises evenly to a value, at a constant rate."""
    noise = np.random.default_rng(number).normal(0.0, 0.02, (11, 50)) * (PROGRESS[:, None] > 0)
    means = untrained + (end - untrained) * PROGRESS / 1000
    return RecordedRun(
        name=f"run {number}",
        group=group,
        progress=PROGRESS,
        per_query=(means[:, None] + noise - noise.mean(axis=1, keepdims=True)).astype(np.float32),
        warmup_end=0.0,
        scheduler="constant",
        examples=1000,
        params={},
    )


def promote(runs: list[RecordedRun], rungs: RungsSpec = RUNGS, policy: StopPolicy | None = None) -> Legs:
    policy = policy or StopPolicy()
    return promote_in_waves(runs, {run.name: look_at_run(run, policy) for run in runs}, policy, rungs)


def runs_to(*ends: float) -> list[RecordedRun]:
    return [run_to(end, number=number) for number, end in enumerate(ends)]


def test_all_runs_are_begun_then_the_best_go_on_the_best_first() -> None:
    runs = runs_to(0.6, 0.9, 0.55, 0.8, 0.65, 0.85, 0.7, 0.75)
    assert promote(runs) == [
        *((place, PAUSES[0]) for place in range(8)),
        *((place, PAUSES[1]) for place in (1, 5, 3, 7)),
        *((place, 10) for place in (1, 5, 3)),  # three at least
    ]


def test_a_run_that_ends_at_a_rung_takes_its_place_there_and_goes_no_further() -> None:
    runs = runs_to(0.9, 0.85, 0.8, 0.75, 0.7, 0.65)
    values = runs[0].per_query.copy()
    values[1] = np.nan
    legs = promote([RecordedRun(**{**vars(runs[0]), "per_query": values}), *runs[1:]])
    assert legs[0] == (0, 1)
    assert find_stops(legs) == [1, 10, 10, 10, PAUSES[0], PAUSES[0]]


def test_the_best_model_so_far_goes_on_though_it_is_behind_at_the_rung() -> None:
    runs = runs_to(0.9, 0.85, 0.8, 0.75, 0.7, 0.65)
    values = runs[5].per_query.copy()
    values[1] += 0.4  # a peak before its pause
    runs[5] = RecordedRun(**{**vars(runs[5]), "per_query": values})
    stops = find_stops(promote(runs, policy=StopPolicy(drop_off=False)))
    assert stops == [10, 10, 10, PAUSES[0], PAUSES[0], 10]


def test_runs_of_other_evaluation_sets_are_compared_by_their_values() -> None:
    low = [run_to(0.6, number=number, group="low", untrained=0.2) for number in range(3)]
    high = [run_to(0.8, number=number, group="high", untrained=0.7) for number in range(3, 6)]
    assert find_stops(promote([*low, *high])) == [PAUSES[0]] * 3 + [10] * 3


def test_with_a_grace_no_run_pauses_before_it() -> None:
    runs, policy = runs_to(0.9, 0.85, 0.8, 0.75), StopPolicy()
    looks = {run.name: look_at_run(run, policy) for run in runs}
    assert promote_in_waves(runs, looks, policy, RUNGS, grace=0.4)[0] == (0, 4)


def test_asynchronous_halving_promotes_as_soon_as_a_run_is_in_the_top_share() -> None:
    runs = runs_to(0.6, 0.9, 0.55, 0.8)
    first, second = PAUSES
    assert promote_asynchronously(runs, RUNGS) == [
        *[(0, first), (1, first), (1, second)],  # the first of two
        *[(2, first), (3, first), (3, second)],  # the second of four
        (1, 10),  # the first of two at the second rung
    ]


def test_asynchronous_halving_promotes_too_early_what_a_wave_does_not() -> None:
    runs = runs_to(0.6, 0.55, 0.9, 0.85, 0.8, 0.75)
    asynchronous, waves = promote_asynchronously(runs, RUNGS), promote(runs)
    assert (0, PAUSES[1]) in asynchronous
    assert (0, PAUSES[1]) not in waves


def test_a_single_run_goes_to_its_end_in_a_wave() -> None:
    run = runs_to(0.9)
    assert find_stops(promote(run)) == [10]
    assert promote_asynchronously(run, RUNGS) == [(0, PAUSES[0])]  # the top half of one is nobody

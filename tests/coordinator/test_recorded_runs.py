"""Replay stops recorded runs where the coordinator would: held together on all runs of the bank, look by look."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sweep.coordinator.reports import decide
from sweep.coordinator.running import RunningTrial
from sweep.coordinator.trial_completion import conclude
from sweep.settings.dimensions import Params
from sweep.settings.study_file import DropOffSpec, StoppingSpec
from sweep.stopping.policy import StopPolicy, make_policy
from sweep.stopping.recorded import RecordedRun, load_bank
from sweep.stopping.replay import Stops, look_at_run, sample_queries, stop_by_policy

BANK = Path(__file__).parents[1] / "bench" / "curves.npz"


@pytest.fixture(scope="module")
def bank() -> list[RecordedRun]:
    """Every recorded run on 100 of its queries, in an order in which the best ones do not come first."""
    random = np.random.default_rng(7)
    runs = sample_queries(load_bank(BANK), 100, random)
    return [runs[place] for place in random.permutation(len(runs))]


def begin(number: int, run: RecordedRun) -> RunningTrial:
    params = Params(**run.params)
    steps = run.examples // params.batch_size
    return RunningTrial(
        number=number,
        params=params,
        steps=steps,
        evaluations=(),
        progress=[0],
        per_query=[run.per_query[0]],
    )


def stop_as_the_coordinator(runs: Sequence[RecordedRun], stopping: StoppingSpec) -> Iterator[int]:
    """The stops of a study whose trials are these runs, one after the other."""
    policy, best = make_policy(stopping), None
    for number, run in enumerate(runs):
        trial = begin(number, run)
        assert trial.warmup_end == run.warmup_end
        for place, per_query in enumerate(run.per_query[1:], 1):
            trial.add_point(int(run.progress[place]), per_query)
            trial.stop, _ = decide(trial, policy, incumbent=best)
            if trial.stop is not None:
                break
        yield len(trial.progress) - 1
        value = conclude(trial.stop, trial.peak, best).value
        best = max((found for found in (best, value) if found is not None), default=None)


@pytest.mark.parametrize("forecast", [True, False])
def test_replay_stops_each_run_at_the_look_at_which_the_coordinator_does(
    bank: list[RecordedRun], forecast: bool
) -> None:
    policy = StopPolicy(forecast=forecast)
    looks = {run.name: look_at_run(run, policy) for run in bank}
    replayed: Stops = stop_by_policy(bank, looks, policy)
    stopping = StoppingSpec(drop_off=DropOffSpec(forecast=forecast))
    assert replayed == list(stop_as_the_coordinator(bank, stopping))
    ends = [len(run.progress) - 1 for run in bank]
    assert 5 < sum(stop < end for stop, end in zip(replayed, ends, strict=True)) < len(bank)
    assert replayed != stop_by_policy(bank, looks, replace(policy, forecast=not forecast))

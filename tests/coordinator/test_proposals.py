from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from dimensions import ToyParams, toy_space
from optuna.trial import TrialState

from sweep.coordinator.proposals import Proposal, Proposer
from sweep.errors import SweepError
from sweep.settings.dimensions import DIMENSIONS
from sweep.settings.space import LOG2_BATCH_SIZE, SearchSpace
from sweep.settings.study_file import SpaceSpec, load_study
from sweep.storage.evaluations import EvaluationRow
from sweep.storage.records import StudyRecord, TrialRecord

BASELINE = 0.5
WIDE = {"batch_size": {"low": 4, "high": 64}}


def make_space(**settings: Any) -> SearchSpace:
    return SearchSpace(SpaceSpec.model_validate({**WIDE, **settings}))


def make_trial(
    number: int, proposal: Proposal, *curve: float, state: str = "complete", **attributes: Any
) -> TrialRecord:
    is_excused = attributes.pop("is_excused", False)
    rows = tuple(
        EvaluationRow(
            trial=number,
            progress=100 * place,
            step=place,
            value=value,
            seconds=1.0,
            evaluation_seconds=0.1,
            examples=place,
        )
        for place, value in enumerate(curve, start=1)
    )
    return TrialRecord(
        number=number,
        state=state,  # type: ignore[arg-type]
        value=None,
        params=proposal.params,
        rows=rows,
        attributes={**proposal.origin, **attributes},
        is_excused=is_excused,
    )


def make_proposer(space: SearchSpace, *trials: tuple[TrialRecord, Mapping[str, Any]], budget: int = 20) -> Proposer:
    proposer = Proposer(space, seed=3, trials=budget)
    record = StudyRecord(name="toy", attributes={}, trials=tuple(trial for trial, _ in trials), baseline=BASELINE)
    proposer.rebuild(record, {trial.number: values for trial, values in trials})
    return proposer


def search(proposer: Proposer, numbers: range, value: Callable[[Proposal], float]) -> list[Any]:
    """Proposes, concludes each point at once, and gives back (record, values) of each."""
    found = []
    for number in numbers:
        proposal = proposer.propose(number)
        proposer.conclude(number, value(proposal))
        found.append((make_trial(number, proposal, value(proposal)), proposal.values))
    return found


def closeness(proposal: Proposal) -> float:
    return 1.0 - abs(math.log10(proposal.params.learning_rate) + 4.5) / 3


# ---- what the sampler is shown


def test_the_sampler_sees_every_trial_at_its_peak() -> None:
    space = make_space()
    [first, second, third, fourth, fifth] = [make_proposer(space).propose(number) for number in range(5)]
    proposer = make_proposer(
        space,
        (make_trial(0, first, 0.6, 0.7, 0.65), first.values),
        (make_trial(1, second, 0.62, 0.41, state="pruned", stop_reason="drop-off: fell"), second.values),
        (make_trial(2, third, 0.55, math.nan, state="pruned", stop_reason="diverged: not finite"), third.values),
        (make_trial(3, fourth, 0.66, state="fail"), fourth.values),
        (make_trial(4, fifth, 0.9, state="running"), fifth.values),
    )
    seen = [(trial.state, trial.value) for trial in proposer.seen]
    assert seen == [
        (TrialState.COMPLETE, 0.7),
        (TrialState.COMPLETE, 0.62),
        (TrialState.COMPLETE, BASELINE),
        (TrialState.RUNNING, None),
    ]
    proposer.conclude(4, 0.91)
    assert [trial.value for trial in proposer.seen] == [0.7, 0.62, BASELINE, 0.91]


def test_a_trial_that_fails_leaves_the_sampler_nothing_to_learn() -> None:
    proposer = make_proposer(make_space())
    proposer.propose(0)
    assert [trial.state for trial in proposer.seen] == [TrialState.RUNNING]
    proposer.conclude(0, None)
    assert proposer.seen == []


@pytest.mark.parametrize("budget", [3, 12, 20, 31, 40])
def test_the_first_trials_are_random_and_the_next_ones_learn(budget: int) -> None:
    space = make_space()
    random = max(4, budget // 5)
    rising = search(make_proposer(space, budget=budget), range(random + 1), closeness)
    falling = search(make_proposer(space, budget=budget), range(random + 1), lambda p: -closeness(p))
    assert [values for _, values in rising[:random]] == [values for _, values in falling[:random]]
    assert rising[random][1] != falling[random][1]


def test_two_searches_with_the_same_results_try_the_same_points() -> None:
    space = make_space()
    first, second = [search(make_proposer(space), range(8), closeness) for _ in range(2)]
    assert [values for _, values in first] == [values for _, values in second]


def test_a_resumed_search_goes_on_as_if_it_had_not_been_interrupted() -> None:
    space = make_space()
    whole = search(make_proposer(space), range(9), closeness)
    for cut in (0, 1, 5, 8):
        resumed = search(make_proposer(space, *whole[:cut]), range(cut, 9), closeness)
        assert [values for _, values in resumed] == [values for _, values in whole[cut:]]


def test_a_resumed_search_draws_no_point_that_it_drew_before() -> None:
    space = make_space()
    drawn: list[Any] = []
    for number in range(12):
        drawn += search(make_proposer(space, *drawn), range(number, number + 1), closeness)
    assert len({tuple(values.values()) for _, values in drawn}) == 12


def test_each_trial_has_draws_of_its_own_even_where_none_is_known_yet() -> None:
    first, again, second = (make_proposer(make_space()).propose(number).values for number in (0, 0, 1))
    assert first == again
    assert first["learning_rate"] != second["learning_rate"]


# ---- start points

STARTS = [
    {"learning_rate": 5e-5, "warmup_ratio": 0.1, "batch_size": 64, "data_format": "title-content"},
    {"learning_rate": 5e-4},
    {"batch_size": 8, "data_format": "query-document"},
]


def holds_start(proposal: Proposal, start: Mapping[str, Any]) -> bool:
    return all(getattr(proposal.params, name) == value for name, value in start.items())


def test_start_points_come_first_once_each_and_the_sampler_completes_them() -> None:
    space = make_space(start=STARTS)
    proposer = make_proposer(space)
    proposals = [proposer.propose(number) for number in range(6)]
    for index, start in enumerate(STARTS):
        assert holds_start(proposals[index], start)
        assert proposals[index].origin["start"] == index
        assert proposals[index].values.keys() == space.unconditional.keys()
    assert [proposal.origin for proposal in proposals[3:]] == [{}, {}, {}]
    assert proposals[1].params.batch_size in (4, 8, 16, 32, 64)


def test_start_points_come_once_whatever_is_restarted() -> None:
    space = make_space(start=STARTS)
    tried: list[Any] = []
    for number in range(5):  # a new process for each trial, whatever state the one before was left in
        proposal = make_proposer(space, *tried).propose(number)
        state = ("complete", "running", "fail", "pruned", "complete")[number]
        tried.append((make_trial(number, proposal, 0.6, state=state), proposal.values))
    assert [trial.attributes.get("start") for trial, _ in tried] == [0, 1, 2, None, None]


def test_a_start_point_is_known_by_its_values_when_the_list_changes() -> None:
    done = make_proposer(make_space(start=STARTS)).propose(0)
    tried = (make_trial(0, done, 0.6), done.values)
    added = {"learning_rate": 1e-5, "batch_size": 32}
    proposer = make_proposer(make_space(start=[added, *STARTS]), tried)
    proposals = [proposer.propose(number) for number in range(1, 5)]
    for proposal, start in zip(proposals, [added, *STARTS[1:]], strict=False):
        assert holds_start(proposal, start)
    assert proposals[3].origin == {}


def test_an_excused_trial_runs_again_once_with_its_own_settings() -> None:
    space = make_space()
    failed = make_proposer(space).propose(0)
    tried = (make_trial(0, failed, state="fail", is_excused=True), failed.values)
    rerun = make_proposer(space, tried).propose(1)
    assert rerun.values == failed.values
    assert rerun.origin == {"rerun_of": 0}
    again = make_proposer(space, tried, (make_trial(1, rerun, 0.6), rerun.values)).propose(2)
    assert again.origin == {}
    assert again.values != failed.values


def test_an_excused_trial_that_may_no_longer_be_tried_gives_way_to_the_sampler() -> None:
    failed = make_proposer(make_space(start=[{"learning_rate": 5e-4}])).propose(0)
    tried = (make_trial(0, failed, state="fail", is_excused=True), failed.values)
    rerun = make_proposer(make_space(max_learning_rate=1e-4), tried).propose(1)
    assert rerun.origin == {"rerun_of": 0}
    assert rerun.params.learning_rate <= 1e-4


# ---- what may be tried


def test_no_rate_above_the_largest_is_tried() -> None:
    space = make_space(learning_rate_rule="sqrt", max_learning_rate=3e-5)
    proposer = make_proposer(space)
    assert all(proposer.propose(number).params.effective_learning_rate <= 3e-5 for number in range(15))


def test_a_space_in_which_nothing_may_be_tried_is_an_error_that_says_so() -> None:
    space = make_space(learning_rate=1e-3, max_learning_rate=1e-4)
    with pytest.raises(SweepError, match=r"space\.max_learning_rate rejected 1000 proposals in a row"):
        make_proposer(space).propose(0)


@pytest.mark.parametrize(("largest", "expected"), [(64, 64), (16, 16), (31, 16), (4, 4), (1, 4)])
def test_no_batch_is_tried_that_the_device_cannot_hold(largest: int, expected: int) -> None:
    proposer = make_proposer(make_space(start=[{"batch_size": 64, "learning_rate": 1e-4}]))
    sizes = [proposer.propose(number, largest_batch=largest).params.batch_size for number in range(12)]
    assert max(sizes) <= expected
    assert expected in sizes


# ---- a space that changes


def test_narrowing_a_range_keeps_old_trials_in_view() -> None:
    wide = make_space(scale={"low": 5.0, "high": 50.0})
    tried = search(make_proposer(wide), range(10), closeness)
    narrow = make_space(learning_rate={"low": 2e-5, "high": 5e-5, "log": True}, batch_size=16, scale=20.0)
    proposer = make_proposer(narrow, *tried)
    assert [trial.value for trial in proposer.seen] == [trial.peak.value for trial, _ in tried]
    for number in range(10, 14):
        params = proposer.propose(number).params
        assert 2e-5 <= params.learning_rate <= 5e-5
        assert (params.batch_size, params.scale) == (16, 20.0)


def test_widening_a_range_keeps_old_trials_in_view_and_tries_the_new_part() -> None:
    narrow = make_space(learning_rate={"low": 1e-5, "high": 2e-5, "log": True}, batch_size=16)
    tried = search(make_proposer(narrow), range(6), closeness)
    wide = make_space(learning_rate={"low": 1e-6, "high": 1e-3, "log": True})
    proposer = make_proposer(wide, *tried)
    assert len(proposer.seen) == 6
    found = [values for _, values in search(proposer, range(6, 16), closeness)]
    assert any(not 1e-5 <= values["learning_rate"] <= 2e-5 for values in found)
    assert any(values[LOG2_BATCH_SIZE] != 4 for values in found)


# ---- dimensions that a table has more or less


QUICKSTART = load_study(Path(__file__).parents[2] / "studies" / "quickstart.toml")


@pytest.mark.parametrize("seed", [0, 1])
def test_a_new_dimension_with_one_value_changes_nothing_of_what_a_quickstart_tries(seed: int) -> None:
    drawn = []
    for dimensions in (DIMENSIONS, tuple(one for one in DIMENSIONS if one.before is None)):
        space = SearchSpace(QUICKSTART.space, dimensions=dimensions)
        found = search(Proposer(space, seed=seed, trials=12), range(12), closeness)
        drawn.append([values for _, values in found])
    more = drawn[0][0].keys() - drawn[1][0].keys()
    assert more == {one.parameter for one in DIMENSIONS if one.before is not None and one.needs is None}
    assert [{name: one for name, one in values.items() if name not in more} for values in drawn[0]] == drawn[1]


def test_a_trial_that_is_older_than_a_dimension_is_shown_with_its_value_from_before() -> None:
    tried = search(make_proposer(make_space()), range(6), closeness)
    older = [(trial, {name: one for name, one in values.items() if name != "weight_decay"}) for trial, values in tried]
    wide = make_space(weight_decay={"low": 0.01, "high": 0.1})
    proposer = make_proposer(wide, *older)
    assert [trial.params["weight_decay"] for trial in proposer.seen] == [0.0] * 6
    assert all(0.01 <= proposer.propose(number).params.weight_decay <= 0.1 for number in range(6, 9))


def test_what_matters_only_beside_another_setting_is_proposed_only_beside_it() -> None:
    space = toy_space(scheduler=("linear", "cosine"))
    proposer = Proposer(space, seed=0, trials=12)
    found = search(proposer, range(24), closeness)
    schedulers = {values["scheduler"] for _, values in found}
    assert schedulers == {"linear", "cosine"}
    for trial, values in found:
        assert isinstance(trial.params, ToyParams)
        assert ("cycles" in values) == (values["scheduler"] == "cosine") == (trial.params.cycles is not None)
    assert all(("cycles" in trial.params) == (trial.params["scheduler"] == "cosine") for trial in proposer.seen)
    resumed = Proposer(space, seed=0, trials=12)
    record = StudyRecord(name="toy", attributes={}, trials=tuple(trial for trial, _ in found), baseline=BASELINE)
    resumed.rebuild(record, {trial.number: values for trial, values in found})
    assert [trial.params for trial in resumed.seen] == [trial.params for trial in proposer.seen]
    assert resumed.propose(24).values == proposer.propose(24).values

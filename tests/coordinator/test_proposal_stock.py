"""Proposals in stock: with few slots those of the proposer itself, with many made beside the coordinator's loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from scripted import check_finished, run

from sweep.coordinator.proposal_stock import DEPTH, MANY_SLOTS, ProposalStock
from sweep.coordinator.proposals import Proposal, Proposer
from sweep.errors import SweepError
from sweep.plan import StudyPlan, plan_study
from sweep.storage.location import locate_study
from sweep.testing import write_toy_study

Open = Callable[..., ProposalStock]


def make_plan(folder: Path, **settings: Any) -> StudyPlan:
    usual: dict[str, Any] = {
        "script": {},
        "budget": {"trials": 40, "examples": 160},
        "space": {"batch_size": {"low": 4, "high": 8}},
    }
    return plan_study(locate_study(write_toy_study(folder, **{**usual, **settings})))


@pytest.fixture
def open_stock() -> Iterator[Open]:
    made: list[ProposalStock] = []

    def open_one(plan: StudyPlan, *, slots: int = MANY_SLOTS, tell: Callable[[str], None] = lambda _: None) -> Any:
        made.append(ProposalStock(plan, slots=slots, tell=tell))
        return made[-1]

    yield open_one
    for stock in made:
        stock.close()


def take(stock: ProposalStock, number: int, **limits: Any) -> Proposal:
    """A proposal, once it is there."""
    deadline = time.monotonic() + 30
    while (proposal := stock.propose(number, **limits)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return proposal


def test_with_few_slots_each_proposal_is_there_at_once_and_knows_every_result(tmp_path: Path, open_stock: Open) -> None:
    plan = make_plan(tmp_path)
    stock = open_stock(plan, slots=MANY_SLOTS - 1)
    proposer = Proposer(plan.space, seed=plan.spec.seed, trials=40, trained_as=plan.trained_as)
    for number in range(12):
        ours, theirs = stock.propose(number), proposer.propose(number)
        assert ours is not None
        assert ours.values == theirs.values
        stock.conclude(number, float(number % 5))
        proposer.conclude(number, float(number % 5))


def test_with_many_slots_the_next_ones_lie_in_stock(tmp_path: Path, open_stock: Open) -> None:
    stock = open_stock(make_plan(tmp_path))
    assert stock.propose(0) is None
    take(stock, 0)
    deadline = time.monotonic() + 30
    while not all(stock._stock[number].is_made for number in range(1, DEPTH)):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert stock.propose(1) is not None


def test_trials_that_began_meanwhile_do_not_cost_what_is_in_stock(tmp_path: Path, open_stock: Open) -> None:
    start = [{"learning_rate": 1e-4, "batch_size": 8}, {"learning_rate": 3e-4, "batch_size": 4}]
    stock = open_stock(make_plan(tmp_path, space={"batch_size": {"low": 4, "high": 8}, "start": start}))
    first, second = take(stock, 0), take(stock, 5)  # 1 to 4 were the numbers of trials that the search did not propose
    assert [proposal.origin["start"] for proposal in (first, second)] == [0, 1]
    stock.conclude(0, 0.5)
    stock.conclude(5, 0.6)
    assert take(stock, 6).origin == {}
    assert stock.equals(5) == []


def test_a_batch_that_the_device_cannot_hold_is_proposed_anew(tmp_path: Path, open_stock: Open) -> None:
    stock = open_stock(make_plan(tmp_path))
    found = [take(stock, number, largest_batch=None if number < 10 else 4) for number in range(30)]
    assert {proposal.params.batch_size for proposal in found[:10]} == {4, 8}
    assert {proposal.params.batch_size for proposal in found[10:]} == {4}


def test_what_is_told_and_raised_comes_with_the_proposal(tmp_path: Path, open_stock: Open) -> None:
    start = [{"learning_rate": 1e-4, "warmup_ratio": 0.1, "batch_size": 8, "data_format": "query-document"}] * 2
    told: list[str] = []
    stock = open_stock(
        make_plan(tmp_path, space={"batch_size": {"low": 4, "high": 8}, "start": start}), tell=told.append
    )
    take(stock, 0)
    take(stock, 1)
    assert told == ["space.start[1] is equal to trial 0, and is not trained again"]
    (tmp_path / "none").mkdir()
    nothing = make_plan(tmp_path / "none")
    stock = open_stock(nothing)
    stock._proposer.propose = _refuse  # type: ignore[method-assign]
    with pytest.raises(SweepError, match="no point is allowed"):
        take(stock, 0)


def _refuse(number: int, *, largest_batch: int | None = None) -> Proposal:  # noqa: ARG001
    raise SweepError("no point is allowed")


def test_a_study_on_many_slots_comes_to_its_end_with_every_start_point_once(tmp_path: Path) -> None:
    start = [{"learning_rate": 1e-4 * number, "batch_size": 4} for number in range(1, 6)]
    file = write_toy_study(
        tmp_path,
        script={},
        budget={"trials": 30, "examples": 160},
        space={"batch_size": {"low": 4, "high": 8}, "start": start},
        workers={"devices": "cpu:12"},
    )
    run(file)
    record = check_finished(file)
    assert len(record.trials) == 30
    assert sorted(trial.attributes["start"] for trial in record.trials if "start" in trial.attributes) == [
        0,
        1,
        2,
        3,
        4,
    ]
    assert len({tuple(trial.params.as_dict().items()) for trial in record.trials if trial.params}) == 30

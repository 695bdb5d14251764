"""The best configurations of a study, trained for twice as long again and again, as trials of the study."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from runs import Start, run_through_kills
from scripted import open_study, points, rewrite, run

from sweep.columns import say_end, write_leaderboard
from sweep.coordinator.budget import Room
from sweep.coordinator.ledger import Ledger
from sweep.coordinator.lengthening import list_longer
from sweep.coordinator.proposals import Proposer, see_trials
from sweep.errors import StudyFileError
from sweep.launch import LocalLauncher
from sweep.plan import plan_study
from sweep.progress import COMPLETE
from sweep.report.page import render_page
from sweep.run_folder import RunFolder
from sweep.status import describe_study
from sweep.storage.confirmations import find_confirmed, rank_configurations
from sweep.storage.database import open_storage
from sweep.storage.location import locate_study
from sweep.storage.records import StudyRecord, TrialRecord
from sweep.study import open_study as open_view
from sweep.testing import write_toy_study

TRIALS, EXAMPLES = 6, 320
SEARCH = TRIALS * EXAMPLES
TOTAL = SEARCH + (2 + 4) * EXAMPLES
"""Room for a trial of twice the length, and one of four times the length."""

WIDER = SEARCH + 2 * (2 + 4) * EXAMPLES
"""Room for two of each."""


def write_study(folder: Path, *, doublings: tuple[float, ...] = (0.05, 0.05), **tables: Any) -> Path:
    script = {"noise": 0.05, "doublings": doublings, **tables.pop("script", {})}
    budget = {"trials": TRIALS, "total_examples": TOTAL, **tables.pop("budget", {})}
    return write_toy_study(folder, script=script, budget=budget, **{"stopping": {"drop_off": False}, **tables})


def longer(record: StudyRecord) -> list[TrialRecord]:
    return [trial for trial in record.trials if trial.longer_than is not None]


def lengths(record: StudyRecord) -> list[int]:
    return [trial.length for trial in longer(record)]


def check_longer(file: Path, record: StudyRecord) -> None:
    """Holds the longer trials of a finished study against what they lengthen."""
    plan = plan_study(locate_study(file))
    assert record.counted == sum(trial.is_searched for trial in record.trials)
    for trial in longer(record):
        of = record.trials[trial.longer_than or 0]
        assert trial.params is not None
        assert of.params is not None
        assert trial.params.as_dict() | {"length": 0} == of.params.as_dict() | {"length": 0}
        assert trial.length == 2 * of.length
        best = [one.number for one in rank_configurations(record) if one.length == of.length][:2]
        assert of.number in best
        batch = trial.params.batch_size
        planned = [(point.progress, point.step) for point in plan.evaluations(batch, length=trial.length)]
        assert [(row.progress, row.step) for row in trial.rows] == planned
        assert trial.planned_examples == trial.examples == round(EXAMPLES * trial.length / batch) * batch
        assert trial.rungs == ()
    seen = sum(trial.examples for trial in record.trials if trial.confirms is None)
    assert seen <= (plan.spec.budget.total_examples or seen)
    study, _, _ = open_study(file)
    assert record.best is not None
    assert study.best_trial.number == record.best.number
    assert {trial.state.name for trial in study.trials} <= {"COMPLETE", "PRUNED"}


def test_the_best_configurations_are_trained_twice_as_long_as_far_as_the_total_goes(tmp_path: Path) -> None:
    file = write_study(tmp_path)
    record, told = run(file)
    check_longer(file, record)
    assert lengths(record) == [2, 4]
    assert len(told.trials("lengthen")) == 2
    assert record.best is not None
    assert record.best.length == 4
    assert record.attributes["ended_by"] == "trials"
    assert sum(trial.examples for trial in record.trials) == TOTAL
    again, told = run(file)
    assert again.trials == record.trials
    assert told.events == []
    rewrite(file, f"total_examples = {TOTAL}", f"total_examples = {TOTAL + 8 * EXAMPLES}")
    more, _ = run(file)
    check_longer(file, more)
    assert lengths(more) == [2, 4, 8]


def test_a_longer_trial_is_shown_with_its_pairs_and_what_it_lengthens(tmp_path: Path) -> None:
    file = write_study(tmp_path, budget={"total_examples": SEARCH + 2 * EXAMPLES})
    record, told = run(file)
    [trial] = longer(record)
    [text] = told.texts("lengthen")
    assert text.startswith(f"trains trial {trial.longer_than} for {trial.planned_examples:,} pairs: ")
    assert text.endswith(", 2 times as long")
    assert say_end(trial, record) == f"ran to its end; trial {trial.longer_than} for twice as long"
    with open_view(file) as study:
        board = write_leaderboard(record, study.spec.space)
        page = render_page(study, [])
        described = describe_study(study)["trials"][trial.number]
    assert "| pairs |" in board.splitlines()[0]
    assert f"| {trial.planned_examples:,} |" in board
    assert "2 times as long as a trial of the search" in page
    assert (described["longer_than"], described["params"]["length"]) == (trial.longer_than, 2)


def test_where_a_doubling_is_not_proved_to_pay_the_next_best_is_trained_longer_as_well(tmp_path: Path) -> None:
    file = write_study(tmp_path, doublings=(0.0, 0.0), budget={"total_examples": WIDER})
    record, _ = run(file)
    check_longer(file, record)
    assert lengths(record) == [2, 2, 4, 4]
    searched = [trial.number for trial in rank_configurations(record) if trial.length == 1]
    assert [trial.longer_than for trial in longer(record)[:2]] == searched[:2]


def test_what_fits_is_begun_and_what_does_not_is_left_out(tmp_path: Path) -> None:
    file = write_study(tmp_path, doublings=(0.0, 0.0), budget={"total_examples": SEARCH + 2 * EXAMPLES + 1})
    record, _ = run(file)
    check_longer(file, record)
    assert lengths(record) == [2]


def test_no_trial_is_longer_where_the_file_names_no_total(tmp_path: Path) -> None:
    file = write_study(tmp_path)
    rewrite(file, f"total_examples = {TOTAL}\n", "")
    record, _ = run(file)
    assert lengths(record) == []
    rewrite(file, "[budget]\n", f"[budget]\ntotal_examples = {TOTAL}\ndoublings = 1\n")
    record, _ = run(file)
    check_longer(file, record)
    assert lengths(record) == [2]


def test_a_doubling_that_was_worse_is_the_last_one(tmp_path: Path) -> None:
    file = write_study(tmp_path, doublings=(-0.3, 0.5), budget={"total_examples": WIDER})
    record, _ = run(file)
    assert lengths(record) == [2, 2]
    assert record.best is not None
    assert record.best.length == 1


def test_longer_trials_that_fall_are_stopped_and_count(tmp_path: Path) -> None:
    space = {"data_format": "title-content", "learning_rate": {"low": 2e-4, "high": 6e-4, "log": True}}
    file = write_study(tmp_path, doublings=(0.0, 0.0), space=space, stopping={"drop_off": {"margin": 0.01}})
    record, _ = run(file)
    stopped = [trial for trial in longer(record) if trial.stop is not None]
    assert stopped
    assert {trial.stop.kind for trial in stopped if trial.stop} <= {"drop-off", "forecast"}


def test_a_configuration_that_fell_is_trained_longer_at_a_lower_rate(tmp_path: Path) -> None:
    space = {"data_format": "title-content", "learning_rate": {"low": 2e-4, "high": 6e-4, "log": True}}
    file = write_study(tmp_path, doublings=(0.0, 0.0), space=space)
    record, _ = run(file)
    plan = plan_study(locate_study(file))
    assert longer(record)
    for trial in longer(record):
        of = record.trials[trial.longer_than or 0]
        assert of.params is not None
        assert of.peak is not None
        assert trial.params is not None
        spent = plan.spent(of.params, of.peak.progress)
        assert spent < 0.5
        assert trial.params.learning_rate == pytest.approx(max(2e-4, of.params.learning_rate * spent))
        assert trial.params.effective_learning_rate == trial.params.learning_rate


def test_the_sampler_never_learns_of_a_longer_trial(tmp_path: Path) -> None:
    file = write_study(tmp_path)
    record, _ = run(file)
    plan = plan_study(locate_study(file))
    proposer = Proposer(plan.space, seed=0, trials=TRIALS, trained_as=plan.trained_as)
    proposer.rebuild(record, Ledger(open_storage(RunFolder.beside(file).database), "toy").values())
    assert len(proposer.seen) == TRIALS
    assert see_trials(record, dimensions=4).keys() == set(range(TRIALS))


def test_longer_trials_pause_at_no_rung_and_come_between_promotions_and_confirmations(tmp_path: Path) -> None:
    rungs = {"at": [0.15, 0.5], "keep": [0.5, 0.5]}
    file = write_study(tmp_path, rungs=rungs, confirm={"top": 1, "seeds": 2}, workers={"devices": "cpu:2"})
    record, told = run(file)
    check_longer(file, record)
    kinds = [event.kind for event in told.events if event.kind in ("promote", "lengthen", "confirm")]
    assert list(dict.fromkeys(kinds)) == ["promote", "lengthen", "confirm"]
    assert kinds == sorted(kinds, key=["promote", "lengthen", "confirm"].index)
    assert all(trial.progress == COMPLETE for trial in longer(record))
    [confirmed] = find_confirmed(record)
    assert {trial.length for trial in confirmed.runs} == {4}
    assert {trial.planned_examples for trial in confirmed.runs} == {confirmed.best.planned_examples}
    before = record.trials
    again, _ = run(file)
    assert again.trials == before


def test_a_device_that_would_idle_trains_the_next_best(tmp_path: Path) -> None:
    tables: dict[str, Any] = {"budget": {"total_examples": WIDER}, "workers": {"devices": "cpu:3"}}
    file = write_study(tmp_path, script={"step_s": 0.004}, **tables)
    record, _ = run(file, launcher=LocalLauncher(("sweep.testing",)))
    check_longer(file, record)
    assert lengths(record) == [2, 2, 4, 4]


def test_a_study_that_is_killed_while_it_lengthens_goes_on(tmp_path: Path, start: Start) -> None:
    expected, _ = run(write_study(tmp_path / "calm"))
    file = write_study(tmp_path / "shaken", script={"step_s": 0.002})
    run_through_kills(start, file, "lengthen", "evaluate", kills=3)
    _, _, record = open_study(file)
    check_longer(file, record)
    assert [(trial.params, trial.value, points(trial)) for trial in record.trials] == [
        (trial.params, trial.value, points(trial)) for trial in expected.trials
    ]


def test_hours_are_a_total_as_well_where_doublings_are_asked_for(tmp_path: Path) -> None:
    file = write_study(tmp_path, budget={"doublings": 2, "wall_clock_h": 1.0})
    rewrite(file, f"total_examples = {TOTAL}\n", "")
    record, _ = run(file)
    check_longer(file, record)
    assert lengths(record) == [2, 4]
    storage = open_storage(RunFolder.beside(file).database)
    ledger, plan = Ledger(storage, "toy"), plan_study(locate_study(file))
    search = replace(record, trials=record.trials[:TRIALS])
    [first, second] = list_longer(plan, ledger, search, Room())
    assert first.seconds == pytest.approx(2 * first.of.rows[-1].seconds)
    rooms = {
        Room(wall_clock_s=first.seconds, device_s=2 * max(first.seconds, second.seconds)): 1
        + (second.seconds <= first.seconds),
        Room(device_s=first.seconds + second.seconds): 2,
        Room(device_s=first.seconds): 1,
        Room(wall_clock_s=0.9 * min(first.seconds, second.seconds)): 0,
    }
    for room, begun in rooms.items():
        assert len(list_longer(plan, ledger, search, room)) == begun


def test_a_search_that_spends_the_total_ends_early(tmp_path: Path) -> None:
    file = write_study(tmp_path, budget={"total_examples": 3 * EXAMPLES})
    record, told = run(file)
    assert record.counted == 3
    assert record.attributes["ended_by"] == "total_examples"
    assert told.texts("budget") == [f"the {3 * EXAMPLES} training pairs are spent"]


@pytest.mark.parametrize(
    ("budget", "problem"),
    [
        ({"total_examples": EXAMPLES - 1}, "total_examples = 319 is below examples = 320, those of one trial: raise"),
        ({"doublings": -1}, "should be greater than or equal to 0, got -1"),
    ],
)
def test_a_total_that_holds_no_trial_is_refused(tmp_path: Path, budget: dict[str, Any], problem: str) -> None:
    with pytest.raises(StudyFileError, match=re.escape(problem)):
        run(write_study(tmp_path, budget=budget))
    assert not (tmp_path / "toy").exists()


def test_doublings_without_a_total_are_refused(tmp_path: Path) -> None:
    file = write_study(tmp_path, budget={"doublings": 2})
    rewrite(file, f"total_examples = {TOTAL}\n", "")
    with pytest.raises(StudyFileError, match="doublings = 2 needs a total that longer trials fit into"):
        run(file)

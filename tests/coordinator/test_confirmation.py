"""The best configurations of a study, trained again with other seeds as trials of the study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import Start, run_through_kills
from scripted import open_study, points, run

from sweep.coordinator.ledger import Ledger
from sweep.coordinator.proposals import Proposer, see_trials
from sweep.errors import StudyFileError, SweepError
from sweep.plan import plan_study
from sweep.progress import COMPLETE
from sweep.recommendation import compare_over_seeds, recommend
from sweep.run_folder import RunFolder
from sweep.storage.confirmations import find_confirmed, rank_configurations
from sweep.storage.database import open_storage
from sweep.storage.evaluations import UNTRAINED
from sweep.storage.location import locate_study
from sweep.storage.records import StudyRecord
from sweep.study import open_study as open_view
from sweep.testing import write_toy_study

CONFIRM = {"top": 2, "seeds": 3}


def write_study(folder: Path, *, trials: int = 6, **tables: Any) -> Path:
    script = {"noise": 0.05, **tables.pop("script", {})}
    return write_toy_study(folder, script=script, budget={"trials": trials}, **{"confirm": CONFIRM, **tables})


def replicates(record: StudyRecord) -> list[tuple[int | None, int]]:
    return [(trial.confirms, trial.attributes["seed"]) for trial in record.trials if trial.confirms is not None]


def check_confirmed(file: Path, record: StudyRecord) -> None:
    """Holds the replicates of a finished study against what they replicate."""
    search = [trial for trial in record.trials if trial.confirms is None]
    top = [trial.number for trial in rank_configurations(record)[:2]]
    assert replicates(record) == [(number, seed) for number in top for seed in (1, 2)]
    assert record.counted == len(search)
    for trial in record.trials[len(search) :]:
        first = record.trials[trial.confirms or 0]
        assert trial.params is not None
        assert first.params is not None
        ours, theirs = trial.params.as_dict(), first.params.as_dict()
        assert ours | {"seed": None} == theirs | {"seed": None}
        assert trial.params.seed == trial.attributes["seed"]
        assert trial.state in ("complete", "pruned")
        assert trial.rungs == ()
    study, table, _ = open_study(file)
    assert {trial.state.name for trial in study.trials} <= {"COMPLETE", "PRUNED"}
    for trial in find_confirmed(record)[0].runs:
        assert table.model_values(trial.number, "test") is not None


def test_the_best_configurations_are_trained_again_and_the_mean_decides(tmp_path):
    file = write_study(tmp_path)
    record, told = run(file)
    check_confirmed(file, record)
    assert len(told.trials("confirm")) == 4
    groups = find_confirmed(record)
    assert [len(group.runs) for group in groups] == [3, 3]
    assert groups[0].mean >= groups[1].mean
    assert groups[0].mean == pytest.approx(np.mean([trial.peak.value for trial in groups[0].runs if trial.peak]))
    with open_view(file) as study:
        advice = recommend(study)
        gain = compare_over_seeds(study, UNTRAINED)
    assert advice.number == groups[0].best.number
    assert f"{groups[0].mean:.4f} on the mean of 3 training seeds" in advice.sentence
    assert gain is not None
    assert gain.low <= gain.gain <= gain.high


def test_the_sampler_never_learns_of_a_replicate(tmp_path):
    file = write_study(tmp_path)
    record, _ = run(file)
    plan = plan_study(locate_study(file))
    proposer = Proposer(plan.space, seed=0, trials=6, trained_as=plan.trained_as)
    proposer.rebuild(record, Ledger(open_storage(RunFolder.beside(file).database), "toy").values())
    assert len(proposer.seen) == 6
    assert see_trials(record, dimensions=4).keys() == set(range(6))


def test_a_study_without_confirmation_in_its_file_is_confirmed_by_command(tmp_path):
    file = write_study(tmp_path)
    file.write_text(file.read_text().replace("[confirm]\ntop = 2\nseeds = 3\n", ""))
    before, _ = run(file)
    assert replicates(before) == []
    after, told = run(file, confirm={})
    check_confirmed(file, after)
    assert [points(trial) for trial in after.trials[:6]] == [points(trial) for trial in before.trials]
    again, told = run(file, confirm={})
    assert again.trials == after.trials
    assert told.trials("confirm") == []
    more, _ = run(file, confirm={"top": 3, "seeds": 2})
    assert len(replicates(more)) == 5


def test_replicates_pause_at_no_rung_and_come_after_the_last_promotion(tmp_path):
    rungs = {"at": [0.15, 0.5], "keep": [0.5, 0.5]}
    file = write_study(tmp_path, rungs=rungs, stopping={"drop_off": False}, workers={"devices": "cpu:2"})
    record, told = run(file)
    check_confirmed(file, record)
    kinds = [event.kind for event in told.events if event.kind in ("promote", "confirm")]
    assert kinds == sorted(kinds, reverse=True)
    assert all(trial.progress == COMPLETE for trial in record.trials if trial.confirms is not None)


def test_a_confirmation_that_is_killed_goes_on(tmp_path: Path, start: Start) -> None:
    expected, _ = run(write_study(tmp_path / "calm", script={"step_s": 0.002}))
    file = write_study(tmp_path / "shaken", script={"step_s": 0.002})
    run_through_kills(start, file, "confirm", "evaluate", kills=3)
    _, _, record = open_study(file)
    check_confirmed(file, record)
    assert [(trial.params, trial.value) for trial in record.trials] == [
        (trial.params, trial.value) for trial in expected.trials
    ]


def test_a_study_without_a_finished_trial_cannot_be_confirmed(tmp_path):
    file = write_study(tmp_path)
    with pytest.raises(SweepError, match="no trial has ended with a model yet, so there is nothing to confirm"):
        run(file, confirm={})
    assert not (tmp_path / "toy").exists()


@pytest.mark.parametrize(
    ("confirm", "problem"),
    [({"top": 0}, "--top: "), ({"seeds": 1}, "--seeds: "), ({"top": 7}, "7 is above")],
)
def test_settings_that_confirm_nothing_are_refused(tmp_path, confirm, problem):
    file = write_study(tmp_path)
    with pytest.raises(SweepError, match=problem):
        run(file, confirm=confirm)


def test_a_file_that_confirms_more_than_its_trials_is_refused(tmp_path):
    file = write_study(tmp_path, confirm={"top": 9})
    with pytest.raises(StudyFileError, match=r"confirm.top: 9 is above the 6 trials of budget.trials"):
        plan_study(locate_study(file))


def test_real_trainings_differ_by_their_seed_alone(tiny_model, tmp_path):
    settings = {"base": str(tiny_model)}
    file = write_toy_study(
        tmp_path, model_settings=settings, budget={"trials": 2, "examples": 320}, confirm={"top": 1, "seeds": 2}
    )
    record, _ = run(file, jobs="sweep.trial")
    first, again = record.trials[record.trials[2].confirms or 0], record.trials[2]
    assert again.attributes["seed"] == 1
    assert [row.progress for row in again.rows] == [row.progress for row in first.rows][: len(again.rows)]
    assert [row.value for row in again.rows] != [row.value for row in first.rows]
    with open_view(file) as study:
        gain = compare_over_seeds(study, UNTRAINED)
    assert gain is not None
    assert gain.other == "the untrained model over 2 training seeds"

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from made_studies import change, make_study

from sweep import open_study
from sweep.errors import SweepError
from sweep.measures.score import Score
from sweep.report.answer import Answer, find_answer
from sweep.storage.evaluations import UNTRAINED
from sweep.storage.records import BUDGET_TRIALS, TrialRecord
from sweep.study import Study


def with_state(study: Study, state: str, **attributes: object) -> list[TrialRecord]:
    """The study's trials, all in one state."""
    return [
        dataclasses.replace(trial, state=state, attributes={**trial.attributes, **attributes})
        for trial in study.record.trials
    ]


def test_the_best_trial_is_to_be_used_and_is_compared_with_the_untrained_model_and_the_default(study: Study) -> None:
    answer = find_answer(study)
    tests = study.tests
    assert answer.headline == "Use trial 1."
    assert answer.trial is study.record.best
    assert answer.test == pytest.approx(float(np.mean(tests[1])))
    assert answer.queries == len(tests[1])
    untrained, default = answer.comparisons
    assert untrained.other == "the untrained model"
    assert default.other == "the default (trial 0, the study's first start point)"
    for one, number in ((untrained, UNTRAINED), (default, 0)):
        gain = Score(tests[1]).minus(Score(tests[number]))
        assert (one.gain, one.low, one.high) == pytest.approx((gain.mean, *gain.interval()))
        assert one.mean == pytest.approx(float(np.mean(tests[number])))
    assert answer.cautions == ()
    assert (answer.saved_examples, answer.saved_fraction > 0) == (int(sum_saved(study)), True)


def sum_saved(study: Study) -> float:
    frame = study.trials()
    stopped = frame[frame["stop_reason"].notna()]
    return float((stopped["planned_examples"] - stopped["examples"]).sum())


def test_without_a_test_split_the_figure_is_said_to_be_optimistic(study: Study) -> None:
    answer = find_answer(change(study, tests={}))
    assert (answer.test, answer.comparisons) == (None, ())
    assert "optimistic" in " ".join(answer.cautions)


def test_an_interval_that_holds_zero_is_said_to_tell_nothing_apart(study: Study) -> None:
    tests = {**study.tests, UNTRAINED: study.tests[1]}
    cautions = " ".join(find_answer(change(study, tests=tests)).cautions)
    assert "The interval against the untrained model includes 0" in cautions
    assert "against the default" not in cautions


def test_where_the_test_split_proves_the_untrained_model_better_its_figures_are_the_answer(study: Study) -> None:
    tests = {**study.tests, UNTRAINED: study.tests[1] + 0.1}
    answer = find_answer(change(study, tests=tests))
    assert (answer.number, answer.name, answer.trial) == (UNTRAINED, "the untrained model", None)
    assert answer.test == pytest.approx(float(np.mean(tests[UNTRAINED])))
    best, _ = answer.comparisons
    assert (best.other, best.gain, best.is_told_apart) == ("trial 1, the best on dev", pytest.approx(0.1), True)
    assert "includes 0" not in " ".join(answer.cautions)


def test_where_no_trial_beats_the_untrained_model_that_is_the_answer(study: Study) -> None:
    record = dataclasses.replace(study.record, baseline=0.95)
    answer = find_answer(change(study, record=record, tests={}))
    assert (answer.number, answer.trial) == (UNTRAINED, None)
    assert answer.headline == "Use the untrained model: no trial beats it."


def test_a_study_without_a_trial_has_no_answer_yet(study: Study) -> None:
    answer = find_answer(change(study, trials=[], tests={}))
    assert answer == Answer(
        headline="There is no answer yet: no trial has begun.",
        number=None,
        name="",
        trial=None,
        metric="NDCG@10",
        test=None,
        queries=0,
        comparisons=(),
        cautions=(),
        saved_examples=0,
        saved_fraction=0.0,
    )


def test_where_all_trials_failed_the_commonest_cause_is_named(study: Study) -> None:
    trials = with_state(study, "fail", error="ValueError: a\n<b>")
    assert find_answer(change(study, trials=trials, tests={})).headline == (
        "There is no answer: all 13 trials failed, 13 of them with: ValueError: a\n<b>"
    )


def test_a_study_whose_trials_still_run_has_no_answer_yet(study: Study) -> None:
    trials = with_state(study, "running")
    assert find_answer(change(study, trials=trials)).headline.startswith("There is no answer yet: no trial has ended")


def test_a_metric_that_is_always_0_gives_nothing_to_choose_by(study: Study) -> None:
    trials = [
        dataclasses.replace(
            trial,
            state="complete",
            value=0.0,
            rows=tuple(dataclasses.replace(row, value=0.0) for row in trial.rows),
        )
        for trial in study.record.trials
    ]
    assert "NDCG@10 was 0 at every measurement" in find_answer(change(study, trials=trials)).headline


def test_a_study_that_is_not_finished_says_so(study: Study) -> None:
    record = dataclasses.replace(study.record, trials=study.record.trials[:5], attributes={BUDGET_TRIALS: 12})
    answer = find_answer(change(study, record=record))
    assert "The study is interrupted, with 4 of 12 trials: this may change." in answer.cautions


def test_a_default_that_is_the_best_or_unknown_or_not_evaluated_is_said(study: Study, tmp_path: Path) -> None:
    tests = {number: values for number, values in study.tests.items() if number != 0}
    assert any("default's model was not evaluated" in text for text in find_answer(change(study, tests=tests)).cautions)
    alone = make_study(tmp_path, budget={"trials": 1}, space={"start": [{"data_format": "query-document"}]})
    assert any("is itself the best" in text for text in find_answer(alone).cautions)
    without = [dataclasses.replace(t, attributes={**t.attributes, "start": None}) for t in study.record.trials]
    assert any("No start point names a default" in text for text in find_answer(change(study, trials=without)).cautions)


def test_an_answer_needs_a_study(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match="there is no such file"):
        open_study(tmp_path / "none.toml")

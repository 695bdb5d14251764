from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from made_studies import START, change, make_study
from markupsafe import escape
from numpy.typing import NDArray

from sweep.cli.leaderboard import print_leaderboard
from sweep.recommendation import Recommendation, compare, recommend
from sweep.report.dashboard_export import write_note
from sweep.report.page import render_page
from sweep.status import describe_study
from sweep.storage.evaluations import UNTRAINED
from sweep.study import Study

QUERIES = 100
DEFAULT, BEST = 0, 1


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A finished study whose first start point, trial 0, is below trial 1, the best on dev."""
    return make_study(tmp_path_factory.mktemp("study"), script={}, budget={"trials": 2}, space={"start": START[:2]})


def values(mean: float, *, noise: float = 0.02, seed: int = 0) -> NDArray[np.float32]:
    """(Q,) values of a model on the test split; the standard error of their mean is a tenth of the noise."""
    spread = np.random.default_rng(seed).normal(size=QUERIES)
    spread = (spread - spread.mean()) / spread.std(ddof=1)
    return (mean + noise * spread).astype(np.float32)


def with_tests(study: Study, untrained: float, default: float, best: float, *, noise: float = 0.02) -> Study:
    """The study with other figures on the test split, each model with a noise of its own but the best without."""
    tests = {
        UNTRAINED: values(untrained, noise=noise, seed=1),
        DEFAULT: values(default, noise=noise, seed=2),
        BEST: values(best, noise=0.0),
    }
    return change(study, tests=tests)


@pytest.mark.parametrize(
    ("figures", "use", "number", "said"),
    [
        ((0.50, 0.55, 0.60), "trial", BEST, "Use trial 1."),
        ((0.60, 0.40, 0.50), "untrained", UNTRAINED, "Use the untrained model: on the test split it is better than"),
        ((0.60, 0.70, 0.50), "trial", DEFAULT, "Use trial 0, the study's first start point: on the test split it is"),
        ((0.50, 0.60, 0.50), "trial", DEFAULT, "Use trial 0, the study's first start point: on the test split it is"),
        ((0.60, 0.60, 0.50), "untrained", UNTRAINED, "Use the untrained model: on the test split it is better than"),
        ((0.50, 0.40, 0.50), None, BEST, "Nothing was shown: on the test split trial 1 cannot be told from the"),
    ],
    ids=["better", "worse", "default best", "default better", "default no better than untrained", "not told apart"],
)
def test_the_recommendation_obeys_the_test_split(
    study: Study, figures: tuple[float, float, float], use: str | None, number: int, said: str
) -> None:
    found = recommend(with_tests(study, *figures))
    assert (found.use, found.number) == (use, number)
    assert found.sentence.startswith(said)


def test_a_default_that_beats_the_best_but_not_the_untrained_model_is_said_to_have_shown_nothing(study: Study) -> None:
    found = recommend(
        change(
            study,
            tests={UNTRAINED: values(0.5, noise=0.5), DEFAULT: values(0.52, noise=0.0), BEST: values(0.5, noise=0.0)},
        )
    )
    assert (found.use, found.number) == ("trial", DEFAULT)
    assert (
        "Nothing was shown: on the test split trial 0 cannot be told from the untrained model (+0.0200"
        in found.sentence
    )


def below(study: Study) -> Study:
    """The study with an untrained model that no trial beats on dev."""
    return change(study, record=dataclasses.replace(study.record, baseline=0.95))


@pytest.mark.parametrize(
    ("figures", "use", "said"),
    [
        (None, "untrained", "Use the untrained model: no trial beats it."),
        ((0.50, 0.40, 0.50), "untrained", "no trial beats it on dev, nor does trial 1 on the test split."),
        ((0.50, 0.40, 0.40), "untrained", "on the test split it is better than trial 1, the best on dev (+0.1000"),
        ((0.40, 0.40, 0.50), "trial", "Use trial 1: on dev no trial beats the untrained model, but on the test split"),
    ],
)
def test_where_no_trial_beats_the_untrained_model_on_dev_the_test_split_has_the_last_word(
    study: Study, figures: tuple[float, float, float] | None, use: str, said: str
) -> None:
    changed = below(study) if figures is None else with_tests(below(study), *figures)
    found = recommend(change(changed, tests={}) if figures is None else changed)
    assert found.use == use
    assert said in found.sentence


def test_an_interval_that_just_holds_0_shows_nothing_and_one_that_just_does_not_does(study: Study) -> None:
    # the standard error of the difference is 0.002, so that its interval reaches 0.0039 to both sides
    assert recommend(with_tests(study, 0.50, 0.4, 0.5038)).use is None
    assert recommend(with_tests(study, 0.50, 0.4, 0.5041)).use == "trial"
    assert recommend(with_tests(study, 0.50, 0.4, 0.4962)).use is None
    assert recommend(with_tests(study, 0.50, 0.4, 0.4959)).use == "untrained"


def test_without_a_test_split_the_best_on_dev_is_recommended(study: Study) -> None:
    assert recommend(change(study, tests={})) == Recommendation(use="trial", number=BEST, sentence="Use trial 1.")


def test_a_study_without_a_trial_recommends_nothing(study: Study) -> None:
    found = recommend(change(study, trials=[], tests={}))
    assert (found.use, found.number) == (None, None)
    assert compare(change(study, tests={}), BEST, UNTRAINED) is None
    assert study.find_model(None) is None


@pytest.mark.parametrize(
    ("figures", "use", "model"),
    [
        ((0.60, 0.40, 0.50), "untrained", "base"),
        ((0.50, 0.60, 0.50), "trial", "trial-0000"),
        ((0.50, 0.40, 0.50), None, ""),
    ],
    ids=["worse than untrained", "worse than the default", "not told apart"],
)
def test_every_view_of_a_study_says_the_same(
    study: Study, capsys: pytest.CaptureFixture[str], figures: tuple[float, float, float], use: str | None, model: str
) -> None:
    changed = with_tests(study, *figures)
    sentence = recommend(changed).sentence
    print_leaderboard(changed)
    printed = capsys.readouterr().out
    page, note, status = render_page(changed, []), write_note(changed, []), describe_study(changed)["recommendation"]
    assert sentence in printed.splitlines()
    assert f"<p class='headline'>{escape(sentence)}</p>" in page
    assert f"**{sentence}**" in note
    assert (status["use"], status["reason"]) == (use, sentence)
    for text in (printed, page, note):
        assert "Use trial 1" not in text
    assert ("Best on dev: " in printed, "Best model: " in printed) == (use is not None, use is None)
    if use is None:
        assert status["checkpoint"] is None
    else:
        assert model in Path(status["checkpoint"]).parts
        assert json.dumps(status["checkpoint"]) in page or model in page
        (load,) = (line for line in printed.splitlines() if line.startswith("Load it:"))
        assert f"/{model}" in load

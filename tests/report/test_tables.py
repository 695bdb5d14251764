"""The numbers of the report against tables that were reviewed; `pytest --renew-golden` writes them for `git diff`."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_studies import START, make_study

from sweep.report import tables
from sweep.study import Study

GOLDEN = Path(__file__).parent / "golden"
TABLES: dict[str, Callable[[Study], pd.DataFrame]] = {
    "trials": tables.tabulate_trials,
    "curves": tables.tabulate_curves,
    "warmups": tables.tabulate_warmups,
    "cosines": tables.tabulate_cosines,
    "histograms": tables.tabulate_histograms,
    "losses": tables.tabulate_losses,
    "importances": tables.tabulate_importances,
    "budget": tables.tabulate_budget,
}
LEFT_OUT = ["seconds", "evaluation_seconds", "device", "node", "stop_numbers", "stop_reason", "why"]
"""What is another in every run or on every machine, and prose."""


@pytest.fixture(scope="module")
def unruled(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The same trials without a drop-off rule, so that another rule is no other table."""
    script = {"fail": [3], "diverge": [11]}
    folder = tmp_path_factory.mktemp("unruled")
    return make_study(
        folder, script=script, budget={"trials": 12}, space={"start": START}, stopping={"drop_off": False}
    )


def write_csv(frame: pd.DataFrame) -> str:
    frame = frame.drop(columns=LEFT_OUT, errors="ignore")
    frame = frame.sort_values("trial", kind="stable") if "trial" in frame else frame
    return str(frame.to_csv(index=False, float_format="%.6g", lineterminator="\n"))


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_as_it_was_reviewed(unruled: Study, name: str, request: pytest.FixtureRequest) -> None:
    file = GOLDEN / f"{name}.csv"
    found = write_csv(TABLES[name](unruled))
    if request.config.getoption("--renew-golden"):
        file.write_text(found)
    pd.testing.assert_frame_equal(
        pd.read_csv(io.StringIO(found)), pd.read_csv(file), rtol=1e-5, atol=1e-9, check_dtype=False
    )


def test_a_run_that_was_stopped_for_drop_off_fell_and_one_that_ended_at_its_peak_did_not(study: Study) -> None:
    frame = tables.tabulate_trials(study).set_index("trial")
    stopped = frame["ended_by"] == "drop-off"
    assert stopped.any()
    assert frame.loc[stopped, "fell"].all()
    assert not frame.loc[frame["retention"] == 1.0, "fell"].any()


def test_the_budget_adds_up_to_the_examples_of_all_trials(study: Study) -> None:
    frame, budget = tables.tabulate_trials(study), tables.tabulate_budget(study)
    assert budget["trials"].sum() == len(frame)
    assert budget["held"].sum() + budget["fell"].sum() == frame["examples"].sum()
    assert budget["saved"].sum() == frame["saved"].sum() > 0


def test_every_trial_has_one_peak_and_a_stopped_one_one_stop_at_its_end(study: Study) -> None:
    trials = study.trials().set_index("trial")
    for number, curve in tables.tabulate_curves(study).groupby("trial"):
        peaks = curve[curve["is_peak"]]
        assert peaks["value"].tolist() == pytest.approx([trials.loc[number, "peak"]])
        assert curve["is_stop"].sum() == pd.notna(trials.loc[number, "stop_reason"])
        assert not curve["is_stop"].iloc[:-1].any()
        assert curve["progress"].iloc[0] == 0


def test_the_pair_is_the_best_that_held_and_the_one_that_kept_the_least(study: Study) -> None:
    pair = tables.choose_pair(study)
    frame = study.trials().set_index("trial")
    assert frame.loc[pair["held"], "is_best"]
    assert frame.loc[pair["fell"], "retention"] == frame["retention"].min()


def test_histograms_are_shares(study: Study) -> None:
    shares = tables.tabulate_histograms(study).groupby(["run", "when"])[["positive", "negative"]].sum()
    assert np.allclose(shares, 1.0)


def test_importances_of_settings_that_differ_add_up_to_one(study: Study) -> None:
    importances = tables.tabulate_importances(study)
    assert set(importances["setting"]) == {"learning_rate", "warmup_ratio", "batch_size", "data_format"}
    assert importances[["peak", "retention"]].sum().tolist() == pytest.approx([1.0, 1.0])


def test_a_study_without_a_trial_has_empty_tables(untried: Study) -> None:
    assert {name: len(table(untried)) for name, table in TABLES.items()} == dict.fromkeys(TABLES, 0)
    assert tables.choose_pair(untried) == {}


def test_a_slot_does_one_thing_at_a_time(study: Study) -> None:
    slots = tables.tabulate_slots(study)
    assert len(slots) == 13
    assert (slots["ended"] >= slots["began"]).all()
    assert (slots["began"].to_numpy()[1:] >= slots["ended"].to_numpy()[:-1]).all()
    assert slots["began"].iloc[0] == 0

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import optuna
import plotly.graph_objects as go
import pytest
from optuna_dashboard import get_note, save_note

from sweep.storage.database import open_storage
from sweep.storage.remarks import MAX_FIGURE_BYTES, OWN, quote, save_figure, save_showcase, save_study_remark


@pytest.fixture
def study() -> optuna.Study:
    return optuna.create_study()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "`plain`"),
        ("a\n b\t c", "`a b c`"),
        ("`code` | <b>", "`'code' \\| <b>`"),
        ("\u202eabc\u200b\x07", "`U+202EabcU+200BU+0007`"),
        ("\ud55c\uad6d\uc5b4 \u0639\u0631\u0628\u064a", "`\ud55c\uad6d\uc5b4 \u0639\u0631\u0628\u064a`"),
        ("", ""),
    ],
)
def test_a_text_from_outside_is_code_in_one_line(text: str, shown: str) -> None:
    assert quote(text) == shown


def test_our_part_of_a_note_is_replaced_and_what_a_person_wrote_below_it_stays(study: optuna.Study) -> None:
    save_study_remark(study._storage, study._study_id, "first")
    assert get_note(study) == f"first{OWN}"
    save_note(study, get_note(study) + "mine: 한국어")
    save_study_remark(study._storage, study._study_id, "second")
    assert get_note(study) == f"second{OWN}mine: 한국어"


def test_a_note_from_before_ours_stays_below_it(study: optuna.Study) -> None:
    save_note(study, "a person's")
    save_study_remark(study._storage, study._study_id, "ours")
    assert get_note(study) == f"ours{OWN}a person's"


def test_a_note_that_is_the_same_is_not_written_again(study: optuna.Study) -> None:
    save_study_remark(study._storage, study._study_id, "ours")
    before = dict(study._storage.get_study_system_attrs(study._study_id))
    save_study_remark(study._storage, study._study_id, "ours")
    assert study._storage.get_study_system_attrs(study._study_id) == before


def test_a_remark_is_saved_without_the_libraries_of_the_dashboard() -> None:
    code = (
        "import optuna, sys; from sweep.storage.remarks import save_remark; study = optuna.create_study();"
        "save_remark(study._storage, 0, study.ask()._trial_id, 'text');"
        "print(study._storage.get_study_system_attrs(0), *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert "'text'" in done.stdout
    assert not {"sklearn", "scipy.stats"} & set(done.stdout.split())


def test_a_figure_that_is_too_large_for_every_reader_to_load_is_left_out(study: optuna.Study) -> None:
    small = go.Figure(go.Scatter(y=[1, 2]))
    assert save_figure(study, small, name="one")
    before = len(study._storage.get_study_system_attrs(study._study_id))
    assert not save_figure(study, go.Figure(go.Scatter(text=["x" * MAX_FIGURE_BYTES])), name="two")
    assert len(study._storage.get_study_system_attrs(study._study_id)) == before


def test_of_a_note_and_figures_of_which_one_cannot_be_saved_none_is(tmp_path: Path) -> None:
    study = optuna.create_study(storage=open_storage(tmp_path / "study.db"))
    save_showcase(study, "first", {"one": go.Figure(go.Scatter(y=[1, 2]))})
    before = dict(study._storage.get_study_system_attrs(study._study_id))
    assert any("plot_data:one" in name for name in before)
    with pytest.raises(AttributeError, match="to_json"):
        save_showcase(study, "second", {"one": go.Figure(go.Scatter(y=[3])), "two": None})
    assert study._storage.get_study_system_attrs(study._study_id) == before
    assert get_note(study) == f"first{OWN}"

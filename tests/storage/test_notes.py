from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import optuna
import plotly.graph_objects as go
import pytest
from optuna.storages import InMemoryStorage
from optuna_dashboard import get_note, save_note

from sweep.coordinator.ledger import Ledger
from sweep.storage.database import open_storage
from sweep.storage.notes import MAX_FIGURE_BYTES, OWN, PIECE, quote, save_figure, save_study_note


@pytest.fixture
def storage() -> InMemoryStorage:
    return InMemoryStorage()


@pytest.fixture
def study(storage: InMemoryStorage) -> optuna.Study:
    return optuna.create_study(storage=storage)


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


def test_our_part_of_a_note_is_replaced_and_what_a_person_wrote_below_it_stays(
    study: optuna.Study, storage: InMemoryStorage
) -> None:
    save_study_note(storage, 0, "first")
    assert get_note(study) == f"first{OWN}"
    save_note(study, get_note(study) + "mine: 한국어")
    save_study_note(storage, 0, "second")
    assert get_note(study) == f"second{OWN}mine: 한국어"


def test_a_note_from_before_ours_stays_below_it(study: optuna.Study, storage: InMemoryStorage) -> None:
    save_note(study, "a person's")
    save_study_note(storage, 0, "ours")
    assert get_note(study) == f"ours{OWN}a person's"


@pytest.mark.usefixtures("study")
def test_a_note_that_is_the_same_is_not_written_again(storage: InMemoryStorage) -> None:
    save_study_note(storage, 0, "ours")
    before = dict(storage.get_study_system_attrs(0))
    save_study_note(storage, 0, "ours")
    assert storage.get_study_system_attrs(0) == before


def test_a_long_note_is_read_whole_by_the_dashboard_and_so_is_a_shorter_one_after_it(
    study: optuna.Study, storage: InMemoryStorage
) -> None:
    for length in (10_000, PIECE, 10, 5000):
        save_study_note(storage, 0, "\u0645" * length)
        assert get_note(study) == "\u0645" * length + OWN


def test_a_note_is_saved_without_the_libraries_of_the_dashboard() -> None:
    code = (
        "import optuna, sys; from sweep.storage.notes import save_study_note;"
        "storage = optuna.storages.InMemoryStorage(); optuna.create_study(storage=storage);"
        "save_study_note(storage, 0, 'text'); print(storage.get_study_system_attrs(0), *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert "text" in done.stdout
    assert not {"sklearn", "scipy.stats"} & set(done.stdout.split())


def test_a_figure_that_is_too_large_for_every_reader_to_load_is_left_out(
    study: optuna.Study, storage: InMemoryStorage
) -> None:
    small = go.Figure(go.Scatter(y=[1, 2]))
    assert save_figure(study, small, name="one")
    before = len(storage.get_study_system_attrs(0))
    assert not save_figure(study, go.Figure(go.Scatter(text=["x" * MAX_FIGURE_BYTES])), name="two")
    assert len(storage.get_study_system_attrs(0)) == before


def test_of_a_note_and_figures_of_which_one_cannot_be_saved_none_is(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "study.db")
    ledger = Ledger(storage, "toy")
    ledger.exhibit("first", {"one": go.Figure(go.Scatter(y=[1, 2]))})
    before = storage.get_study_system_attrs(1)
    assert any("plot_data:one" in name for name in before)
    with pytest.raises(AttributeError, match="to_json"):
        ledger.exhibit("second", {"one": go.Figure(go.Scatter(y=[3])), "two": None})
    assert storage.get_study_system_attrs(1) == before
    assert get_note(ledger.study) == f"first{OWN}"
    storage.engine.dispose()

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from made_studies import START, change
from scripted import Recorder
from test_page import HOSTILE, Verdict, hostile

from sweep import open_study
from sweep.coordinator.run import run_study
from sweep.launch import InlineLauncher
from sweep.plan import plan_study
from sweep.report.dashboard_export import choose_figures, exhibit, write_note
from sweep.signals import StopSignal
from sweep.storage.location import locate_study
from sweep.storage.notes import MAX_FIGURE_BYTES
from sweep.study import Study
from sweep.testing import write_toy_study


def read_note(attributes: dict[str, Any]) -> str:
    """A study's note as it lies in its attributes."""
    pieces = {int(name.rpartition(":")[2]): text for name, text in attributes.items() if "dashboard:note_str:" in name}
    return "".join(pieces[place] for place in sorted(pieces))


def test_a_note_says_the_answer_the_diagnosis_and_the_leaderboard(study: Study) -> None:
    note = write_note(study, [Verdict(), Verdict(cause="overfitting", verdict="not supported")])
    places = [
        note.index(text) for text in ("**Use trial 1.**", "NDCG@10 on the test split", "Stopping saved", "| trial |")
    ]
    assert places == sorted(places)
    assert "- **learning rate too high** (`title-content`): High rates keep less." in note
    assert "overfitting" not in note
    assert "No suspected cause is supported" in write_note(study, [Verdict(verdict="cannot tell")])
    assert "Why runs fell" not in write_note(study, [])
    assert note.count("\n| ") >= 11


def test_hostile_names_stand_in_a_note_as_code(study: Study) -> None:
    note = write_note(hostile(study), [])
    outside = "".join(part for place, part in enumerate(note.split("`")) if place % 2 == 0)
    assert "<" not in outside.replace("\n", "")
    assert "\u202e" not in note
    assert HOSTILE.split()[-1] in note


def test_the_figures_for_the_dashboard_are_few_and_small(study: Study) -> None:
    found = choose_figures(study)
    assert [name for name, _, _ in found] == ["sweep-curves", "sweep-rate-0", "sweep-rate-1", "sweep-batches"]
    for _, _, panel in found:
        assert len(json.dumps(panel.traces)) < MAX_FIGURE_BYTES


def test_a_finished_study_has_the_note_and_the_figures_in_its_database(tmp_path: Path) -> None:
    file = write_toy_study(tmp_path, script={}, budget={"trials": 2}, space={"start": START[1:3]})
    with StopSignal() as stop:
        run_study(
            plan_study(locate_study(file)),
            watcher=Recorder(),
            stop=stop,
            jobs="sweep.testing",
            launcher=InlineLauncher(),
            exhibit=lambda: exhibit(open_study(file), []),
        )
    with open_study(file) as opened:
        (study,) = opened.reader.storage.get_all_studies()
        attributes = study.system_attrs
    note = read_note(attributes)
    assert "**Use trial 0.**" in note
    figures = {name.split(":")[2] for name in attributes if name.startswith("dashboard:plot_data:")}
    assert figures == {"sweep-curves", "sweep-rate-0", "sweep-rate-1", "sweep-batches"}


def test_a_study_without_a_trial_has_a_note_and_no_figure(untried: Study) -> None:
    assert "no trial has begun" in write_note(untried, [])
    assert choose_figures(untried) == []


def test_a_running_study_has_a_note_with_its_leaderboard(study: Study) -> None:
    (found,) = study.reader.storage.get_all_studies()
    note = read_note(found.system_attrs)
    assert "12 of 12 trials have ended; the untrained model has 0.5000." in note
    assert "| **best** | 1 |" in note


def test_a_cause_of_failure_stands_in_the_headline_as_code(study: Study) -> None:
    trials = tuple(
        dataclasses.replace(trial, state="fail", value=None, attributes={"error": "E: <b>`|"})
        for trial in study.record.trials
    )
    assert "with: E: <b>'\\|`" in write_note(change(study, trials=trials, tests={}), [])

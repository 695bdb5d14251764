"""The study's note and figures in optuna-dashboard.

A note is Markdown. Foreign text enters it through `quote`; what a person writes below our part of a study's note stays
when our part is rewritten.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.storages import BaseStorage

OWN = "\n\n---\n*Notes of your own go below this line; they stay.*\n"

MAX_FIGURE_BYTES = 200_000
"""Largest figure that is saved: it lies in the study's attributes, in pieces of 2 KB that every reader loads."""

NOTE = "dashboard:note_str:"
VERSION = "dashboard:note_ver"
"""Names of the study's attributes in which optuna-dashboard keeps its note, in pieces of `PIECE` letters.

Its own function would bring scikit-learn and scipy.stats along: 1.4 s of CPU and 140 MB of a coordinator, measured."""

PIECE = 2045


def save_study_note(storage: BaseStorage, study_id: int, text: str) -> None:
    """Saves our part of a study's note in place of the one before; what a person wrote below it stays."""
    attributes = storage.get_study_system_attrs(study_id)
    count = sum(name.startswith(NOTE) for name in attributes)
    before = "".join(attributes[f"{NOTE}{index}"] for index in range(count))
    ours, line, own = before.partition(OWN)
    if before and not line:  # a note without our part is all a person's
        own = ours
    if ours == text and line:
        return
    note = f"{text}{OWN}{own}"
    storage.set_study_system_attr(study_id, VERSION, attributes.get(VERSION, 0) + 1)
    for index in range(max(count, math.ceil(len(note) / PIECE))):
        storage.set_study_system_attr(study_id, f"{NOTE}{index}", note[index * PIECE : (index + 1) * PIECE])


def export_to_dashboard(storage: BaseStorage, study: optuna.Study, note: str, figures: Mapping[str, Any]) -> None:
    """Saves our part of a study's note, and Plotly figures by their names."""
    save_study_note(storage, storage.get_study_id_from_name(study.study_name), note)
    for name, figure in figures.items():
        save_figure(study, figure, name=name)


def save_figure(study: optuna.Study, figure: Any, *, name: str) -> bool:
    """Saves a Plotly figure in place of the one of that name; returns whether it was small enough to be saved."""
    from optuna_dashboard import save_plotly_graph_object

    if len(figure.to_json()) > MAX_FIGURE_BYTES:
        return False
    save_plotly_graph_object(study, figure, graph_object_id=name)
    return True


def quote(text: object) -> str:
    """Any text as Markdown code that is shown letter by letter in a line or a table.

    Invisible characters (control characters, overrides of the direction of writing) are shown as their code points.
    """
    hidden = ("Cc", "Cf", "Cs", "Co")
    flat = " ".join(str(text).split()).replace("`", "'").replace("|", "\\|")
    visible = "".join(f"U+{ord(char):04X}" if unicodedata.category(char) in hidden else char for char in flat)
    return f"`{visible}`" if visible else ""

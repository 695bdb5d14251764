"""What optuna-dashboard shows beside numbers: a note on the study, and figures.

A note is Markdown. Whatever comes from outside enters it through `quote`; what a person writes below our part of a
study's note stays when our part is written anew.
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
    found = storage.get_study_system_attrs(study_id)
    count = sum(name.startswith(NOTE) for name in found)
    before = "".join(found[f"{NOTE}{place}"] for place in range(count))
    ours, line, own = before.partition(OWN)
    if before and not line:  # a note from before ours is all a person's
        own = ours
    if ours == text and line:
        return
    note = f"{text}{OWN}{own}"
    storage.set_study_system_attr(study_id, VERSION, found.get(VERSION, 0) + 1)
    for place in range(max(count, math.ceil(len(note) / PIECE))):
        storage.set_study_system_attr(study_id, f"{NOTE}{place}", note[place * PIECE : (place + 1) * PIECE])


def export_to_dashboard(storage: BaseStorage, study: optuna.Study, note: str, figures: Mapping[str, Any]) -> None:
    """Saves our part of a study's note and Plotly figures by their names.

    A figure is dozens of attributes of the study, which a dashboard puts together again.
    """
    save_study_note(storage, storage.get_study_id_from_name(study.study_name), note)
    for name, figure in figures.items():
        save_figure(study, figure, name=name)


def save_figure(study: optuna.Study, figure: Any, *, name: str) -> bool:
    """Saves a Plotly figure under a name, in place of the one before; one that is too large is left out.

    Returns:
        Whether it was saved.
    """
    from optuna_dashboard import save_plotly_graph_object

    if len(figure.to_json()) > MAX_FIGURE_BYTES:
        return False
    save_plotly_graph_object(study, figure, graph_object_id=name)
    return True


def quote(text: object) -> str:
    """Any text as code that stands in a line or a table of Markdown and is shown letter by letter.

    What cannot be seen (control characters, overrides of the direction of writing) is shown as its number.
    """
    flat = " ".join(str(text).split()).replace("`", "'")
    seen = "".join(_name(sign) if unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Co") else sign for sign in flat)
    return "`" + seen.replace("|", "\\|") + "`" if seen else ""


def _name(sign: str) -> str:
    return f"U+{ord(sign):04X}"

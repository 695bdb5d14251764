"""What optuna-dashboard shows beside numbers: notes on the study and its trials, and figures.

A note is Markdown. Whatever comes from outside enters it through `quote`; what a person writes below our part of a
study's note stays when our part is written anew.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._rdb import models
from sqlalchemy import select

from sweep.storage.study_storage import StudyStorage
from sweep.storage.transaction import reading, write_together

OWN = "\n\n---\n*Notes of your own go below this line; they stay.*\n"

MAX_FIGURE_BYTES = 200_000
"""Largest figure that is saved: it lies in the study's attributes, in pieces of 2 KB that every reader loads."""


def save_remark(storage: BaseStorage, study_id: int, trial_id: int, text: str) -> None:
    """Saves a remark on a trial, as Markdown, in place of the one before.

    Args:
        storage: Optuna's storage.
        study_id: The study's id in it.
        trial_id: The trial's id in it, which is not its number.
        text: The remark.
    """
    _save_note(storage, study_id, trial_id, text)


def save_study_remark(storage: BaseStorage, study_id: int, text: str) -> None:
    """Saves our part of a study's note in place of the one before; what a person wrote below it stays."""
    found = _NoteStore(storage, study_id, None).get_study_system_attrs(study_id)
    before = _load_notes().get_note_from_system_attrs(found, None)["body"]
    ours, line, own = before.partition(OWN)
    if before and not line:  # a note from before ours is all a person's
        own = ours
    if ours != text or not line:
        _save_note(storage, study_id, None, f"{text}{OWN}{own}")


def save_showcase(study: optuna.Study, note: str, figures: Mapping[str, Any]) -> None:
    """Saves our part of a study's note and Plotly figures by their names, together: a reader finds none of them half.

    A figure is dozens of attributes of the study, which a dashboard puts together again.
    """

    def save() -> None:
        save_study_remark(study._storage, study._study_id, note)
        for name, figure in figures.items():
            save_figure(study, figure, name=name)

    storage = getattr(study._storage, "_backend", None)  # Optuna wraps one of a database into one that remembers
    if isinstance(storage, RDBStorage):
        write_together(storage, save)
    else:
        save()


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


class _NoteStore:
    """What optuna-dashboard asks of a storage to save one note, with what it writes kept back until the end.

    It looks through all attributes of a study, among which are the notes of every trial: tens of thousands, where one
    note has three.
    """

    def __init__(self, storage: BaseStorage, study_id: int, trial_id: int | None) -> None:
        self._storage = storage
        self._study_id = study_id
        self._found = self._read("dashboard:note_" if trial_id is None else f"dashboard:{trial_id}:note_")
        self._new: dict[str, Any] = {}

    def get_study_system_attrs(self, _: int) -> dict[str, Any]:
        return self._found | self._new

    def set_study_system_attr(self, _: int, key: str, value: Any) -> None:
        self._new[key] = value

    def save(self) -> None:
        if isinstance(self._storage, StudyStorage):
            self._storage.set_study_system_attrs(self._study_id, self._new)
            return
        for key, value in self._new.items():
            self._storage.set_study_system_attr(self._study_id, key, value)

    def _read(self, prefix: str) -> dict[str, Any]:
        if not isinstance(self._storage, StudyStorage):
            return self._storage.get_study_system_attrs(self._study_id)
        table = models.StudySystemAttributeModel
        found = select(table.key, table.value_json).where(
            table.study_id == self._study_id, table.key.startswith(prefix, autoescape=True)
        )
        with reading(self._storage.engine) as connection:
            return {key: json.loads(value) for key, value in connection.execute(found)}


def _save_note(storage: BaseStorage, study_id: int, trial_id: int | None, text: str) -> None:
    notes, store = _load_notes(), _NoteStore(storage, study_id, trial_id)
    before = notes.get_note_from_system_attrs(store.get_study_system_attrs(study_id), trial_id)
    notes.save_note_with_version(store, study_id, trial_id, before["version"] + 1, text)
    store.save()


@functools.cache
def _load_notes() -> Any:
    """optuna-dashboard's module of notes, by itself where it can be had so.

    The whole package brings scikit-learn and scipy.stats along: 1.4 s of CPU and 140 MB of a coordinator, measured, at
    the end of its first trial.
    """
    package = importlib.util.find_spec("optuna_dashboard")
    for place in (package.submodule_search_locations if package else None) or ():
        file = Path(place) / "_note.py"
        spec = importlib.util.spec_from_file_location("optuna_dashboard._note", file) if file.is_file() else None
        if spec is not None and spec.loader is not None:
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
    return importlib.import_module("optuna_dashboard")


def _name(sign: str) -> str:
    return f"U+{ord(sign):04X}"

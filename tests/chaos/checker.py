"""What must hold of a sweep after everything that was done to it, read from its history and its database."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna

from sweep.errors import CheckpointError
from sweep.run_folder import RunFolder
from sweep.storage.evaluations import EvaluationTable
from sweep.storage.place import SqlitePlace, StudyPlace
from sweep.storage.records import load_record
from sweep.training.checkpoint import MANIFEST, verify

Violations = Counter[str]


def read_history(file: Path) -> list[dict[str, Any]]:
    """The lines that trials appended; a line that its writer's death cut off was not answered, and is left out."""
    if not file.exists():
        return []
    found = []
    for line in file.read_text().splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            found.append(json.loads(line))
    return found


def compare_reports(
    history: Sequence[Mapping[str, Any]],
    committed: Mapping[tuple[int, int], float],
    shown: Mapping[tuple[int, int], float],
) -> Violations:
    """Holds what trials were answered against what stands in our table, and that against what Optuna holds.

    Args:
        history: Lines of trials: those of the event ``answered`` have a trial, a progress and an NDCG.
        committed: NDCG by trial and progress, in our table.
        shown: The same in Optuna's tables, without the untrained point.
    """
    found: Violations = Counter()
    for line in history:
        if line["event"] == "answered":
            stands = committed.get((line["trial"], line["progress"]))
            found["acknowledged reports lost"] += stands is None
            found["reports altered or doubled"] += stands is not None and stands != line["ndcg"]
    found["reports altered or doubled"] += sum(shown.get(point) != ndcg for point, ndcg in committed.items()) + len(
        shown.keys() - committed.keys()
    )
    return found


def check_study(place: StudyPlace, folder: RunFolder, history: Path, *, budget: int) -> Violations:
    """Everything that must hold of a study that has ended."""
    storage = place.open_read_only()
    try:
        table = EvaluationTable(storage.engine, writable=False)
        record = load_record(storage, table)
        study = optuna.load_study(study_name=record.name, storage=storage)
        shown = {
            (trial.number, step): value
            for trial in study.get_trials(deepcopy=False)
            for step, value in trial.intermediate_values.items()
            if step > 0
        }
        committed = {(row.trial, row.progress): row.ndcg for row in table.rows()}
    finally:
        storage.engine.dispose()
    found = compare_reports(read_history(history), committed, shown)
    found["trials above or below the budget"] += abs(record.counted - budget)
    found["trials left running"] += sum(trial.state in ("running", "waiting") for trial in record.trials)
    found["checkpoints that do not load"] += count_broken(folder)
    best = record.best
    if best is not None and best.peak is not None:
        found["checkpoints that do not load"] += is_broken(folder.peak_model(best.number, best.peak.progress))
    if isinstance(place, SqlitePlace):
        found["database integrity errors"] += count_integrity_errors(folder.database)
    return found


def count_broken(folder: RunFolder) -> int:
    """Checkpoints and models of a study that have a manifest and are not what it says."""
    return sum(is_broken(manifest.parent) for manifest in folder.checkpoints.rglob(MANIFEST))


def is_broken(checkpoint: Path) -> bool:
    if ".partial" in checkpoint.name:
        return False
    try:
        verify(checkpoint)
    except CheckpointError:
        return True
    return False


def count_integrity_errors(file: Path) -> int:
    with contextlib.closing(sqlite3.connect(file)) as connection:
        return sum(row != ("ok",) for row in connection.execute("PRAGMA integrity_check"))

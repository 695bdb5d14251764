"""What must hold of a sweep after everything that was done to it, read from its history and its database."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import psycopg
from history import read_history
from postgres import PostgresServer

from sweep.errors import CheckpointError
from sweep.run_folder import RunFolder
from sweep.storage.evaluations import EvaluationTable
from sweep.storage.location import DatabaseLocation, PostgresLocation, SqliteLocation
from sweep.storage.records import StudyRecord, load_record
from sweep.training.checkpoint import MANIFEST, verify

Violations = Counter[str]

KILLED_TOO_OFTEN = "times without progress"
"""How the cause ends of a trial whose processes were killed again and again before they got any further."""


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


def find_late_words(history: Sequence[Mapping[str, Any]]) -> Violations:
    """Counts what a process of a trial wrote after a newer one of the same trial had begun."""
    found: Violations = Counter()
    newest: dict[int, int] = {}
    for line in history:
        trial, attempt = line["trial"], line["attempt"]
        found["words of an older attempt"] += attempt < newest.get(trial, 0)
        if line["event"] == "begin":
            newest[trial] = max(attempt, newest.get(trial, 0))
    return found


def check_study(
    place: DatabaseLocation, folder: RunFolder, history: Path, *, budget: int, server: PostgresServer | None = None
) -> Violations:
    """Everything that must hold of a study that has ended; the server is the one that it lies on, if it does."""
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
        committed = {(row.trial, row.progress): row.value for row in table.rows()}
    finally:
        storage.engine.dispose()
    lines = read_history(history)
    found = compare_reports(lines, committed, shown) + find_late_words(lines)
    found["trials that failed of anything but kills"] += sum(
        trial.state == "fail" and not str(trial.attributes.get("error")).endswith(KILLED_TOO_OFTEN)
        for trial in record.trials
    )
    found["interruptions"] += sum(trial.attributes.get("interruptions", 0) for trial in record.trials)
    found["trials above or below the budget"] += abs(record.counted - budget)
    found["longer or confirming trials made twice"] += count_doubled(record)
    found["trials left running"] += sum(trial.state in ("running", "waiting", "paused") for trial in record.trials)
    found["checkpoints that do not load"] += count_broken(folder)
    best = record.best
    if best is not None and best.peak is not None:
        paused = [trial.peak.value for trial in record.trials if trial.may_be_promoted and trial.peak]
        found["best models left paused"] += sum(peak > best.peak.value for peak in paused)
        found["checkpoints that do not load"] += is_broken(folder.peak_model(best.number, best.peak.progress))
    if isinstance(place, SqliteLocation):
        found["database integrity errors"] += count_integrity_errors(folder.database)
    if isinstance(place, PostgresLocation) and server is not None:
        found["database integrity errors"] += count_server_errors(server, place.schema)
    return found


def count_doubled(record: StudyRecord) -> int:
    """Trials that train what another one trains as well: a configuration for longer, or with one more seed."""
    longer = Counter(trial.longer_than for trial in record.trials if trial.longer_than is not None)
    again = Counter((one.confirms, one.attributes["seed"]) for one in record.trials if one.confirms is not None)
    return sum(count - 1 for count in [*longer.values(), *again.values()])


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


def count_server_errors(server: PostgresServer, schema: str) -> int:
    """Tables of a schema whose rows and indexes disagree, or that cannot be read whole or indexed anew.

    Every row of a table is read past its indexes, which reads each of its pages; through them as many must be found. An
    index that is made anew is refused where two rows have one key.
    """
    tables = server.execute(f"SELECT tablename FROM pg_tables WHERE schemaname = '{schema}'")
    return sum(_is_damaged(server, f'{schema}."{table}"') for (table,) in tables) + (not tables)


def _is_damaged(server: PostgresServer, table: str) -> bool:
    ways = {True: "SET enable_seqscan = off", False: "SET enable_indexscan = off; SET enable_indexonlyscan = off"}
    try:
        with psycopg.connect(server.url, autocommit=True) as connection:
            counts = set()
            for way, settings in ways.items():
                connection.execute(f"RESET ALL; SET enable_bitmapscan = off; {settings}".encode())
                read = "count(*)" if way else "count(found.*::text)"
                counts.add(connection.execute(f"SELECT {read} FROM {table} AS found".encode()).fetchone())
            connection.execute(f"REINDEX TABLE {table}".encode())
    except psycopg.Error:
        return True
    return len(counts) != 1

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from checker import compare_reports, count_broken, count_server_errors, find_late_words
from history import read_history
from nemesis import LONGEST_S, WEIGHTS, plan_attacks
from postgres import PostgresServer

from sweep.run_folder import RunFolder
from sweep.training.checkpoint import publish

COMMITTED = {(0, 100): 0.5, (0, 200): 0.25, (1, 100): 0.75}


def answered(trial: int, progress: int, ndcg: float) -> dict[str, Any]:
    return {"event": "answered", "trial": trial, "progress": progress, "ndcg": ndcg}


HISTORY = [answered(0, 100, 0.5), answered(0, 200, 0.25), {"event": "report", "trial": 1, "progress": 200, "ndcg": 0.1}]


def test_what_was_answered_and_stands_is_well() -> None:
    assert not +compare_reports(HISTORY, COMMITTED, COMMITTED)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (answered(1, 200, 0.5), "acknowledged reports lost"),
        (answered(2, 100, 0.5), "acknowledged reports lost"),
        (answered(1, 100, 0.5), "reports altered or doubled"),
    ],
)
def test_what_was_answered_and_stands_otherwise_or_nowhere_is_found(line: dict[str, Any], found: str) -> None:
    assert +compare_reports([*HISTORY, line], COMMITTED, COMMITTED) == {found: 1}


@pytest.mark.parametrize(
    "shown",
    [
        {point: ndcg for point, ndcg in COMMITTED.items() if point != (1, 100)},
        {**COMMITTED, (1, 100): 0.5},
        {**COMMITTED, (1, 200): 0.5},
    ],
    ids=["missing", "another", "more"],
)
def test_what_optuna_holds_otherwise_is_found(shown: dict[tuple[int, int], float]) -> None:
    assert +compare_reports(HISTORY, COMMITTED, shown) == {"reports altered or doubled": 1}


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    assert read_history(file) == []
    file.write_text(json.dumps(HISTORY[0]) + "\n" + json.dumps(HISTORY[1])[:20])
    assert read_history(file) == HISTORY[:1]


def test_a_checkpoint_that_is_not_what_its_manifest_says_is_found(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for step in (1, 2):
        partial = folder.trial(0) / "some.partial"
        partial.mkdir(parents=True)
        (partial / "weights").write_bytes(b"weights")
        publish(partial, folder.checkpoint(0, step))
    assert count_broken(folder) == 0
    (folder.checkpoint(0, 2) / "weights").write_bytes(b"weighty")
    assert count_broken(folder) == 1


def test_a_row_that_an_index_lacks_is_found_and_so_are_two_with_one_key(postgres: PostgresServer) -> None:
    postgres.execute("CREATE SCHEMA torn")
    try:
        for table, key in [("whole", 3), ("lacking", 3), ("doubled", 1)]:
            postgres.execute(f"CREATE TABLE torn.{table} (key integer PRIMARY KEY)")
            postgres.execute(f"INSERT INTO torn.{table} VALUES (1), (2)")
            index = f"indexrelid = 'torn.{table}_pkey'::regclass"
            if table != "whole":  # as a lost page of the index would
                postgres.execute(f"UPDATE pg_index SET indisready = false WHERE {index}")
            postgres.execute(f"INSERT INTO torn.{table} VALUES ({key})")
            postgres.execute(f"UPDATE pg_index SET indisready = true WHERE {index}")
        assert count_server_errors(postgres, "torn") == 2
        postgres.execute("DROP TABLE torn.doubled, torn.lacking")
        assert count_server_errors(postgres, "torn") == 0
    finally:
        postgres.execute("DROP SCHEMA torn CASCADE")


def test_what_an_older_attempt_writes_after_a_newer_one_began_is_found() -> None:
    lines = [(0, 1, "begin"), (1, 1, "begin"), (0, 1, "report"), (0, 2, "begin"), (1, 1, "answered"), (0, 2, "report")]
    history = [{"trial": trial, "attempt": attempt, "event": event} for trial, attempt, event in lines]
    assert not +find_late_words(history)
    late = {"trial": 0, "attempt": 1, "event": "report"}
    assert +find_late_words([*history, late]) == {"words of an older attempt": 1}


def test_attacks_follow_from_their_seed_and_are_of_every_kind() -> None:
    first, again, other = (
        list(itertools.islice(plan_attacks(seed, kinds=frozenset(WEIGHTS), pace_s=0.5, longest_s=40.0), 2000))
        for seed in (0, 0, 1)
    )
    assert first == again != other
    assert {attack.kind for attack in first} == set(WEIGHTS)
    assert all(0 <= attack.choice < 1 and attack.wait_s >= 0 for attack in first)
    longest = {kind: max(attack.duration_s for attack in first if attack.kind == kind) for kind in WEIGHTS}
    assert longest == {kind: min(40.0, LONGEST_S.get(kind, 0.0)) for kind in WEIGHTS}

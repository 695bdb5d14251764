"""The columns of a trial, and the tables that pick theirs from them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

import sweep
from sweep.columns import COLUMNS, OUTCOME, choose_settings, rank_trials, say_end, write_leaderboard, write_rows
from sweep.settings.dimensions import Params
from sweep.settings.ranges import FloatRange
from sweep.settings.study_file import SpaceSpec
from sweep.storage.evaluations import EvaluationRow
from sweep.storage.records import StudyRecord, TrialRecord

USUAL = ["data_format", "effective_learning_rate", "warmup_ratio", "batch_size"]
PARAMS = Params(
    learning_rate=3.74e-4,
    effective_learning_rate=3.74e-4,
    warmup_ratio=0.26,
    batch_size=64,
    data_format="query-document",
    scale=20.0,
    scheduler="linear",
)
MEASURED: dict[str, Any] = {"step": 1, "examples": 64, "seconds": 46.2, "evaluation_seconds": 9.0}


def make_trial(number: int, *curve: tuple[int, float], state: Any = "complete", **changed: Any) -> TrialRecord:
    rows = tuple(EvaluationRow(trial=number, progress=at, value=value, **MEASURED) for at, value in curve)
    made: dict[str, Any] = {"value": curve[-1][1] if curve else None, "params": PARAMS, "attributes": {}}
    return TrialRecord(number=number, state=state, rows=rows, **made | changed)


BEST = make_trial(9, (500, 0.86), (1000, 0.899))
FALLEN = make_trial(
    2, (50, 0.7598), (500, 0.6937), state="pruned", attributes={"stop_reason": "drop-off: fallen by 0.07"}
)
BROKEN = make_trial(4, state="fail", params=None, attributes={"error": "boom\n" + "x" * 60}, is_excused=True)
RECORD = StudyRecord(name="toy", attributes={}, trials=(FALLEN, BROKEN, BEST), baseline=0.7524)


def write_lines(keys: list[str]) -> list[str]:
    return ["  ".join(row).strip() for row in write_rows(RECORD, rank_trials(RECORD), keys)]


def test_a_quickstart_has_the_leaderboard_that_the_readme_shows() -> None:
    readme = (Path(sweep.__file__).parents[1] / "README.md").read_text()
    (shown,) = [line for line in readme.splitlines() if line.split()[:3] == ["trial", "peak", "at"]]
    (best,) = [line for line in readme.splitlines() if line.startswith("*  13 ")]
    longest = make_trial(
        13,
        (700, 0.9212),
        (1000, 0.9201),
        value=0.9212,
        params=dataclasses.replace(PARAMS, length=4),
        attributes={"steps": 80, "longer_than": 12},
    )
    record = dataclasses.replace(RECORD, trials=(longest,))
    keys = [*OUTCOME, *choose_settings(record, SpaceSpec()), "seconds", "ending"]
    heads, first = write_rows(record, [longest], keys)
    assert "  ".join(heads).split() == shown.split()
    assert "  ".join(first).split() == best.replace(" 185 ", " 46 ").split()


def test_a_leaderboard_says_why_each_trial_ended() -> None:
    _, first, second, third = write_lines([*OUTCOME, *choose_settings(RECORD, SpaceSpec()), "seconds", "ending"])
    assert first == "*  9  0.8990  100%  1.000  complete  query-document  3.74e-04  0.26  64  46  ran to its end"
    assert second.startswith(
        "2  0.7598  5%  0.913  pruned  query-document  3.74e-04  0.26  64  46  stopped at 50%: drop"
    )
    assert third == f"4  -  -  -  excused  -  -  -  -  -  failed: boom {'x' * 28}..."


@pytest.mark.parametrize(
    ("space", "changed", "more"),
    [
        ({}, {}, []),
        ({"scale": FloatRange(low=10.0, high=40.0)}, {}, ["scale"]),
        ({"scheduler": ("linear", "cosine")}, {}, ["scheduler"]),
        ({}, {"scale": 30.0}, ["scale"]),
    ],
)
def test_a_setting_is_shown_that_is_searched_or_that_trials_differ_in(
    space: dict[str, Any], changed: dict[str, Any], more: list[str]
) -> None:
    other = dataclasses.replace(BEST, number=5, params=dataclasses.replace(PARAMS, **changed))
    record = dataclasses.replace(RECORD, trials=(BEST, other))
    assert choose_settings(record, SpaceSpec(**space)) == [*USUAL, *more]


def test_a_note_shows_what_comes_from_outside_as_code() -> None:
    lines = write_leaderboard(RECORD, SpaceSpec()).splitlines()
    assert lines[0] == "|  | trial | peak | at | retention | state | format | rate | warm-up | batch |"
    assert lines[2] == ("| **best** | 9 | 0.8990 | 100% | 1.000 | complete | `query-document` | 3.74e-04 | 0.26 | 64 |")
    assert len(lines) == 4


def test_why_a_trial_ended_is_said_in_short_and_in_full() -> None:
    assert say_end(BEST, RECORD) == "ran to its end"
    assert (say_end(FALLEN, RECORD, is_short=True), say_end(FALLEN, RECORD)) == (
        "stopped at 50%: drop-off",
        "stopped at 50%: drop-off: fallen by 0.07",
    )
    assert say_end(BROKEN, RECORD) == "failed: boom\n" + "x" * 60
    assert say_end(make_trial(1, state="running"), RECORD) is None


def test_a_paused_trial_says_where_and_at_which_rank() -> None:
    rungs = {"rungs": [500, 800], "promoted": 0, "steps": 20}
    better = dataclasses.replace(BEST, attributes={**BEST.attributes, **rungs})
    paused = dataclasses.replace(FALLEN, number=3, state="paused", attributes={**rungs, "paused_at": 500})
    record = dataclasses.replace(RECORD, trials=(better, paused))
    assert say_end(paused, record) == "paused at 50%, rank 2 of 2"
    stop = {"stop_kind": "not promoted", "stop_reason": "not promoted: rank 2 of 2 with a gain of 0.01"}
    numbers = {"stop_numbers": {"rank": 2, "trials": 2}}
    ended = dataclasses.replace(paused, state="pruned", attributes={**paused.attributes, **stop, **numbers})
    assert say_end(ended, record, is_short=True) == "paused at 50%: not promoted, rank 2 of 2"
    assert say_end(ended, record) == "paused at 50%: not promoted: rank 2 of 2 with a gain of 0.01"


def test_no_two_columns_have_one_name() -> None:
    assert len({column.key for column in COLUMNS}) == len(COLUMNS)

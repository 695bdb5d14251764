from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rehearsals import MODEL, NONE

from sweep.cli.check_cost import describe_cost, looks_share
from sweep.cli.check_settings import describe_settings
from sweep.messages import Evaluation, Rehearsal
from sweep.plan import plan_study
from sweep.progress import DEFAULT_GRID
from sweep.report.collection.sentences import count_plan_leaks, describe_pairs
from sweep.storage.location import locate_study
from sweep.testing import write_toy_study

REHEARSAL = Rehearsal(
    model=MODEL,
    evaluation=Evaluation(per_query=np.ones(1, dtype=np.float32), positives=NONE, negatives=NONE, seconds=1.0),
    texts_per_s=50.0,
    pairs_per_s=32.0,
    look_s=1.5,
    silence_s=0.0,
)
"""A machine that trains the toy study's 320 pairs in 10 s."""

GRID = [0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
"""More looks than the default has."""


def say(folder: Path, rehearsal: Rehearsal, **evaluation: Any) -> list[str]:
    usual: dict[str, Any] = {"max_queries": 40, "max_documents": 60, "grid": [0.5, 1.0]}
    file = write_toy_study(folder, script={}, evaluation={**usual, **evaluation}, budget={"trials": 4, "examples": 320})
    return list(describe_cost(plan_study(locate_study(file)), rehearsal, 2))


@pytest.mark.parametrize(
    ("looks", "look_s", "training_s", "share"),
    [(9, 2.0, 42.0, 0.3), (1, 10.0, 10.0, 0.5), (4, 0.0, 10.0, 0.0)],
)
def test_the_share_is_that_of_looks_and_training(looks: int, look_s: float, training_s: float, share: float) -> None:
    assert looks_share(looks, look_s=look_s, training_s=training_s) == pytest.approx(share)


def test_the_time_is_that_of_training_and_looks_on_all_slots(tmp_path: Path) -> None:
    [cost, about, looks, *_] = say(tmp_path, REHEARSAL)
    assert cost.startswith("Cost:     at most 1,280 pairs trained and 800 texts encoded")
    assert "about 26 s here" in about  # 4 trials of 10 s and twice 1.5 s, two at once
    assert looks == "Looks:    2 evaluations a trial, 1.5 s each: 23% of its time"


def test_rungs_and_longer_trials_are_part_of_the_cost_and_of_the_settings(tmp_path: Path) -> None:
    budget = {"trials": 12, "examples": 320, "total_examples": 4000}
    file = write_toy_study(tmp_path, script={}, budget=budget, rungs={"at": [0.5], "keep": [0.25]})
    plan = plan_study(locate_study(file))
    # 12 to the half and 3 to their end are 7.5 trials, 2,400 pairs: one of 640 fits into the rest, and none of 1,280
    [cost, *_] = describe_cost(plan, REHEARSAL, 2)
    assert cost.startswith("Cost:     about 3,040 pairs trained")
    assert list(describe_settings(plan.spec))[:2] == [
        "Study:    toy, 12 trials of 320 examples",
        "          then the best for longer, as the rest of 4,000 examples in all allows: 640 examples",
    ]
    [titles, *_] = describe_pairs(plan, count_plan_leaks(plan))
    pairs = len(plan.columns["title-content"]["anchor"])
    assert titles.endswith(f"each seen {320 / pairs:.2f} times a trial, {640 / pairs:.2f} times in one of 640")


def test_a_large_share_is_said_with_what_half_of_the_queries_and_the_default_grid_make_of_it(tmp_path: Path) -> None:
    [_, _, looks, queries, grid] = say(tmp_path, REHEARSAL, grid=GRID)
    assert looks == "Looks:    12 evaluations a trial, 1.5 s each: 64% of its time"
    # 80 texts in place of 100, and a fall of margin 0.01 + (1.95 + 52/Q) 0.124/sqrt(Q)
    assert queries.split(": ", 1)[1] == "59%, and they can show a fall of 0.136 instead of 0.074"
    assert queries.strip().startswith("evaluation.max_queries = 20:")
    assert grid.strip() == f"evaluation.grid left out: {len(DEFAULT_GRID)} evaluations, 57%"


@pytest.mark.parametrize(("look_s", "lines"), [(1.2, 3), (1.3, 4)])
def test_a_small_share_needs_no_advice(tmp_path: Path, look_s: float, lines: int) -> None:
    assert len(say(tmp_path, replace(REHEARSAL, look_s=look_s))) == lines


def test_nothing_is_said_of_time_where_it_was_not_measured(tmp_path: Path) -> None:
    assert len(say(tmp_path, replace(REHEARSAL, pairs_per_s=None, look_s=None))) == 1

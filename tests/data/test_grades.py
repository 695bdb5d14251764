from __future__ import annotations

import numpy as np
import pytest

from sweep.data import EvaluationSet
from sweep.data.grades import find_own, grade_rows, look_up_grades, pad_grades, rank_others, shuffle_rows

JUDGED = EvaluationSet(
    document_ids=("q2", "d2", "d1"),
    query_ids=("q1", "q2"),
    qrels={"q1": {"d1": 2, "gone": 1}, "q2": {"d1": 0, "d2": 1}},
    judged_documents=2,
    own_documents=frozenset({"q2"}),
)


def test_grades_are_by_column_and_padded_to_the_longest() -> None:
    rows = grade_rows(JUDGED)
    assert rows == [{2: 2}, {2: 0, 1: 1}]
    assert pad_grades(rows).tolist() == [[2, 0], [0, 1]]
    assert look_up_grades(rows, np.array([[2, 0], [1, 0]])).tolist() == [[2, 0], [1, 0]]


def test_a_query_that_is_a_document_comes_last_in_its_own_ranking_alone() -> None:
    own = find_own(JUDGED)
    assert own.tolist() == [-1, 0]
    scores = np.array([[0.9, 0.5, 0.1], [0.9, 0.5, 0.1]])
    assert rank_others(scores, own, depth=3).tolist() == [[0, 1, 2], [1, 2, 0]]
    assert scores.tolist() == [[0.9, 0.5, 0.1]] * 2


@pytest.mark.parametrize("queries", [2, 3, 50])
def test_no_query_keeps_its_own_judgements_when_they_are_shuffled(queries: int) -> None:
    rows = [{place: 1} for place in range(queries)]
    shuffled = shuffle_rows(rows, seed=0)
    assert sorted(place for row in shuffled for place in row) == list(range(queries))
    assert all(before != after for before, after in zip(rows, shuffled, strict=True))

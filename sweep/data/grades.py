"""Grades of an evaluation set by row and column, for whoever ranks its documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweep.data.collection import EvaluationSet
from sweep.measures.ranking import rank_top_k

GradeRows = Sequence[Mapping[int, float]]
"""For each query, its judged documents' grades by column."""


def grade_rows(judged: EvaluationSet) -> GradeRows:
    """The grades of an evaluation set, its documents being columns in their order."""
    columns = {name: column for column, name in enumerate(judged.document_ids)}
    return [
        {columns[document]: grade for document, grade in judged.qrels[query].items() if document in columns}
        for query in judged.query_ids
    ]


def shuffle_rows(rows: GradeRows, *, seed: int) -> GradeRows:
    """For each query the grades of another one, in one seeded cycle: what a ranking is worth by chance."""
    order = np.random.default_rng(seed).permutation(len(rows)).tolist()
    following = dict(zip(order, [*order[1:], *order[:1]], strict=True))
    return [rows[following[place]] for place in range(len(rows))]


def pad_grades(rows: GradeRows) -> NDArray[np.float64]:
    """(Q, J) the grades of each query, with 0 behind them."""
    padded = np.zeros((len(rows), max(map(len, rows), default=0)))
    for place, row in enumerate(rows):
        padded[place, : len(row)] = list(row.values())
    return padded


def look_up_grades(rows: GradeRows, top: NDArray[np.int64]) -> NDArray[np.float64]:
    """(q, K) columns in rank order -> their grades; 0 of what is not judged."""
    grades = [[row.get(column, 0) for column in best] for row, best in zip(rows, top.tolist(), strict=True)]
    return np.array(grades, dtype=np.float64).reshape(top.shape)


def find_own(judged: EvaluationSet) -> NDArray[np.int64]:
    """(Q,) the column of each query that is itself a document; -1 of the others."""
    columns = {name: column for column, name in enumerate(judged.document_ids)}
    own = [columns[name] if name in judged.own_documents else -1 for name in judged.query_ids]
    return np.array(own, dtype=np.int64)


def rank_others(scores: NDArray[np.floating[Any]], own: NDArray[np.int64], *, depth: int) -> NDArray[np.int64]:
    """(q, K) columns of the highest of (q, D) scores, best first, in which queries that are documents come last.

    Args:
        scores: (q, D) scores of the documents.
        own: (q,) the column of each query that is itself a document, or -1.
        depth: Depth of the ranking.
    """
    rows = np.flatnonzero(own >= 0)
    if len(rows):
        scores = scores.copy()
        scores[rows, own[rows]] = -np.inf
    return rank_top_k(scores, depth)

"""Measures: the value of a ranking for each query, by the name that a study file gives it, such as ``recall@100``.

Each equals trec_eval's measure of the same name on graded judgements. A new one is a function and its entry in
`MEASURES`; everything that is decided, stored, printed or drawn about a study follows the measure that its file names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from sweep.measures.ranking import FloatArray, count_relevant, discounted_gain, is_relevant

DEFAULT_METRIC = "ndcg@10"

MAX_DEPTH = 1000
"""Deepest cut-off, that of trec_eval's own runs: each evaluation looks up the grade of every document above it."""


def ndcg_at_k(ranked: FloatArray, judged: FloatArray, k: int) -> FloatArray:
    """Normalised discounted cumulative gain of each query's first ``k`` documents, as trec_eval's ndcg_cut_k.

    Gains are linear: a grade of 2 is worth twice a grade of 1. Sentence Transformers' own evaluator knows only relevant
    or not, so the two differ on graded judgements.

    Args:
        ranked: (Q, D) grade of the document each query ranks at each place, best place first; 0 where the document is
            not judged.
        judged: (Q, J) every grade judged for the query, in any order, padded with 0.
        k: Depth of the cut-off, in documents.

    Returns:
        (Q,) values in [0, 1]. A query with nothing relevant has 0.
    """
    gained = discounted_gain(ranked[:, :k])
    ideal = discounted_gain(-np.sort(-judged, axis=1)[:, :k])
    return np.divide(gained, ideal, out=np.zeros_like(gained), where=ideal > 0)


def recall_at_k(ranked: FloatArray, judged: FloatArray, k: int) -> FloatArray:
    """Share of each query's relevant documents that are among its first ``k``, as trec_eval's recall_k."""
    shares: FloatArray = np.count_nonzero(is_relevant(ranked[:, :k]), axis=1) / count_relevant(judged)
    return shares


def mrr_at_k(ranked: FloatArray, judged: FloatArray, k: int) -> FloatArray:  # noqa: ARG001 - every measure has three
    """Reciprocal of the rank, from 1, of each query's first relevant document, as recip_rank; 0 where beyond ``k``."""
    relevant = is_relevant(ranked[:, :k])
    return np.where(relevant.any(axis=1), 1.0 / (relevant.argmax(axis=1) + 1.0), 0.0)


def map_at_k(ranked: FloatArray, judged: FloatArray, k: int) -> FloatArray:
    """Average precision at the ranks of relevant documents among the first ``k``, as trec_eval's map_cut_k.

    The sum is divided by all relevant documents of the query, also by those that ``k`` places have no room for.
    """
    relevant = is_relevant(ranked[:, :k])
    precision = np.cumsum(relevant, axis=1) / np.arange(1, relevant.shape[1] + 1)
    averages: FloatArray = np.sum(precision, axis=1, where=relevant) / count_relevant(judged)
    return averages


Function = Callable[[FloatArray, FloatArray, int], FloatArray]
"""(Q, D) ranked grades, (Q, J) judged grades and a depth -> (Q,) values in [0, 1]; the higher, the better."""

MEASURES: Mapping[str, tuple[str, Function]] = {
    "ndcg": ("NDCG", ndcg_at_k),
    "recall": ("Recall", recall_at_k),
    "mrr": ("MRR", mrr_at_k),
    "map": ("MAP", map_at_k),
}
"""Label and function of each measure, by the name that stands before ``@`` and the depth in a study file."""

GRADED: tuple[Function, ...] = (ndcg_at_k,)
"""Functions whose gains are the grades; the others know only relevant or not."""


@dataclass(frozen=True)
class Measure:
    """A measure at a depth, in documents: ``recall@100`` in study files and JSON, ``Recall@100`` as label."""

    key: str
    label: str
    depth: int
    function: Function

    def evaluate(self, ranked: FloatArray, judged: FloatArray, *, relevant: float | None = None) -> FloatArray:
        """(Q, D) ranked and (Q, J) judged grades -> (Q,) values in [0, 1].

        Where a measure knows only relevant or not, a grade below ``relevant`` is not, as with trec_eval's -l.

        Raises:
            ValueError: If the two arrays disagree on Q.
        """
        if ranked.shape[0] != judged.shape[0]:
            raise ValueError(f"ranked has {ranked.shape[0]} queries but judged has {judged.shape[0]}")
        if relevant is not None and self.function not in GRADED:
            ranked, judged = (np.where(grades >= relevant, grades, 0.0) for grades in (ranked, judged))
        return self.function(ranked, judged, self.depth)


def find_measure(key: str, *, on_generated: bool = False) -> Measure:
    """The measure of a name; its label says so where it is of queries that nobody asked, but that were generated.

    Raises:
        ValueError: If there is no such measure, or its depth is out of range.
    """
    name, _, depth = key.partition("@")
    if name not in MEASURES or not re.fullmatch(r"[1-9]\d{0,3}", depth) or int(depth) > MAX_DEPTH:
        known = ", ".join(f"{name}@K" for name in MEASURES)
        raise ValueError(
            f"must be one of {known} with a depth K from 1 to {MAX_DEPTH}, such as {DEFAULT_METRIC}, got {key!r}"
        )
    label, function = MEASURES[name]
    where = " on generated queries" if on_generated else ""
    return Measure(key, f"{label}@{depth}{where}", int(depth), function)

"""BM25: what a ranking by words alone is worth, which a model should beat."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from sweep.data.collection import Collection, DocumentView, EvaluationSet
from sweep.data.grades import find_own, grade_rows, look_up_grades, pad_grades, rank_others
from sweep.data.leaks import normalize
from sweep.data.near_texts import split_words
from sweep.measures.measures import Measure


def evaluate_bm25(
    collection: Collection, judged: EvaluationSet, *, document: DocumentView, measure: Measure
) -> NDArray[np.float32]:
    """(Q,) values of a measure of BM25's ranking: k1 1.5, b 0.75, words as they are written but for case.

    The queries of a benchmark are ranked over its documents.
    """
    values = [_evaluate_one(collection, one, document, measure) for one in judged.by_benchmark()]
    return np.concatenate(values)


def rank_by_words(
    documents: Iterable[str], queries: Sequence[str], *, own: NDArray[np.int64], depth: int
) -> list[NDArray[np.int64]]:
    """For each query the columns of the documents that BM25 ranks highest, best first, of those with a common word.

    Args:
        documents: Texts of documents; of equal scores the earlier comes first.
        queries: Texts of queries.
        own: (Q,) column of each query that is itself a document, and not ranked; -1 of the others.
        depth: Depth of the rankings.
    """
    index = _WordIndex(documents, queries)
    found = []
    for row in range(len(queries)):
        scores = index.scores(row)
        (top,) = rank_others(scores[None], own[row : row + 1], depth=depth)
        found.append(top[(scores[top] > 0) & (top != own[row])])
    return found


def place_own(documents: Iterable[str], queries: Sequence[str], *, own: NDArray[np.int64]) -> NDArray[np.int64]:
    """(Q,) rank of one document for each query in BM25's ranking, from 1; 0 where they have no word in common.

    Documents of equal score do not stand before it.

    Args:
        documents: Texts of documents.
        queries: Texts of queries.
        own: (Q,) column of the document of each query.
    """
    index = _WordIndex(documents, queries)
    ranks = np.zeros(len(queries), dtype=np.int64)
    for row, column in enumerate(own.tolist()):
        scores = index.scores(row)
        if scores[column] > 0:
            ranks[row] = 1 + np.count_nonzero(scores > scores[column])
    return ranks


class _WordIndex:
    """BM25 of documents for some queries: k1 1.5, b 0.75. Words that no query has are counted alone."""

    def __init__(self, documents: Iterable[str], queries: Sequence[str]) -> None:
        from bm25s import BM25  # not for every start of a command

        words = [split_words(normalize(query)) for query in queries]
        numbers = {word: number for number, word in enumerate(dict.fromkeys(chain.from_iterable(words)), start=1)}
        self._queries = [[numbers[word] for word in query] for query in words]
        rows = [[numbers.get(word, 0) for word in split_words(normalize(text))] for text in documents]
        self._documents = len(rows)
        self._index = BM25() if any(rows) else None
        if self._index is not None:
            self._index.index((rows, {"": 0, **numbers}), show_progress=False)

    def scores(self, query: int) -> NDArray[np.float32]:
        """(D,) scores of the documents for a query by its place; 0 of those that share no word with it."""
        if self._index is None or not self._queries[query]:
            return np.zeros(self._documents, dtype=np.float32)
        scores: NDArray[np.float32] = self._index.get_scores_from_ids(self._queries[query])
        return scores


def _evaluate_one(
    collection: Collection, judged: EvaluationSet, document: DocumentView, measure: Measure
) -> NDArray[np.float32]:
    documents = (collection.documents[name].embedded(document) for name in judged.document_ids)
    index = _WordIndex(documents, [collection.queries[name] for name in judged.query_ids])
    scores = np.stack([index.scores(row) for row in range(len(judged.query_ids))])
    rows = grade_rows(judged)
    top = rank_others(scores, find_own(judged), depth=measure.depth)
    values = measure.evaluate(look_up_grades(rows, top), pad_grades(rows), relevant=judged.relevant)
    return values.astype(np.float32)

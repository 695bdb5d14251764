"""Cosines of queries with their relevant documents and with others, gathered while they are compared in chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from sweep.data import is_relevant
from sweep.data.grades import GradeRows
from sweep.training.search import Corpus
from sweep.training.similarity import unit_rows

_Float32 = NDArray[np.float32]
_Int = NDArray[np.int64]


class SampledCosines:
    """The cosines of all relevant pairs, and of an even sample of the others.

    Of the pairs of a chunk of queries that are not relevant, row by row, every n-th is taken, n being as large as
    ``most`` asks for. It is the same sample in whatever chunks documents are compared.

    Args:
        queries: (Q, H) embeddings.
        corpus: The D documents.
        grades: For each query, its judged documents' grades by column.
        own: (Q,) column of each query that is itself a document, and no pair with it; -1 of the others.
        relevant: Grade from which a document is relevant; None for every grade above 0.
        most: Cosines that the sample is to hold, or little more.
    """

    def __init__(
        self, queries: _Float32, corpus: Corpus, *, grades: GradeRows, own: _Int, relevant: float | None, most: int
    ) -> None:
        self._queries = queries
        self._corpus = corpus
        self._grades = grades
        self._own = own
        self._relevant = relevant
        self._stride = max(1, len(queries) * len(corpus.places) // most)
        self._parts: list[tuple[_Pairs, _Pairs]] = []

    def add(self, chosen: slice, texts: slice, scores: _Float32) -> None:
        """Adds the scores of a chunk of queries with one of distinct texts, which begin anew with each of queries."""
        if not texts.start:
            self._parts.append(self._plan(chosen))
        similarity, cosines = self._corpus.similarity, scores
        if not similarity.needs_unit_length:
            documents = unit_rows(similarity, self._corpus.take(texts))
            cosines = unit_rows(similarity, self._queries[chosen]) @ documents.T
        for pairs in self._parts[-1]:
            pairs.add(cosines, start=texts.start)

    def collect(self, is_flat: NDArray[np.bool_]) -> tuple[_Float32, _Float32]:
        """The cosines of relevant pairs, and those of others, row by row.

        Args:
            is_flat: (Q,) queries whose cosines are equal to rounding, and are made equal.
        """
        if self._corpus.similarity.needs_unit_length:
            for pairs in (pairs for part in self._parts for pairs in part):
                pairs.flatten(is_flat)
        positives, negatives = ([part[place].cosines for part in self._parts] for place in (0, 1))
        return np.concatenate(positives), np.concatenate(negatives)

    def _plan(self, chosen: slice) -> tuple[_Pairs, _Pairs]:
        grades, own, places = self._grades[chosen], self._own[chosen], self._corpus.places
        relevant = [
            sorted(column for column, grade in row.items() if is_relevant(grade, self._relevant)) for row in grades
        ]
        others = list_others(relevant, own, documents=len(places), stride=self._stride)
        return _Pairs(relevant, places, start=chosen.start), _Pairs(list(others), places, start=chosen.start)


class _Pairs:
    """Pairs of a chunk of queries with documents, and their cosines as they come text by text."""

    def __init__(self, columns: Sequence[Sequence[int] | _Int], places: _Int, *, start: int) -> None:
        rows = np.repeat(np.arange(len(columns)), [len(row) for row in columns])
        texts = places[np.concatenate([*(np.asarray(row, dtype=np.int64) for row in columns), places[:0]])]
        self.cosines = np.empty(len(rows), dtype=np.float32)
        self._start = start
        self._queries = rows + start
        self._firsts = np.empty(len(columns), dtype=np.float32)
        self._order = np.argsort(texts, kind="stable")
        self._rows, self._texts = rows[self._order], texts[self._order]

    def add(self, cosines: _Float32, *, start: int) -> None:
        """Adds the (q, u) cosines of the texts from ``start`` on."""
        if not start:
            self._firsts[:] = cosines[:, 0]
        first, last = np.searchsorted(self._texts, [start, start + cosines.shape[1]])
        some = slice(first, last)
        self.cosines[self._order[some]] = cosines[self._rows[some], self._texts[some] - start]

    def flatten(self, is_flat: NDArray[np.bool_]) -> None:
        """Makes the cosines of flat queries those with the first text."""
        chosen = is_flat[self._queries]
        if chosen.any():
            self.cosines[chosen] = self._firsts[self._queries[chosen] - self._start]


def list_others(relevant: Sequence[Sequence[int]], own: _Int, *, documents: int, stride: int) -> Iterator[_Int]:
    """For each query the columns of every ``stride``-th of the pairs that are not relevant, counted over all queries.

    Args:
        relevant: Columns, ascending, of each query's relevant documents.
        own: (q,) column of each query that is itself a document, and no pair with it; -1 of the others.
        documents: Number of columns.
        stride: Pairs of which one is taken.
    """
    passed = 0
    for columns, alone in zip(relevant, own.tolist(), strict=True):
        excluded = np.array(sorted({*columns, *([alone] if alone >= 0 else [])}), dtype=np.int64)
        count = documents - len(excluded)
        places = np.arange(-passed % stride, count, stride)
        # The i-th excluded column, at e, has e - i others before it: those behind it lie further on by one.
        yield places + np.searchsorted(excluded - np.arange(len(excluded)), places, side="right")
        passed += count

"""Candidates: the documents that may be among a query's highest, by scores that are known up to a bounded error."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_Scores = NDArray[np.floating[Any]]
_Int = NDArray[np.int64]


class Candidates:
    """The documents that may be among the ``depth`` highest of each of Q queries, as their scores come chunk by chunk.

    A document whose score lies below the depth-th highest by more than twice the error is none: at least ``depth``
    others are above it, whatever the errors are.

    Args:
        errors: (Q,) bound of the error of each query's scores.
        depth: Depth of the rankings, at least 1.
        limit: Candidates above which a query counts as crowded, and has none here; None for no limit.
    """

    def __init__(self, errors: NDArray[np.float64], *, depth: int, limit: int | None = None) -> None:
        self.is_crowded = np.zeros(len(errors), dtype=bool)
        self._margins = 2.0 * errors
        self._depth = depth
        self._limit = limit
        self._floors = np.full(len(errors), -np.inf)  # (Q,) the depth-th highest score of each query
        self._highest = np.full((len(errors), depth), -np.inf)  # (Q, depth)
        self._found: list[tuple[_Int, _Int, _Scores]] = []

    def add(self, scores: _Scores, *, start: int) -> None:
        """Adds (Q, U) scores of the documents from ``start`` on."""
        rows, columns = self._find(scores)
        if self._limit is not None:
            self.is_crowded |= np.bincount(rows, minlength=len(scores)) > self._limit
            is_kept = ~self.is_crowded[rows]
            rows, columns = rows[is_kept], columns[is_kept]
        values = scores[rows, columns]
        self._found.append((rows, columns + start, values))
        self._raise_floors(rows, values)

    def collect(self) -> tuple[_Int, _Int]:
        """Rows of queries, ascending, and the candidates of each, ascending; none of the queries that are crowded."""
        parts = zip(*self._found, strict=True)
        rows, documents, values = (np.concatenate(part) for part in parts)
        is_kept = (values >= self._thresholds(self._floors, values.dtype)[rows]) & ~self.is_crowded[rows]
        rows, documents = rows[is_kept], documents[is_kept]
        order = np.argsort(rows, kind="stable")
        return rows[order], documents[order]

    def _find(self, scores: _Scores) -> tuple[_Int, _Int]:
        """Rows, ascending, and columns of the scores that may be among the highest of all so far."""
        floors, width = self._floors.copy(), scores.shape[1]
        self._raise_by(floors, scores, np.isneginf(floors))
        rows, columns = np.divmod(np.flatnonzero(scores >= self._thresholds(floors, scores.dtype)[:, None]), width)
        # Where a chunk is better than all before it, its own highest scores say more.
        is_long = np.bincount(rows, minlength=len(scores)) > 2 * self._depth
        if is_long.any():
            self._raise_by(floors, scores, is_long)
            is_kept = scores[rows, columns] >= self._thresholds(floors, scores.dtype)[rows]
            rows, columns = rows[is_kept], columns[is_kept]
        return rows, columns

    def _raise_by(self, floors: NDArray[np.float64], scores: _Scores, chosen: NDArray[np.bool_]) -> None:
        """Raises the floors of some queries to the depth-th highest of their scores."""
        place = scores.shape[1] - self._depth
        if place >= 0 and chosen.any():
            kth = np.partition(scores[chosen], place, axis=1)[:, place]
            floors[chosen] = np.maximum(floors[chosen], kth)

    def _raise_floors(self, rows: _Int, values: _Scores) -> None:
        """Raises the floors by further scores, whose rows ascend."""
        counts = np.bincount(rows, minlength=len(self._floors))
        padded = np.full((len(counts), counts.max(initial=0)), -np.inf)
        padded[rows, np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)] = values
        both = np.concatenate([self._highest, padded], axis=1)
        self._highest = np.partition(both, padded.shape[1], axis=1)[:, padded.shape[1] :]
        self._floors = np.where(self.is_crowded, np.inf, self._highest[:, 0])

    def _thresholds(self, floors: NDArray[np.float64], dtype: Any) -> _Scores:
        """(Q,) scores from which a document is a candidate, rounded down."""
        thresholds: _Scores = np.nextafter((floors - self._margins).astype(dtype), np.array(-np.inf, dtype=dtype))
        return thresholds

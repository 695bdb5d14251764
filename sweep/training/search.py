"""Search: the documents that each query ranks highest, exactly, compared in chunks of any size.

A matrix product is fast, and rounds as its shape has it. So it only proposes: what may be among the highest, by a bound
of its rounding, is compared pair by pair, each a function of its two embeddings alone. The ranking is the same to the
last tie for chunks of any size, on any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweep.messages import Sign, give_no_sign
from sweep.training.candidates import Candidates
from sweep.training.similarity import MANY_DOCUMENTS, Similarity

QUERY_CHUNK = 1024
DOCUMENT_CHUNK = MANY_DOCUMENTS
"""Documents that are compared at once: 32 MiB of scores, which a processor's cache holds while they are looked at.

On two cores (AMD Zen 3), 2,000 queries and 50,000 documents of 384 dimensions took 0.54 s.
"""

_PAIRS = 4096
"""Pairs that are compared exactly at once."""

_CROWD = 8
"""Times the depth of a ranking above which float32 does not tell a query's candidates apart."""

_CLOSE_QUERIES = 16
"""Queries that are looked at more closely at once: each may have every document for a candidate."""

_Float32 = NDArray[np.float32]
_Float64 = NDArray[np.float64]
_Int = NDArray[np.int64]
_Bool = NDArray[np.bool_]

Watch = Callable[[slice, slice, _Float32], None]
"""Called with a chunk of queries, one of distinct documents, and their (q, u) scores, which are then overwritten."""


@dataclass(frozen=True)
class Ranking:
    """The documents that each query ranks highest.

    Attributes:
        top: (Q, K) columns of documents, best first; ties go to the earlier column.
        scores: (Q, K) their similarities; -inf of a document that is the query itself.
        is_flat: (Q,) whether all similarities of a query are equal to rounding, and count as ties.
    """

    top: _Int
    scores: _Float64
    is_flat: _Bool


class Corpus:
    """Documents that are searched. Those of equal texts have one embedding, and so one score.

    Args:
        similarity: The model's similarity.
        embeddings: (N, H) embeddings, all finite; of length 1 where the similarity needs that.
        texts: (U,) rows of the embeddings that are searched; by default all of them.
        places: (D,) place of each document's embedding among these; by default each document has its own.
        chunk: Embeddings that are compared with queries at once.
    """

    def __init__(
        self,
        similarity: Similarity,
        embeddings: _Float32,
        *,
        texts: _Int | None = None,
        places: _Int | None = None,
        chunk: int = DOCUMENT_CHUNK,
    ) -> None:
        self.similarity = similarity
        self.texts = np.arange(len(embeddings)) if texts is None else texts
        self.places = np.arange(len(self.texts)) if places is None else places
        self._embeddings = embeddings
        self._chunk = chunk
        self._by_text = np.argsort(self.places, kind="stable")  # columns, text by text
        self._starts = np.searchsorted(self.places[self._by_text], np.arange(len(self.texts) + 1))
        self.longest = max((float(similarity.lengths(some).max()) for _, some in self.chunks()), default=0.0)

    def chunks(self) -> Iterator[tuple[slice, _Float32]]:
        """The distinct embeddings, chunk by chunk."""
        for start in range(0, len(self.texts), self._chunk):
            chosen = slice(start, min(start + self._chunk, len(self.texts)))
            yield chosen, self.take(chosen)

    def take(self, texts: slice) -> _Float32:
        """The embeddings of distinct texts by their places."""
        return self._embeddings[self.texts[texts]]

    def compare(self, queries: _Float32, rows: _Int, texts: _Int) -> _Float64:
        """(P,) exact similarities of queries by their rows with texts by their places."""
        found = np.empty(len(rows))
        for start in range(0, len(rows), _PAIRS):
            some = slice(start, start + _PAIRS)
            documents = self._embeddings[self.texts[texts[some]]]
            found[some] = self.similarity.exact(queries[rows[some]], documents)
        return found

    def columns_of(self, texts: _Int, *, most: int) -> tuple[_Int, _Int]:
        """For each of some texts the first columns of the documents that have it, ``most`` of them at most.

        Returns:
            Places among the texts, ascending, and a column for each.
        """
        counts = np.minimum(self._starts[texts + 1] - self._starts[texts], most)
        which = np.repeat(np.arange(len(texts)), counts)
        behind = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
        return which, self._by_text[self._starts[texts[which]] + behind]


def search(
    queries: _Float32,
    corpus: Corpus,
    *,
    own: _Int,
    depth: int,
    watch: Watch | None = None,
    query_chunk: int = QUERY_CHUNK,
    sign: Sign = give_no_sign,
) -> Ranking:
    """The ``depth`` documents of a corpus that are most similar to each query, or all where there are fewer.

    Similarities of a query that differ by no more than rounding, over all documents, count as ties.

    Args:
        queries: (Q, H) embeddings, all finite.
        corpus: The documents.
        own: (Q,) column of each query that is itself a document, and comes last in its own ranking; -1 of the others.
        depth: Depth of the ranking.
        watch: Sees the score of every query with every distinct document.
        query_chunk: Queries that are compared at once.
        sign: Given after each chunk.

    Raises:
        ValueError: If ``depth`` is below 1.
    """
    if depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}")
    width = min(depth, len(corpus.places))
    top, scores = np.empty((len(queries), width), dtype=np.int64), np.empty((len(queries), width))
    is_flat = np.zeros(len(queries), dtype=bool)
    for start in range(0, len(queries), query_chunk):
        chosen = slice(start, min(start + query_chunk, len(queries)))

        def see(texts: slice, found: _Float32, chosen: slice = chosen) -> None:
            if watch is not None:
                watch(chosen, texts, found)
            sign()

        one = _Search(queries[chosen], corpus, own[chosen], width)
        top[chosen], scores[chosen], is_flat[chosen] = one.run(see)
    return Ranking(top, scores, is_flat)


class _Search:
    """The search for a chunk of queries."""

    def __init__(self, queries: _Float32, corpus: Corpus, own: _Int, depth: int) -> None:
        self._queries = queries
        self._corpus = corpus
        self._own = own
        self._depth = depth
        self._lengths = corpus.similarity.lengths(queries)

    def run(self, see: Callable[[slice, _Float32], None]) -> tuple[_Int, _Float64, _Bool]:
        """The columns in rank order, their similarities, and which queries are flat."""
        top = np.empty((len(self._queries), self._depth), dtype=np.int64)
        scores, is_flat = np.empty(top.shape), np.zeros(len(top), dtype=bool)
        is_clear, rows, texts = self._propose(see)
        unclear, clear = np.flatnonzero(~is_clear), np.flatnonzero(is_clear)
        top[clear], scores[clear] = self._rank(clear, np.searchsorted(clear, rows), texts)
        if len(unclear):
            is_flat[unclear] = self._find_flat(unclear)
            flat, close = unclear[is_flat[unclear]], unclear[~is_flat[unclear]]
            top[flat], scores[flat] = self._rank_flat(flat)
            for start in range(0, len(close), _CLOSE_QUERIES):
                some = close[start : start + _CLOSE_QUERIES]
                top[some], scores[some] = self._rank(some, *self._propose_closely(some))
        return top, scores, is_flat

    def _propose(self, see: Callable[[slice, _Float32], None]) -> tuple[_Bool, _Int, _Int]:
        """Which queries float32 tells all about; rows of these and the texts that may be among their highest."""
        corpus, size = self._corpus, self._queries.shape[1]
        error = corpus.similarity.approximation_error(self._lengths, corpus.longest, dimensions=size)
        rounding = corpus.similarity.approximate_rounding(self._lengths, corpus.longest) + 2 * error
        candidates = Candidates(error, depth=self._depth + 1, limit=_CROWD * (self._depth + 1))  # + 1: the query itself
        is_spread = np.zeros(len(self._queries), dtype=bool)
        buffer = np.empty(0, dtype=np.float32)
        for chosen, embeddings in corpus.chunks():
            shape = (len(self._queries), len(embeddings))
            if len(buffer) < shape[0] * shape[1]:
                buffer = np.empty(shape[0] * shape[1], dtype=np.float32)
            out = buffer[: shape[0] * shape[1]].reshape(shape)
            found = corpus.similarity.approximate(self._queries, embeddings, out=out)
            candidates.add(found, start=chosen.start)
            if not is_spread.all():
                is_spread |= np.ptp(found, axis=1) > rounding
            see(chosen, found)
        rows, texts = candidates.collect()
        is_clear = is_spread & ~candidates.is_crowded
        return is_clear, rows[is_clear[rows]], texts[is_clear[rows]]

    def _propose_closely(self, chosen: _Int) -> tuple[_Int, _Int]:
        """Places among some queries, and the texts that may be among their highest."""
        corpus, queries = self._corpus, self._queries[chosen].astype(np.float64)
        error = corpus.similarity.accuracy(self._lengths[chosen], corpus.longest, dimensions=queries.shape[1])
        candidates = Candidates(error, depth=self._depth + 1)
        for texts, embeddings in corpus.chunks():
            candidates.add(corpus.similarity.accurate(queries, embeddings.astype(np.float64)), start=texts.start)
        return candidates.collect()

    def _find_flat(self, chosen: _Int) -> _Bool:
        """Which of some queries are as similar to all documents, to rounding."""
        corpus, queries = self._corpus, self._queries[chosen].astype(np.float64)
        low, high = np.full(len(chosen), np.inf), np.full(len(chosen), -np.inf)
        for _, embeddings in corpus.chunks():
            found = corpus.similarity.accurate(queries, embeddings.astype(np.float64))
            low, high = np.minimum(low, found.min(axis=1)), np.maximum(high, found.max(axis=1))
        rounding = corpus.similarity.rounding(self._lengths[chosen], corpus.longest)
        error = corpus.similarity.accuracy(self._lengths[chosen], corpus.longest, dimensions=queries.shape[1])
        is_flat: _Bool = high - low <= rounding
        for place in np.flatnonzero(np.abs(high - low - rounding) <= 2 * error):
            texts = np.arange(len(corpus.texts))
            found = corpus.compare(self._queries[chosen[place]][None], np.zeros_like(texts), texts)
            is_flat[place] = np.ptp(found) <= rounding[place]
        return is_flat

    def _rank(self, chosen: _Int, rows: _Int, texts: _Int) -> tuple[_Int, _Float64]:
        """The rankings of some queries, from their candidates: places among these, ascending, and texts."""
        scores = self._corpus.compare(self._queries[chosen], rows, texts)
        which, columns = self._corpus.columns_of(texts, most=self._depth + 1)
        rows, scores = rows[which], scores[which]
        scores[columns == self._own[chosen][rows]] = -np.inf
        order = np.lexsort((columns, -scores, rows))
        firsts = np.searchsorted(rows, np.arange(len(chosen)))
        best = order[firsts[:, None] + np.arange(self._depth)]
        return columns[best], scores[best]

    def _rank_flat(self, chosen: _Int) -> tuple[_Int, _Float64]:
        """The rankings of queries all of whose documents are ties, with the similarity of the first."""
        own = self._own[chosen][:, None]
        alike = self._corpus.compare(self._queries, chosen, np.zeros_like(chosen))
        scores = np.repeat(alike[:, None], self._depth, axis=1)
        columns = np.broadcast_to(np.arange(self._depth), scores.shape)
        behind = columns + ((own >= 0) & (columns >= own))  # those behind the query itself move up
        scores[behind == len(self._corpus.places)] = -np.inf
        return np.where(behind == len(self._corpus.places), own, behind), scores

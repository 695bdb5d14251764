from __future__ import annotations

import numpy as np
import pytest

from sweep.training.cosines import SampledCosines
from sweep.training.search import Corpus, search
from sweep.training.similarity import Similarity

DOCUMENTS, QUERIES = 60, 25


def gather(*, most: int, name: str = "cosine", query_chunk: int = 8, document_chunk: int = 60, places=None):
    """The cosines of relevant and of other pairs, and for each query what is relevant, own and its cosines."""
    random = np.random.default_rng(0)
    texts = DOCUMENTS if places is None else int(places.max()) + 1
    found = random.normal(size=(texts + QUERIES, 8)).astype(np.float32)
    if name == "cosine":
        found /= np.linalg.norm(found, axis=1, keepdims=True)
    queries, embeddings = found[texts:], found[:texts]
    grades = [
        {int(column): int(grade) for column, grade in zip(random.choice(DOCUMENTS, 5), random.integers(0, 3, 5))}  # noqa: B905
        for _ in range(QUERIES)
    ]
    own = np.where(random.random(QUERIES) < 0.4, random.integers(0, DOCUMENTS, QUERIES), -1)
    for row, alone in zip(grades, own.tolist(), strict=True):
        row.pop(alone, None)
    corpus = Corpus(Similarity(name), embeddings, places=places, chunk=document_chunk)
    cosines = SampledCosines(queries, corpus, grades=grades, own=own, relevant=None, most=most)
    ranking = search(queries, corpus, own=own, depth=5, watch=cosines.add, query_chunk=query_chunk)
    unit = found / np.linalg.norm(found, axis=1, keepdims=True)
    every = unit[texts:] @ unit[:texts].T
    return cosines.collect(ranking.is_flat), grades, own, every if places is None else every[:, places]


def pick_plainly(grades, own, every, *, stride: int, query_chunk: int):
    """Marks of the pairs, and every n-th of those that are left, as they lie in a matrix."""
    relevant = np.zeros(every.shape, dtype=bool)
    for place, row in enumerate(grades):
        relevant[place, [column for column, grade in row.items() if grade > 0]] = True
    others = ~relevant
    others[own >= 0, own[own >= 0]] = False
    chunks = [slice(start, start + query_chunk) for start in range(0, len(every), query_chunk)]
    return every[relevant], np.concatenate([every[some][others[some]][::stride] for some in chunks])


@pytest.mark.parametrize("name", ["cosine", "dot"])
@pytest.mark.parametrize("document_chunk", [1, 7, 60])
@pytest.mark.parametrize("stride", [1, 7, 100])
def test_they_are_every_nth_of_all_pairs_in_whatever_chunks(name, stride, document_chunk) -> None:
    most = -(-DOCUMENTS * QUERIES // (stride + 1)) + 1 if stride > 1 else DOCUMENTS * QUERIES
    stride = max(1, DOCUMENTS * QUERIES // most)
    found, grades, own, every = gather(most=most, name=name, document_chunk=document_chunk)
    expected = pick_plainly(grades, own, every, stride=stride, query_chunk=8)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_documents_of_one_text_are_pairs_of_their_own() -> None:
    places = np.random.default_rng(1).permutation(np.concatenate([np.arange(40), np.arange(20)]))
    found, grades, own, every = gather(most=10**6, places=places, document_chunk=9)
    for ours, theirs in zip(found, pick_plainly(grades, own, every, stride=1, query_chunk=8), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_those_of_a_flat_query_are_equal() -> None:
    embeddings = np.repeat(np.eye(1, 8, dtype=np.float32), 30, axis=0)
    embeddings[1::2] *= np.float32(1) + np.finfo(np.float32).eps
    corpus = Corpus(Similarity("cosine"), embeddings, chunk=7)
    queries, own = embeddings[:4], np.full(4, -1)
    cosines = SampledCosines(queries, corpus, grades=[{1: 1, 2: 1}] * 4, own=own, relevant=None, most=10**6)
    ranking = search(queries, corpus, own=own, depth=5, watch=cosines.add, query_chunk=3)
    assert [len(set(found.tolist())) for found in cosines.collect(ranking.is_flat)] == [2, 2]  # two lengths of queries

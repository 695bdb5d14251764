from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.data.grades import look_up_grades, pad_grades
from sweep.measures.geometry import ROUNDING
from sweep.measures.measures import find_measure
from sweep.training.search import DOCUMENT_CHUNK, QUERY_CHUNK, Corpus, Ranking, search
from sweep.training.similarity import Similarity

NAMES = ("cosine", "dot", "euclidean", "manhattan")


def draw(rows: int, dimensions: int = 16, *, seed: int = 0, unit: bool = True) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=(rows, dimensions)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True) if unit else found


def crowd(rows: int, dimensions: int = 16, *, spread: float, seed: int = 0) -> np.ndarray:
    """Embeddings of length 1 that lie as near to each other as a spread says."""
    found = draw(1, dimensions, seed=seed) + spread * draw(rows, dimensions, seed=seed + 1)
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def run(
    queries: np.ndarray,
    embeddings: np.ndarray,
    *,
    name: str = "cosine",
    depth: int = 10,
    own: np.ndarray | None = None,
    places: np.ndarray | None = None,
    query_chunk: int = QUERY_CHUNK,
    document_chunk: int = DOCUMENT_CHUNK,
) -> Ranking:
    corpus = Corpus(Similarity(name), embeddings, places=places, chunk=document_chunk)
    own = np.full(len(queries), -1) if own is None else own
    return search(queries, corpus, own=own, depth=depth, query_chunk=query_chunk)


def rank_plainly(
    queries: np.ndarray, embeddings: np.ndarray, *, name: str, depth: int, own: np.ndarray, places: np.ndarray
) -> np.ndarray:
    """Every pair compared by itself, and each query's documents sorted."""
    scores = np.array(
        [[Similarity(name).exact(query[None], each[None])[0] for each in embeddings] for query in queries]
    )
    norm = 1 if name == "manhattan" else 2
    lengths, longest = (np.linalg.norm(found.astype(float), ord=norm, axis=1) for found in (queries, embeddings))
    sizes = lengths * longest.max() if name in ("cosine", "dot") else lengths + longest.max()
    scores[np.ptp(scores, axis=1) <= ROUNDING * sizes] = 0.0
    scores = scores[:, places]
    scores[np.flatnonzero(own >= 0), own[own >= 0]] = -np.inf
    return np.argsort(-scores, axis=1, kind="stable")[:, :depth]


@st.composite
def searches(draw_from: st.DrawFn) -> dict[str, Any]:
    """Embeddings full of ties and near ties, documents that share one, and queries that are documents."""
    random = np.random.default_rng(draw_from(st.integers(0, 2**32 - 1)))
    texts, queries = draw_from(st.integers(1, 40)), draw_from(st.integers(1, 6))
    spread = draw_from(st.sampled_from([0.0, 1e-8, 1e-7, 1e-6, 1e-4, 1.0]))
    steps = random.integers(-2, 3, size=(texts + queries, 4)).astype(np.float64)
    found = (steps * draw_from(st.sampled_from([spread, 1.0])) + random.normal(size=4)).astype(np.float32)
    name = draw_from(st.sampled_from(NAMES))
    if name == "cosine":
        found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
    places = np.concatenate([np.arange(texts), random.integers(0, texts, size=draw_from(st.integers(0, 10)))])
    random.shuffle(places)
    own = np.where(random.random(queries) < 0.3, random.integers(0, len(places), size=queries), -1)
    depth = draw_from(st.integers(1, 50))
    return {
        "queries": found[texts:],
        "embeddings": found[:texts],
        "name": name,
        "depth": depth,
        "own": own,
        "places": places,
    }


@settings(deadline=None, max_examples=150)
@given(searches(), st.integers(1, 8), st.integers(1, 50))
def test_it_is_exact_in_chunks_of_any_size(made, query_chunk, document_chunk) -> None:
    at_once = run(**made)
    np.testing.assert_array_equal(at_once.top, rank_plainly(**made))
    in_chunks = run(**made, query_chunk=query_chunk, document_chunk=document_chunk)
    np.testing.assert_array_equal(in_chunks.top, at_once.top)
    np.testing.assert_array_equal(in_chunks.scores, at_once.scores)
    np.testing.assert_array_equal(in_chunks.is_flat, at_once.is_flat)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spread", [1e-5, 1e-3, 1.0])
def test_chunks_and_threads_make_no_difference_to_large_corpora(name, spread) -> None:
    queries, embeddings = draw(40, 64, seed=1), crowd(5000, 64, spread=spread, seed=2)
    made = {"name": name, "depth": 100}
    found = run(queries, embeddings, **made)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        for query_chunk, document_chunk in ((7, 333), (40, 1024), (1, 5000)):
            again = run(queries, embeddings, **made, query_chunk=query_chunk, document_chunk=document_chunk)
            np.testing.assert_array_equal(again.top, found.top)
            np.testing.assert_array_equal(again.scores, found.scores)
    finally:
        torch.set_num_threads(threads)
    assert not found.is_flat.any()


def test_a_matrix_product_alone_would_rank_close_documents_otherwise() -> None:
    queries, embeddings = draw(40, 64, seed=1), crowd(5000, 64, spread=1e-4, seed=2)
    found = run(queries, embeddings, depth=100)
    assert not found.is_flat.any()
    assert (np.argsort(-(queries @ embeddings.T), axis=1, kind="stable")[:, :100] != found.top).any()


@pytest.mark.parametrize("name", NAMES)
def test_documents_that_are_alike_to_rounding_rank_by_their_columns(name) -> None:
    length = 1.0 if name == "cosine" else 40.0
    embeddings = np.repeat(draw(1), 60, axis=0) * np.float32(length)
    embeddings[1::2] *= np.float32(1) + np.finfo(np.float32).eps  # as another batch may round
    own = np.array([-1, 0, 4, 59])
    found = run(draw(4, seed=1) * np.float32(length), embeddings, name=name, own=own, document_chunk=7)
    assert found.is_flat.all()
    assert found.top.tolist() == [
        [*range(10)], [*range(1, 11)], [0, 1, 2, 3, 5, 6, 7, 8, 9, 10], [*range(10)]
    ]  # fmt: skip
    every = run(draw(4, seed=1) * np.float32(length), embeddings, name=name, own=own, depth=60)
    assert [row[-1] for row in every.top.tolist()] == [59, 0, 4, 59]
    assert np.isneginf(every.scores[1:, -1]).all()


@pytest.mark.parametrize("name", NAMES)
def test_documents_that_differ_by_more_are_told_apart(name) -> None:
    embeddings = np.repeat(draw(1, 8), 6, axis=0) + np.float32(1e-5) * draw(6, 8, seed=2)
    assert not run(draw(3, 8, seed=1), embeddings, name=name).is_flat.any()


def test_ties_go_to_the_earlier_column_however_many_there_are() -> None:
    embeddings = np.zeros((3000, 8), dtype=np.float32)
    embeddings[2990] = draw(1, 8, seed=3)
    query = embeddings[2990:2991]
    for document_chunk in (50, 3000):
        found = run(query, embeddings, name="dot", document_chunk=document_chunk)
        assert found.top.tolist() == [[2990, *range(9)]]


def test_documents_of_one_text_take_a_place_each() -> None:
    embeddings, places = np.eye(3, dtype=np.float32), np.array([2, 0, 1, 0, 0, 1])
    query = np.array([[0.1, 0.9, 0.5]], dtype=np.float32)
    assert run(query, embeddings, places=places, depth=6).top.tolist() == [[2, 5, 0, 1, 3, 4]]
    assert run(query, embeddings, places=places, depth=2, own=np.array([5])).top.tolist() == [[2, 0]]


def test_the_depth_must_be_at_least_1() -> None:
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        run(draw(1), draw(2), depth=0)


TREC = {
    "ndcg@10": ("ndcg_cut.10", "ndcg_cut_10"),
    "recall@100": ("recall.100", "recall_100"),
    "map@5": ("map_cut.5", "map_cut_5"),
    "mrr@240": ("recip_rank", "recip_rank"),
}
"""trec_eval's measures, as they are asked for and named."""


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(TREC)), st.integers(1, 90))
def test_graded_measures_of_its_rankings_are_those_of_trec_eval(seed, metric, document_chunk) -> None:
    pytrec_eval = pytest.importorskip("pytrec_eval")
    asked_for, named = TREC[metric]
    random, documents, queries = np.random.default_rng(seed), 240, 8
    embeddings, asked = draw(documents, seed=seed), draw(queries, seed=seed + 1)
    embeddings[1::3] = embeddings[::3]  # ties
    rows = [
        dict(zip(random.choice(documents, 9, replace=False).tolist(), random.integers(0, 4, 9).tolist(), strict=True))
        for _ in range(queries)
    ]
    for row in rows:
        row[next(iter(row))] = 3
    places = np.arange(documents)
    places[1::3] = places[::3]
    texts = np.unique(places)
    corpus = Corpus(
        Similarity("cosine"), embeddings, texts=texts, places=np.searchsorted(texts, places), chunk=document_chunk
    )
    measure = find_measure(metric)
    found = search(asked, corpus, own=np.full(queries, -1), depth=measure.depth)
    ours = measure.evaluate(look_up_grades(rows, found.top), pad_grades(rows))

    names = [f"d{documents - column:04}" for column in range(documents)]  # columns descend by id
    exact = [Similarity("cosine").exact(np.repeat(query[None], documents, axis=0), embeddings) for query in asked]
    qrels = {f"q{place}": {names[column]: grade for column, grade in row.items()} for place, row in enumerate(rows)}
    scores = {f"q{place}": dict(zip(names, row.tolist(), strict=True)) for place, row in enumerate(exact)}
    values = pytrec_eval.RelevanceEvaluator(qrels, {asked_for}).evaluate(scores)
    np.testing.assert_allclose(ours, [values[f"q{place}"][named] for place in range(queries)], atol=1e-6)


MEASURED = """
import numpy as np
from peak_memory import peak_gib
from sweep.training.search import Corpus, search
from sweep.training.similarity import Similarity
random = np.random.default_rng(0)
embeddings = random.standard_normal(({documents}, 64), dtype=np.float32)
embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
queries, own = embeddings[:300].copy(), np.full(300, -1)
search(queries, Corpus(Similarity("cosine"), embeddings[:9000]), own=own, depth=100)
before = peak_gib()
assert search(queries, Corpus(Similarity("cosine"), embeddings), own=own, depth=100).top[:, 0].tolist() == [*range(300)]
print(peak_gib() - before)
"""


def test_a_larger_corpus_takes_no_more_memory_than_its_embeddings() -> None:
    """All scores of 300 queries with 200,000 documents would take 0.22 GiB, and a copy of the embeddings 0.05."""
    bench, code = Path(__file__).parents[1] / "bench", MEASURED.format(documents=200_000)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (bench, bench.parents[1])))}
    found = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True, env=environment)
    assert float(found.stdout) < 0.03

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sweep.measures.measures import MAX_DEPTH, MEASURES, find_measure
from sweep.measures.ranking import rank_top_k

grades = arrays(np.float64, (3, 12), elements=st.integers(-2, 3).map(float))
levels = arrays(np.float32, (3, 12), elements=st.integers(-2, 2).map(lambda level: level / 4))
depths = st.integers(1, 15)

TREC = {"ndcg": "ndcg_cut", "recall": "recall", "map": "map_cut"}
"""trec_eval's names of our measures; its recip_rank has no cut-off."""


def trec(judged, scores, key):
    """(Q,) values by trec_eval of (Q, D) grades and scores; column d is the document of the d-th id, descending."""
    pytrec_eval = pytest.importorskip("pytrec_eval")
    name, _, depth = key.partition("@")
    asked, measure = (f"{TREC[name]}.{depth}", f"{TREC[name]}_{depth}") if name in TREC else ("recip_rank",) * 2
    if name not in TREC:  # nothing beyond the depth is shown to it
        top = rank_top_k(scores, int(depth))
        shown = np.zeros(scores.shape, dtype=bool)
        np.put_along_axis(shown, top, values=True, axis=1)
    else:
        shown = np.ones(scores.shape, dtype=bool)
    names = [f"d{number:04d}" for number in reversed(range(judged.shape[1]))]
    qrels = {f"q{q}": dict(zip(names, map(int, row), strict=True)) for q, row in enumerate(judged)}
    run = {
        f"q{q}": {name: float(score) for name, score, kept in zip(names, row, shown[q], strict=True) if kept}
        for q, row in enumerate(scores)
    }
    found = pytrec_eval.RelevanceEvaluator(qrels, {asked}).evaluate(run)
    return [found[f"q{q}"][measure] for q in range(len(judged))]


def ours(judged, scores, key):
    measure = find_measure(key)
    return measure.evaluate(np.take_along_axis(judged, rank_top_k(scores, measure.depth), axis=1), judged)


@pytest.mark.parametrize("name", MEASURES)
@given(judged=grades, scores=levels, depth=depths)
def test_a_measure_of_graded_rankings_with_many_ties_is_that_of_trec_eval(name, judged, scores, depth):
    key = f"{name}@{depth}"
    np.testing.assert_allclose(ours(judged, scores, key), trec(judged, scores, key), atol=1e-6)


@pytest.mark.parametrize("name", MEASURES)
@given(judged=grades, order=st.permutations(range(12)), depth=depths)
def test_a_measure_of_a_ranking_is_that_of_trec_eval(name, judged, order, depth):
    scores = np.tile(-np.argsort(order), (3, 1)).astype(np.float32)
    key = f"{name}@{depth}"
    np.testing.assert_allclose(ours(judged, scores, key), trec(judged, scores, key), atol=1e-6)


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("documents", [1, 9, 10, 11, 2000])
def test_a_measure_of_equal_scores_is_that_of_trec_eval_for_any_number_of_documents(name, documents):
    judged = np.random.default_rng(documents).integers(-1, 4, size=(5, documents)).astype(float)
    scores, key = np.zeros((5, documents), dtype=np.float32), f"{name}@100"
    np.testing.assert_allclose(ours(judged, scores, key), trec(judged, scores, key), atol=1e-6)


@pytest.mark.parametrize("name", MEASURES)
@given(judged=grades, order=st.permutations(range(12)), padding=st.integers(0, 5), depth=depths)
def test_a_measure_lies_between_zero_and_one_and_is_blind_to_padding(name, judged, order, padding, depth):
    measure, ranked = find_measure(f"{name}@{depth}"), judged[:, order]
    values = measure.evaluate(ranked, judged)
    assert ((values >= 0) & (values <= 1 + 1e-12)).all()
    padded = np.pad(judged[:, ::-1], ((0, 0), (padding, 0)))
    np.testing.assert_allclose(measure.evaluate(ranked, padded), values, rtol=1e-12)


@given(judged=grades, depth=depths)
def test_the_best_order_has_an_ndcg_of_one_unless_nothing_is_relevant(judged, depth):
    best = -np.sort(-judged, axis=1)
    values = find_measure(f"ndcg@{depth}").evaluate(best, judged)
    np.testing.assert_allclose(values, (judged.max(axis=1) > 0).astype(float))


def test_worked_examples():
    ranked, judged = np.array([[3.0, 0.0, 2.0]]), np.array([[2.0, 3.0, 1.0]])
    # dcg = 3/log2(2) + 2/log2(4) = 4.0; ideal = 3/log2(2) + 2/log2(3) + 1/log2(4) = 4.76186
    expected = {"ndcg@10": 4.0 / 4.761859507142915, "recall@2": 1 / 3, "mrr@10": 1.0, "map@3": (1 + 2 / 3) / 3}
    assert {key: find_measure(key).evaluate(ranked, judged)[0] for key in expected} == pytest.approx(expected)


def test_a_first_relevant_document_beyond_the_cut_has_no_reciprocal_rank():
    ranked = np.array([[0.0, 0.0, 1.0], [0.0, 2.0, 0.0]])
    np.testing.assert_array_equal(find_measure("mrr@2").evaluate(ranked, ranked), [0.0, 0.5])


def test_a_measure_knows_its_depth_and_its_name_for_a_person():
    assert (find_measure("recall@100").depth, find_measure("recall@100").label) == (100, "Recall@100")
    assert [find_measure(f"{name}@10").label for name in MEASURES] == ["NDCG@10", "Recall@10", "MRR@10", "MAP@10"]


@pytest.mark.parametrize("key", ["precision@10", "ndcg", "ndcg@", "ndcg@0", "ndcg@010", "NDCG@10", "recall@1001", ""])
def test_an_unknown_measure_is_refused_with_those_there_are(key):
    known = rf"must be one of ndcg@K, recall@K, mrr@K, map@K with a depth K from 1 to {MAX_DEPTH}, such as ndcg@10"
    with pytest.raises(ValueError, match=f"{known}, got '{key}'"):
        find_measure(key)


def test_arrays_of_different_queries_are_refused():
    with pytest.raises(ValueError, match="ranked has 2 queries but judged has 3"):
        find_measure("ndcg@10").evaluate(np.zeros((2, 3)), np.zeros((3, 3)))


def test_a_grade_below_the_relevant_one_counts_as_gain_alone():
    ranked, judged = np.array([[1.0, 2.0, 0.0]]), np.array([[1.0, 2.0]])
    for name, value in (("recall", 1.0), ("mrr", 0.5), ("map", 0.5)):
        assert find_measure(f"{name}@10").evaluate(ranked, judged, relevant=2).tolist() == [value]
    ndcg = find_measure("ndcg@10")
    assert ndcg.evaluate(ranked, judged, relevant=2) == ndcg.evaluate(ranked, judged)

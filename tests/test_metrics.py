from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sweep.metrics import (
    COSINE_BINS,
    alignment,
    count_cosines,
    in_batch_loss,
    mrr_at_k,
    ndcg_at_k,
    rank_top_k,
    recall_at_k,
    uniformity,
)

grades = arrays(np.float64, (3, 12), elements=st.integers(0, 3).map(float))
levels = arrays(np.float32, (3, 12), elements=st.integers(-2, 2).map(lambda level: level / 4))
any_scores = st.tuples(st.integers(1, 4), st.integers(1, 20)).flatmap(
    lambda shape: arrays(
        np.float32, shape, elements=st.floats(-1, 1, width=32) | st.sampled_from([-0.5, -0.0, 0.0, 0.5])
    )
)


def trec_ndcg(judged, scores):
    """(Q,) NDCG@10 by trec_eval of (Q, D) grades and scores; column d is the document of the d-th id, descending."""
    return trec(judged, scores, "ndcg_cut_10", asked="ndcg_cut.10")


def trec(judged, scores, measure, *, asked):
    pytrec_eval = pytest.importorskip("pytrec_eval")
    names = [f"d{number:04d}" for number in reversed(range(judged.shape[1]))]
    qrels = {f"q{q}": dict(zip(names, map(int, row), strict=True)) for q, row in enumerate(judged)}
    run = {f"q{q}": dict(zip(names, map(float, row), strict=True)) for q, row in enumerate(scores)}
    found = pytrec_eval.RelevanceEvaluator(qrels, {asked}).evaluate(run)
    return [found[f"q{q}"][measure] for q in range(len(judged))]


def test_a_worked_example():
    # by hand: dcg = 3/log2(2) + 2/log2(4) = 4.0; ideal = 3/log2(2) + 2/log2(3) = 4.26186
    scores = ndcg_at_k(np.array([[3.0, 0.0, 2.0]]), np.array([[2.0, 3.0]]), k=10)
    np.testing.assert_allclose(scores, [4.0 / 4.261859507142915])


@given(grades, st.permutations(range(12)))
def test_ndcg_of_a_ranking_is_that_of_trec_eval(judged, order):
    places = np.argsort(order)
    ours = ndcg_at_k(judged[:, order], judged, k=10)
    np.testing.assert_allclose(ours, trec_ndcg(judged, np.tile(-places, (3, 1))), atol=1e-6)


@given(grades, levels)
def test_ndcg_of_scores_with_many_ties_is_that_of_trec_eval_where_ids_descend(judged, scores):
    ranked = np.take_along_axis(judged, rank_top_k(scores, 10), axis=1)
    np.testing.assert_allclose(ndcg_at_k(ranked, judged, k=10), trec_ndcg(judged, scores), atol=1e-6)


@pytest.mark.parametrize("documents", [1, 9, 10, 11, 2000])
def test_ndcg_of_equal_scores_is_that_of_trec_eval_for_any_number_of_documents(documents):
    judged = np.random.default_rng(documents).integers(0, 4, size=(5, documents)).astype(float)
    scores = np.zeros((5, documents), dtype=np.float32)
    ranked = np.take_along_axis(judged, rank_top_k(scores, 10), axis=1)
    np.testing.assert_allclose(ndcg_at_k(ranked, judged, k=10), trec_ndcg(judged, scores), atol=1e-6)


@given(grades, st.integers(1, 15))
def test_the_best_order_scores_one_unless_nothing_is_relevant(judged, k):
    best = -np.sort(-judged, axis=1)
    np.testing.assert_allclose(ndcg_at_k(best, judged, k), (judged.max(axis=1) > 0).astype(float))


@given(grades, grades)
def test_ndcg_lies_between_zero_and_one(judged, shuffle):
    order = np.argsort(shuffle, axis=1)
    scores = ndcg_at_k(np.take_along_axis(judged, order, axis=1), judged, k=10)
    assert ((scores >= 0) & (scores <= 1 + 1e-12)).all()


@given(grades, st.integers(0, 5))
def test_padding_and_order_of_the_judged_grades_do_not_matter(judged, padding):
    padded = np.pad(judged[:, ::-1], ((0, 0), (padding, 0)))
    np.testing.assert_allclose(ndcg_at_k(judged, padded, k=10), ndcg_at_k(judged, judged, k=10), rtol=1e-12)


@given(any_scores, st.integers(1, 25))
def test_the_top_is_that_of_a_stable_sort_of_all_scores(scores, k):
    np.testing.assert_array_equal(rank_top_k(scores, k), np.argsort(-scores, axis=1, kind="stable")[:, :k])


def test_the_top_of_no_query_is_empty():
    assert rank_top_k(np.zeros((0, 5), dtype=np.float32), 3).shape == (0, 3)


def test_depth_below_one_is_refused():
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        ndcg_at_k(np.zeros((1, 3)), np.zeros((1, 3)), k=0)
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        rank_top_k(np.zeros((1, 3)), 0)


def test_arrays_of_different_queries_are_refused():
    with pytest.raises(ValueError, match="ranked has 2 queries but judged has 3"):
        ndcg_at_k(np.zeros((2, 3)), np.zeros((3, 3)))


@given(grades, st.permutations(range(12)), st.integers(1, 12))
def test_recall_of_a_ranking_is_that_of_trec_eval(judged, order, k):
    places = np.argsort(order)
    ours = recall_at_k(judged[:, order], judged, k)
    np.testing.assert_allclose(
        ours, trec(judged, np.tile(-places, (3, 1)), f"recall_{k}", asked=f"recall.{k}"), atol=1e-6
    )


@given(grades, st.permutations(range(12)))
def test_the_reciprocal_rank_of_a_ranking_is_that_of_trec_eval(judged, order):
    places = np.argsort(order)
    ours = mrr_at_k(judged[:, order], 12)
    theirs = trec(judged, np.tile(-places, (3, 1)), "recip_rank", asked="recip_rank")
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_first_relevant_document_beyond_the_cut_has_no_reciprocal_rank():
    np.testing.assert_array_equal(mrr_at_k(np.array([[0.0, 0.0, 1.0], [0.0, 2.0, 0.0]]), 2), [0.0, 0.5])


def test_every_cosine_is_counted_once_with_rounding_at_the_ends():
    cosines = np.array([-1.0000001, -1.0, 0.0, 0.01, 0.999, 1.0, 1.0000001], dtype=np.float64)
    counts = count_cosines(cosines)
    assert len(counts) == len(COSINE_BINS) - 1 == 40
    assert sum(counts) == len(cosines)
    assert (counts[0], counts[20], counts[39]) == (2, 2, 3)


def unit(shape, seed=0):
    drawn = np.random.default_rng(seed).normal(size=shape)
    return drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)


def test_alignment_is_the_mean_squared_distance_of_the_pairs():
    first, second = unit((50, 8)), unit((50, 8), seed=1)
    cosines = np.sum(first * second, axis=1)
    np.testing.assert_allclose(alignment(cosines), np.mean(np.sum((first - second) ** 2, axis=1)))
    assert alignment(np.ones(3)) == 0.0
    assert np.isnan(alignment(np.array([])))


def test_uniformity_is_that_of_its_authors():
    torch = pytest.importorskip("torch")
    embeddings = unit((40, 8))
    theirs = torch.pdist(torch.tensor(embeddings), p=2).pow(2).mul(-2).exp().mean().log()  # Wang and Isola's listing
    np.testing.assert_allclose(uniformity(embeddings), float(theirs))
    assert uniformity(np.ones((3, 1))) == 0.0
    assert np.isnan(uniformity(embeddings[:1]))


def test_the_loss_in_the_batch_is_cross_entropy_over_scaled_cosines():
    torch = pytest.importorskip("torch")
    anchors, positives = unit((3, 6, 8)), unit((3, 6, 8), seed=1)
    scores = torch.tensor(20.0 * anchors @ positives.transpose(0, 2, 1))
    theirs = torch.nn.functional.cross_entropy(scores.flatten(0, 1), torch.arange(6).repeat(3))
    np.testing.assert_allclose(in_batch_loss(anchors, positives, scale=20.0), float(theirs))
    assert in_batch_loss(np.ones((1, 4, 1)), np.ones((1, 4, 1)), scale=100.0) == pytest.approx(np.log(4))

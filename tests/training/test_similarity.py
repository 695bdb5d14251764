from __future__ import annotations

import numpy as np
import pytest
import torch
from sentence_transformers.util import SimilarityFunction

from sweep.training.similarity import Similarity

NAMES = ("cosine", "dot", "euclidean", "manhattan")


def drawn(*shape, seed=0):
    found = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return found / np.linalg.norm(found, axis=-1, keepdims=True)


@pytest.mark.parametrize("name", NAMES)
def test_similarities_are_those_of_the_library(name):
    queries, documents = drawn(5, 8), drawn(7, 8, seed=1)
    theirs = SimilarityFunction.to_similarity_fn(name)(torch.tensor(queries), torch.tensor(documents)).numpy()
    similarity = Similarity(name)
    pairs = [(row, column) for row in range(5) for column in range(7)]
    exact = similarity.exact(queries[[row for row, _ in pairs]], documents[[column for _, column in pairs]])
    np.testing.assert_allclose(exact.reshape(5, 7), theirs, atol=1e-6)
    accurate = similarity.accurate(queries.astype(float), documents.astype(float))
    np.testing.assert_allclose(accurate, exact.reshape(5, 7), atol=1e-14)
    many = similarity.compare(queries[None].astype(float), documents[None].astype(float))
    np.testing.assert_allclose(many[0], theirs, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dimensions", [1, 8, 384])
def test_approximate_scores_order_documents_alike_up_to_their_error(name, dimensions):
    queries, documents = drawn(6, dimensions) * np.float32(3), drawn(300, dimensions, seed=1) * np.float32(0.7)
    similarity = Similarity(name)
    lengths, longest = similarity.lengths(queries), similarity.lengths(documents).max()
    error = similarity.approximation_error(lengths, longest, dimensions=dimensions)
    found = similarity.approximate(queries, documents).astype(float)
    exact = similarity.accurate(queries.astype(float), documents.astype(float))
    if name == "euclidean":  # the scores are (|q|^2 - |q - d|^2) / 2
        exact = (np.sum(queries.astype(float) ** 2, axis=1)[:, None] - exact**2) / 2
    assert (np.abs(found - exact) <= error[:, None]).all()
    assert (error <= 2e-3).all()


@pytest.mark.parametrize("name", NAMES)
def test_an_exact_similarity_hangs_on_no_other_pair(name):
    queries, documents = drawn(300, 384), drawn(300, 384, seed=1)
    similarity = Similarity(name)
    every = similarity.exact(queries, documents)
    assert [similarity.exact(queries[place : place + 1], documents[place : place + 1])[0] for place in range(300)] == (
        every.tolist()
    )
    np.testing.assert_array_equal(similarity.exact(queries[7:], documents[7:]), every[7:])

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
def test_scores_are_those_of_the_library(name):
    queries, documents = drawn(5, 8), drawn(7, 8, seed=1)
    theirs = SimilarityFunction.to_similarity_fn(name)(torch.tensor(queries), torch.tensor(documents))
    np.testing.assert_allclose(Similarity(name).scores(queries, documents), theirs, atol=1e-6)
    many = Similarity(name).compare(queries[None].astype(float), documents[None].astype(float))
    np.testing.assert_allclose(many[0], theirs, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_scores_that_differ_by_rounding_alone_are_equal(name):
    length = 1.0 if name == "cosine" else 40.0
    documents = np.repeat(drawn(1, 8), 6, axis=0) * length
    documents[1:] *= np.float32(1) + np.finfo(np.float32).eps  # as another batch may round
    queries = drawn(3, 8, seed=1) * length
    scores = Similarity(name).scores(queries, documents)
    assert (scores == scores[:, :1]).all()


@pytest.mark.parametrize("name", NAMES)
def test_scores_that_differ_by_more_are_told_apart(name):
    documents = np.repeat(drawn(1, 8), 6, axis=0) + 1e-5 * drawn(6, 8, seed=2)
    scores = Similarity(name).scores(drawn(3, 8, seed=1), documents.astype(np.float32))
    assert all(len(set(row)) > 1 for row in scores.tolist())

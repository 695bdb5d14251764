from __future__ import annotations

import numpy as np
import pytest
import torch

from sweep.settings.dimensions import Params
from sweep.settings.study_file import LossSpec
from sweep.training.losses import choose_loss
from sweep.training.losses.multiple_negatives_ranking import MultipleNegativesRanking
from sweep.training.similarity import Similarity

COSINE = Similarity("cosine")


def unit(shape, seed=0):
    drawn = np.random.default_rng(seed).normal(size=shape)
    return drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)


@pytest.mark.parametrize("negatives", [0, 1, 2])
def test_it_is_cross_entropy_over_scaled_cosines_with_every_document_of_the_batch(negatives):
    anchors, *documents = (unit((3, 6, 8), seed=seed) for seed in range(2 + negatives))
    scores = torch.tensor(20.0 * anchors @ np.concatenate(documents, axis=1).transpose(0, 2, 1))
    theirs = torch.nn.functional.cross_entropy(scores.flatten(0, 1), torch.arange(6).repeat(3))
    found = MultipleNegativesRanking(scale=20.0).validation_loss([anchors, *documents], similarity=COSINE)
    np.testing.assert_allclose(found, float(theirs))


def test_embeddings_that_tell_nothing_apart_lose_the_logarithm_of_the_batch():
    ones = np.ones((1, 4, 1), dtype=np.float32)
    assert MultipleNegativesRanking(scale=100.0).validation_loss([ones, ones], similarity=COSINE) == pytest.approx(
        np.log(4)
    )


def test_its_scale_is_that_of_the_trial():
    params = Params(
        learning_rate=1e-3,
        effective_learning_rate=1e-3,
        warmup_ratio=0.0,
        batch_size=8,
        data_format="query-document",
        scale=50.0,
        scheduler="linear",
    )
    assert choose_loss(LossSpec(), params) == MultipleNegativesRanking(scale=50.0)

from __future__ import annotations

import numpy as np
import pytest

from sweep.metrics import in_batch_loss


def unit(shape, seed=0):
    drawn = np.random.default_rng(seed).normal(size=shape)
    return drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)


def test_the_loss_in_the_batch_is_cross_entropy_over_scaled_cosines():
    torch = pytest.importorskip("torch")
    anchors, positives = unit((3, 6, 8)), unit((3, 6, 8), seed=1)
    scores = torch.tensor(20.0 * anchors @ positives.transpose(0, 2, 1))
    theirs = torch.nn.functional.cross_entropy(scores.flatten(0, 1), torch.arange(6).repeat(3))
    np.testing.assert_allclose(in_batch_loss(anchors, positives, scale=20.0), float(theirs))
    assert in_batch_loss(np.ones((1, 4, 1)), np.ones((1, 4, 1)), scale=100.0) == pytest.approx(np.log(4))

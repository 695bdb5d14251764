from __future__ import annotations

import numpy as np
import pytest

from sweep.measures.geometry import COSINE_BINS, alignment, count_cosines, has_collapsed, uniformity


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


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ((0.9999999, 1.0, 0.9999999, 1.0), True),
        ((0.3, 0.300001, 0.3, 0.300002), True),
        ((0.99, 1.0, 0.99, 1.0), False),
        ((1.0, 1.0, 0.5, 0.5), False),
        ((float("nan"), 1.0, 1.0, 1.0), False),
        ((1.0, 1.0, 1.0, float("nan")), False),
    ],
)
def test_embeddings_have_collapsed_where_all_cosines_are_equal_to_rounding(ends, expected):
    assert has_collapsed(*ends) is expected

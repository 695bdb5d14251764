from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sweep.measures.ranking import rank_top_k

any_scores = st.tuples(st.integers(1, 4), st.integers(1, 20)).flatmap(
    lambda shape: arrays(
        np.float32, shape, elements=st.floats(-1, 1, width=32) | st.sampled_from([-0.5, -0.0, 0.0, 0.5])
    )
)


@given(any_scores, st.integers(1, 25))
def test_the_top_is_that_of_a_stable_sort_of_all_scores(scores, k):
    np.testing.assert_array_equal(rank_top_k(scores, k), np.argsort(-scores, axis=1, kind="stable")[:, :k])


def test_the_top_of_no_query_is_empty():
    assert rank_top_k(np.zeros((0, 5), dtype=np.float32), 3).shape == (0, 3)


def test_depth_below_one_is_refused():
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        rank_top_k(np.zeros((1, 3)), 0)

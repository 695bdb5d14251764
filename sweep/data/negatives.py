"""False negatives within a batch: how many anchors are pushed away from a text that is nearly their own positive.

The loss takes every other document of a batch, positive or negative, for a wrong answer. No text stands twice in a
planned batch, but texts that say the same in nearly the same words do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sweep.data.formats.format import Roles, columns_of
from sweep.data.near_texts import TextWords, group_near, is_near
from sweep.data.order import IntArray

MAX_ANCHORS = 20_000
"""Anchors that are looked at: the first batches of a plan, which is shuffled; at least one batch."""


def measure_false_negatives(
    columns: Mapping[str, IntArray], order: IntArray, *, roles: Roles, words: TextWords
) -> float:
    """The share of anchors, in [0, 1], whose batch holds another document equal or near-equal to their own positive.

    Texts are compared by their sets of words. Where nothing is planned the share is 0.

    Args:
        columns: (N,) numbers of the texts of each training column.
        order: (S, B) row indices in [0, N), as `sweep.data.plan_order` plans them.
        roles: Role of each column; one of them is positive.
        words: The words of the texts of positive and negative columns.
    """
    if not order.size:
        return 0.0
    batches = order[: max(1, MAX_ANCHORS // order.shape[1])]
    rows, places = np.unique(batches, return_inverse=True)
    documents = columns_of(roles, "positive", "negative")
    sets, signatures = words.take(np.concatenate([columns[column][rows] for column in documents]))
    behind = len(rows) * np.arange(len(documents))[:, None]  # the texts of each column stand behind those before it
    near = sum(
        _count_near((batch + behind).ravel(), sets, signatures, counted=len(batch))
        for batch in places.reshape(batches.shape)
    )
    return near / batches.size


def _count_near(batch: IntArray, words: Sequence[frozenset[int]], signatures: IntArray, *, counted: int) -> int:
    """Number of first texts of a batch that have a near-equal other one in it."""
    near = np.zeros(len(batch), dtype=bool)
    for group in group_near(signatures[batch]):
        for place in group.tolist():
            if near[place]:
                continue
            own = words[batch[place]]
            for other in group.tolist():
                if other != place and is_near(own, words[batch[other]]):
                    near[place] = near[other] = True
                    break
    return int(near[:counted].sum())

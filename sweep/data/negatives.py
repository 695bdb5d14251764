"""False negatives within a batch: how many anchors are pushed away from a text that is nearly their own positive.

The loss takes every other document of a batch, positive or negative, for a wrong answer. No text stands twice in a
planned batch, but texts that say the same in nearly the same words do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from sweep.data.formats.format import Columns, Roles, columns_of
from sweep.data.order import IntArray

NEAR = 0.8
"""Share of words that two near-equal texts have in common, of all the words in either (Jaccard)."""

MAX_ANCHORS = 20_000
"""Anchors that are looked at: the first batches of a plan, which is shuffled; at least one batch."""

_BANDS, _ROWS = 16, 3
"""Bands of a MinHash signature: texts of Jaccard 0.8 agree in one of them but for 1 in 90,000 pairs."""

_PRIME = (1 << 31) - 1
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|\w+")
"""A word; a kana or an ideograph is one, for nothing stands between the words of such scripts."""


def measure_false_negatives(columns: Columns, order: IntArray, *, roles: Roles) -> float:
    """The share of anchors, in [0, 1], whose batch holds another document equal or near-equal to their own positive.

    Texts are compared by their sets of words, without case and punctuation. 20,000 anchors of 30 to 40 words
    took 0.7 to 2.7 s (batches of 16 to 2048, 2 shared cores). Where nothing is planned the share is 0.

    Args:
        columns: Training columns of N rows.
        order: (S, B) row indices in [0, N), as `sweep.data.plan_order` plans them.
        roles: Role of each column; one of them is positive.
    """
    if not order.size:
        return 0.0
    batches = order[: max(1, MAX_ANCHORS // order.shape[1])]
    rows, places = np.unique(batches, return_inverse=True)
    documents = columns_of(roles, "positive", "negative")
    words = [frozenset(_WORD.findall(columns[column][row].casefold())) for column in documents for row in rows.tolist()]
    signatures = _sign(words)
    behind = len(rows) * np.arange(len(documents))[:, None]  # the texts of each column stand behind those before it
    near = sum(
        _count_near((batch + behind).ravel(), words, signatures, counted=len(batch))
        for batch in places.reshape(batches.shape)
    )
    return near / batches.size


def _sign(words: Sequence[frozenset[str]]) -> IntArray:
    """(N, bands) a number for each band of each text's MinHash signature."""
    numbers: dict[str, int] = {}
    texts = [np.array([numbers.setdefault(word, len(numbers)) for word in sorted(text)]) for text in words]
    random = np.random.default_rng(0)
    factors = random.integers(1, _PRIME, size=(_BANDS * _ROWS, 1))
    offsets = random.integers(0, _PRIME, size=(_BANDS * _ROWS, 1))
    hashed = (factors * np.arange(1, len(numbers) + 1) + offsets) % _PRIME  # (bands * rows, words)
    signatures = np.full((len(texts), _BANDS * _ROWS), -1, dtype=np.int64)
    for place, text in enumerate(texts):
        if len(text):
            signatures[place] = hashed[:, text].min(axis=1)
    rows = signatures.reshape(len(texts), _BANDS, _ROWS)
    keys: IntArray = (rows * np.array([1, 1_000_003, 998_244_353])).sum(axis=2)  # wraps around, as a hash may
    return keys


def _count_near(batch: IntArray, words: Sequence[frozenset[str]], signatures: IntArray, *, counted: int) -> int:
    """Number of first texts of a batch that have a near-equal other one in it."""
    near = np.zeros(len(batch), dtype=bool)
    for band in range(_BANDS):
        for group in _groups(signatures[batch, band]):
            for place in group.tolist():
                if near[place]:
                    continue
                own = words[batch[place]]
                for other in group.tolist():
                    if other != place and _is_near(own, words[batch[other]]):
                        near[place] = near[other] = True
                        break
    return int(near[:counted].sum())


def _groups(keys: IntArray) -> Iterator[NDArray[np.intp]]:
    """Places of equal keys, of those that occur more than once."""
    by_key = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], keys[by_key[1:]] != keys[by_key[:-1]]]))
    for group in np.split(by_key, starts[1:]):
        if len(group) > 1:
            yield group


def _is_near(first: frozenset[str], second: frozenset[str]) -> bool:
    common = len(first & second)
    return common >= NEAR * (len(first) + len(second) - common)

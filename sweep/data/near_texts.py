"""Near-equal texts, found by their words: MinHash signatures (Broder, 1997) propose, the sets of words decide."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweep.data.arrow import Ragged

IntArray = NDArray[np.int64]

NEAR = 0.8
"""Share of words that two near-equal texts have in common, of all the words in either (Jaccard)."""

_BANDS, _ROWS = 16, 3
"""Bands of a MinHash signature: texts of Jaccard 0.8 agree in one of them but for 1 in 90,000 pairs."""

_PRIME = (1 << 31) - 1
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|\w+")
"""A word; a kana or an ideograph is one, for nothing stands between the words of such scripts."""


def split_words(text: str) -> list[str]:
    """The words of a text in order, as they are written, without punctuation."""
    return _WORD.findall(text)


@dataclass(frozen=True)
class TextWords:
    """The words of some of N numbered texts, without case and punctuation, and their signatures.

    Attributes:
        texts: (T,) numbers of the texts, ascending.
        words: The numbers of each one's distinct words, ascending.
        signatures: (T, bands) numbers of the bands of its MinHash signature.
    """

    texts: IntArray
    words: Ragged
    signatures: IntArray

    def take(self, texts: IntArray) -> tuple[list[frozenset[int]], IntArray]:
        """The words and the signatures of some of the texts."""
        places = np.searchsorted(self.texts, texts)
        chosen = self.words.take(places)
        return [frozenset(chosen[row].tolist()) for row in range(len(chosen))], self.signatures[places]


def count_words(texts: Sequence[str], chosen: IntArray) -> TextWords:
    """The words of the texts with some numbers, ascending."""
    numbers: dict[str, int] = {}
    words = Ragged.of(
        [_number_words(frozenset(split_words(texts[text].casefold())), numbers) for text in chosen.tolist()], np.int32
    )
    return TextWords(chosen, words, _sign(words, vocabulary=len(numbers)))


def sign_words(words: Sequence[frozenset[str]]) -> IntArray:
    """(N, bands) a number for each band of each text's MinHash signature."""
    numbers: dict[str, int] = {}
    return _sign(Ragged.of([_number_words(text, numbers) for text in words], np.int32), vocabulary=len(numbers))


def _number_words(words: frozenset[str], numbers: dict[str, int]) -> NDArray[np.int32]:
    return np.array(sorted(numbers.setdefault(word, len(numbers)) for word in sorted(words)), dtype=np.int32)


def _sign(words: Ragged, *, vocabulary: int) -> IntArray:
    random = np.random.default_rng(0)
    factors = random.integers(1, _PRIME, size=(_BANDS * _ROWS, 1))
    offsets = random.integers(0, _PRIME, size=(_BANDS * _ROWS, 1))
    hashed = (factors * np.arange(1, vocabulary + 1) + offsets) % _PRIME  # (bands * rows, words)
    signatures = np.full((len(words), _BANDS * _ROWS), -1, dtype=np.int64)
    for place in np.flatnonzero(words.lengths).tolist():
        signatures[place] = hashed[:, words[place]].min(axis=1)
    rows = signatures.reshape(len(words), _BANDS, _ROWS)
    keys: IntArray = (rows * np.array([1, 1_000_003, 998_244_353])).sum(axis=2)  # wraps around, as a hash may
    return keys


def group_near(signatures: IntArray) -> Iterator[NDArray[np.intp]]:
    """Places of (N, bands) signatures that agree in a band, where there are several, for band after band."""
    for band in signatures.T:
        yield from _group_equal(band)


def is_near(first: AbstractSet[object], second: AbstractSet[object], *, share: float = NEAR) -> bool:
    """Whether two sets of words have a share of all their words in common."""
    common = len(first & second)
    return common >= share * (len(first) + len(second) - common)


def _group_equal(keys: IntArray) -> Iterator[NDArray[np.intp]]:
    """Places of equal keys, of those that occur more than once."""
    by_key = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], keys[by_key[1:]] != keys[by_key[:-1]]]))
    for group in np.split(by_key, starts[1:]):
        if len(group) > 1:
            yield group

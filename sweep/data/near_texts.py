"""Near-equal texts, found by their words: MinHash signatures (Broder, 1997) propose, the sets of words decide."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sweep.data.arrow import Ragged

IntArray = NDArray[np.int64]

Item = TypeVar("Item")

NEAR = 0.8
"""Share of words that two near-equal texts have in common, of all the words in either (Jaccard)."""

_BANDS, _ROWS = 16, 3
"""Bands of a MinHash signature: texts of Jaccard 0.8 agree in one of them but for 1 in 90,000 pairs."""

_PRIME = (1 << 31) - 1
_COUNTED_AT_ONCE = 4096
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


@dataclass
class WordNumbers:
    """A numbering of words in the order in which texts bring them, those of one text in alphabetical order."""

    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, texts: Iterable[Sequence[str]]) -> Ragged:
        """The numbers of each text's words, in the order of the text."""
        numbers, ends = self.numbers, [0]
        found: list[int] = []
        for words in texts:
            try:
                found.extend(map(numbers.__getitem__, words))
            except KeyError:
                del found[ends[-1] :]
                for word in sorted(set(words).difference(numbers)):
                    numbers[word] = len(numbers)
                found.extend(map(numbers.__getitem__, words))
            ends.append(len(found))
        return Ragged(np.array(ends, dtype=np.int64), np.array(found, dtype=np.int32))


def find_distinct(words: Ragged) -> Ragged:
    """The distinct numbers of each row, ascending."""
    keys = (np.repeat(np.arange(len(words)), words.lengths) << 32) | words.values
    keys.sort()
    keys = keys[np.append(np.ones(len(keys[:1]), dtype=bool), keys[1:] != keys[:-1])]
    lengths = np.bincount(keys >> 32, minlength=len(words))
    return Ragged(np.concatenate([[0], np.cumsum(lengths)]), (keys & 0xFFFFFFFF).astype(np.int32))


class MinHash:
    """Signatures of sets of word numbers: of the hashes of a text's words, the least under each of 48 functions."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self._factors = random.integers(1, _PRIME, size=(_BANDS * _ROWS, 1))
        self._offsets = random.integers(0, _PRIME, size=(_BANDS * _ROWS, 1))
        self._hashed = np.empty((_BANDS * _ROWS, 0), dtype=np.int32)  # (bands * rows, words)

    def sign(self, words: Ragged) -> IntArray:
        """(N, bands) a number for each band of the signatures of N texts; equal ones for texts without a word."""
        self._extend(int(words.values.max(initial=-1)) + 1)
        signatures = np.full((len(words), _BANDS * _ROWS), -1, dtype=np.int64)
        filled = np.flatnonzero(words.lengths)
        if len(filled):
            starts = words.offsets[filled]
            for place, hashed in enumerate(self._hashed):
                signatures[filled, place] = np.minimum.reduceat(hashed[words.values], starts)
        rows = signatures.reshape(len(words), _BANDS, _ROWS)
        keys: IntArray = (rows * np.array([1, 1_000_003, 998_244_353])).sum(axis=2)  # wraps around, as a hash may
        return keys

    def _extend(self, vocabulary: int) -> None:
        known = self._hashed.shape[1]
        if vocabulary > known:
            numbers = np.arange(known + 1, max(vocabulary, known + known // 4) + 1)
            further = (self._factors * numbers + self._offsets) % _PRIME
            self._hashed = np.concatenate([self._hashed, further.astype(np.int32)], axis=1)


_NO_WORDS = Ragged(np.zeros(1, dtype=np.int64), np.empty(0, dtype=np.int32))


def count_words(texts: Iterable[str], chosen: IntArray) -> TextWords:
    """The words of the texts with some numbers, which ascend."""
    numbers, signer = WordNumbers(), MinHash()
    words, signatures = [_NO_WORDS], [signer.sign(_NO_WORDS)]
    for some in chunked((split_words(text.casefold()) for text in texts), _COUNTED_AT_ONCE):
        words.append(find_distinct(numbers.number(some)))
        signatures.append(signer.sign(words[-1]))
    return TextWords(chosen, Ragged.join(words), np.concatenate(signatures))


def chunked(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """The items in lists of some size."""
    remaining = iter(items)
    while some := list(islice(remaining, size)):
        yield some


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

"""Texts that are near-equal to one of some sources, looked for among many, a part of them at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from sweep.data.arrow import Ragged
from sweep.data.near_texts import IntArray, MinHash, WordNumbers, find_distinct, is_near
from sweep.data.overlaps import MAX_TEXTS

_BITS = 4
"""Words of 64 bits that stand for the words of a text: what only one of two texts sets shows words that differ."""

_PAIRS = 1 << 20
"""Pairs that are looked at at once."""

_Bits = NDArray[np.uint64]


class NearSearch:
    """The search for texts that are near-equal to a source, by their sets of words.

    A text that is near-equal to many of them is made of a pattern that they share, and a copy of none.

    Args:
        sources: Words of each source.
        share: Share of all their words that near-equal texts have in common.
        numbers: The numbering of words, to which those of sources and texts are added.
        most: Sources that a copy is near-equal to at most; None for any number.
    """

    def __init__(
        self,
        sources: Sequence[Sequence[str]],
        *,
        share: float,
        numbers: WordNumbers | None = None,
        most: int | None = MAX_TEXTS,
    ) -> None:
        self._share = share
        self._most = len(sources) if most is None else most
        self._numbers = numbers or WordNumbers()
        self._hash = MinHash()
        self._words = find_distinct(self._numbers.number(sources))
        self._bits = _set_bits(self._words)
        signatures = self._hash.sign(self._words)
        self._orders = np.argsort(signatures, axis=0, kind="stable")  # (S, bands)
        self._keys = np.take_along_axis(signatures, self._orders, axis=0)

    def find(self, texts: Ragged) -> NDArray[np.bool_]:
        """Which texts are near-equal to a source.

        Args:
            texts: The numbers of each text's words.
        """
        words = find_distinct(texts)
        bits, signatures = _set_bits(words), self._hash.sign(words)
        pairs = [
            self._leave_out_far(words, bits, which, sources)
            for band in range(signatures.shape[1])
            for which, sources in self._propose(band, signatures[:, band])
        ]
        near = np.zeros(len(words), dtype=np.int64)
        for pair in np.unique(np.concatenate([*pairs, np.empty(0, dtype=np.int64)])).tolist():
            which, source = divmod(pair, len(self._words))
            own, other = set(words[which].tolist()), set(self._words[source].tolist())
            near[which] += bool(own) and is_near(own, other, share=self._share)
        return (near > 0) & (near <= self._most)

    def _propose(self, band: int, keys: IntArray) -> Iterator[tuple[IntArray, IntArray]]:
        """Texts and sources that agree in a band of their signatures, a bounded number of pairs at a time."""
        firsts, lasts = (np.searchsorted(self._keys[:, band], keys, side=side) for side in ("left", "right"))
        counts = lasts - firsts
        ends = np.cumsum(counts)
        start = 0
        while start < len(keys):
            passed = ends[start] - counts[start]
            stop = max(start + 1, int(np.searchsorted(ends, passed + _PAIRS, side="right")))
            which = np.repeat(np.arange(start, stop), counts[start:stop])
            behind = np.repeat(ends[start:stop] - counts[start:stop] - passed, counts[start:stop])
            within = np.arange(len(which)) - behind
            yield which, self._orders[firsts[which] + within, band]
            start = stop

    def _leave_out_far(self, words: Ragged, bits: _Bits, which: IntArray, sources: IntArray) -> IntArray:
        """The pairs, as one number each, that their sizes and bits do not show to be far apart."""
        sizes, theirs = words.lengths[which], self._words.lengths[sources]
        is_possible = np.minimum(sizes, theirs) >= self._share * np.maximum(sizes, theirs)
        which, sources, sizes, theirs = (found[is_possible] for found in (which, sources, sizes, theirs))
        ours, those = bits[which], self._bits[sources]
        common = np.minimum(
            sizes - np.bitwise_count(ours & ~those).sum(axis=1), theirs - np.bitwise_count(those & ~ours).sum(axis=1)
        )
        is_possible = common >= self._share * (sizes + theirs - common)
        pairs: IntArray = which[is_possible] * len(self._words) + sources[is_possible]
        return pairs


def _set_bits(words: Ragged) -> _Bits:
    """(N, 4) a bit for each word of a text, which words may share."""
    bits = np.zeros((len(words), _BITS), dtype=np.uint64)
    filled = np.flatnonzero(words.lengths)
    if len(filled):
        places = (words.values.astype(np.uint32) * np.uint32(2_654_435_761)) >> np.uint32(24)  # Knuth's hash, of 8 bits
        flags = np.uint64(1) << (places % np.uint32(64)).astype(np.uint64)
        for word in range(_BITS):
            chosen = np.where(places // np.uint32(64) == word, flags, np.uint64(0))
            bits[filled, word] = np.bitwise_or.reduceat(chosen, words.offsets[filled])
    return bits

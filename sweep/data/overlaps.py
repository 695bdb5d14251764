"""Overlapping chunks: documents cut out of one longer text so that a part of it stands in both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sweep.data.arrow import Ragged
from sweep.data.near_texts import IntArray, WordNumbers

LONG_RUN = 13
"""Words in a row that no two texts share by chance (Brown et al., "Language Models are Few-Shot Learners", 2020, C)."""

SHORT_RUN = 8
"""The same of the end of one text that is the beginning of another, where hardly anything but a cut puts them."""

MAX_TEXTS = 10
"""Documents above which a run of words is taken for boilerplate, as in the same source."""


_FACTOR = 0x1E3779B97F4A7C15
"""Factor of the hash of a run: odd, and of 61 bits, so that runs of common words fill all 64."""

_TABLE = 1 << 22
"""Places of a table by the last bits of a run, which most runs that no source has miss."""


def find_overlaps(sources: Mapping[str, Sequence[str]], others: Mapping[str, Sequence[str]]) -> set[str]:
    """Ids of the documents among ``others`` that are chunks beside, within or around one of the ``sources``.

    A chunk begins with words that stand further on in the other one: 13 of them, or 8 that run to its end. What both
    begin with, such as the title of their page, is passed over first. A sentence that two texts share somewhere in
    their middle makes no chunks of them. Two texts are looked at if they share a run of 8 words that at most ten
    documents hold.

    Args:
        sources: Words of documents by id.
        others: Words of further documents by id.
    """
    numbers = WordNumbers()
    search = OverlapSearch(sources, numbers)
    search.add([*others], numbers.number(others.values()))
    return search.find(others.__getitem__)


class OverlapSearch:
    """The search for overlapping chunks among many documents, a part of them at a time; see `find_overlaps`.

    Args:
        sources: Words of documents by id.
        numbers: The numbering of words, to which theirs are added.
    """

    def __init__(self, sources: Mapping[str, Sequence[str]], numbers: WordNumbers) -> None:
        self._sources = sources
        self._names = [*sources]
        holders, hashed = _hash_runs(numbers.number(sources.values()))
        self._runs, places = np.unique(hashed, return_inverse=True)
        holders, places = self._take_once(holders, places)
        order = np.argsort(places, kind="stable")
        self._holders, self._starts = holders[order], np.searchsorted(places[order], np.arange(len(self._runs) + 1))
        self._texts = np.bincount(places, minlength=len(self._runs))  # documents that hold each run
        self._table = np.zeros(_TABLE, dtype=bool)
        self._table[self._runs % _TABLE] = True
        self._shared: list[tuple[str, IntArray]] = []

    def add(self, names: Sequence[str], texts: Ragged) -> None:
        """Adds documents by the numbers of their words."""
        holders, hashed = _hash_runs(texts)
        is_possible = self._table[hashed % _TABLE]
        holders, hashed = holders[is_possible], hashed[is_possible]
        places = np.searchsorted(self._runs, hashed)
        is_known = (np.append(self._runs, 0)[places] == hashed) & (places < len(self._runs))
        holders, places = self._take_once(holders[is_known], places[is_known])
        self._texts += np.bincount(places, minlength=len(self._runs))
        firsts = np.flatnonzero(np.diff(holders, prepend=-1))
        for holder, shared in zip(holders[firsts].tolist(), np.split(places, firsts[1:]), strict=False):
            self._shared.append((names[holder], shared))

    def find(self, words: Callable[[str], Sequence[str]]) -> set[str]:
        """Ids of the documents that overlap with a source, from the words of any of them by its id."""
        return {name for name, shared in self._shared if self._is_chunk(shared, name, words)}

    def _take_once(self, holders: IntArray, places: IntArray) -> tuple[IntArray, IntArray]:
        """Documents, ascending, and places of the runs of each, without those that it holds again."""
        size = max(1, len(self._runs))
        pairs = np.sort(holders * size + places)
        pairs = pairs[np.diff(pairs, prepend=-1) > 0]
        return pairs // size, pairs % size

    def _is_chunk(self, shared: IntArray, name: str, words: Callable[[str], Sequence[str]]) -> bool:
        rare = shared[self._texts[shared] <= MAX_TEXTS].tolist()
        near = {self._names[source] for run in rare for source in self._holders[slice(*self._starts[run : run + 2])]}
        own = words(name) if near else ()
        return any(is_overlap(self._sources[source], own) for source in sorted(near))


def is_overlap(first: Sequence[str], second: Sequence[str]) -> bool:
    """Whether two texts, as words, are overlapping chunks; see `find_overlaps`."""
    start = _count_common(first, second, 0)
    one, other = first[start:], second[start:]
    if not one or not other:
        return start >= LONG_RUN
    return _continues(one, other) or _continues(other, one)


def _continues(chunk: Sequence[str], before: Sequence[str]) -> bool:
    for place, word in enumerate(before):
        if word == chunk[0]:
            length = _count_common(chunk, before, place)
            if length >= (SHORT_RUN if place + length == len(before) else LONG_RUN):
                return True
    return False


def _count_common(chunk: Sequence[str], text: Sequence[str], place: int) -> int:
    """Words at the beginning of a chunk that a text has from a place on."""
    pairs = zip(chunk, text[place:], strict=False)
    return next(
        (length for length, (one, other) in enumerate(pairs) if one != other), min(len(chunk), len(text) - place)
    )


def _hash_runs(texts: Ragged) -> tuple[IntArray, IntArray]:
    """The runs of words of some texts: whose each is, ascending, and a number for it.

    Equal runs have equal numbers, under one numbering of words.
    """
    size = len(texts.values) - SHORT_RUN + 1
    if size <= 0:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    hashed = np.zeros(size, dtype=np.int64)
    for place in range(SHORT_RUN):
        hashed = hashed * _FACTOR + texts.values[place : place + size] + 1  # wraps around, as a hash may
    holders = np.repeat(np.arange(len(texts)), texts.lengths)[:size]
    is_within = np.arange(size) + SHORT_RUN <= texts.offsets[holders + 1]
    return holders[is_within], hashed[is_within]

"""Overlapping chunks: documents cut out of one longer text so that a part of it stands in both."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from sweep.data.near_texts import IntArray

LONG_RUN = 13
"""Words in a row that no two texts share by chance (Brown et al., "Language Models are Few-Shot Learners", 2020, C)."""

SHORT_RUN = 8
"""The same of the end of one text that is the beginning of another, where hardly anything but a cut puts them."""

MAX_TEXTS = 10
"""Documents above which a run of words is taken for boilerplate, as in the same source."""


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
    found = set()
    for name, near in _propose(sources, others):
        if any(is_overlap(sources[source], others[name]) for source in sorted(near)):
            found.add(name)
    return found


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


def _propose(
    sources: Mapping[str, Sequence[str]], others: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, set[str]]]:
    """Each other document with the sources that it shares a run of words with which is no boilerplate."""
    numbers: dict[str, int] = {}
    holders: dict[int, list[str]] = defaultdict(list)
    for name, words in sources.items():
        for run in set(_hash_runs(words, numbers).tolist()):
            holders[run].append(name)
    texts = Counter({run: len(names) for run, names in holders.items()})
    shared = {}
    for name, words in others.items():
        runs = {run for run in _hash_runs(words, numbers).tolist() if run in holders}
        if runs:
            shared[name] = runs
            texts.update(runs)
    for name, runs in shared.items():
        yield name, {source for run in runs if texts[run] <= MAX_TEXTS for source in holders[run]}


def _hash_runs(words: Sequence[str], numbers: dict[str, int]) -> IntArray:
    """A number for each run of words of a text; equal for equal runs, under one numbering of words."""
    known = np.array([numbers.setdefault(word, len(numbers) + 1) for word in words], dtype=np.int64)
    size = len(words) - SHORT_RUN + 1
    hashed: IntArray = np.zeros(max(0, size), dtype=np.int64)
    for place in range(SHORT_RUN if size > 0 else 0):
        hashed = hashed * 1_000_003 + known[place : place + size]  # wraps around, as a hash may
    return hashed

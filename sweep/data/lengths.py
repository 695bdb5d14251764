"""Lengths: how long texts are, in characters and in what a model reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

MAX_TEXTS = 2000
"""Texts whose tokens are counted: as many evenly spread ones."""

MOST = 95
"""Percentile that stands for nearly all."""


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """Lengths of some texts.

    Attributes:
        median: The median.
        most: The length that nearly all have at most, the percentile `MOST`.
        longest: The largest.
    """

    median: int
    most: int
    longest: int


@dataclass(frozen=True)
class Counter:
    """A way to measure texts: the unit of their lengths, and a function from N texts to N lengths."""

    unit: str
    count: Callable[[Sequence[str]], list[int]]


CHARACTERS = Counter("characters", lambda texts: list(map(len, texts)))
WORDS = Counter("words", lambda texts: [len(text.split()) for text in texts])


def measure_lengths(lengths: Sequence[int]) -> Lengths:
    """The lengths in short; those of no text are 0."""
    if not lengths:
        return Lengths(median=0, most=0, longest=0)
    median, most = np.percentile(np.array(lengths), [50, MOST], method="higher")
    return Lengths(median=int(median), most=int(most), longest=max(lengths))


def spread_evenly(items: Sequence[str]) -> Sequence[str]:
    """At most `MAX_TEXTS` of the items, evenly spread."""
    return items[:: -(-len(items) // MAX_TEXTS)] if items else items


def count_evenly(texts: Sequence[str], counter: Counter) -> list[int]:
    """The lengths of at most `MAX_TEXTS` texts, evenly spread."""
    return counter.count(spread_evenly(texts)) if texts else []


def share_above(lengths: Sequence[int], limit: int) -> float:
    """Share of lengths that are above a limit."""
    return sum(length > limit for length in lengths) / len(lengths) if lengths else 0.0


def spread(count: int, wanted: int) -> list[int]:
    """At most so many places among ``count``, evenly spread, the first one among them."""
    return sorted({int(place) for place in np.linspace(0, count, min(wanted, count), endpoint=False)})

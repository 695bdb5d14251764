"""Benchmarks: the queries of several collections one behind the other, and what each counts in the objective."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sweep.measures.score import Score


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A benchmark of a study.

    Attributes:
        name: Its name.
        weight: Weight of its mean in the objective, on any scale.
        dev: Number of its queries on dev.
        test: Number of its queries on test.
    """

    name: str
    weight: float
    dev: int
    test: int

    def queries(self, split: Literal["dev", "test"]) -> int:
        """Number of its queries on a split."""
        return self.dev if split == "dev" else self.test


def read_benchmarks(stored: Sequence[Mapping[str, Any]]) -> tuple[Benchmark, ...]:
    """The benchmarks as a study's attributes hold them."""
    return tuple(Benchmark(**one) for one in stored)


def weigh_queries(benchmarks: Sequence[Benchmark], split: Literal["dev", "test"]) -> NDArray[np.float64] | None:
    """(Q,) weight of each query, so that each benchmark's mean has its weight; None where there is one at most."""
    known = [one for one in benchmarks if one.queries(split)]
    if len(known) < 2:
        return None
    return np.concatenate([np.full(one.queries(split), one.weight / one.queries(split)) for one in known])


def split_means(values: NDArray[np.floating[Any]], slices: Mapping[str, slice]) -> dict[str, float]:
    """The mean of each benchmark at one measurement, from (Q,) values."""
    return {name: Score(values[place]).mean for name, place in slices.items()}


def slice_queries(benchmarks: Sequence[Benchmark], split: Literal["dev", "test"]) -> dict[str, slice]:
    """The places of each benchmark's queries among all; empty where there is one benchmark at most."""
    known = [one for one in benchmarks if one.queries(split)]
    ends = np.cumsum([one.queries(split) for one in known]).tolist()
    if len(known) < 2:
        return {}
    return {one.name: slice(end - one.queries(split), end) for one, end in zip(known, ends, strict=True)}

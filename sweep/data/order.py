"""The order of training examples, planned before training: full batches without a text twice."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweep.errors import CollectionError

IntArray = NDArray[np.int64]

AnyColumns = Mapping[str, Sequence[str]] | Mapping[str, IntArray]
"""Training columns of texts, or of the numbers of texts."""


@dataclass(frozen=True)
class Section:
    """Rows of training columns that stand one behind the other, and their share of the examples of a training."""

    rows: int
    share: float


_LOOK_AHEAD = 8
"""Further rows of one text that may be on offer at once: it bounds what a batch costs by texts, not by rows."""

_FRUITLESS_PASSES = 8
"""Shuffles without one full batch after which a plan is given up."""


def count_distinct(columns: AnyColumns) -> int:
    """The largest batch that the columns could give: the distinct texts of their poorest column.

    A row that holds one text twice fits no batch and does not count.
    """
    texts = _text_ids(columns)
    return min(len(np.unique(column)) for column in texts[_find_usable(texts)].T)


def plan_order(
    columns: AnyColumns, *, batch_size: int, steps: int, seed: int, sections: Sequence[Section] = ()
) -> IntArray:
    """(S, B) row indices in [0, N) of every batch of a training, step by step: a pure function of its arguments.

    The rows are shuffled and cut into batches: each batch takes, in shuffled order, rows whose texts it does not hold
    yet, whichever column they stand in, and rows that do not fit wait for a later batch. When what is left gives no
    full batch, it is dropped and a fresh shuffle begins. So a row occurs at most once a pass; rows of a text that is
    more frequent than a pass has batches are partly dropped. More steps only append: a longer plan begins with the
    shorter one. A million rows took 4 s for a full pass of 122 batches of 8192, and 2 s for 2,000 batches of 256
    where 400 titles stand over them (2 shared cores).

    Where sections have shares, a pass holds as many rows of each as its share says, and all rows of one of them; each
    section is gone through from end to end, over as many passes as that takes, before its rows are shuffled anew.

    Args:
        columns: Training columns of N rows.
        batch_size: Rows of a batch, B, at least 1.
        steps: Batches to plan, S, at least 0.
        seed: Seed of the shuffles, not negative.
        sections: Sections of the N rows; none where all rows count the same.

    Raises:
        CollectionError: If the columns give no full batch.
        ValueError: If ``batch_size`` or ``steps`` is too small.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if steps < 0:
        raise ValueError(f"steps must not be negative, got {steps}")
    texts = _text_ids(columns)
    usable = _find_usable(texts)
    distinct = min(len(np.unique(column)) for column in texts[usable].T)
    draw = _Passes(usable, sections, seed)
    batches = np.empty((steps, batch_size), dtype=np.int64)
    step, passes, fruitless = 0, 0, 0
    while step < steps:
        if fruitless == _FRUITLESS_PASSES or distinct < batch_size:
            raise CollectionError(
                f"{len(texts)} training pairs with {distinct} distinct texts give no batch of"
                f" {batch_size} without a text twice: lower batch_size"
            )
        shuffled = draw(passes)
        before = step
        for places in _cut_batches(texts[shuffled], batch_size, max_batches=steps - step):
            batches[step] = shuffled[places]
            step += 1
        passes += 1
        fruitless = fruitless + 1 if step == before else 0
    return batches


class _Passes:
    """The rows of each pass, shuffled; a pure function of its number."""

    def __init__(self, usable: IntArray, sections: Sequence[Section], seed: int) -> None:
        ends = np.cumsum([section.rows for section in sections], dtype=np.int64)
        places = np.searchsorted(ends, usable, side="right")
        self._rows = [usable[places == place] for place in range(len(sections))] if len(sections) > 1 else [usable]
        shares = [section.share for section in sections] if len(sections) > 1 else [1.0]
        length = min(len(rows) / share for rows, share in zip(self._rows, shares, strict=True))
        self._counts = [max(1, round(length * share)) for share in shares]
        self._seed = seed

    def __call__(self, number: int) -> IntArray:
        """Rows of the pass with a number, from 0."""
        if len(self._rows) == 1:
            (rows,) = self._rows
            return rows[np.random.default_rng([self._seed, number]).permutation(len(rows))]
        parts = [self._draw(place, number * count, count) for place, count in enumerate(self._counts)]
        joined = np.concatenate(parts)
        return joined[np.random.default_rng([self._seed, number]).permutation(len(joined))]

    def _draw(self, place: int, start: int, count: int) -> IntArray:
        """Some rows of a section out of the endless sequence of its shuffles."""
        rows = self._rows[place]
        first, last = start // len(rows), (start + count - 1) // len(rows)
        shuffles = [
            rows[np.random.default_rng([self._seed, place, shuffle]).permutation(len(rows))]
            for shuffle in range(first, last + 1)
        ]
        begin = start - first * len(rows)
        return np.concatenate(shuffles)[begin : begin + count]


def _text_ids(columns: AnyColumns) -> IntArray:
    """(N, C) number of every text, one numbering over all C columns: a title may be another row's content."""
    numbers: dict[str, int] = {}

    def number(column: Sequence[str] | IntArray) -> IntArray:
        if isinstance(column, np.ndarray):
            return column
        return np.array([numbers.setdefault(text, len(numbers)) for text in column], dtype=np.int64)

    return np.stack([number(column) for column in columns.values()], axis=1)


def _find_usable(texts: IntArray) -> IntArray:
    """The rows that hold no text twice: another one fits no batch."""
    ordered = np.sort(texts, axis=1)
    return np.flatnonzero((ordered[:, 1:] != ordered[:, :-1]).all(axis=1))


def _cut_batches(texts: IntArray, batch_size: int, *, max_batches: int) -> Iterator[list[int]]:
    """Cuts one pass into at most ``max_batches`` full batches, each as places in ``texts``.

    Rows queue behind their most frequent text, and only the first few of each queue are on offer, in a heap by place:
    of 400 titles over a million rows, a batch looks at 400 rows, not at the many that no batch has room for yet.
    ``texts`` are the (N, C) text numbers of the rows in shuffled order; no row holds a text twice.
    """
    queue_of, behind, offered = _queue(texts)
    on_offer: Counter[int] = Counter()  # text -> rows of its queue on offer beyond the first
    used: dict[int, int] = {}  # text -> the last batch that holds it

    def offer_behind(place: int) -> None:
        following, behind[place] = int(behind[place]), -1
        if following >= 0:
            on_offer[int(queue_of[place])] += 1
            heapq.heappush(offered, following)

    for batch in range(max_batches):
        taken: list[int] = []
        passed_over: list[int] = []
        while offered and len(taken) < batch_size:
            place = heapq.heappop(offered)
            row = texts[place].tolist()
            if batch not in map(used.get, row):
                taken.append(place)
                used.update(dict.fromkeys(row, batch))
                continue
            passed_over.append(place)
            # Where the queue's own text is free, the next row of the queue may fit though this one did not.
            if used.get(int(queue_of[place])) != batch and on_offer[int(queue_of[place])] < _LOOK_AHEAD:
                offer_behind(place)
        if len(taken) < batch_size:
            return
        yield taken
        for place in passed_over:
            heapq.heappush(offered, place)
        for place in taken:
            on_offer[int(queue_of[place])] -= 1
            offer_behind(place)


def _queue(texts: IntArray) -> tuple[IntArray, IntArray, list[int]]:
    """A queue of rows for every text that is the most frequent one of a row.

    (N,) the text of each place's queue, (N,) the place behind each place in its queue (-1 at the end), and the first
    place of every queue, ascending, which is a heap.
    """
    frequency = np.bincount(texts.ravel())
    queue_of = texts[np.arange(len(texts)), frequency[texts].argmax(axis=1)]
    by_queue = np.argsort(queue_of, kind="stable")
    continues = queue_of[by_queue[1:]] == queue_of[by_queue[:-1]]
    behind = np.full(len(texts), -1, dtype=np.int64)
    behind[by_queue[:-1][continues]] = by_queue[1:][continues]
    first = by_queue[np.concatenate([[True], ~continues])]
    return queue_of, behind, np.sort(first).tolist()

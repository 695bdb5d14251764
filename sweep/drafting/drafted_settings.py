"""DraftedSettings: the settings of a study that suit a collection. Pure rules: counts in, settings out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sweep.data.lengths import measure_lengths
from sweep.drafting.collection_look import CollectionLook
from sweep.progress import COMPLETE, DEFAULT_GRID, count_steps
from sweep.training.tokenizer_file import TextLimits

LENGTHS = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""Tokens among which the length of texts is chosen. Beyond 512 a step costs so much that a person should choose it."""

LARGEST_BATCH = 128
"""Largest batch of a draft: four sizes from 16 on are enough to see whether the batch matters."""

PASS = 4
"""Batches, at least, into which the distinct texts of the poorest format are cut, so that batches can differ."""

STEPS = 30
"""Optimizer steps that the largest batch gets at least; a study needs 20."""

MOST_EXAMPLES = 20_000
"""Training pairs of a trial at most; a search is not the last training."""

SPARSE_GRID = DEFAULT_GRID[1:]
"""Thousandths at which trials of few steps are evaluated."""

DENSE_STEPS = 50
"""Steps of the largest batch from which the first point of the default grid, 2 %, is a step of its own."""

TEXTS_A_PAIR = 6
"""Texts that may be encoded, in all evaluations of a trial, for each pair that it trains on.

A trained pair is two texts forth and back, which takes about as long as six texts forth: so half of the time goes into
evaluation at most.
"""

FEWEST_TEXTS = 1000
"""Texts that an evaluation may encode whatever it costs."""

FEWEST_QUERIES = 100
"""Queries that are evaluated on at least, where there are so many; fewer hardly show a fall."""

RATES = (5e-5, 5.6e-4)
"""Rates of the start points: the trainer's usual one, and what the square-root rule makes of it at batch 8192."""


@dataclass(frozen=True, kw_only=True)
class EvaluatedTexts:
    """The texts that are evaluated on; None for all there are."""

    max_documents: int | None
    max_queries: int | None


@dataclass(frozen=True, kw_only=True)
class DraftedSettings:
    """Settings of a study file.

    Attributes:
        formats: Data formats to search.
        max_seq_length: Tokens of a text that are read; None to leave it to the model.
        batch_sizes: Smallest and largest batch, powers of two.
        trials: Budget of trials.
        examples: Training pairs of a trial.
        grid: Thousandths at which trials are evaluated.
        evaluated: The texts that are evaluated on.
        starts: Start points.
    """

    formats: tuple[str, ...]
    max_seq_length: int | None
    batch_sizes: tuple[int, int]
    trials: int
    examples: int
    grid: tuple[int, ...]
    evaluated: EvaluatedTexts
    starts: Sequence[Mapping[str, float | str]]


def choose_settings_for(look: CollectionLook) -> DraftedSettings:
    """The settings that suit a collection."""
    poorest = min(one.distinct for one in look.formats.values())
    batch_sizes = choose_batch_sizes(poorest)
    largest = batch_sizes[1]
    examples = choose_examples(min(one.pairs for one in look.formats.values()), largest)
    grid = DEFAULT_GRID if count_steps(examples, largest) >= DENSE_STEPS else SPARSE_GRID
    return DraftedSettings(
        formats=tuple(look.formats),
        max_seq_length=choose_length(look.documents, look.queries, look.limits),
        batch_sizes=batch_sizes,
        trials=4 + 8 * len(look.formats),
        examples=examples,
        grid=grid,
        evaluated=choose_evaluated(
            queries=look.evaluable["dev"],
            documents=len(look.collection.documents),
            texts=max(FEWEST_TEXTS, TEXTS_A_PAIR * examples // len(grid)),
            count_judged=look.count_judged,
        ),
        starts=[
            {"learning_rate": rate, "warmup_ratio": 0.1, "batch_size": min(32, largest), "data_format": name}
            for rate in RATES
            for name in look.formats
        ],
    )


def choose_length(documents: Sequence[int], queries: Sequence[int], limits: TextLimits) -> int | None:
    """The tokens that are read of a text: those of nearly all texts, as far as the model reads them.

    Args:
        documents: Lengths of documents in tokens.
        queries: Lengths of queries.
        limits: How much the model reads.
    """
    if not limits.is_settable:
        return None
    wanted = max(measure_lengths(documents).most, measure_lengths(queries).most)
    chosen = next((length for length in LENGTHS if length >= wanted), LENGTHS[-1])
    return chosen if limits.tokens is None else min(chosen, limits.tokens)


def choose_batch_sizes(distinct: int) -> tuple[int, int]:
    """The smallest and the largest batch, of which the distinct texts of a format fill several, at least 2."""
    largest = min(LARGEST_BATCH, _power_below(max(distinct // PASS, 2)))
    return (16 if largest > 16 else max(2, largest // 4)), largest


def choose_examples(pairs: int, largest: int) -> int:
    """Training pairs of a trial: one pass over the fewest that a format has, in whole batches of the largest.

    They are no fewer than ``STEPS`` such batches, and no more than ``MOST_EXAMPLES``.
    """
    batches = min(math.ceil(pairs / largest), MOST_EXAMPLES // largest)
    return largest * max(STEPS, batches)


def choose_evaluated(*, queries: int, documents: int, texts: int, count_judged: Callable[[int], int]) -> EvaluatedTexts:
    """As many queries and documents as may be encoded; a third of them queries, where there are so many.

    Documents that are judged are always ranked, so there are fewer queries where these have many.

    Args:
        queries: Queries of dev.
        documents: Documents of the collection.
        texts: Texts that an evaluation may encode.
        count_judged: Counts the documents that are judged for a number of queries.
    """
    room = max(texts // 3, texts - documents)
    chosen = queries if queries <= room else _floor(room)
    while chosen > FEWEST_QUERIES and count_judged(chosen) + chosen > texts:
        chosen = max(FEWEST_QUERIES, _floor(chosen * 4 // 5))
    ranked = max(_floor(texts - chosen), _ceil(count_judged(chosen)))
    return EvaluatedTexts(
        max_documents=None if ranked >= documents else ranked, max_queries=None if chosen == queries else chosen
    )


def as_shares(grid: Sequence[int]) -> list[float]:
    """Points of a grid as a study file has them."""
    return [point / COMPLETE for point in grid]


def _power_below(number: int) -> int:
    """The largest power of two that is at most a number, which is at least 1."""
    return 1 << (number.bit_length() - 1)


def _floor(number: int) -> int:
    """A number to two digits, rounded down."""
    return number // _unit(number) * _unit(number)


def _ceil(number: int) -> int:
    """A number to two digits, rounded up."""
    return -(-number // _unit(number)) * _unit(number)


def _unit(number: int) -> int:
    """The place of a number's second digit."""
    return int(10 ** max(0, len(str(number)) - 2))

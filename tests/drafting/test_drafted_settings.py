"""The rules by which a draft's settings follow from counts."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.drafting.drafted_settings import (
    FEWEST_QUERIES,
    FEWEST_TEXTS,
    LARGEST_BATCH,
    LENGTHS,
    MOST_EXAMPLES,
    EvaluatedTexts,
    choose_batch_sizes,
    choose_evaluated,
    choose_examples,
    choose_length,
)
from sweep.progress import MIN_STEPS, count_steps
from sweep.training.tokenizer_file import TextLimits

FREE = TextLimits(tokens=None, positions=None)


@pytest.mark.parametrize(
    ("documents", "queries", "limits", "chosen"),
    [
        ([10] * 20, [5] * 20, FREE, 16),
        ([50] * 20, [5] * 20, FREE, 64),
        ([50] * 96 + [500] * 4, [5] * 20, FREE, 64),  # nearly all, and not the longest
        ([5] * 20, [200] * 20, FREE, 256),  # long queries are read as well
        ([9000] * 20, [5] * 20, FREE, 512),
        ([300] * 20, [5] * 20, TextLimits(tokens=256, positions=512), 256),
        ([20] * 20, [5] * 20, TextLimits(tokens=256, positions=512), 32),
        ([20] * 20, [5] * 20, TextLimits(tokens=30, positions=64), 30),
        ([20] * 20, [5] * 20, TextLimits(tokens=None, positions=None, is_settable=False), None),
    ],
)
def test_a_length_holds_nearly_all_texts_as_far_as_the_model_reads(
    documents: list[int], queries: list[int], limits: TextLimits, chosen: int | None
) -> None:
    assert choose_length(documents, queries, limits) == chosen


@pytest.mark.parametrize(
    ("distinct", "sizes"),
    [(2, (2, 2)), (16, (2, 4)), (40, (2, 8)), (64, (4, 16)), (144, (16, 32)), (416, (16, 64)), (10**6, (16, 128))],
)
def test_batches_are_those_that_the_data_can_fill(distinct: int, sizes: tuple[int, int]) -> None:
    assert choose_batch_sizes(distinct) == sizes


@settings(deadline=None)
@given(distinct=st.integers(2, 10**7), pairs=st.integers(2, 10**7))
def test_every_batch_can_be_filled_and_the_largest_gets_enough_steps(distinct: int, pairs: int) -> None:
    low, high = choose_batch_sizes(distinct)
    assert 2 <= low <= high <= min(distinct, LARGEST_BATCH)
    assert low & (low - 1) == high & (high - 1) == 0
    examples = choose_examples(pairs, high)
    assert examples % high == 0
    assert count_steps(examples, high) > MIN_STEPS
    assert examples <= max(MOST_EXAMPLES, 30 * high)
    assert examples >= min(pairs, MOST_EXAMPLES - high)


@pytest.mark.parametrize(
    ("queries", "documents", "texts", "judged", "expected"),
    [
        (48, 240, 1000, 1.0, (None, None)),
        (300, 5000, 5000, 1.0, (4700, None)),
        (6980, 8_800_000, 6600, 1.0, (4400, 2200)),
        (1016, 13151, 1872, 0.9, (1200, 620)),
        (50, 8000, 1000, 100.0, (5000, None)),  # every judged document is ranked, whatever it costs
        (323, 3600, 1000, 10.0, (1000, 100)),
    ],
)
def test_texts_are_evaluated_on_as_far_as_they_may_be_encoded(
    queries: int, documents: int, texts: int, judged: float, expected: tuple[int | None, int | None]
) -> None:
    chosen = choose_evaluated(
        queries=queries, documents=documents, texts=texts, count_judged=lambda number: int(judged * number)
    )
    assert (chosen.max_documents, chosen.max_queries) == expected


@settings(deadline=None)
@given(
    queries=st.integers(1, 10**5),
    documents=st.integers(1, 10**7),
    texts=st.integers(FEWEST_TEXTS, 10**5),
    judged=st.floats(0.1, 200.0),
)
def test_what_is_left_out_of_an_evaluation_is_never_a_judged_document(
    queries: int, documents: int, texts: int, judged: float
) -> None:
    def count(number: int) -> int:
        return min(documents, max(1, int(judged * number)))

    chosen = choose_evaluated(queries=queries, documents=documents, texts=texts, count_judged=count)
    used = queries if chosen.max_queries is None else chosen.max_queries
    ranked = documents if chosen.max_documents is None else chosen.max_documents
    assert min(queries, FEWEST_QUERIES) <= used <= queries
    assert count(used) <= ranked <= documents
    assert (
        used + ranked <= texts
        or used <= max(FEWEST_QUERIES, 2 * texts // 5)
        or chosen == EvaluatedTexts(max_documents=None, max_queries=None)
    )


def test_lengths_ascend() -> None:
    assert list(LENGTHS) == sorted({*LENGTHS})

from __future__ import annotations

import pytest

from sweep.data.lengths import (
    CHARACTERS,
    MAX_TEXTS,
    WORDS,
    Counter,
    Lengths,
    count_evenly,
    measure_lengths,
    share_above,
)


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([], (0, 0, 0)),
        ([7], (7, 7, 7)),
        ([1, 9], (9, 9, 9)),
        (list(range(1, 101)), (51, 96, 100)),
        ([5] * 96 + [1000] * 4, (5, 5, 1000)),
    ],
)
def test_lengths_in_short_are_lengths_that_occur(lengths: list[int], expected: tuple[int, int, int]) -> None:
    median, most, longest = expected
    assert measure_lengths(lengths) == Lengths(median=median, most=most, longest=longest)


def test_texts_are_measured_in_characters_and_words() -> None:
    assert CHARACTERS.count(["", "two words", "\u6f22"]) == [0, 9, 1]
    assert WORDS.count(["", "two  words\n", "\u6f22"]) == [0, 2, 1]


@pytest.mark.parametrize("number", [0, 1, MAX_TEXTS, MAX_TEXTS + 1, 5 * MAX_TEXTS])
def test_of_many_texts_evenly_spread_ones_are_measured(number: int) -> None:
    asked: list[str] = []
    counter = Counter("texts", lambda texts: asked.extend(texts) or [0] * len(texts))
    texts = [str(place) for place in range(number)]
    assert len(count_evenly(texts, counter)) == len(asked)
    assert min(number, MAX_TEXTS) // 2 < len(asked) + 1 <= MAX_TEXTS + 1
    assert asked == texts[:: int(asked[1]) if len(asked) > 1 else 1]


def test_the_share_above_a_limit_leaves_out_what_just_fits() -> None:
    assert share_above([3, 4, 5, 5], 4) == 0.5
    assert share_above([], 4) == 0.0

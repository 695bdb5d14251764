from __future__ import annotations

import numpy as np
import pytest

from sweep.data.formats.format import PAIR
from sweep.data.near_texts import NEAR
from sweep.data.negatives import measure_false_negatives
from tests.compiled import number_columns


def columns_of(*positives: str) -> dict[str, list[str]]:
    return {"anchor": [f"query {place}" for place in range(len(positives))], "positive": list(positives)}


def share_of(columns: dict[str, list[str]], order: np.ndarray) -> float:
    known, words = number_columns(columns, PAIR)
    return measure_false_negatives(known, order, roles=PAIR, words=words)


def share_by_hand(positives: list[str], order: np.ndarray) -> float:
    """Every text of a batch against every other one."""
    words = [set(text.split()) for text in positives]
    found = 0
    for batch in order.tolist():
        for row in batch:
            found += any(
                len(words[row] & words[other]) >= NEAR * len(words[row] | words[other])
                for other in batch
                if other != row
            )
    return found / order.size


def test_near_equal_texts_of_one_batch_are_counted_on_both_sides() -> None:
    columns = columns_of("Creates a bucket in S3.", "creates a bucket, in s3", "lists every key", "deletes an alarm")
    assert share_of(columns, np.array([[0, 1, 2, 3]])) == 0.5


def test_near_equal_texts_of_different_batches_do_each_other_no_harm() -> None:
    columns = columns_of("creates a bucket", "creates a bucket", "lists every key", "deletes an alarm")
    assert share_of(columns, np.array([[0, 2], [1, 3]])) == 0.0


def test_texts_that_share_four_words_of_six_are_not_near_equal() -> None:
    columns = columns_of("one two three four five", "one two three four six")
    assert share_of(columns, np.array([[0, 1]])) == 0.0


def test_four_words_of_five_are_near_and_three_of_four_are_not() -> None:
    assert share_of(columns_of("one two three four five", "one two three four"), np.array([[0, 1]])) == 1.0
    assert share_of(columns_of("one two three four", "one two three"), np.array([[0, 1]])) == 0.0


def test_scripts_without_spaces_are_compared_by_their_signs() -> None:
    near = columns_of("密码重置链接过期失效吗", "密码重置链接过期失效呢", "如何导出数据")
    assert share_of(near, np.array([[0, 1, 2]])) == pytest.approx(2 / 3)


def test_a_plan_without_batches_has_none() -> None:
    assert share_of(columns_of("a text"), np.empty((0, 1), dtype=np.int64)) == 0.0


def test_texts_without_a_word_are_equal_to_each_other_alone() -> None:
    columns = columns_of("...", "!?", "a word")
    assert share_of(columns, np.array([[0, 1, 2]])) == pytest.approx(2 / 3)


@pytest.mark.parametrize("seed", range(5))
def test_the_share_is_that_of_comparing_every_text_with_every_other(seed: int) -> None:
    random = np.random.default_rng(seed)
    positives: list[str] = []
    for _ in range(60):
        words = [f"w{number}" for number in random.choice(40, size=12, replace=False)]
        positives.append(" ".join(words))
        changed = random.integers(0, 5)  # a copy in which so many words are others
        positives.append(" ".join([*words[changed:], *(f"x{number}" for number in range(changed))]))
    order = random.permutation(120).reshape(3, 40)
    assert share_of(columns_of(*positives), order) == pytest.approx(share_by_hand(positives, order))

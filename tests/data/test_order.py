from __future__ import annotations

import time
from collections import Counter
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.data import count_distinct, plan_order
from sweep.data.order import _LOOK_AHEAD, Section, _cut_batches
from sweep.data.sections import RowSection, share_out
from sweep.errors import CollectionError

rows = st.lists(st.tuples(st.integers(0, 8), st.integers(4, 30)), min_size=1, max_size=60)


def columns_of(pairs):
    return {"anchor": [f"text {a}" for a, _ in pairs], "positive": [f"text {p}" for _, p in pairs]}


def distinct(count):
    return {"anchor": [f"a{n}" for n in range(count)], "positive": [f"p{n}" for n in range(count)]}


def has_repeat(columns, batch):
    texts = [column[row] for column in columns.values() for row in batch]
    return len(set(texts)) < len(texts)


@settings(deadline=None)
@given(rows, st.integers(1, 6), st.integers(0, 9))
def test_no_batch_holds_a_text_twice_in_any_column(pairs, batch_size, seed):
    columns = columns_of(pairs)
    try:
        order = plan_order(columns, batch_size=batch_size, steps=12, seed=seed)
    except CollectionError:
        return
    assert order.shape == (12, batch_size)
    assert order.dtype == np.int64
    assert not any(has_repeat(columns, batch) for batch in order)


@settings(deadline=None)
@given(rows, st.integers(1, 6), st.integers(0, 9), st.integers(0, 11))
def test_a_longer_plan_begins_with_the_shorter_one(pairs, batch_size, seed, steps):
    columns = columns_of(pairs)
    try:
        longer = plan_order(columns, batch_size=batch_size, steps=12, seed=seed)
    except CollectionError:
        return
    np.testing.assert_array_equal(plan_order(columns, batch_size=batch_size, steps=steps, seed=seed), longer[:steps])


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 9))
def test_distinct_rows_occur_once_a_pass_and_all_but_the_rest_of_a_batch(count, batch_size, seed):
    if count < batch_size:
        return
    batches = count // batch_size
    order = plan_order(distinct(count), batch_size=batch_size, steps=3 * batches, seed=seed)
    for single_pass in order.reshape(3, -1):
        assert len(set(single_pass.tolist())) == batches * batch_size


def cut_by_looking_at_every_row(texts, batch_size):
    """What a pass is meant to be, slowly: each batch takes, in order, every row that is left and fits."""
    left = list(range(len(texts)))
    while True:
        taken, held = [], set()
        for place in left:
            if len(taken) < batch_size and not held & set(texts[place]):
                taken.append(place)
                held |= set(texts[place])
        if len(taken) < batch_size:
            return
        left = [place for place in left if place not in taken]
        yield taken


@settings(deadline=None, max_examples=300)
@given(rows, st.integers(1, 6))
def test_a_pass_is_what_looking_at_every_row_gives(pairs, batch_size):
    texts = [pair for pair in pairs if pair[0] != pair[1]]
    frequency = Counter(text for pair in texts for text in pair)
    if not texts or max(frequency.values()) > _LOOK_AHEAD:
        return
    batches = list(_cut_batches(np.array(texts), batch_size, max_batches=len(texts)))
    assert batches == list(cut_by_looking_at_every_row(texts, batch_size))
    places = [place for batch in batches for place in batch]
    assert len(set(places)) == len(places)


@settings(deadline=None)
@given(rows, st.integers(1, 6))
def test_no_row_occurs_twice_in_a_pass_however_frequent_its_texts(pairs, batch_size):
    texts = [(anchor % 2, positive) for anchor, positive in pairs]
    places = [place for batch in _cut_batches(np.array(texts), batch_size, max_batches=len(texts)) for place in batch]
    assert len(set(places)) == len(places)


def test_the_plan_follows_the_seed():
    plans = [plan_order(distinct(100), batch_size=8, steps=5, seed=seed).tolist() for seed in (0, 0, 1)]
    assert plans[0] == plans[1] != plans[2]


def test_passes_are_shuffled_anew():
    order = plan_order(distinct(64), batch_size=64, steps=2, seed=0)
    assert sorted(order[0]) == sorted(order[1])
    assert order[0].tolist() != order[1].tolist()


def test_a_pass_over_frequent_titles_gives_nearly_as_many_batches_as_there_can_be():
    weights = 1.0 / np.arange(1, 101)
    titles = np.random.default_rng(0).choice(100, size=4000, p=weights / weights.sum())
    columns = {"anchor": [f"t{title}" for title in titles], "positive": [f"p{n}" for n in range(4000)]}
    counts = Counter(titles.tolist()).values()
    possible = max(b for b in range(1, 4000) if sum(min(count, b) for count in counts) >= 20 * b)
    order = plan_order(columns, batch_size=20, steps=2 * possible, seed=0)
    used_once = next(step for step in range(len(order)) if len(np.unique(order[: step + 1])) < 20 * (step + 1))
    assert used_once >= 0.95 * possible


def test_a_row_whose_two_texts_are_equal_is_never_used():
    columns = {"anchor": ["same", "a", "b"], "positive": ["same", "c", "d"]}
    assert set(plan_order(columns, batch_size=1, steps=20, seed=0).ravel()) == {1, 2}
    assert count_distinct(columns) == 2


def test_a_text_that_is_an_anchor_here_and_a_positive_there_keeps_rows_apart():
    columns = {"anchor": ["a", "b", "c"], "positive": ["b", "d", "e"]}
    order = plan_order(columns, batch_size=2, steps=30, seed=0)
    assert {frozenset(batch) for batch in order.tolist()} == {frozenset({0, 2}), frozenset({1, 2})}


def test_a_third_column_is_kept_free_of_repeats_too():
    columns = {"anchor": list("abcd"), "positive": list("efgh"), "negative": list("xxyy")}
    order = plan_order(columns, batch_size=2, steps=30, seed=0)
    assert all(len({row // 2 for row in batch}) == 2 for batch in order.tolist())


@pytest.mark.parametrize(
    ("columns", "batch_size", "problem"),
    [
        pytest.param(distinct(3), 4, "3 training pairs with 3 distinct texts give no batch of 4", id="too-few"),
        pytest.param(
            {"anchor": ["t"] * 9, "positive": list("abcdefghi")}, 2, "9 training pairs with 1 distinct", id="one-title"
        ),
        pytest.param(
            {"anchor": ["a", "b"], "positive": ["b", "a"]}, 2, "2 training pairs with 2 distinct", id="crossed-over"
        ),
        pytest.param({"anchor": ["a"], "positive": ["a"]}, 1, "1 training pairs with 0 distinct", id="equal"),
        pytest.param({"anchor": [], "positive": []}, 1, "0 training pairs with 0 distinct", id="nothing"),
    ],
)
def test_columns_that_give_no_batch_are_refused(columns, batch_size, problem):
    with pytest.raises(CollectionError, match=f"{problem}.*lower batch_size"):
        plan_order(columns, batch_size=batch_size, steps=1, seed=0)


@pytest.mark.parametrize(
    ("batch_size", "steps", "problem"),
    [(0, 1, "batch_size must be at least 1, got 0"), (1, -1, "steps must not be negative, got -1")],
)
def test_sizes_that_are_too_small_are_refused(batch_size, steps, problem):
    with pytest.raises(ValueError, match=problem):
        plan_order(distinct(3), batch_size=batch_size, steps=steps, seed=0)


@settings(deadline=None)
@given(rows)
def test_count_distinct_is_an_upper_bound_of_every_batch(pairs):
    columns = columns_of(pairs)
    with pytest.raises(CollectionError, match="lower batch_size"):
        plan_order(columns, batch_size=count_distinct(columns) + 1, steps=1, seed=0)


def test_many_rows_under_few_titles_are_planned_in_seconds():
    count = 200_000
    titles = np.random.default_rng(0).integers(0, 400, count)
    columns = {"anchor": [f"t{title}" for title in titles], "positive": [f"p{n}" for n in range(count)]}
    began = time.process_time()
    order = plan_order(columns, batch_size=256, steps=500, seed=0)
    assert time.process_time() - began < 10  # took 0.4 s; looking at every waiting row takes minutes
    assert len(np.unique(order)) == order.size


class TestSections:
    """Rows of several origins, each with its share of the examples."""

    COLUMNS: ClassVar = {"anchor": [f"a{row}" for row in range(130)], "positive": [f"b{row}" for row in range(130)]}

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
    def test_every_section_has_its_share(self, share):
        sections = (Section(100, share), Section(30, 1 - share))
        order = plan_order(self.COLUMNS, batch_size=10, steps=200, seed=0, sections=sections)
        assert np.mean(order < 100) == pytest.approx(share, abs=0.03)
        assert all(len(set(batch)) == 10 for batch in order.tolist())

    def test_a_section_is_gone_through_before_its_rows_come_again(self):
        sections = (Section(100, 0.1), Section(30, 0.9))
        order = plan_order(self.COLUMNS, batch_size=1, steps=330, seed=0, sections=sections).ravel()
        for rows in (order[order < 100], order[order >= 100]):
            counts = np.bincount(rows)
            counts = counts[counts > 0]
            assert counts.max() - counts.min() <= 1
            assert counts.size == min(len(rows), 100 if rows[0] < 100 else 30)

    def test_a_longer_plan_begins_with_the_shorter_one(self):
        sections = (Section(100, 0.3), Section(30, 0.7))
        longer, shorter = (
            plan_order(self.COLUMNS, batch_size=8, steps=steps, seed=3, sections=sections) for steps in (60, 25)
        )
        np.testing.assert_array_equal(longer[:25], shorter)

    def test_one_section_is_no_mixture(self):
        alone = plan_order(self.COLUMNS, batch_size=8, steps=60, seed=3)
        np.testing.assert_array_equal(
            plan_order(self.COLUMNS, batch_size=8, steps=60, seed=3, sections=(Section(130, 1.0),)), alone
        )

    def test_a_mixture_whose_passes_give_no_batch_is_refused(self):
        sections = (Section(100, 0.01), Section(30, 0.99))
        with pytest.raises(CollectionError, match="no batch of 60"):
            plan_order(self.COLUMNS, batch_size=60, steps=1, seed=0, sections=sections)


def test_the_first_format_of_a_mixture_has_the_share_that_is_set_and_the_others_share_the_rest():
    sections = [RowSection(10, place, 3) for place in range(3)]
    assert [section.share for section in share_out(sections, 0.6)] == pytest.approx([0.6, 0.2, 0.2])
    assert share_out([RowSection(10)], None) == (Section(10, 1.0),)

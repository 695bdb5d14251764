from __future__ import annotations

import pytest

from sweep.data import Collection, Document, plan_evaluation_set
from sweep.data.formats.format import PAIR
from sweep.data.lengths import WORDS, Lengths
from sweep.data.overview import Look, spread, view_format, view_split

DOCUMENTS = {f"d{number}": Document(f"page {number}", "word " * number) for number in range(6)}
COLLECTION = Collection(
    name="toy",
    documents=DOCUMENTS,
    queries={"a": "one two three", "b": "one", "c": "one two", "x": "two"},
    qrels={
        "train": {},
        "dev": {"a": {"d1": 2, "d2": 0, "d3": 1}, "b": {"d4": 1}, "c": {"d5": 0}, "gone": {"d1": 1}},
        "test": {},
    },
    held_out=frozenset(),
)


def test_a_split_is_seen_as_models_are_evaluated_on_it() -> None:
    judged = plan_evaluation_set(COLLECTION, "dev", max_documents=None, max_queries=None, seed=0)
    seen = view_split(COLLECTION, judged, split="dev", document="text", look=Look(WORDS, limit=2, examples=9))
    assert (seen.judged_queries, seen.unanswered) == (4, 2)  # c has no relevant document, and one query is not there
    assert (seen.queries.count, seen.queries.distinct) == (2, 2)
    assert seen.queries.lengths == Lengths(median=3, most=3, longest=3)
    assert seen.queries.cut == 0.5
    assert (seen.documents.count, seen.judged_documents) == (6, 4)
    assert seen.documents.lengths.longest == 5
    assert seen.grades == {0: 1, 1: 2, 2: 1}
    assert (seen.judged.longest, seen.relevant.longest) == (3, 2)
    assert seen.examples == [("one two three", DOCUMENTS["d1"].text), ("one", DOCUMENTS["d4"].text)]


def test_grades_below_the_one_that_is_relevant_are_no_example() -> None:
    strict = Collection(**{**COLLECTION.__dict__, "relevant": 2})
    judged = plan_evaluation_set(strict, "dev", max_documents=None, max_queries=None, seed=0)
    seen = view_split(strict, judged, split="dev", document="title-and-text", look=Look(WORDS))
    assert seen.examples == [("one two three", "page 1\nword")]
    assert (seen.relevant.longest, seen.unanswered) == (1, 3)


def test_a_format_is_seen_by_its_columns_and_rows() -> None:
    columns = {"anchor": ["a", "a b", "a"], "positive": ["x y z", "x", "y"]}
    seen = view_format("pairs", columns, roles=PAIR, leaking=2, look=Look(WORDS, examples=2))
    assert (seen.pairs, seen.leaking) == (3, 2)
    role, anchors = seen.columns["anchor"]
    assert (role, anchors.count, anchors.distinct, anchors.cut) == ("anchor", 3, 2, None)
    assert seen.columns["positive"][1].characters == Lengths(median=1, most=5, longest=5)
    assert seen.examples == [{"anchor": "a", "positive": "x y z"}, {"anchor": "a b", "positive": "x"}]


@pytest.mark.parametrize(
    ("count", "wanted", "places"),
    [(0, 3, []), (1, 3, [0]), (3, 3, [0, 1, 2]), (10, 2, [0, 5]), (100, 4, [0, 25, 50, 75])],
)
def test_examples_are_spread_evenly(count: int, wanted: int, places: list[int]) -> None:
    assert spread(count, wanted) == places

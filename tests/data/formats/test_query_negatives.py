from __future__ import annotations

import pytest

from sweep.data import Collection, Document
from sweep.data.formats.query_negatives import QueryNegatives

LIBRARY = Collection(
    name="library",
    documents={name: Document(f"title {name}", f"text {name}") for name in "abcdefg"} | {"h": Document("", "text c")},
    queries={"q1": "first", "q2": "second", "q3": "third"},
    qrels={
        "train": {
            "q1": {"a": 1, "b": 2, "c": 0, "d": 0, "e": 0, "g": 0, "missing": 0, "h": 0},
            "q2": {"a": 1, "c": 0},
            "q3": {"b": 1},
        },
        "dev": {"q1": {"f": 0}},
        "test": {},
    },
    held_out=frozenset({"g"}),
)


def rows(**options: object) -> list[tuple[str, ...]]:
    data_format = QueryNegatives.model_validate(options)
    columns = data_format.make(LIBRARY, "text")
    assert list(columns) == list(data_format.roles)
    return list(zip(*columns.values(), strict=True))


def test_each_row_of_a_query_takes_its_next_negatives():
    assert rows() == [
        ("first", "text a", "text c"),
        ("first", "text b", "text d"),
        ("second", "text a", "text c"),
    ]


def test_a_query_with_too_few_negatives_is_left_out():
    assert rows(negatives=2) == [
        ("first", "text a", "text c", "text d"),
        ("first", "text b", "text e", "text c"),  # of three different texts: h says what c does
    ]
    assert rows(negatives=4) == []


def test_documents_that_may_not_be_trained_on_are_no_negatives():
    texts = {text for row in rows(negatives=3) for text in row}
    assert not texts & {"text g", "text f"}


def test_the_view_of_documents_is_an_option():
    assert rows(document="title-and-text")[0] == ("first", "title a\ntext a", "title c\ntext c")


def test_a_grade_below_the_one_from_which_documents_are_relevant_is_a_negative():
    from dataclasses import replace

    strict = replace(LIBRARY, relevant=2)
    columns = QueryNegatives().make(strict, "text")
    assert list(zip(*columns.values(), strict=True)) == [("first", "text b", "text a")]


@pytest.mark.parametrize("negatives", [1, 3])
def test_every_negative_has_a_column_of_its_role(negatives: int):
    roles = QueryNegatives(negatives=negatives).roles
    assert [column for column, role in roles.items() if role == "negative"] == [
        f"negative_{place}" for place in range(1, negatives + 1)
    ]

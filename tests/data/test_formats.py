from __future__ import annotations

import pytest

from sweep.data import FORMATS, Collection, Document, make_columns
from sweep.errors import CollectionError

TEA = Collection(
    name="tea",
    documents={
        "d3": Document("Oolong", "Half oxidised."),
        "d1": Document("Green", "Not oxidised."),
        "d2": Document("", "No title."),
        "d4": Document("No text", " "),
        "d5": Document("Black", "Held out."),
    },
    queries={"q2": "which tea is half oxidised", "q1": "which is not", "q3": "which is"},
    qrels={
        "train": {"q2": {"d3": 2, "d1": 0}, "q1": {"d1": 1, "d2": 1, "d4": 1, "d5": 1}, "q9": {"d1": 1}},
        "dev": {"q3": {"d5": 1}},
        "test": {},
    },
    held_out=frozenset({"d5"}),
)


@pytest.mark.parametrize("view", ["text", "title-and-text"])
def test_title_content_pairs_titles_with_text_alone_in_the_order_of_ids(view):
    columns = make_columns(TEA, "title-content", document=view)
    assert columns == {"anchor": ["Green", "Oolong"], "positive": ["Not oxidised.", "Half oxidised."]}


def test_query_document_pairs_each_relevant_train_judgement_with_the_embedded_document():
    columns = make_columns(TEA, "query-document", document="text")
    assert columns == {
        "anchor": ["which is not", "which is not", "which tea is half oxidised"],
        "positive": ["Not oxidised.", "No title.", "Half oxidised."],
    }
    titled = make_columns(TEA, "query-document", document="title-and-text")
    assert titled["positive"] == ["Green\nNot oxidised.", "No title.", "No text", "Oolong\nHalf oxidised."]


def test_an_unknown_format_is_refused_with_the_known_ones():
    with pytest.raises(CollectionError, match="no data format 'titel'; known are title-content, query-document"):
        make_columns(TEA, "titel", document="text")


@pytest.mark.parametrize("data_format", FORMATS)
def test_a_format_without_a_pair_is_refused(data_format):
    empty = Collection("empty", {"d": Document("", "text")}, {}, {"train": {}, "dev": {}, "test": {}}, frozenset())
    with pytest.raises(CollectionError, match=f"empty: the train split yields no pair for format '{data_format}'"):
        make_columns(empty, data_format, document="text")

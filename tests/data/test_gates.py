from __future__ import annotations

from collections.abc import Sequence

import pytest
from pydantic import ValidationError

from sweep.data import Document
from sweep.data.gates import GateContext, GateSpec, list_scripts, pass_gates, share_copied
from sweep.data.generated import GeneratedQuery

DOCUMENTS = {
    "tea": Document("Green tea", "Green tea is made of leaves that are steamed or fried soon after they were picked."),
    "coffee": Document("", "Coffee is made of roasted beans."),
    "tee": Document("", "Чай - это напиток."),
}
HELD = ["how long should green tea be steeped in water", "x y"]


def reject(*texts: str, document: str = "tea", examples: Sequence[str] = (), **spec) -> dict[str, str]:
    """What some queries for a document are rejected for: (gate: reason) by text."""
    context = GateContext(
        spec=GateSpec.model_validate(spec),
        documents=DOCUMENTS,
        held=HELD,
        examples=[examples],
        round_trip=lambda queries, within: {
            place: f"rank {len(query.text)}" for place, query in enumerate(queries) if len(query.text) > within
        },
    )
    queries = [GeneratedQuery(document, text) for text in texts]
    return {
        query.text: f"{passage.gate.name}: {reason}"
        for passage in pass_gates(queries, context)
        for query, reason in passage.rejected
    }


@pytest.mark.parametrize(
    "text",
    [
        "<b>what is tea</b>", "what is tea<|im_end|>", "```sql", "- a list", "1. what is tea", "## what is tea",
        "**what** is tea", "[tea](http://x)", '{"query": "tea"}', "tea\x00", "tea \x1b[31m", "tea\u0085now",
        "Sure, here is one: tea", "Query: what is tea", "question 1: what is tea", "Here are some queries",
        "Title: Tea", "I'm sorry, I cannot", "assistant: what is tea", "As an AI model",
    ],
)  # fmt: skip
def test_what_is_no_text_alone_is_rejected(text: str):
    assert reject(text)[text].startswith("text: ")
    assert text not in reject(text, text=False, script=False) or not text.startswith("text")


@pytest.mark.parametrize(
    "text",
    [
        "what is green tea?", "is 3 < 5 and 7 > 2", "c++ vector<int> size", "tea: a guide",
        "aws s3 cp --recursive", "what's the title of the book", "query planner of postgres", "5 * 3 = 15",
        "naïve café", "search queries in logs", "sure-fire ways to sleep", "OK-type errors",
    ],
)  # fmt: skip
def test_what_people_ask_passes(text: str):
    assert reject(text) == {}


def test_too_few_or_too_many_words_are_rejected():
    assert reject("", "?!", "tea", "one two three four", words=[1, 3]) == {
        "": "words: 0 words",
        "?!": "words: 0 words",
        "one two three four": "words: 4 words",
    }


def test_what_is_asked_in_dev_or_test_is_rejected_whatever_the_gates():
    near = "how long should Green Tea be steeped in the water"
    off = {"text": False, "script": False, "near_equal": False}
    assert reject("X  Y", HELD[0].upper(), near, "how long is tea steeped", **off) == {
        "X  Y": "leak: equal to a query of dev or test",
        HELD[0].upper(): "leak: equal to a query of dev or test",
        near: "leak: nearly equal to a query of dev or test",
    }


def test_what_many_queries_of_dev_are_nearly_equal_to_is_a_leak_all_the_same():
    words = "what are the limits of the number of requests that one account may send to the service in an hour or"
    words += " on one day before it answers with errors"
    context = GateContext(
        spec=GateSpec(),
        documents=DOCUMENTS,
        held=[f"{words} region{number}" for number in range(30)],
        examples=[()],
        round_trip=lambda *_: {},
    )
    (query,) = [GeneratedQuery("tea", f"{words} region99")]
    rejected = [found for passage in pass_gates([query], context) for found in passage.rejected]
    assert rejected == [(query, "nearly equal to a query of dev or test")]


def test_copies_of_examples_titles_and_spans_are_rejected():
    assert reject("How is coffee made?", examples=["how is coffee made"]) != {}
    assert reject("How is coffee made?", examples=["how is coffee made"])["How is coffee made?"].startswith(
        "examples: "
    )
    assert reject("green TEA!") == {}
    assert reject("green TEA!", title=True) == {"green TEA!": "title: copies the title"}
    span = "leaves that are steamed or fried"
    assert reject(span) == {}
    assert reject(span, "which leaves are fried", copied=0.8) == {
        span: "copied: 100% of its word triples stand in the document"
    }


@pytest.mark.parametrize(
    ("query", "share"),
    [("a b c d", 1.0), ("a b c x", 0.5), ("x y z", 0.0), ("b c", 1.0), ("c b", 0.0), ("", 0.0), ("A, B! c", 1.0)],
)
def test_the_share_of_a_query_that_is_copied_is_counted_in_runs_of_three_words(query: str, share: float):
    assert share_copied(query, "a b c d e") == share


def test_a_query_in_another_script_than_its_document_is_rejected():
    reason = "script: is written in LATIN, its document in CYRILLIC"
    assert reject("what is tea", "что такое чай", "что такое tea", document="tee") == {"what is tea": reason}
    assert reject("what is tea", document="tee", script=False) == {}
    assert list_scripts("日本のお茶") == {"CJK", "JAPANESE"}


def test_of_near_equal_queries_the_first_is_kept():
    long = "which leaves are steamed and which are fried before they are sold in the shop"
    assert reject(long, f"{long} too", "tea", "Tea?", "what else") == {
        f"{long} too": "near-equal: nearly equal to a query for tea",
        "Tea?": "near-equal: nearly equal to a query for tea",
    }
    assert reject("tea", "Tea?", near_equal=False) == {}


def test_the_round_trip_comes_last_and_to_its_rank():
    found = reject("short", "a longer query", "Title: x", round_trip={"within": 6})
    assert found["a longer query"] == "round-trip: rank 14"
    assert found["Title: x"].startswith("text: ")
    assert "short" not in found


@pytest.mark.parametrize(
    "spec", [{"words": [0, 3]}, {"words": [5, 3]}, {"copied": 0.0}, {"copied": 1.5}, {"nothing": 1}]
)
def test_settings_that_make_no_sense_are_refused(spec):
    with pytest.raises(ValidationError, match=r"words|copied|nothing"):
        GateSpec.model_validate(spec)

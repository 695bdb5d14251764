from __future__ import annotations

import pytest

from sweep.data import Document
from sweep.data.generators import GENERATORS, as_generator
from sweep.data.generators.first_sentence import FirstSentence
from sweep.data.generators.generator import Generator, identify_generator
from sweep.data.generators.sampled_span import SampledSpan
from sweep.data.generators.title import Title
from sweep.settings.study_file import ModelSpec

TEA = Document("Green tea", "Tea is a drink. It is made of leaves, e.g. of Camellia. Some like it.")
HERE = [kind() for kind in GENERATORS.values() if kind.answer is not Generator.answer]

every_generator = pytest.mark.parametrize("generator", HERE, ids=lambda one: one.name)


@every_generator
@pytest.mark.parametrize(
    "document", [Document("", ""), Document("t", ""), Document(" \n", " \n"), Document("", "\x00")]
)
def test_a_document_without_words_is_no_error(generator: Generator, document: Document):
    assert all(type(answer) is str for answer in generator.answer(document))
    assert type(generator.positive(document, "title-and-text")) is str


@every_generator
def test_equal_documents_have_equal_queries_and_each_is_kept_at_its_place(generator: Generator):
    kept: dict[int, list[str]] = {}
    generator.generate([TEA, Document("", "Another text of several words."), TEA], keep=kept.__setitem__)
    assert sorted(kept) == [0, 1, 2]
    assert kept[0] == kept[2]
    assert kept[0] == generator.answer(TEA)


@every_generator
def test_what_answers_follow_from_is_known(generator: Generator, tmp_path):
    facts = identify_generator(generator, ModelSpec(base="model"), folder=tmp_path)
    assert facts["generator"] == generator.name
    assert facts["settings"] == generator.model_dump(mode="json")


@pytest.mark.parametrize(
    ("text", "sentence", "rest"),
    [
        ("Tea is a drink. It is hot.", "Tea is a drink.", "It is hot."),
        ("Version 1.5 is out! Get it.", "Version 1.5 is out!", "Get it."),
        ("A heading\n\nand its text", "A heading", "and its text"),
        ("お茶です。飲みます。", "お茶です。", "飲みます。"),
    ],
)
def test_the_first_sentence_is_taken_out_of_what_it_is_to_find(text: str, sentence: str, rest: str):
    document, generator = Document("", text), FirstSentence()
    assert [generator.clean(answer) for answer in generator.answer(document)] == [sentence]
    assert generator.positive(document, "text") == rest


def test_a_text_of_one_sentence_has_none_to_give():
    assert FirstSentence().answer(Document("Tea", "one line without an end")) == []
    assert FirstSentence().positive(Document("Tea", "one line without an end"), "title-and-text") == ""


def test_what_is_left_beside_the_first_sentence_keeps_its_title():
    assert FirstSentence().positive(TEA, "title-and-text").startswith("Green tea\nIt is made")


def test_spans_are_words_of_the_text_of_the_lengths_that_are_asked_for():
    spans = SampledSpan(queries=20, shortest=3, longest=5).answer(TEA)
    assert len(spans) == 20
    assert all(span in TEA.text and 3 <= len(span.split()) <= 5 for span in spans)
    assert len(set(spans)) > 5
    assert SampledSpan(queries=20, shortest=3, longest=5, seed=1).answer(TEA) != spans
    assert SampledSpan(shortest=9).answer(Document("", "too short a text")) == []


@pytest.mark.parametrize("view", ["text", "title-and-text"])
def test_a_title_is_to_find_the_text_alone(view):
    assert Title().answer(TEA) == ["Green tea"]
    assert Title().positive(TEA, view) == TEA.text


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("doc2query", r"must name a generator \(.*title.*\), got 'doc2query'"),
        ({"queries": 2}, "must name a generator .*, got None"),
        ({"name": "title", "queries": 2}, "title: queries: has options: none"),
        ({"name": "sampled-span", "queris": 2}, "sampled-span: queris: has options: queries, shortest, longest, seed"),
        ({"name": "sampled-span", "shortest": 9, "longest": 2}, "sampled-span: shortest must not be above longest"),
    ],
)
def test_a_generator_or_an_option_that_is_not_known_is_refused(value, problem: str):
    with pytest.raises(ValueError, match=problem):
        as_generator(value)

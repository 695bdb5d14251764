"""The contract of every data format: columns of the train split alone, with its roles, every time alike."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hard_negatives import HardNegatives
from pydantic import ValidationError

from sweep.data import FORMATS, SPLITS, Collection, Document, load_collection, make_columns
from sweep.data.formats import find_format
from sweep.data.formats.format import ROLES, Format, columns_of
from sweep.data.formats.query_negatives import QueryNegatives
from sweep.data.generated import Generated, GeneratedQuery
from sweep.errors import CollectionError
from sweep.settings.data_spec import DataSpec

EVERY = [
    *(kind() for kind in FORMATS.values()),
    QueryNegatives(negatives=2),
    find_format("query-document:titled", {"query-document:titled": {"document": "title-and-text"}}),
    find_format("title-content+query-document", {}),
    find_format("synthetic-query:spans", {"synthetic-query:spans": {"generators": ["sampled-span", "title"]}}),
    find_format("query-document+synthetic-query:spans", {"synthetic-query:spans": {"generators": ["sampled-span"]}}),
    HardNegatives(count=2),
]
EMPTY = Collection("empty", {"d": Document("", "text")}, {}, {split: {} for split in SPLITS}, frozenset())

every_format = pytest.mark.parametrize("data_format", EVERY, ids=lambda one: one.label)


@pytest.fixture(scope="module")
def toy(toy_collection) -> Collection:
    """The toy collection, with three documents that are judged not relevant for each train query.

    There are generated queries of every document, as if they had been made before it was held out.
    """
    loaded = load_collection(DataSpec(collection=f"beir:{toy_collection}"), folder=toy_collection)
    open_documents = [name for name in sorted(loaded.documents) if name not in loaded.held_out]
    train = {
        query: {**dict.fromkeys(open_documents[place : place + 3], 0), **grades}
        for place, (query, grades) in enumerate(sorted(loaded.qrels["train"].items()))
    }
    made = Generated(queries=tuple(GeneratedQuery(name, f"what is {name}") for name in sorted(loaded.documents)))
    generated = {"synthetic-query": made, "synthetic-query:spans": made}
    return replace(loaded, qrels={**loaded.qrels, "train": train}, generated=generated)


@every_format
def test_it_makes_the_columns_that_it_has_roles_for_in_the_order_of_losses(toy, data_format: Format):
    columns = make_columns(toy, data_format, document="text")
    assert list(columns) == list(columns_of(data_format.roles, *ROLES))
    assert list(columns_of(data_format.roles, "anchor", "positive")) == list(columns)[:2]
    (length,) = {len(texts) for texts in columns.values()}
    assert length > 50
    assert all(type(text) is str and text.strip() for texts in columns.values() for text in texts)


@every_format
@pytest.mark.parametrize("view", ["text", "title-and-text"])
def test_no_text_of_dev_or_test_is_in_them(toy, data_format: Format, view):
    columns = make_columns(toy, data_format, document=view)
    made = {text for texts in columns.values() for text in texts}
    judged = {query: grades for split in ("dev", "test") for query, grades in toy.qrels[split].items()}
    assert not made & {toy.queries[query] for query in judged}
    documents = [toy.documents[document] for grades in judged.values() for document in grades]
    assert not made & {text for one in documents for text in (one.title, one.text, one.embedded(view))}


@every_format
def test_neither_the_judgements_of_dev_and_test_nor_the_order_of_the_collection_change_them(toy, data_format: Format):
    backwards = replace(
        toy,
        documents=dict(reversed(toy.documents.items())),
        queries=dict(reversed(toy.queries.items())),
        qrels={"train": dict(reversed(toy.qrels["train"].items())), "dev": {}, "test": {}},
    )
    first, second = (make_columns(one, data_format, document="text") for one in (toy, backwards))
    assert first == second


@every_format
def test_a_collection_without_what_it_needs_is_refused_with_it(data_format: Format):
    part = data_format.parts[0]
    problem = (
        f"empty: the train split yields no pair for format '{part.label}', which needs {part.needs[0].text} (0 of "
    )
    with pytest.raises(CollectionError, match=re.escape(problem)):
        make_columns(EMPTY, data_format, document="text")


@every_format
def test_an_option_that_it_does_not_have_is_refused(data_format: Format):
    with pytest.raises(ValidationError, match="no_such_option"):
        type(data_format).model_validate({"no_such_option": 1})


def test_columns_without_a_role_are_a_mistake_of_the_format(toy):
    class Torn(HardNegatives):
        def make(self, collection, document):
            return {**super().make(collection, document), "score": ["1"]}

    with pytest.raises(ValueError, match=r"format 'hard-negatives' must make the columns .*, got .*score"):
        make_columns(toy, Torn(), document="text")

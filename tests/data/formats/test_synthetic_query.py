from __future__ import annotations

from dataclasses import replace

import pytest
from teas import TEA

from sweep.data import make_columns
from sweep.data.formats import find_format
from sweep.data.generated import Generated, GeneratedQuery
from sweep.errors import CollectionError

OPTIONS = {"synthetic-query:mix": {"generators": ["first-sentence", "title", "sampled-span"]}}
MADE = replace(
    TEA,
    documents={**TEA.documents, "d1": replace(TEA.documents["d1"], text="Not oxidised. It is green.")},
    generated={
        "synthetic-query:mix": Generated(
            queries=(
                GeneratedQuery("d1", "Not oxidised.", 0),
                GeneratedQuery("d1", "Green", 1),
                GeneratedQuery("d3", "Half oxidised.", 0),  # of which nothing is left
                GeneratedQuery("d3", "oxidised", 2),
                GeneratedQuery("d5", "Held", 2),
                GeneratedQuery("gone", "Gone", 2),
            )
        )
    },
)


def test_a_query_is_to_find_what_its_generator_leaves_of_the_document():
    mix = find_format("synthetic-query:mix", OPTIONS)
    assert make_columns(MADE, mix, document="title-and-text") == {
        "anchor": ["Not oxidised.", "Green", "oxidised"],
        "positive": ["Green\nIt is green.", "Not oxidised. It is green.", "Oolong\nHalf oxidised."],
    }


def test_a_document_that_is_judged_for_dev_is_not_trained_on_even_where_leaks_are_kept():
    kept = replace(MADE, held_out=frozenset())
    columns = make_columns(kept, find_format("synthetic-query:mix", OPTIONS), document="text")
    assert "Held" not in columns["anchor"]


def test_generated_queries_belong_to_the_content_of_a_collection():
    assert MADE.content_hash != replace(MADE, generated={}).content_hash
    assert replace(TEA, generated={}).content_hash == TEA.content_hash


def test_a_variant_without_queries_is_refused_though_another_one_has_some():
    with pytest.raises(CollectionError, match="yields no pair for format 'synthetic-query:other'"):
        make_columns(MADE, find_format("synthetic-query:other", {}), document="text")

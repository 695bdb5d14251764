from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.data import Collection, Document, plan_evaluation_set
from sweep.data.collection import Part
from sweep.errors import CollectionError


def make(qrels, *, documents=12, held_out=(), name="toy"):
    return Collection(
        name=name,
        documents={f"d{n:02}": Document(f"title {n}", f"text {n}") for n in range(documents)},
        queries={f"q{n}": f"query {n}" for n in range(6)},
        qrels=qrels,
        held_out=frozenset(held_out),
    )


GRADED = {
    "train": {"q0": {"d00": 1}},
    "dev": {f"q{n}": {f"d{n:02}": 2, f"d{n + 1:02}": 0} for n in range(1, 5)},
    "test": {"q5": {"d09": 1}},
}


@pytest.mark.parametrize(
    ("title", "view", "embedded"),
    [
        ("Tea", "text", "Steep it."),
        ("Tea", "title-and-text", "Tea\nSteep it."),
        ("", "title-and-text", "Steep it."),
    ],
)
def test_a_document_is_embedded_with_or_without_its_title(title, view, embedded):
    assert Document(title, "Steep it.").embedded(view) == embedded


def test_a_title_without_text_is_embedded_alone():
    assert Document("Tea", "").embedded("title-and-text") == "Tea"


def test_the_hash_does_not_depend_on_any_order_or_the_name():
    one = make(GRADED)
    other = Collection(
        name="other",
        documents=dict(reversed(one.documents.items())),
        queries=dict(reversed(one.queries.items())),
        qrels={
            split: {query: dict(reversed(judged.items())) for query, judged in reversed(qrels.items())}
            for split, qrels in reversed(GRADED.items())
        },
        held_out=frozenset(),
    )
    assert one.content_hash == other.content_hash
    assert len(one.content_hash) == 64


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(make(GRADED, documents=11), id="a-document-less"),
        pytest.param(make(GRADED, held_out=["d01"]), id="held-out"),
        pytest.param(make(GRADED | {"train": {"q0": {"d00": 2}}}), id="a-grade"),
        pytest.param(make(GRADED | {"train": GRADED["test"], "test": GRADED["train"]}), id="splits-exchanged"),
    ],
)
def test_the_hash_depends_on_everything_that_training_or_judging_sees(changed):
    assert changed.content_hash != make(GRADED).content_hash


def test_the_hash_is_the_one_that_studies_on_disk_hold():
    every_kind = Collection(
        name="every kind",
        documents={"b": Document("Tée", "\u2028 𝄞"), "a": Document("", "x")},
        queries={"q": "why?", "o": "x"},
        qrels={"dev": {"q": {"b": 2, "a": 0}}, "train": {"o": {"b": 1.5}}},
        held_out=frozenset({"a"}),
        left_out=frozenset({"o"}),
        own_documents=frozenset({"q"}),
        relevant=1.5,
        parts=(Part(name="b", trains=1.0, evaluates=None),),
    )
    assert every_kind.content_hash == "601e6b1a84b20faadf2602f7440ae54ea366b4a9ab59ec52e202bb5eb4e82684"


def test_what_is_judged_for_dev_or_test_is_known_at_any_grade():
    assert make(GRADED).evaluated_documents() == {"d01", "d02", "d03", "d04", "d05", "d09"}
    assert make(GRADED).evaluated_documents(relevant=True) == {"d01", "d02", "d03", "d04", "d09"}
    assert make(GRADED).evaluated_queries == {"q1", "q2", "q3", "q4", "q5"}
    assert make(GRADED, documents=5).evaluated_documents() == {"d01", "d02", "d03", "d04"}


def test_a_query_that_is_a_document_is_neither_trained_nor_evaluated_on_itself():
    documents = {"q1": Document("", "query 1"), "d1": Document("", "text")}
    qrels = {"train": {"q1": {"q1": 1, "d1": 1}}, "dev": {"q1": {"q1": 2, "d1": 1}}}
    other = Collection("own", documents, {"q1": "query 1"}, qrels, frozenset(), own_documents=frozenset({"q1"}))
    assert list(other.training_judgements()) == [("q1", "d1")]
    planned = plan_evaluation_set(other, "dev", max_documents=None, max_queries=None, seed=0)
    assert planned.qrels == {"q1": {"d1": 1}}
    assert (planned.document_ids, planned.own_documents) == (("q1", "d1"), {"q1"})
    sampled = plan_evaluation_set(other, "dev", max_documents=1, max_queries=None, seed=0)
    assert (sampled.document_ids, sampled.own_documents) == (("d1",), frozenset())


def test_a_query_that_is_left_out_of_training_has_no_pair():
    other = Collection("left", make(GRADED).documents, make(GRADED).queries, GRADED, frozenset(), frozenset({"q0"}))
    assert list(other.training_judgements()) == []
    assert other.content_hash != make(GRADED).content_hash


def test_everything_is_judged_where_nothing_limits_it():
    judged = plan_evaluation_set(make(GRADED), "dev", max_documents=None, max_queries=None, seed=0)
    assert judged.document_ids == tuple(f"d{n:02}" for n in reversed(range(12)))
    assert judged.query_ids == ("q1", "q2", "q3", "q4")
    assert judged.qrels == GRADED["dev"]
    assert judged.judged_documents == 5


@settings(deadline=None)
@given(st.integers(1, 14), st.integers(1, 6), st.integers(0, 50))
def test_judged_documents_come_first_and_others_fill_up(max_documents, max_queries, seed):
    judged = plan_evaluation_set(make(GRADED), "dev", max_documents=max_documents, max_queries=max_queries, seed=seed)
    assert judged.query_ids == tuple(sorted(judged.qrels))
    assert len(judged.query_ids) == min(max_queries, 4)
    assert judged.document_ids == tuple(sorted(set(judged.document_ids), reverse=True))
    asked = {document for grades in judged.qrels.values() for document in grades}
    assert asked <= set(judged.document_ids)
    assert judged.judged_documents == len(asked)
    assert len(judged.document_ids) == max(len(asked), min(max_documents, 12))


@settings(deadline=None)
@given(st.integers(0, 20), st.integers(1, 3))
def test_a_larger_sample_holds_the_smaller(seed, size):
    smaller, larger = (
        plan_evaluation_set(make(GRADED), "dev", max_documents=None, max_queries=size + more, seed=seed)
        for more in (0, 1)
    )
    assert set(smaller.query_ids) < set(larger.query_ids)


def test_the_sample_follows_the_seed_and_the_split():
    everywhere = make({split: {f"q{n}": {f"d{n:02}": 1} for n in range(6)} for split in ("dev", "test")})

    def sample(split, seed):
        return plan_evaluation_set(everywhere, split, max_documents=8, max_queries=3, seed=seed)

    assert sample("dev", 0) == sample("dev", 0)
    assert len({sample("dev", seed).query_ids for seed in range(10)}) > 3
    assert any(sample("dev", seed).query_ids != sample("test", seed).query_ids for seed in range(5))


def test_queries_without_a_relevant_document_in_the_corpus_are_left_out():
    dev = {"q0": {"gone": 1}, "q1": {"d01": 0}, "q2": {"d02": 1, "d03": -2, "gone": 1}, "q?": {"d01": 1}}
    strange = make({"dev": dev})
    judged = plan_evaluation_set(strange, "dev", max_documents=4, max_queries=None, seed=0)
    assert judged.qrels == {"q2": {"d02": 1, "d03": 0}}
    assert judged.judged_documents == 2
    assert len(judged.document_ids) == 4


def test_a_split_without_a_judged_query_is_refused():
    with pytest.raises(CollectionError, match="toy: no query of the test split has a relevant document"):
        plan_evaluation_set(make({"test": {"q1": {"d01": 0}}}), "test", max_documents=None, max_queries=None, seed=0)

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.data import SPLITS, Document, split_by_document
from sweep.errors import CollectionError

DOCUMENTS = {f"d{n:02}": Document("", f"text {n}") for n in range(60)}
QUERIES = {f"q{n:02}": f"query {n}" for n in range(50)}

judgements = st.dictionaries(
    st.sampled_from(sorted(QUERIES)),
    st.dictionaries(st.sampled_from(sorted(DOCUMENTS)), st.integers(0, 2), min_size=1, max_size=2),
    min_size=30,
)


def judged(qrels):
    return {document for grades in qrels.values() for document in grades}


def relevant_to(qrels):
    return {document for grades in qrels.values() for document, grade in grades.items() if grade > 0}


def in_one_part_only(*parts):
    return len(set().union(*parts)) == sum(map(len, parts))


def split_or_none(documents, queries, qrels, **shares):
    try:
        return split_by_document(documents, queries, qrels, **shares)
    except CollectionError:
        return None


@settings(deadline=None)
@given(judgements, st.integers(0, 9), st.booleans())
def test_no_document_that_ties_a_dev_or_test_query_ties_one_of_another_split(qrels, seed, any_grade):
    if (
        made := split_or_none(DOCUMENTS, QUERIES, qrels, dev=0.25, test=0.25, seed=seed, any_grade_ties=any_grade)
    ) is None:
        return
    parts, held_out = made
    ties = judged if any_grade else relevant_to
    train, dev, test = (ties(parts[split]) for split in SPLITS)
    assert in_one_part_only(train, dev, test)
    assert held_out == dev | test
    assert {query: grades for part in parts.values() for query, grades in part.items()} == qrels
    assert sum(len(part) for part in parts.values()) == len(qrels)
    assert len(dev) <= max(1, round(0.25 * len(ties(qrels))))


@settings(deadline=None)
@given(judgements, st.randoms(use_true_random=False))
def test_the_split_depends_on_no_order(qrels, random):
    def shuffled(mapping):
        items = list(mapping.items())
        random.shuffle(items)
        return dict(items)

    mixed = shuffled({query: shuffled(grades) for query, grades in qrels.items()})
    one = split_or_none(DOCUMENTS, QUERIES, qrels, dev=0.2, test=0.2, seed=3)
    assert split_or_none(shuffled(DOCUMENTS), shuffled(QUERIES), mixed, dev=0.2, test=0.2, seed=3) == one


def test_shares_are_those_of_the_judged_documents_where_every_query_has_its_own():
    qrels = {f"q{n:02}": {f"d{n:02}": 1} for n in range(50)}
    parts, held_out = split_by_document(DOCUMENTS, QUERIES, qrels, dev=0.2, test=0.3, seed=0)
    assert [len(parts[split]) for split in SPLITS] == [25, 10, 15]
    assert len(held_out) == 25
    assert parts != split_by_document(DOCUMENTS, QUERIES, qrels, dev=0.2, test=0.3, seed=1)[0]


def test_equal_texts_under_two_ids_stay_together_and_are_held_out():
    documents = {**DOCUMENTS, **{f"twin{n}": Document("other", f"text {n}") for n in range(50)}}
    qrels = {f"q{n:02}": {f"d{n:02}": 1} for n in range(40)} | {f"q{n + 40}": {f"twin{n}": 1} for n in range(10)}
    parts, held_out = split_by_document(documents, QUERIES, qrels, dev=0.2, test=0.2, seed=0)
    contents = [{documents[document].text for document in judged(parts[split])} for split in SPLITS]
    assert in_one_part_only(*contents)
    assert held_out == {key for key, document in documents.items() if document.text in contents[1] | contents[2]}
    assert held_out > judged(parts["dev"]) | judged(parts["test"])


def test_queries_of_equal_text_stay_together():
    queries = {key: f"query {int(key[1:]) % 25}" for key in QUERIES}
    parts, _ = split_by_document(
        DOCUMENTS, queries, {f"q{n:02}": {f"d{n:02}": 1} for n in range(50)}, dev=0.2, test=0.2, seed=0
    )
    texts = [{queries[query] for query in parts[split]} for split in SPLITS]
    assert in_one_part_only(*texts)


def test_empty_texts_tie_nothing():
    documents = {key: Document("", " ") for key in DOCUMENTS}
    qrels = {f"q{n:02}": {f"d{n:02}": 1} for n in range(50)}
    parts, held_out = split_by_document(documents, dict.fromkeys(QUERIES, ""), qrels, dev=0.2, test=0.2, seed=0)
    assert len(parts["dev"]) == 10
    assert len(held_out) == 20


def test_without_a_share_for_test_there_is_no_test():
    qrels = {f"q{n:02}": {f"d{n:02}": 1, "unknown": 1} for n in range(50)}
    parts, _ = split_by_document(DOCUMENTS, QUERIES, {**qrels, "q?": {"d01": 1}}, dev=0.2, test=0.0, seed=0)
    assert [len(parts[split]) for split in SPLITS] == [40, 10, 0]


def test_judgements_that_all_hang_together_are_refused():
    qrels = {f"q{n:02}": {f"d{n:02}": 1, f"d{n + 1:02}": 1} for n in range(30)}
    with pytest.raises(CollectionError, match="31 judged documents hang together in 1 groups, the largest of 31"):
        split_by_document(DOCUMENTS, QUERIES, qrels, dev=0.2, test=0.2, seed=0)


@pytest.mark.parametrize(
    ("qrels", "relevant", "problem"),
    [
        ({}, None, "no query has a relevant document$"),
        ({"q01": {"d01": 0}}, None, "no query has a relevant document$"),
        ({"q01": {"d01": 1}}, 2, r"no query has a relevant document \(grade 2 or more\)"),
    ],
)
def test_judgements_without_a_relevant_document_are_refused(qrels, relevant, problem):
    with pytest.raises(CollectionError, match=problem):
        split_by_document(DOCUMENTS, QUERIES, qrels, dev=0.2, test=0.2, seed=0, relevant=relevant)


def test_only_relevant_judgements_have_to_tie_where_a_pool_is_judged_for_every_query():
    pool = {f"d{n:02}": 0 for n in range(20)}
    qrels = {f"q{n:02}": {**pool, **{f"d{5 * n + each:02}": 1 for each in range(5)}} for n in range(4)}
    parts, held_out = split_by_document(DOCUMENTS, QUERIES, qrels, dev=0.25, test=0.25, seed=0)
    assert [len(parts[split]) for split in SPLITS] == [2, 1, 1]
    assert {query: grades for part in parts.values() for query, grades in part.items()} == qrels
    assert held_out == relevant_to(parts["dev"]) | relevant_to(parts["test"])
    assert len(held_out) == 10


def test_judgements_of_every_grade_tie_in_an_older_study():
    qrels = {f"q{n:02}": {f"d{n:02}": 1, f"d{n + 1:02}": 0} for n in range(0, 40, 2)}
    parts, held_out = split_by_document(DOCUMENTS, QUERIES, qrels, dev=0.2, test=0.2, seed=0, any_grade_ties=True)
    assert held_out == judged(parts["dev"]) | judged(parts["test"])
    assert len(held_out) == 16


def test_the_grade_from_which_a_document_is_relevant_is_the_one_that_ties():
    related = {f"q{n:02}": {f"d{n:02}": 2, **{f"d{each:02}": 1 for each in range(40, 60)}} for n in range(30)}
    with pytest.raises(CollectionError, match="hang together in 1 groups"):
        split_by_document(DOCUMENTS, QUERIES, related, dev=0.2, test=0.2, seed=0)
    parts, _ = split_by_document(DOCUMENTS, QUERIES, related, dev=0.2, test=0.2, seed=0, relevant=2)
    assert [len(parts[split]) for split in SPLITS] == [18, 6, 6]


@pytest.mark.parametrize(
    ("groups", "advice"),
    [
        pytest.param(
            [10, 10, 10], r"leaves nothing for dev: split = \{ dev = 0\.32, test = 0\.32 \} works", id="thirds"
        ),
        pytest.param([10, 10], r"leaves nothing for dev: split = \{ dev = 0\.48, test = 0 \} works", id="halves"),
        pytest.param([30], "leaves nothing for dev: no share works, so bring judgements of your own", id="one"),
    ],
)
def test_a_share_that_does_not_work_names_the_one_that_does(groups, advice):
    qrels = {f"q{10 * n}": {f"d{10 * n + each:02}": 1 for each in range(size)} for n, size in enumerate(groups)}
    queries = {query: query for query in qrels}
    with pytest.raises(CollectionError, match=advice):
        split_by_document(DOCUMENTS, queries, qrels, dev=0.1, test=0.1, seed=0)

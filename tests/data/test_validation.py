from __future__ import annotations

from dataclasses import replace

import pytest

from sweep.data import FORMATS, Collection, Document, make_columns, open_for_pairs, plan_held_out
from sweep.data.validation import HeldOutRows

NUMBERS = range(200)
LIBRARY = Collection(
    name="library",
    documents={f"d{n:03d}": Document(f"title {n % 100}", f"text {n}") for n in NUMBERS},
    queries={f"q{n:03d}": f"query {n}" for n in NUMBERS},
    qrels={
        "train": {f"q{n:03d}": {f"d{n:03d}": 1} for n in NUMBERS if n < 120},
        "dev": {f"q{n:03d}": {f"d{n:03d}": 2} for n in NUMBERS if 120 <= n < 190},
        "test": {f"q{n:03d}": {f"d{n:03d}": 1} for n in NUMBERS if n >= 190},
    },
    held_out=frozenset(f"d{n:03d}" for n in NUMBERS if n >= 120),
)
DEV = LIBRARY.qrels["dev"]


def flat(batches):
    return [text for batch in batches for text in batch]


@pytest.mark.parametrize("data_format", ["title-content", "query-document"])
def test_held_out_pairs_are_of_the_dev_split_and_none_that_is_trained_on(data_format):
    pairs = plan_held_out(LIBRARY, FORMATS[data_format](), judgements=DEV, document="text")
    assert set(flat(pairs.texts["positive"])) <= {f"text {n}" for n in range(120, 190)}
    trained = make_columns(LIBRARY, FORMATS[data_format](), document="text")
    held_out = set(zip(flat(pairs.texts["anchor"]), flat(pairs.texts["positive"]), strict=True))
    assert held_out.isdisjoint(zip(trained["anchor"], trained["positive"], strict=True))
    assert len(pairs.texts["anchor"]) == 8
    for batch in pairs.texts["anchor"]:
        assert len(batch) == len(set(batch)) == 64


def test_held_out_pairs_are_the_same_each_time():
    first, second = (
        plan_held_out(LIBRARY, FORMATS["title-content"](), judgements=DEV, document="text") for _ in range(2)
    )
    assert first == second


def test_a_small_split_gives_smaller_batches_and_a_single_pair_none():
    few = {name: DEV[name] for name in list(DEV)[:5]}
    pairs = plan_held_out(LIBRARY, FORMATS["query-document"](), judgements=few, document="text")
    assert {len(batch) for batch in pairs.texts["anchor"]} == {5}
    one = {"q120": DEV["q120"]}
    assert plan_held_out(LIBRARY, FORMATS["query-document"](), judgements=one, document="text") is None


def test_where_all_pairs_of_the_dev_split_are_trained_on_none_is_held_out():
    everything_open = replace(LIBRARY, held_out=frozenset())  # as where the authors of a collection made its splits
    assert plan_held_out(everything_open, FORMATS["title-content"](), judgements=DEV, document="text") is None
    assert plan_held_out(everything_open, FORMATS["query-document"](), judgements=DEV, document="text") is not None


def test_a_collection_opened_for_the_pairs_of_judgements_holds_their_documents_alone():
    opened = open_for_pairs(LIBRARY, LIBRARY.qrels["test"])
    assert sorted(opened.documents) == [f"d{n:03d}" for n in range(190, 200)]
    assert opened.qrels["train"] == LIBRARY.qrels["test"]
    assert not opened.held_out


def test_negatives_have_the_prompt_of_documents():
    roles = {"wrong": "negative", "answer": "positive", "question": "anchor"}
    texts = {"question": (("q1", "q2"), ("q3", "q1")), "answer": (("p1", "p2"),), "wrong": (("n1", "n2"),)}
    rows = HeldOutRows(texts, roles)
    assert list(rows.texts_with("query")) == ["q1", "q2", "q3", "q1"]
    assert list(rows.texts_with("document")) == ["p1", "p2", "n1", "n2"]

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sweep.cli.check_data import describe_data, describe_tokens
from sweep.data import Document, RawCollection, write_beir
from sweep.errors import CollectionError
from sweep.messages import TokenCounts
from sweep.plan import StudyPlan, plan_study
from sweep.storage.location import locate_study
from sweep.testing import write_toy_study

NUMBERS = range(60)


def text(number: int) -> str:
    return " ".join(f"word{number}x{place}" for place in range(12))


def plan(
    folder: Path,
    *,
    documents: Mapping[str, Document] | None = None,
    queries: Mapping[str, str] | None = None,
    qrels: Mapping[str, Mapping[str, Mapping[str, int]]] | None = None,
    **tables: Mapping[str, Any],
) -> StudyPlan:
    """The plan of a study of sixty documents, each with a query; others take the places of those of their ids."""
    usual = {f"d{number}": Document(f"Page {number}", text(number)) for number in NUMBERS}
    asked = {f"q{number}": f"what is word{number}x3" for number in NUMBERS}
    judged = {"all": {f"q{number}": {f"d{number}": 1} for number in NUMBERS}}
    raw = RawCollection({**usual, **(documents or {})}, {**asked, **(queries or {})}, qrels or judged)
    write_beir(folder / "collection", raw)
    tables = {"space": {"batch_size": 4, "data_format": ["query-document"]}, "budget": {"examples": 80}, **tables}
    return plan_study(locate_study(write_toy_study(folder, script={}, **tables)))


def say(folder: Path, **changes: Any) -> str:
    return " ".join(" ".join(describe_data(plan(folder, **changes))).split())


def test_what_is_embedded_is_said_with_what_is_not(tmp_path: Path) -> None:
    assert "embedded: title and text (60 documents have both)" in say(tmp_path / "both")
    alone = say(tmp_path / "alone", data={"document": "text"})
    assert "embedded: the text; 60 documents have a title, which is not" in alone
    untitled = {f"d{number}": Document("", text(number)) for number in NUMBERS}
    assert "embedded: the text (no document has a title beside it)" in say(tmp_path / "bare", documents=untitled)


def test_a_document_without_a_text_is_embedded_by_its_title_and_one_without_either_is_counted(tmp_path: Path) -> None:
    documents = {"d1": Document("Page 1", " "), "d2": Document("Page 2", ""), "x": Document("", "")}
    made = plan(tmp_path, documents=documents, data={"document": "text"})
    said = " ".join(describe_data(made))
    assert "2 documents have no text: their title is embedded in its place" in said
    assert "1 documents are embedded as nothing" in said
    assert made.collection.documents["d1"].embedded("text") == "Page 1"


def test_queries_without_a_text_are_left_out_and_counted(tmp_path: Path) -> None:
    made = plan(tmp_path, queries={f"q{number}": " " for number in range(10)})
    assert "10 queries have no text and are left out" in " ".join(describe_data(made))
    judged = {name for split in ("dev", "test") for name in made.evaluation_set(split).query_ids}  # type: ignore[arg-type]
    assert judged
    assert not judged & {f"q{number}" for number in range(10)}


def test_queries_are_counted_of_all_with_the_smallest_fall_that_so_many_show(tmp_path: Path) -> None:
    train = {f"q{number}": {f"d{number}": 1} for number in range(20, 60)}
    dev = {f"q{number}": {f"d{number}": int(number < 6)} for number in range(10)}
    said = say(tmp_path, qrels={"train": train, "dev": dev}, evaluation={"max_queries": 4})
    assert "dev: 4 of 10 queries over 60 documents (4 judged, 56 sampled)" in said
    assert "4 dev queries have no relevant document and are left out" in said
    assert (
        "4 dev queries can show a fall of 0.937 (the more queries, the smaller: evaluation.max_queries leaves" in said
    )
    assert "no test split: the figure of the best model will be optimistic" in said


def test_judged_documents_that_are_ranked_alone_are_said_to_be(tmp_path: Path) -> None:
    assert "judged documents alone are ranked: the other 48 would make it harder" in say(
        tmp_path / "few", evaluation={"max_documents": 1, "max_queries": 12}
    )
    assert "judged documents alone" not in say(tmp_path / "all")


def test_the_pairs_that_leak_are_counted_by_format_and_reason(tmp_path: Path) -> None:
    qrels = {
        "train": {f"q{number}": {f"d{number}": 1} for number in range(40)},
        "dev": {f"q{number}": {f"d{number}": 1} for number in range(40, 60)},
    }
    changed = {
        "qrels": qrels,
        "queries": {"q0": "What is  WORD40x3"},
        "documents": {"d1": Document("Page 41", text(41).upper()), "d2": Document("", "")},
    }
    said = say(tmp_path / "left out", **changed)
    assert "query-document: 37 pairs (2 left out)" in said  # and d2, which is empty
    _, _, reasons = said.partition("left out of training, for they give dev or test away: ")
    assert reasons.startswith("copies of one judged there: 1; queries equal to one there: 1")
    kept = say(tmp_path / "kept", **changed, data={"split": {"leaks": "keep"}})
    assert "query-document: 39 pairs (2 of which leak)" in kept
    assert 'trained on, though they give dev or test away (data.split.leaks = "keep"): copies' in kept
    titled = {"space": {"batch_size": 4, "data_format": ["title-content"]}}
    # the pages that are judged for dev are those of the corpus that no longer train titles
    assert "title-content: 38 pairs (21 left out)" in say(tmp_path / "titles", **changed, **titled)
    assert "query" not in say(tmp_path / "titled", **changed, **titled).partition("give dev or test away:")[2]


def test_the_leaks_of_a_mixture_are_those_of_its_parts(tmp_path: Path) -> None:
    qrels = {
        "train": {f"q{number}": {f"d{number}": 1} for number in range(40)},
        "dev": {f"q{number}": {f"d{number}": 1} for number in range(40, 60)},
    }
    mixed = {"space": {"batch_size": 4, "data_format": ["title-content+query-document"]}}
    said = say(tmp_path, qrels=qrels, queries={"q0": "What is  WORD40x3"}, **mixed)
    assert "title-content+query-document: 79 pairs (21 left out)" in said  # 40 titles and 39 queries
    assert "documents judged there: 20; queries equal to one there: 1" in said


def test_pages_that_share_a_title_are_counted_until_they_are_grouped(tmp_path: Path) -> None:
    pages = {f"d{number}": Document(f"Page {number // 3}", text(number)) for number in NUMBERS}
    said = say(tmp_path / "apart", documents=pages)
    assert "training documents have the title of one judged for dev or test" in said
    grouped = plan(tmp_path / "together", documents=pages, data={"split": {"group": "title"}})
    assert "have the title" not in " ".join(describe_data(grouped))
    split_of = {
        document: split
        for split, judged in grouped.collection.qrels.items()
        for grades in judged.values()
        for document in grades
    }
    assert all(len({split_of[f"d{page * 3 + place}"] for place in range(3)}) == 1 for page in range(20))


def test_queries_that_are_documents_are_counted(tmp_path: Path) -> None:
    documents = {f"q{number}": Document("", f"What is word{number}x3") for number in range(5)}
    numbered = {"q6": Document("", "a document that has the id of a query, as in FiQA")}
    assert "5 queries are documents (equal id and text)" in say(tmp_path, documents={**documents, **numbered})


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        (
            TokenCounts(documents=20, median=161, limit=48, cut=1.0, unknown=0.165),
            "Tokens: 161 of a document (median of 20); 100% are cut at 48: raise model.max_seq_length, or cut documents"
            " into chunks 16.5% of all tokens are unknown to the tokenizer: a base model of their language reads more",
        ),
        (
            TokenCounts(documents=20, median=16, limit=48, cut=0.0, unknown=0.001),
            "Tokens: 16 of a document (median of 20); 0% are cut at 48 0.1% of all tokens are unknown to the tokenizer",
        ),
        (
            TokenCounts(documents=20, median=16, limit=None, cut=0.0, unknown=None),
            "Tokens: 16 of a document (median of 20)",
        ),
        (None, ""),
    ],
)
def test_tokens_are_said_with_what_to_do(counts: TokenCounts | None, said: str) -> None:
    assert " ".join(" ".join(describe_tokens(counts)).split()) == said


def test_a_collection_whose_training_leaks_entirely_is_refused_with_what_to_do(tmp_path: Path) -> None:
    qrels = {split: {f"q{number}": {f"d{number}": 1} for number in NUMBERS} for split in ("train", "dev")}
    with pytest.raises(CollectionError, match=r'data\.split\.leaks = "keep" trains on it'):
        plan(tmp_path, qrels=qrels)

from __future__ import annotations

import re

import pytest
from small_files import write_lines, write_parquet

from sweep.data import Document, load_collection
from sweep.data.readers.passages import Passages
from sweep.errors import CollectionError
from sweep.settings.data_spec import DataSpec


def passage(number, **more):
    return {"docid": f"d{number}", "title": f"On {number}", "text": f"Text {number}.", **more}


ROWS = [
    {"query_id": "q1", "query": "one", "positive_passages": [passage(1)], "negative_passages": [passage(2)]},
    {"query_id": 2, "query": "two", "positive_passages": [passage(2), passage(3)], "negative_passages": []},
]


def read(path):
    return Passages().read(path.name, folder=path.parent)


@pytest.mark.parametrize("write", [write_lines, write_parquet])
def test_rows_are_read_with_their_passages_and_negatives_have_grade_0(tmp_path, write):
    rows = [{**row, "query_id": str(row["query_id"])} for row in ROWS]
    contents = read(write(tmp_path / f"train.{'jsonl' if write is write_lines else 'parquet'}", rows))
    assert contents.documents == {f"d{n}": Document(f"On {n}", f"Text {n}.") for n in (1, 2, 3)}
    assert contents.queries == {"q1": "one", "2": "two"}
    assert contents.qrels == {"train": {"q1": {"d1": 1, "d2": 0}, "2": {"d2": 1, "d3": 1}}}


def test_a_number_is_an_id(tmp_path):
    assert "2" in read(write_lines(tmp_path / "rows.jsonl", ROWS)).queries


def test_a_corpus_beside_the_rows_is_the_corpus(tmp_path):
    corpus = [{"docid": f"d{n}", "text": f"Whole text {n}."} for n in range(1, 6)]
    write_lines(tmp_path / "mldr" / "corpus.jsonl.zst", corpus)
    for split in ("train", "dev", "test"):
        write_lines(tmp_path / "mldr" / f"{split}.jsonl.zst", ROWS)
    collection = load_collection(DataSpec(collection="mldr"), folder=tmp_path)
    assert collection.documents == {f"d{n}": Document("", f"Whole text {n}.") for n in range(1, 6)}
    assert [len(collection.qrels[split]) for split in ("train", "dev", "test")] == [2, 2, 2]
    assert collection.notes[0].startswith(
        "read as rows of a query and passages: documents from corpus.jsonl.zst; dev from"
    )


def test_passages_may_be_ids_in_a_corpus(tmp_path):
    write_lines(tmp_path / "corpus.jsonl", [{"docid": f"d{n}", "text": f"Text {n}."} for n in (1, 2)])
    row = {"query_id": "q", "query_text": "one", "positive_document_ids": ["d1"], "negative_document_ids": ["d2"]}
    write_lines(tmp_path / "train.jsonl", [row])
    assert Passages().read(".", folder=tmp_path).qrels == {"train": {"q": {"d1": 1, "d2": 0}}}


def test_queries_without_a_positive_are_counted(tmp_path):
    rows = [*ROWS, {"query_id": "q3", "query": "three", "positive_passages": [], "negative_passages": None}]
    assert "1 queries have no positive passage" in read(write_lines(tmp_path / "rows.jsonl", rows)).notes


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"query": "q", "positive_passages": []}, ":2: has no id under any of _id, query_id"),
        ({"query_id": "q", "positive_passages": []}, ":2: has no text under any of text, query"),
        ({"query_id": "q", "query": "q", "positive_passages": "d1"}, ":2: positive_passages must be a list, got 'd1'"),
        ({"query_id": "q", "query": "q", "positive_passages": [3]}, ":2: positive_passages must hold passages with"),
        ({"query_id": "q", "query": "q", "positive_passages": [{"text": "x"}]}, ":2: positive_passages: has no id"),
        (
            {"query_id": "q", "query": "q", "positive_passages": [passage(1, text="other")]},
            ":2: document id 'd1' occurs twice, with different texts",
        ),
    ],
)  # fmt: skip
def test_a_row_that_does_not_stand_is_refused_with_file_and_line(tmp_path, row, problem):
    with pytest.raises(CollectionError, match=re.escape(f"rows.jsonl{problem}")) as caught:
        read(write_lines(tmp_path / "rows.jsonl", [ROWS[0], row]))
    assert "\n" not in str(caught.value)

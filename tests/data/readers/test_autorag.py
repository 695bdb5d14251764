from __future__ import annotations

import re

import pytest
from small_files import write_parquet

from sweep.data import Document
from sweep.data.readers.autorag import AutoRag
from sweep.errors import CollectionError

CORPUS = [{"doc_id": f"d{n}", "contents": f"Text {n}.", "metadata": {"page": n}} for n in range(4)]


def question(number, *answers):
    return {"qid": f"q{number}", "query": f"query {number}", "retrieval_gt": list(answers), "generation_gt": ["x"]}


def test_every_passage_of_the_answers_is_relevant_however_they_are_nested(tmp_path):
    write_parquet(tmp_path / "corpus.parquet", CORPUS)
    write_parquet(tmp_path / "qa.parquet", [question(0, ["d0"], ["d1", "d2"]), question(1, ["d3"])])
    contents = AutoRag().read(".", folder=tmp_path)
    assert contents.documents["d2"] == Document("", "Text 2.")
    assert contents.qrels == {"all": {"q0": {"d0": 1, "d1": 1, "d2": 1}, "q1": {"d3": 1}}}
    assert contents.notes[0] == "read as AutoRAG: documents from corpus.parquet; all from qa.parquet"


def test_files_of_questions_are_splits(tmp_path):
    write_parquet(tmp_path / "corpus.parquet", CORPUS)
    for number, split in enumerate(("train", "validation")):
        write_parquet(tmp_path / f"qa_{split}.parquet", [question(number, [f"d{number}"])])
    assert AutoRag().read(".", folder=tmp_path).qrels == {"train": {"q0": {"d0": 1}}, "dev": {"q1": {"d1": 1}}}


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        (
            {"qa": [question(0, ["d0"])]},
            "must hold a corpus and questions with retrieval_gt: there lie qa.parquet (keys",
        ),
        ({"corpus": CORPUS, "qa": [question(0, ["x"])]}, "qa.parquet: row 1: 1 of 1 judgements of all cannot be used"),
        ({"corpus": CORPUS, "qa": [question(0, ["d0"]) | {"query": None}]}, "qa.parquet: row 1: query must be a text"),
    ],
)
def test_what_does_not_stand_is_refused_with_file_and_row(tmp_path, files, problem):
    for name, records in files.items():
        write_parquet(tmp_path / f"{name}.parquet", records)
    with pytest.raises(CollectionError, match=re.escape(problem)):
        AutoRag().read(".", folder=tmp_path)

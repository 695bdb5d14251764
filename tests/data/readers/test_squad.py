from __future__ import annotations

import json
import re

import pytest
from small_files import write_text

from sweep.data import Document
from sweep.data.readers.listing import Listing
from sweep.data.readers.squad import Squad
from sweep.errors import CollectionError

QUESTIONS = [
    {"id": "q1", "question": "how hot?", "answers": []},
    {"id": "q2", "question": "why?", "is_impossible": True},
]
SQUAD = {"version": "2", "data": [{"title": "Tea", "paragraphs": [{"context": "Steep it.", "qas": QUESTIONS}]}]}


def read(file):
    return Squad().read(file.name, folder=file.parent)


@pytest.mark.parametrize("indent", [None, 1])
def test_contexts_are_documents_and_questions_queries(tmp_path, indent):
    file = write_text(tmp_path / "dev.json", json.dumps(SQUAD, indent=indent))
    assert Squad().takes(Listing(file))
    contents = read(file)
    assert contents.documents == {"d0": Document("Tea", "Steep it.")}
    assert contents.queries == {"q1": "how hot?", "q2": "why?"}
    assert contents.qrels == {"dev": {"q1": {"d0": 1}, "q2": {"d0": 0}}}
    assert contents.notes == ("read as SQuAD: dev from dev.json",)


def test_a_context_that_stands_twice_is_one_document_and_questions_need_no_ids(tmp_path):
    paragraph = {"context": "Steep it.", "qas": [{"question": "how?"}]}
    article = {"paragraphs": [paragraph, paragraph]}
    contents = read(write_text(tmp_path / "all.json", json.dumps({"data": [article]})))
    assert (contents.documents, contents.queries) == ({"d0": Document("", "Steep it.")}, {"q0": "how?"})


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"data": 3}, ": data must be a list, got 3"),
        ([], ": holds no judgement"),
        ({"data": ["x"]}, ": data[0]: is not a JSON object, got str"),
        ({"data": [{"paragraphs": {}}]}, ": data[0].paragraphs must be a list, got {}"),
        ({"data": [{"paragraphs": [{"qas": []}]}]}, ": data[0].paragraphs[0]: context must be a text, got None"),
        (
            {"data": [{"paragraphs": [{"context": "c", "qas": [{"id": "q"}]}]}]},
            ": data[0].paragraphs[0].qas[0]: question must be a text, got None",
        ),
        ({"data": []}, ": holds no judgement"),
    ],
)
def test_what_does_not_stand_is_refused_with_its_place(tmp_path, value, problem):
    with pytest.raises(CollectionError, match=re.escape(f"a.json{problem}")):
        read(write_text(tmp_path / "a.json", json.dumps(value)))


def test_a_folder_without_such_a_file_is_refused(tmp_path):
    write_text(tmp_path / "a.json", "{}")
    with pytest.raises(CollectionError, match=r"there is no JSON file of SQuAD's in it"):
        Squad().read(".", folder=tmp_path)

from __future__ import annotations

import json
import re
import resource

import pytest

from sweep.data.answers import AnswerFile, read_answers
from sweep.errors import CollectionError

FACTS = {"generator": "title", "model": ""}


def test_answers_are_read_as_they_came(tmp_path):
    path = tmp_path / "answers.jsonl"
    hostile = ['two\nlines\x00\x1b[31m "q" ', "\ud800", "茶", "x" * 1_000_000]
    with AnswerFile(path, FACTS) as file:
        file.add("a", "d1", hostile)
        file.add("b", "d2", [])
    assert read_answers(path) == {"a": hostile, "b": []}
    assert json.loads(path.read_bytes().splitlines()[0]) == {"version": 1, **FACTS}
    assert read_answers(tmp_path / "none.jsonl") == {}


@pytest.mark.parametrize("torn", ['{"document": "c", "ans', "{", '{"document": "c", "id": "d3", "answers": ["x"]}'])
def test_a_line_that_a_kill_cut_off_is_asked_again_and_nothing_else(tmp_path, torn: str):
    path = tmp_path / "answers.jsonl"
    with AnswerFile(path, FACTS) as file:
        file.add("a", "d1", ["first"])
    with path.open("a") as file:
        file.write(torn)
    assert read_answers(path) == {"a": ["first"]}
    with AnswerFile(path, FACTS) as file:
        file.add("c", "d3", ["again"])
    assert read_answers(path) == {"a": ["first"], "c": ["again"]}


def test_a_first_line_that_was_cut_off_is_written_anew(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text('{"version": 1, "gen')
    with AnswerFile(path, FACTS) as file:
        file.add("a", "d1", ["first"])
    assert read_answers(path) == {"a": ["first"]}


def test_two_runs_do_not_write_one_file(tmp_path):
    path = tmp_path / "answers.jsonl"
    problem = re.escape(f"{path}: another `sweep generate` is writing it")
    with AnswerFile(path, FACTS), pytest.raises(CollectionError, match=problem):
        AnswerFile(path, FACTS)
    with AnswerFile(path, FACTS):
        pass


def test_a_strange_line_is_named(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text('{"version": 1}\n{"document": "a", "answers": []}\nnonsense\n')
    with pytest.raises(CollectionError, match=re.escape(f"{path}:3: is no line of answers")):
        read_answers(path)


def test_a_disk_without_room_loses_nothing(tmp_path):
    path = tmp_path / "answers.jsonl"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with AnswerFile(path, FACTS) as file:
        file.add("a", "d1", ["first"])
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, before[1]))  # Python ignores SIGXFSZ
        try:
            with pytest.raises(CollectionError, match=r"answers\.jsonl: cannot be used \(File too large\)"):
                file.add("b", "d2", ["second"])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert read_answers(path) == {"a": ["first"]}
    with AnswerFile(path, FACTS) as file:
        file.add("b", "d2", ["second"])
    assert read_answers(path) == {"a": ["first"], "b": ["second"]}

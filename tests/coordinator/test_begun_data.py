"""A study that began before data was prepared as it is today: it goes on on the texts and pairs that it began with."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from scripted import check_finished, rewrite, run

from sweep.coordinator.fork import fork_study
from sweep.data import Document, RawCollection, write_beir
from sweep.errors import StudyChangedError
from sweep.plan import plan_study
from sweep.run_folder import RunFolder
from sweep.storage.location import locate_study
from sweep.testing import write_toy_study

OLDER = 'rules = 1\ndocument = "text"\nsplit = {"leaks" = "keep"}\n'


def write_leaky_collection(folder: Path) -> None:
    """Authors' splits in which every document is open to training, two queries are asked twice and one is empty."""
    documents = {f"d{n}": Document(f"title {n}", f"text number {n} of many") for n in range(80)}
    documents["d0"] = Document("no text", "")
    queries = {f"q{n}": f"what is number {n}" for n in range(80)} | {"q1": "what is number 71", "q2": " "}
    splits = {"train": range(40), "dev": range(40, 60), "test": range(60, 80)}
    qrels = {split: {f"q{n}": {f"d{n}": 1} for n in numbers} for split, numbers in splits.items()}
    write_beir(folder, RawCollection(documents, queries, qrels))


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of one trial whose file says what was the default then, stored as it was then; to be copied."""
    folder = tmp_path_factory.mktemp("begun")
    write_leaky_collection(folder / "collection")
    tables: dict[str, Any] = {"budget": {"trials": 1}, "space": {"batch_size": 4}, "evaluation": {"max_queries": 10}}
    file = write_toy_study(folder, script={}, **tables)
    rewrite(file, "[data]\n", f"[data]\n{OLDER}")
    run(file)
    rewrite(file, OLDER, "")
    with contextlib.closing(sqlite3.connect(RunFolder.beside(file).database)) as connection, connection:
        for name in ("spec", "spec_now"):
            query = "SELECT value FROM study_attributes WHERE name = ?"
            for (text,) in connection.execute(query, (name,)).fetchall():
                spec = json.loads(text)
                del spec["data"]["rules"], spec["data"]["split"]["leaks"], spec["data"]["split"]["group"]
                update = "UPDATE study_attributes SET value = ? WHERE name = ?"
                connection.execute(update, (json.dumps(spec), name))
    return file


@pytest.fixture
def older(begun: Path, tmp_path: Path) -> Path:
    shutil.copytree(begun.parent, tmp_path / "copy")
    return tmp_path / "copy" / begun.name


def test_it_goes_on_with_what_it_was_trained_on(older: Path) -> None:
    rewrite(older, "trials = 1\n", "trials = 2\n")
    plan = plan_study(locate_study(older))
    assert (plan.spec.data.rules, plan.spec.data.document, plan.spec.data.split.leaks) == (1, "text", "keep")
    assert len(plan.columns["query-document"]["anchor"]) == 38  # without the empty query and the empty document
    _, recorder = run(older)
    assert recorder.texts("change") == ["budget.trials: 1 is now 2"]
    assert check_finished(older).counted == 2


def test_the_same_file_as_a_study_of_its_own_leaves_out_what_leaks(older: Path) -> None:
    shutil.rmtree(RunFolder.beside(older).path)
    plan = plan_study(locate_study(older))
    assert (plan.spec.data.rules, plan.spec.data.document, plan.spec.data.split.leaks) == (
        2,
        "title-and-text",
        "leave-out",
    )
    assert (
        len(plan.columns["query-document"]["anchor"]) == 38
    )  # the empty document has its title; q1 asks what q71 does
    assert len(plan.columns["title-content"]["anchor"]) == 39


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('document = "title-and-text"', r"data\.document"),
        ("rules = 2", r"data\.rules"),
        ('split = { "leaks" = "leave-out" }', r"data\.split\.leaks"),
        ('split = { "group" = "title" }', r"data\.split\.group"),
    ],
)
def test_a_file_that_asks_for_the_new_is_refused_by_the_key(older: Path, line: str, key: str) -> None:
    rewrite(older, "[data]\n", f"[data]\n{line}\n")
    with pytest.raises(StudyChangedError, match=key):
        run(older)


def test_a_fork_of_it_begins_as_it_did(older: Path) -> None:
    file = older.with_name("other.toml")
    shutil.copy(older, file)
    rewrite(file, 'name = "toy"', 'name = "other"')
    new = plan_study(locate_study(file), after=locate_study(older))
    assert (new.spec.data.rules, new.spec.data.document) == (1, "text")
    assert list(fork_study(plan_study(locate_study(older)), new).taken) == [0]
    assert plan_study(locate_study(file)).spec.data == new.spec.data

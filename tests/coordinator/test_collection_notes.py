"""Notes on how a collection was read: what `check` and the log of a study say of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripted import run

from sweep.cli import main
from sweep.testing import write_toy_study

NOTES = (
    "read as BEIR: documents from corpus.jsonl.gz; queries from queries.jsonl.gz; all from qrels/all.tsv",
    "left aside: x",
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = write_toy_study(tmp_path, script={}, budget={"trials": 1})
    (tmp_path / "collection" / "x").write_text("a file of no role")
    return file


def test_a_study_begins_with_what_was_read_as_what(file: Path) -> None:
    _, recorder = run(file)
    for note in NOTES:
        assert f"beir:collection: {note}" in recorder.texts("study")


def test_check_says_what_was_read_as_what(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(file), "--no-measure"]) == 2  # weights of a scripted model are none
    said = " ".join(capsys.readouterr().out.split())
    assert all(note in said for note in NOTES)

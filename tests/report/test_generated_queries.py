"""The report of a study that trained on generated queries: what made them, and what their gates did."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
from chat_server import ChatServer, say
from scripted import run
from test_page import HOSTILE, Outline

from sweep import open_study
from sweep.cli import main
from sweep.report.page import render_page
from sweep.testing import write_toy_study

NAMES = ("synthetic-query:served", "synthetic-query:spans", "synthetic-query:never")
PROMPT = f"{HOSTILE} Passage: {{document}} Query:"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SWEEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A finished study of two trials: one on a server's queries, one on a mixture with spans; none on the third."""
    with ChatServer(lambda _, asked: say(" ".join(asked.split()[-5:-1]))) as server:
        served = {"name": "endpoint", "url": server.url, "model": "writer", "prompt": PROMPT}
        formats = {
            NAMES[0]: {"generators": [served], "documents": 12},
            NAMES[1]: {"generators": ["title", {"name": "sampled-span", "queries": 2}], "gates": {"words": [3, 9]}},
            NAMES[2]: {"generators": ["title"]},
        }
        mixed = f"title-content+{NAMES[1]}"
        space = {
            "data_format": [NAMES[0], mixed, NAMES[2]],
            "batch_size": 4,
            "start": [{"data_format": NAMES[0]}, {"data_format": mixed}],
        }
        file = write_toy_study(tmp_path, script={}, formats=formats, space=space, budget={"trials": 2, "examples": 80})
        assert main(["generate", str(file)]) == 0
    run(file)
    return file


def read_section(file: Path) -> str:
    with open_study(file) as study:
        page = render_page(study, [])
    assert "<script>boom" not in page
    (section,) = re.findall(r"<section id='generated'>.*?</section>", page, re.DOTALL)
    return " ".join(Outline(section.replace("<", " <")).text.split())


def find_passed(cache: Path, queries: int) -> Path:
    (found,) = [
        path
        for path in (cache / "queries").glob("passed-*.json")
        if len(json.loads(path.read_text())["queries"]) == queries
    ]
    return found


def test_the_report_shows_what_generated_formats_were_made_of_and_what_their_gates_did(file):
    text = read_section(file)
    assert NAMES[2] not in text  # which no trial trained on
    served, spans = text.split(NAMES[1])
    assert "12 of 12 queries are trained on, for 12 documents, made by endpoint writer." in served
    assert "model writer" in served
    assert f"SHA-256 {hashlib.sha256(PROMPT.encode()).hexdigest()[:16]} <script>boom()" in served
    assert "queries = 1, max_tokens = 32" in served
    kept, answers, documents = map(int, re.findall(r"(\d+) of (\d+) queries are trained on, for (\d+)", spans)[0])
    assert answers == 3 * documents
    rows = re.findall(r"(text|words|leak|examples|script|near-equal) (\d+) (\d+) ", spans)
    assert len(rows) == 6
    left = answers
    for _, rejected, passed in rows:
        left -= int(rejected)
        assert int(passed) == left
    assert left == kept < answers


def test_what_is_gone_or_is_not_what_was_trained_on_is_said_in_a_line(file, cache):
    passed = find_passed(cache, 12)
    stored = json.loads(passed.read_text())
    passed.write_text(json.dumps({**stored, "queries": stored["queries"][1:]}))
    assert "The study did not have these queries: they were made anew" in read_section(file)
    passed.unlink()
    text = read_section(file)
    assert f"cannot be shown: {NAMES[0]}: its answers have not gone through its gates; `sweep generate`" in text
    assert "queries are trained on" in text  # those of the other format
    (file.parent / "collection").rename(file.parent / "elsewhere")
    text = read_section(file)
    assert text.count("cannot be shown") == 2
    assert "queries are trained on" not in text

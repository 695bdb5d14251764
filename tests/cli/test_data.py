"""The command ``data``: what a study evaluates on and trains on, in the terminal and as a page."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from browser import open_browser
from rich.cells import cell_len
from test_benchmarks import BOTH
from test_benchmarks import write_study as write_sources

from sweep.cli import main
from sweep.cli.data_command import cut
from sweep.data import Document, RawCollection, write_beir
from sweep.plan import plan_study
from sweep.storage.location import locate_study
from sweep.testing import write_toy_study

NUMBERS = range(60)
HOSTILE = "<script>boom()</script> \x1b[31m\x07\u202e \u6f22\u5b57" + " word0" * 60


def write_study(
    folder: Path, *, documents: Mapping[str, Document] | None = None, judged: Any = None, **tables: Any
) -> Path:
    """A study of sixty documents, each with a query, one of them hostile; its tokenizer is not known."""
    usual = {f"d{number}": Document(f"Page {number}", f"text of page{number} {number}") for number in NUMBERS}
    usual["d0"] = Document(HOSTILE, HOSTILE)
    queries = {f"q{number}": f"what is page{number}" for number in NUMBERS} | {"q0": HOSTILE, "q1": " "}
    qrels = judged or {"all": {f"q{number}": {f"d{number}": 1} for number in NUMBERS}}
    write_beir(folder / "collection", RawCollection({**usual, **(documents or {})}, queries, qrels))
    usual_tables = {"space": {"batch_size": 4}, "budget": {"examples": 80}}
    return write_toy_study(folder, script={}, **{**usual_tables, **tables})


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("study"))


def say(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["data", *words]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    return said.out


def row(said: str, heading: str, name: str) -> list[str]:
    """The cells of a row of the table below a heading."""
    _, _, below = said.partition(f"\n{heading}\n")
    line = next(line for line in below.splitlines() if line.startswith(name))
    return re.split(r"  +", line.strip())


def test_counts_are_those_of_the_study(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_study(locate_study(study))
    said = say(capsys, str(study))
    assert said.startswith("toy: beir:collection, 60 documents, 59 queries\n")
    for split in ("dev", "test"):
        judged = plan.evaluation_set(split)  # type: ignore[arg-type]
        cells = row(said, "Evaluated on", split)
        assert cells[1] == f"{len(judged.query_ids)}"
        assert cells[3:6] == ["60", f"{judged.judged_documents}", f"1: {len(judged.query_ids)}"]
    for name, columns in plan.columns.items():
        pairs = len(columns["anchor"])
        assert row(said, "Trained on", name)[1:4] == [str(pairs), "0", f"{80 / pairs:.2f} times"]
        assert row(said, "Lengths", f"{name} anchor")[1] == str(pairs)


def test_words_are_counted_where_the_tokenizer_is_not_known_and_tokens_where_it_is(
    study: Path, tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "words: median" in say(capsys, str(study))
    shutil.copytree(tiny_model, tmp_path / "model")
    file = write_study(tmp_path, model_settings={"max_seq_length": 8})
    said = say(capsys, str(file))
    assert "tokens: median" in said
    assert row(said, "Lengths", "texts")[-1] == "cut at 8"
    assert row(said, "Lengths", "dev documents")[-1] == "100%"
    assert "cut at 32" in say(capsys, str(write_study(tmp_path)))


@pytest.mark.parametrize("columns", [60, 200])
def test_examples_fit_the_terminal_and_obey_nothing(
    study: Path, columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    said = say(capsys, str(study), "--examples", "60")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", said)
    shown = [line for line in said.splitlines() if re.match(r" +\d* +(query|document|anchor|positive) ", line)]
    assert max(map(cell_len, shown)) <= columns
    pairs = sum(len(columns["anchor"]) for columns in plan_study(locate_study(study)).columns.values())
    assert sum(" anchor " in line for line in shown) == pairs
    assert any("<script>boom()" in line and line.endswith("...") for line in shown)


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("abc", 3, "abc"),
        ("abcdef", 5, "ab..."),
        ("\u6f22" * 3, 6, "\u6f22" * 3),
        ("\u6f22" * 4, 7, "\u6f22" * 2 + "..."),
    ],
)
def test_a_text_is_cut_to_the_cells_that_it_takes(text: str, width: int, expected: str) -> None:
    assert cut(text, width) == expected


def test_no_example_is_of_the_test_split(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = say(capsys, str(study), "--examples", "60")
    plan = plan_study(locate_study(study))
    _, _, examples = said.partition("\ndev: ")
    queries = [plan.collection.queries[name] for name in plan.evaluation_set("test").query_ids]
    assert not [query for query in queries if re.search(rf"{re.escape(query)}$", examples, re.MULTILINE)]


def test_what_is_left_out_is_said_with_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judged = {
        "train": {f"q{number}": {f"d{number}": 1} for number in range(2, 40)} | {"q2": {"d2": 1, "absent": 1}},
        "dev": {f"q{number}": {f"d{number}": 2, "d0": 0} for number in range(40, 59)} | {"q59": {"d59": 0}},
    }
    documents = {"d3": Document("Page 3", ""), "d4": Document("", ""), "d5": Document("Page 40", "Text of PAGE40 40")}
    file = write_study(tmp_path, documents=documents, judged=judged)
    said = " ".join(say(capsys, str(file)).split())
    for part in (
        "read as BEIR: ",
        "1 of 39 judgements of train left out: 1 about a document that is not there (document 'absent')",
        "1 documents have no text: their title is embedded in its place",
        "1 documents are embedded as nothing",
        "1 queries have no text and are left out",
        "1 dev queries have no relevant document and are left out",
        "left out of training, for they give dev or test away: ",
        "copies of one judged there: 1",
    ):
        assert part in said
    assert row(say(capsys, str(file)), "Evaluated on", "dev")[5] == "0: 19, 2: 19"
    assert row(say(capsys, str(file)), "Evaluated on", "test")[1] == "none"
    assert row(say(capsys, str(file)), "Trained on", "query-document")[2] == "1"


def test_a_study_that_keeps_its_leaks_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split = {"dev": 0.2, "test": 0.2, "leaks": "keep"}
    copies = {"d7": Document("Page 8", "text of page8 8")}
    file = write_study(tmp_path, documents=copies, data={"collection": "beir:collection", "split": split})
    said = say(capsys, str(file))
    assert "which leak" in said
    assert "left out as leaks" not in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--examples", "0"], "--examples must be from 1 to 1000, got 0"),
        (["--html", "no/such/place.html"], "no/such/place.html: the page cannot be written: No such file or directory"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    study: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", str(study), *words]) == 2
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert said in told.err


@pytest.fixture(scope="module")
def page(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "data.html"
    assert main(["data", str(study), "--html", str(file), "--examples", "60"]) == 0
    return file


def test_the_page_is_whole_and_everything_in_it_is_escaped(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.endswith("</body></html>\n")
    assert "<script" not in text
    assert "&lt;script&gt;boom()" in text
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", text)
    assert not re.search(r"(src|href)=|url\(|@import", text)


def test_the_page_says_what_the_terminal_says(
    study: Path, page: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "4000")
    said = say(capsys, str(study), "--examples", "60")
    with open_browser(width=1200) as browser:
        browser.requests()
        browser.open(page.as_uri())
        assert browser.requests() == [page.as_uri()]
        assert browser.complaints() == []
        assert browser.run("return document.documentElement.scrollWidth <= window.innerWidth")
        shown = browser.run(
            "return [...document.querySelectorAll('table')].map(table => [...table.tBodies[0].rows]"
            ".map(row => [...row.cells].map(cell => cell.textContent.trim())))"
        )
        sentences = browser.run("return [...document.querySelectorAll('#left-out li')].map(item => item.textContent)")
        rows = browser.run("return document.querySelectorAll('#examples article').length")
    for heading, table in zip(("Evaluated on", "Trained on", "Lengths"), shown, strict=True):
        for cells in table:
            known = row(said, heading, cells[0])
            count = 6 if heading == "Evaluated on" else 4 if heading == "Trained on" else 8
            assert cells[:count] == known[:count]
    assert [sentence.strip() for sentence in said.partition("Embedded, and left out\n")[2].splitlines()] == sentences
    assert rows == len(re.findall(r"^ +\d+  (?:query|anchor) ", said, re.MULTILINE))


def test_a_page_may_be_read_in_the_dark_and_on_a_phone(page: Path) -> None:
    with open_browser(width=380) as browser:
        browser.emulate_theme("dark")
        browser.open(page.as_uri())
        assert browser.run("return document.documentElement.scrollWidth <= window.innerWidth")
        dark = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, json.loads("[" + dark.removeprefix("rgb(").removesuffix(")") + "]"))) < 200


def test_several_benchmarks_have_a_row_and_examples_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_sources(tmp_path, BOTH, script={}, evaluation={"max_queries": 12}, space={"batch_size": 8})
    said = say(capsys, str(file))
    plan = plan_study(locate_study(file))
    for split in ("dev", "test"):
        for block in plan.evaluation_set(split).blocks:  # type: ignore[arg-type]
            cells = row(said, "Evaluated on", f"{split}, {block.name}")
            assert [cells[1], cells[3]] == [str(block.queries), str(block.documents)]
            assert row(said, "Lengths", f"{split}, {block.name} queries")[1] == str(block.queries)
    assert {block.name for block in plan.evaluation_set("dev").blocks} == {"news", "third"}
    assert "\ndev, news: queries, each with" in said
    assert "\ndev, third: queries, each with" in said

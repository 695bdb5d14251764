"""The command ``generate``: queries for documents, their gates, and studies that train on them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from scripted import run

from sweep import open_study
from sweep.cli import main
from sweep.data import Document, RawCollection, write_beir
from sweep.data.compiled import compile_collection
from sweep.data.study_collection import load_study_collection
from sweep.errors import StudyChangedError
from sweep.plan import plan_study
from sweep.settings.study_file import load_study
from sweep.storage.location import locate_study
from sweep.testing import write_toy_study

TITLES = "synthetic-query:titles"
NUMBERS = range(40)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SWEEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write_study(
    folder: Path, *, formats: object = None, names: tuple[str, ...] = (TITLES,), model: Path | None = None
) -> Path:
    """A study on forty pages, of which ten are judged for dev and five for test; nothing is judged for training.

    A query of dev is that of page 0, which is not judged, and page 39 has no title.
    """
    documents = {
        f"d{number}": Document(f"Page {number}", f"This is page{number}. Body {number}.") for number in NUMBERS
    }
    documents["d39"] = Document("", "Untitled. Body 39.")
    queries = {f"q{number}": f"what is page{number}" for number in range(15)} | {"q0": "page  0"}
    judged = {f"q{number}": {f"d{number + 20}": 1} for number in range(15)}
    qrels = {
        "dev": {name: judged[name] for name in list(judged)[:10]},
        "test": {n: judged[n] for n in list(judged)[10:]},
    }
    write_beir(folder / "collection", RawCollection(documents, queries, qrels))
    usual = {TITLES: {"generators": ["title"], "gates": {"round_trip": {"within": 1}}}}
    space = {"batch_size": 4, "data_format": list(names)}
    return write_toy_study(
        folder,
        script={} if model is None else None,
        model_settings={} if model is None else {"base": str(model), "max_seq_length": 32},
        formats=usual if formats is None else formats,
        space=space,
        budget={"trials": 2, "examples": 80},
    )


def refuse(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main([*words]) == 2
    said = capsys.readouterr()
    assert len(said.err.splitlines()) == 1
    return said.err


def count_lines(cache: Path, generator: str) -> list[str]:
    (file,) = (cache / "queries").glob(f"{generator}-*.jsonl")
    return [json.loads(line)["id"] for line in file.read_text().splitlines()[1:]]


def test_a_study_without_training_queries_trains_on_generated_ones(tmp_path, cache, capsys):
    file = write_study(tmp_path)
    said = refuse(capsys, "run", str(file))
    assert f"{file}: {TITLES}: title has not answered for 25 of 25 documents; `sweep generate`" in said
    assert not file.with_suffix("").exists()

    assert main(["generate", str(file)]) == 0
    said = capsys.readouterr().out
    assert f"{TITLES}: 23 of 24 queries kept, for 25 documents, by title" in said
    assert re.search(r"^leak +1 +23 +equal or nearly", said, re.MULTILINE)
    assert sorted(count_lines(cache, "title")) == sorted(f"d{n}" for n in NUMBERS if not 20 <= n < 35)

    columns = plan_study(locate_study(file)).columns[TITLES]
    assert sorted(columns["anchor"]) == sorted(f"Page {n}" for n in NUMBERS if not 20 <= n < 35 and n not in (0, 39))
    assert columns["positive"][0].startswith("This is page1.")
    capsys.readouterr()
    assert main(["data", str(file)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"{TITLES}: 23 queries of 24 for 25 documents, by title; its gates rejected: leak 1" in said


def test_what_was_answered_is_not_asked_again_when_gates_or_documents_change(tmp_path, cache, capsys):
    assert main(["generate", str(write_study(tmp_path))]) == 0
    asked = count_lines(cache, "title")
    strict = {TITLES: {"generators": ["title"], "gates": {"words": [3, 5]}}}
    file = write_study(tmp_path, formats=strict)
    assert "the gates took: words 24" in refuse(capsys, "generate", str(file))
    assert count_lines(cache, "title") == asked
    assert "its answers have not gone through its gates" in refuse(capsys, "run", str(file))

    fewer = {TITLES: {"generators": ["title", "first-sentence"], "documents": 10}}
    assert main(["generate", str(write_study(tmp_path, formats=fewer))]) == 0
    assert count_lines(cache, "title") == asked
    assert len(count_lines(cache, "first-sentence")) == 10


def test_a_mixture_of_generated_and_other_pairs_is_planned(tmp_path, capsys):
    names = (TITLES, f"title-content+{TITLES}")
    file = write_study(tmp_path, names=names)
    assert main(["generate", str(file)]) == 0
    capsys.readouterr()
    rows = plan_study(locate_study(file)).rows[names[1]]
    assert [(section.rows, section.part) for section in rows.sections] == [(24, 0), (23, 1)]


def test_a_study_without_training_queries_trains_a_real_model_by_its_own_dev_and_test(tmp_path, tiny_model):
    file = write_study(tmp_path, model=tiny_model)
    assert main(["generate", str(file)]) == 0
    record, _ = run(file, jobs="sweep.trial")
    assert {trial.state for trial in record.trials} == {"complete"}
    assert record.best is not None
    with open_study(file) as study:
        assert {len(values) for values in study.tests.values()} == {5}


def test_a_study_on_generated_queries_runs_and_is_another_one_with_other_queries(tmp_path, cache):
    file = write_study(tmp_path)
    assert main(["generate", str(file)]) == 0
    record, _ = run(file)
    assert {trial.params.data_format for trial in record.trials} == {TITLES}
    assert main(["generate", str(file)]) == 0  # changes nothing
    assert run(file)[0].counted == 2
    (passed,) = (cache / "queries").glob("passed-*.json")
    stored = json.loads(passed.read_text())
    passed.write_text(json.dumps({**stored, "queries": stored["queries"][1:]}))
    with pytest.raises(StudyChangedError, match=r"data\.collection \(its content\)"):
        run(file)


def test_what_trials_map_is_what_was_generated(tmp_path):
    file = write_study(tmp_path)
    assert main(["generate", str(file)]) == 0
    spec, columns = load_study(file), plan_study(locate_study(file)).columns[TITLES]
    collection = load_study_collection(spec, folder=tmp_path)
    compiled = compile_collection(spec, collection, data_formats=[TITLES])
    known = compiled.formats[TITLES]
    assert {name: compiled.take(numbers) for name, numbers in known.columns.items()} == columns
    assert known.held_out is None  # no query is generated for a document that is judged for dev
    assert compiled.formats["query-document"].held_out is not None


def test_the_page_shows_what_each_gate_did(tmp_path, capsys):
    hostile = "<script>boom()</script> \x1b[31m\x00 漢字"
    formats = {TITLES: {"generators": ["title"]}}
    file = write_study(tmp_path, formats=formats)
    write_beir(
        tmp_path / "collection",
        RawCollection(
            {f"d{number}": Document(hostile if number == 1 else f"Page {number}", f"{number} b") for number in NUMBERS},
            {"q1": "what"},
            {"dev": {"q1": {"d9": 1}}, "test": {"q1": {"d9": 1}}},
        ),
    )
    assert "`sweep generate` makes its queries" in refuse(capsys, "generate", str(file), "--show")
    assert main(["generate", str(file)]) == 0
    assert main(["generate", str(file), "--show"]) == 0
    said = capsys.readouterr().out
    page = (tmp_path / "toy.queries.html").read_text()
    assert "toy.queries.html" in said
    assert "<script>boom" not in page
    assert "&lt;script&gt;boom()" in page
    assert "\x1b" not in page
    assert "38 of 39 queries are trained on" in page
    assert "://" not in page
    assert main(["generate", str(file), "--html", str(tmp_path / "there.html")]) == 0
    assert (tmp_path / "there.html").read_text() == page
    assert "the page cannot be written" in refuse(capsys, "generate", str(file), "--html", str(tmp_path / "no" / "x"))


@pytest.mark.parametrize(
    ("formats", "names", "problem"),
    [
        ({}, ("title-content",), "space.data_format: names no data format of generated queries"),
        (
            {TITLES: {"generators": ["dream"]}},
            (TITLES,),
            r"formats.synthetic-query:titles.generators[0]: must name a gen",
        ),
        ({TITLES: {"gates": {"words": [9, 1]}}}, (TITLES,), "gates: words must ascend from 1, got [9, 1]"),
        ({TITLES: {"gates": {"wrods": [9, 1]}}}, (TITLES,), "wrods: unknown key; did you mean words?"),
    ],
)
def test_a_study_file_that_makes_no_sense_is_refused_in_one_line(tmp_path, capsys, formats, names, problem: str):
    assert problem in refuse(capsys, "generate", str(write_study(tmp_path, formats=formats, names=names)))


def test_a_cache_that_cannot_be_written_is_named(tmp_path, cache, capsys):
    cache.write_text("a file")
    said = refuse(capsys, "generate", str(write_study(tmp_path)))
    assert f"{cache / 'queries'}: cannot be made" in said


def test_a_collection_of_which_every_document_is_judged_is_refused(tmp_path, capsys):
    file = write_study(tmp_path)
    pages = {f"d{number}": Document("", f"text {number}") for number in range(4)}
    both = {"dev": {"q": {"d0": 1, "d1": 0}}, "test": {"q": {"d2": 1, "d3": 0}}}
    write_beir(tmp_path / "collection", RawCollection(pages, {"q": "text"}, both))
    assert "no document may be generated for: of 4 none has a text and is" in refuse(capsys, "generate", str(file))

"""A study of documents alone: dev and test are generated queries for documents that are held out, and that is said."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from scripted import run

from sweep import open_study
from sweep.cli import main
from sweep.cli.check_data import describe_data
from sweep.cli.watchers import describe_sweep
from sweep.coordinator.trial_completion import write_study_note
from sweep.data.gates import GateSpec
from sweep.data.recipes import Recipe, find_askable
from sweep.data.study_collection import load_named_collection, load_study_collection
from sweep.errors import StudyChangedError
from sweep.generation import plan_generation
from sweep.plan import plan_study
from sweep.report.dashboard_export import write_note
from sweep.report.page import render_page
from sweep.settings.study_file import load_study
from sweep.storage.location import locate_study
from sweep.testing import write_toy_study

ASKED, TRAINED = "synthetic-query:asked", "synthetic-query:trained"
LABEL = "NDCG@10 on generated queries"
NOBODY = f"Nobody asked the queries of dev and test: they were generated ({ASKED})"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SWEEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write_documents(folder: Path) -> None:
    """Sixty pages: d0 to d9 each with a twin under another id, d50 and d51 nearly equal, and one without a text."""
    body = "the long text of two pages that differ in hardly a word so that one gives the other away "
    pages = {
        f"d{number}": (f"Page {number}", f"This is page{number} of the book. Body {number}.") for number in range(50)
    }
    pages |= {f"twin{number}": pages[f"d{number}"] for number in range(10)}
    pages |= {"d50": ("Long", f"{body * 3} one"), "d51": ("Long", f"{body * 3} two"), "empty": ("", " ")}
    lines = [json.dumps({"_id": name, "title": title, "text": text}) for name, (title, text) in pages.items()]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "corpus.jsonl").write_text("\n".join(lines))


def write_study(folder: Path, *, asked: str | None = ASKED, **tables: dict[str, object]) -> Path:
    write_documents(folder / "collection")
    usual: dict[str, dict[str, object]] = {
        "formats": {ASKED: {"generators": ["title"]}, TRAINED: {"generators": ["first-sentence", "title"]}},
        "space": {"batch_size": 4, "data_format": TRAINED},
        "budget": {"trials": 2, "examples": 80},
    }
    evaluation = {} if asked is None else {"generated_queries": asked}
    return write_toy_study(folder, script={}, **{"evaluation": evaluation, **usual, **tables})


def refuse(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main([*words]) == 2
    said = capsys.readouterr()
    assert len(said.err.splitlines()) == 1
    return said.err


def test_dev_and_test_are_of_held_out_documents_and_nothing_of_them_is_trained_on(tmp_path, capsys):
    file = write_study(tmp_path)
    said = refuse(capsys, "run", str(file))
    assert re.search(rf"{ASKED}, for dev and test: title has not answered for (\d+) of \1 documents; `sweep gen", said)
    assert not file.with_suffix("").exists()

    assert main(["generate", str(file)]) == 0
    out = capsys.readouterr().out
    assert f"{ASKED}, for dev and test:" in out
    rejected = {
        name: int(count) for name, count in re.findall(r"^([a-z-]+) +(\d+) +\d+ ", out.split(TRAINED)[-1], re.M)
    }
    assert "leak" in rejected

    plan = plan_study(locate_study(file))
    collection = plan.collection
    held = {name for split in ("dev", "test") for grades in collection.qrels[split].values() for name in grades}
    trained = {query.document for query in collection.training_generated(TRAINED)}
    assert len(held) > 10
    assert not held & trained
    assert not collection.qrels["train"]
    asked = {collection.queries[name] for name in collection.evaluated_queries}
    assert all(re.fullmatch(r"Page \d+|Long", text) for text in asked)
    assert not asked & {query.text for query in collection.training_generated(TRAINED)}
    assert load_study_collection(load_study(file), folder=tmp_path).content_hash == collection.content_hash


def test_copies_and_near_copies_stay_on_one_side_whatever_the_seed(tmp_path):
    for seed in range(6):
        spec = load_study(write_study(tmp_path, data={"split": {"dev": 0.3, "test": 0.3, "seed": seed}}))
        collection = load_named_collection(spec, folder=tmp_path)
        ours = find_askable(collection, spec, Recipe(TRAINED, (), GateSpec()))
        held = find_askable(collection, spec, Recipe(ASKED, (), GateSpec(), is_evaluated=True))
        assert min(len(collection.qrels[split]) for split in ("dev", "test")) > 5
        assert "empty" not in {*ours, *held}
        pairs = [(f"d{number}", f"twin{number}") for number in range(10)] + [("d50", "d51")]
        assert not [pair for pair in pairs if {*pair} & {*ours} and {*pair} & {*held}]
        fewer = find_askable(collection, spec, Recipe(ASKED, (), GateSpec(), documents=9, is_evaluated=True))
        assert len(fewer) == 9
        assert {*fewer} < {*held}


def test_training_queries_that_equal_one_of_dev_or_test_are_dropped_and_counted(tmp_path):
    formats = {ASKED: {"generators": ["title"]}, TRAINED: {"generators": ["title"], "gates": {"near_equal": False}}}
    file = write_study(tmp_path, formats=formats)
    lines = (tmp_path / "collection" / "corpus.jsonl").read_text().splitlines()
    same = [
        json.dumps({"_id": f"s{number}", "title": "Same title", "text": f"Other text {number}"}) for number in range(20)
    ]
    (tmp_path / "collection" / "corpus.jsonl").write_text("\n".join([*lines, *same]))
    assert main(["generate", str(file)]) == 0
    plan = plan_generation(locate_study(file))
    evaluated, trained = (stage.read_queries(recipe) for stage, recipe in plan.stages())
    assert sum(text == "Same title" for _, text, _ in evaluated["queries"]) == 1  # near-equal ones are dropped there
    (leak,) = [gate for gate in trained["gates"] if gate["name"] == "leak"]
    assert leak["rejected"] > 5
    assert not any(text == "Same title" for _, text, _ in trained["queries"])


def test_every_place_of_a_figure_says_that_nobody_asked_the_queries(tmp_path, capsys):
    file = write_study(tmp_path)
    assert main(["generate", str(file)]) == 0
    _, recorder = run(file)
    text = "\n".join(event.text for event in recorder.events)
    assert "nobody asked the queries of dev" in text  # lines of a run
    assert f"untrained {LABEL}" in text
    assert all(LABEL in line for line in recorder.texts("evaluate"))
    assert f"every figure on generated queries ({ASKED})" in describe_sweep(recorder.views[-1])  # the live view

    assert "nobody asked the queries of dev" in " ".join(describe_data(plan_study(locate_study(file))))  # check

    capsys.readouterr()
    assert main(["status", str(file)]) == 0
    said = capsys.readouterr().out
    assert NOBODY in said
    assert f"Peaks are {LABEL} on dev" in said
    assert main(["status", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["generated_queries"] == ASKED
    assert NOBODY in found["recommendation"]["reason"]
    with open_study(file) as study:
        page = render_page(study, [])
        assert NOBODY in write_note(study, [])  # the dashboard's, at the end
        assert LABEL in write_study_note(study.record, study.spec)  # and while it runs
    assert NOBODY in page.partition("class='headline'>")[2].partition("</p>")[0]
    assert f"{ASKED}, for dev and test</h3>" in page
    assert "queries make dev and test" in page
    assert main(["data", str(file)]) == 0
    assert "nobody asked the queries of dev" in " ".join(capsys.readouterr().out.split())


def test_other_queries_are_another_study(tmp_path):
    file = write_study(tmp_path)
    assert main(["generate", str(file)]) == 0
    run(file)
    other = write_study(tmp_path, asked=TRAINED)
    assert main(["generate", str(other)]) == 0
    with pytest.raises(StudyChangedError, match=r"evaluation\.generated_queries"):
        run(other)


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ("title-content", "evaluation.generated_queries: title-content generates no queries"),
        ("synthetic-qery", "evaluation.generated_queries: unknown data format 'synthetic-qery'"),
        (None, "there is no file of queries (such as queries.jsonl) in it: there lie"),
    ],
)
def test_a_study_file_that_makes_no_sense_is_refused_in_one_line(tmp_path, capsys, asked, problem: str):
    for command in ("generate", "run"):
        assert problem in refuse(capsys, command, str(write_study(tmp_path, asked=asked)))


def test_a_collection_with_judgements_is_refused(tmp_path, capsys):
    file = write_study(tmp_path)
    (tmp_path / "collection" / "qrels").mkdir()
    (tmp_path / "collection" / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td1\t1\n")
    said = refuse(capsys, "generate", str(file))
    assert not (tmp_path / "cache").exists()
    assert "holds judgements (test.tsv): leave evaluation.generated_queries out" in said


def test_queries_that_nobody_answered_are_left_out_and_named(tmp_path):
    file = write_study(tmp_path)
    (tmp_path / "collection" / "queries.jsonl").write_text('{"_id": "q", "text": "what is page1"}\n')
    collection = load_named_collection(load_study(file), folder=tmp_path)
    assert collection.notes == ("queries.jsonl left out: no judgement says what answers its queries",)
    assert not collection.queries


def test_a_single_file_of_documents_will_do(tmp_path):
    file = write_study(tmp_path, data={"collection": "pages.csv"})
    rows = "".join(f"p{number},Title {number},Text {number} of a page.\n" for number in range(40))
    (tmp_path / "pages.csv").write_text(f"id,title,text\n{rows}")
    assert main(["generate", str(file)]) == 0
    assert len(plan_study(locate_study(file)).collection.evaluated_queries) == 16

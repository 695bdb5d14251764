"""A study with several sources: trained on some, evaluated on others, and every view of it benchmark by benchmark."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scripted import run
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from test_cli import run_command

from sweep import open_study
from sweep.cli.diagnose import print_diagnosis
from sweep.cli.leaderboard import print_leaderboard
from sweep.data import Collection, load_collection, plan_judged
from sweep.errors import CollectionError, StudyFileError
from sweep.plan import plan_study
from sweep.report.dashboard_export import write_note
from sweep.report.diagnosis import diagnose
from sweep.report.page import render_page
from sweep.settings.study_file import load_study
from sweep.status import describe_study
from sweep.storage.evaluations import UNTRAINED
from sweep.storage.location import locate_study
from sweep.study import Study
from sweep.testing import write_toy_collection, write_toy_study

ARCHIVE, MANUAL = "beir:archive", "beir:manual"
"""Two toy collections of other words."""

BOTH = """
[[data.train]]
collection = "beir:archive"
weight = 3.0
[[data.train]]
collection = "beir:manual"
[[data.evaluate]]
collection = "beir:archive"
name = "news"
[[data.evaluate]]
collection = "beir:third"
weight = 2.0
"""


def write_study(folder: Path, sources: str, **tables: object) -> Path:
    """A study file with sources in place of its collection, and the toy collections that these name."""
    for seed, name in enumerate(("archive", "manual", "third")):
        write_toy_collection(folder / name, documents=120, seed=seed)
    file = write_toy_study(folder, **tables)  # type: ignore[arg-type]
    text = re.sub(r'\n\[data\]\ncollection = "beir:collection"\n', f"\n{sources}\n", file.read_text())
    file.write_text(text)
    return file


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    made = tmp_path_factory.mktemp("several")
    (made / "model").symlink_to(tiny_model)
    return made


@pytest.fixture(scope="module")
def study_file(folder: Path) -> Path:
    return write_study(
        folder,
        BOTH,
        evaluation={"max_documents": 60, "max_queries": 20, "grid": [0.25, 0.5, 1.0]},
        budget={"trials": 2, "examples": 160},
        space={"batch_size": 8, "learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}},
        stopping={"drop_off": False},
    )


@pytest.fixture(scope="module")
def collection(study_file: Path) -> Collection:
    return load_collection(load_study(study_file).data, folder=study_file.parent)


# ---- the collection


def test_every_source_has_its_name_before_its_ids(collection: Collection) -> None:
    assert {name.partition("/")[0] for name in collection.documents} == {"news", "manual", "third"}
    assert {name.partition("/")[0] for name in collection.queries} == {"news", "manual", "third"}
    assert {note.partition(":")[0] for note in collection.notes} == {"news", "manual", "third"}


def test_what_a_source_is_used_for_decides_its_splits(collection: Collection) -> None:
    queries = {split: {name.partition("/")[0] for name in judged} for split, judged in collection.qrels.items()}
    assert queries == {"train": {"news", "manual"}, "dev": {"news", "third"}, "test": {"news", "third"}}
    counts = {
        name: sum(query.startswith(f"{name}/") for judged in collection.qrels.values() for query in judged)
        for name in ("manual", "third")
    }
    assert counts == {name: sum(query.startswith(f"{name}/") for query in collection.queries) for name in counts}


def test_no_document_of_a_benchmark_that_is_not_trained_on_is_trained_on(collection: Collection) -> None:
    assert {name.partition("/")[0] for name in collection.training_documents()} == {"news", "manual"}
    assert {document.partition("/")[0] for _, document in collection.training_judgements()} == {"news", "manual"}


def test_a_copy_in_one_source_of_what_another_is_evaluated_on_is_not_trained_on(tmp_path: Path) -> None:
    write_study(tmp_path, BOTH, script={})
    corpus = tmp_path / "leaking"
    write_toy_collection(corpus, documents=120, seed=1)
    file = tmp_path / "leaking.toml"
    file.write_text((tmp_path / "toy.toml").read_text().replace("beir:manual", "beir:leaking"))
    loaded = load_collection(load_study(file).data, folder=tmp_path)
    answer = next(iter(next(iter(loaded.take(loaded.benchmarks[1]).qrels["dev"].values()))))
    text = loaded.documents[answer].text
    lines = gzip.decompress((corpus / "corpus.jsonl.gz").read_bytes()).decode().splitlines()
    copied = json.loads(lines[0])
    copied["text"] = text
    (corpus / "corpus.jsonl.gz").write_bytes(gzip.compress("\n".join([json.dumps(copied), *lines[1:]]).encode()))
    again = load_collection(load_study(file).data, folder=tmp_path)
    assert f"leaking/{copied['_id']}" in again.held_out
    assert f"leaking/{copied['_id']}" not in loaded.held_out


def test_an_evaluation_set_is_that_of_each_benchmark_behind_the_other(collection: Collection, study_file: Path) -> None:
    spec = load_study(study_file)
    for split in ("dev", "test"):
        judged = plan_judged(spec, collection, split)  # type: ignore[arg-type]
        assert [(block.name, block.weight) for block in judged.blocks] == [("news", 1.0), ("third", 2.0)]
        news, third = judged.by_benchmark()
        assert news.query_ids + third.query_ids == judged.query_ids
        assert news.document_ids + third.document_ids == judged.document_ids
        for name, one in (("news", news), ("third", third)):
            assert all(identifier.startswith(f"{name}/") for identifier in (*one.query_ids, *one.document_ids))
            assert len(one.document_ids) <= 60
            assert list(one.document_ids) == sorted(one.document_ids, reverse=True)
            assert list(one.query_ids) == sorted(one.query_ids)


def test_training_pairs_have_the_shares_of_their_sources(study_file: Path) -> None:
    rows = plan_study(locate_study(study_file)).rows["query-document"]
    assert [section.weight for section in rows.sections] == [3.0, 1.0]
    assert sum(section.rows for section in rows.sections) == len(rows.columns["anchor"])


# ---- a study of real trainings


@pytest.fixture(scope="module")
def trained(study_file: Path) -> Study:
    done = run_command("run", study_file.name, "--plain", folder=study_file.parent)
    assert (done.returncode, done.stderr) == (0, "")
    (study_file.parent / "said.txt").write_text(done.stdout)
    return open_study(study_file)


def by_the_library(study: Study, model: Path, split: str) -> list[float]:
    """NDCG@10 on each benchmark by the library's evaluator."""
    spec = study.spec
    collection = load_collection(spec.data, folder=study.file.parent)
    found = []
    for judged in plan_judged(spec, collection, split).by_benchmark():  # type: ignore[arg-type]
        evaluator = InformationRetrievalEvaluator(
            {name: collection.queries[name] for name in judged.query_ids},
            {name: collection.documents[name].embedded(spec.data.document) for name in judged.document_ids},
            {query: {name for name, grade in grades.items() if grade > 0} for query, grades in judged.qrels.items()},
            show_progress_bar=False,
            write_csv=False,
        )
        found.append(evaluator(SentenceTransformer(str(model), device="cpu"))["cosine_ndcg@10"])
    return found


def test_the_objective_is_the_weighted_mean_of_the_benchmarks(trained: Study) -> None:
    best, model = trained.record.best, trained.best_model
    assert best is not None
    assert best.peak is not None
    assert model is not None
    news, third = by_the_library(trained, model, "dev")
    assert best.value == pytest.approx((news + 2 * third) / 3, abs=1e-5)
    frame = trained.benchmarks()
    chosen = frame[(frame["trial"] == best.number) & (frame["progress"] == best.peak.progress)]
    assert chosen.set_index("benchmark")["value"].to_dict() == {
        "news": pytest.approx(news, abs=1e-5),
        "third": pytest.approx(third, abs=1e-5),
    }
    news, third = by_the_library(trained, trained.run_folder.base_model, "test")
    score = trained.test_score(UNTRAINED)
    assert score is not None
    assert score.mean == pytest.approx((news + 2 * third) / 3, abs=1e-5)
    assert trained.evaluations()["ndcg"].tolist() == pytest.approx(trained.evaluations()["value"].tolist())


def test_a_run_tells_of_each_benchmark(trained: Study) -> None:
    said = (trained.file.parent / "said.txt").read_text()
    assert re.search(r"evaluate: 25\.0%  NDCG@10 0\.\d{4} \(news 0\.\d{4}, third 0\.\d{4}\)", said)
    assert re.search(r"\n  news: untrained 0\.\d{4}, best 0\.\d{4}; [+-]0\.\d{4}, 95 % interval", said)
    assert re.search(r"trial +news \(weight 1\) +third \(weight 2\) +from there to its end", said)


def test_check_says_what_each_source_gives(study_file: Path) -> None:
    done = run_command("check", study_file.name, "--no-measure", folder=study_file.parent)
    assert done.returncode == 0
    for line in (
        r"dev on news \(weight 1\): 20 queries over 60 documents \(20 judged\)",
        r"test on third \(weight 2\): 20 queries over 60 documents \(20 judged\)",
        r"of the examples of a trial come 75% from news, 25% from manual",
        r"manual: read as BEIR",
    ):
        assert re.search(line, done.stdout)


# ---- a fall on one benchmark alone

SCRIPT = {
    "benchmarks": [
        {"queries": 30, "weight": 1.0, "holds": False},
        {"queries": 30, "weight": 0.25, "holds": True},
    ]
}
START = [
    {"learning_rate": 6e-4, "data_format": "title-content", "batch_size": 8},
    {"learning_rate": 6e-4, "data_format": "query-document", "batch_size": 8},
]
SOURCES = """
[[data.train]]
collection = "beir:manual"
[[data.evaluate]]
collection = "beir:archive"
[[data.evaluate]]
collection = "beir:third"
name = "third <b>"
weight = 0.25
"""


@pytest.fixture(scope="module")
def fallen(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A scripted study on 30 queries of each benchmark whose first trial falls on the first one alone."""
    folder = tmp_path_factory.mktemp("fallen")
    file = write_study(
        folder,
        SOURCES,
        script=SCRIPT,
        budget={"trials": 2},
        space={"start": START, "batch_size": 8},
        evaluation={"max_queries": 30},
    )
    run(file)
    return open_study(file)


def test_the_rule_judges_all_queries_by_the_weights_of_their_benchmarks(fallen: Study) -> None:
    trial = fallen.trials().set_index("trial").loc[0]
    assert trial["ended_by"] == "drop-off"
    points, values = fallen.per_query[0]
    weights = fallen.record.query_weights("dev")
    assert weights is not None
    frame = fallen.evaluations()
    assert frame[frame["trial"] == 0]["value"].tolist() == pytest.approx((values @ weights / weights.sum()).tolist())
    assert len(points) == len(values)


def test_every_view_says_on_which_benchmark_a_run_fell(fallen: Study, capsys: pytest.CaptureFixture[str]) -> None:
    pattern = r"fell on archive \(-0\.\d{3}, -0\.\d{3} to -0\.\d{3}\), not on third <b> \([+-]0\.\d{3}, "
    print_leaderboard(fallen)
    assert re.search(pattern, capsys.readouterr().out)
    print_diagnosis(fallen, as_json=False, with_next=False)
    assert re.search(f"- Trial 0 {pattern}", capsys.readouterr().out)
    print_diagnosis(fallen, as_json=True, with_next=False)
    (line,) = json.loads(capsys.readouterr().out)["by_benchmark"]
    assert re.match(f"Trial 0 {pattern}", line)
    findings = diagnose(fallen)
    page = render_page(fallen, findings).partition("plotly.js v")[0]
    assert re.search(pattern.replace("<b>", "&lt;b&gt;"), page)
    assert "The same runs, benchmark by benchmark" in page
    assert "<b>" not in page.partition("A run's value")[0]
    assert "Trial 0 fell on archive" in write_note(fallen, findings)
    status = describe_study(fallen)
    assert status["benchmarks"] == [{"name": "archive", "weight": 1.0}, {"name": "third <b>", "weight": 0.25}]
    told = status["trials"][0]["benchmarks"]
    assert {name: one["fell"] for name, one in told.items()} == {"archive": True, "third <b>": False}
    assert told["archive"]["curve"][0] == [0, pytest.approx(0.5, abs=0.02)]


# ---- mistakes

MISTAKES: dict[str, tuple[str, str]] = {
    "nothing at all": ("[data]\n", r"data: collection is missing: name one, or sources under both"),
    "benchmarks alone": ('[[data.evaluate]]\ncollection = "beir:archive"\n', r"data: collection is missing"),
    "a collection beside both": (
        '[data]\ncollection = "beir:third"\n[[data.train]]\ncollection = "beir:manual"\n'
        '[[data.evaluate]]\ncollection = "beir:archive"\n',
        r"data: collection is used for nothing beside both",
    ),
    "twice": (
        '[data]\ncollection = "beir:third"\n' + 2 * '[[data.evaluate]]\ncollection = "beir:archive"\n',
        r"data: names a source twice, got archive, archive",
    ),
    "one name for two": (
        '[[data.train]]\ncollection = "beir:manual"\nname = "x"\n[[data.evaluate]]\ncollection = "beir:archive"\n'
        'name = "x"\n',
        r"data: gives the name 'x' to two collections",
    ),
    "weight": (
        '[data]\ncollection = "beir:third"\n[[data.evaluate]]\ncollection = "beir:archive"\nweight = 0.0\n',
        r"data\.evaluate\[0\]\.weight: .*greater than 0",
    ),
    "slash in a name": (
        '[data]\ncollection = "beir:third"\n[[data.evaluate]]\ncollection = "beir:archive"\nname = "a/b"\n',
        r"data\.evaluate\[0\]: name must be given, without '/', got 'a/b'",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_sources_that_do_not_fit_are_refused_with_their_key(tmp_path: Path, mistake: str) -> None:
    sources, problem = MISTAKES[mistake]
    with pytest.raises(StudyFileError, match=problem):
        load_study(write_study(tmp_path, sources, script={}))


def test_a_benchmark_without_a_judged_query_is_named(tmp_path: Path) -> None:
    sources = '[data]\ncollection = "beir:third"\n[[data.evaluate]]\ncollection = "beir:archive"\n'
    sources += '[[data.evaluate]]\ncollection = "beir:empty"\n'
    file = write_study(tmp_path, sources, script={})
    (tmp_path / "empty" / "qrels").mkdir(parents=True)
    (tmp_path / "empty" / "corpus.jsonl").write_text('{"_id": "1", "text": "a"}\n')
    (tmp_path / "empty" / "queries.jsonl").write_text('{"_id": "q", "text": "b"}\n')
    for split in ("dev", "test"):
        (tmp_path / "empty" / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\nq\t1\t0\n")
    with pytest.raises(CollectionError, match="empty: no query of the dev split has a relevant document"):
        plan_study(locate_study(file))


def test_weights_decide_which_trial_is_best(fallen: Study) -> None:
    """By archive's queries, of four times third's weight, trial 1 rises; that it holds on third changes nothing."""
    best = fallen.record.best
    assert best is not None
    assert best.number == 1
    values: Sequence[float] = fallen.benchmarks().query("trial == 1 and benchmark == 'archive'")["value"].tolist()
    assert np.argmax(values) == len(values) - 1

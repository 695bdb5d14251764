"""A study on another metric than NDCG@10 is about that metric from its stop rule to its report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import optuna
import pytest
from scripted import open_study as open_views
from scripted import run
from test_cli import run_command

from sweep import open_study
from sweep.cli.leaderboard import print_leaderboard
from sweep.data import load_collection, plan_evaluation_set
from sweep.report.dashboard_export import write_note
from sweep.report.diagnosis import diagnose
from sweep.report.page import render_page
from sweep.status import describe_study
from sweep.storage.evaluations import UNTRAINED
from sweep.storage.location import locate_study
from sweep.testing import write_toy_study

METRICS = {"recall@100": "Recall@100", "recall@3": "Recall@3"}
FALL = [{"learning_rate": 6e-4, "data_format": name, "batch_size": 4} for name in ("query-document", "title-content")]
"""Two start points: the first rises to its end, the second falls from its peak."""


@pytest.fixture(scope="module", params=METRICS)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """The file of a study of real trainings on one of the metrics that was run to its end, by the command."""
    folder = tmp_path_factory.mktemp("metric")
    (folder / "model").symlink_to(tiny_model)
    file = write_toy_study(
        folder,
        evaluation={"metric": request.param, "max_documents": 150, "max_queries": 40, "grid": [0.25, 0.5, 1.0]},
        budget={"trials": 2, "examples": 160},
        space={"batch_size": 8, "learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}},
        stopping={"drop_off": False},
    )
    done = run_command("run", file.name, "--plain", folder=folder)
    assert (done.returncode, done.stderr) == (0, "")
    (folder / "said.txt").write_text(done.stdout)
    return file


def trec_values(file: Path, model: Path, split: str) -> list[float]:
    """What trec_eval says of a model on a study's judged queries, by the library's own embeddings."""
    pytrec_eval = pytest.importorskip("pytrec_eval")
    from sentence_transformers import SentenceTransformer

    spec = locate_study(file).spec
    collection = load_collection(spec.data, folder=file.parent)
    limits = {"max_documents": spec.evaluation.max_documents, "max_queries": spec.evaluation.max_queries}
    judged = plan_evaluation_set(collection, split, **limits, seed=spec.data.split.seed)  # type: ignore[arg-type]
    loaded = SentenceTransformer(str(model), device="cpu")
    queries, documents = (
        loaded.encode(texts, normalize_embeddings=True)
        for texts in (
            [collection.queries[name] for name in judged.query_ids],
            [collection.documents[name].embedded(spec.data.document) for name in judged.document_ids],
        )
    )
    scores = (queries @ documents.T).tolist()
    found = {query: dict(zip(judged.document_ids, row)) for query, row in zip(judged.query_ids, scores)}  # noqa: B905
    qrels = {query: dict(grades) for query, grades in judged.qrels.items()}
    name = spec.evaluation.metric
    values = pytrec_eval.RelevanceEvaluator(qrels, {name.replace("@", ".")}).evaluate(found)
    return [values[query][name.replace("@", "_")] for query in judged.query_ids]


def test_the_values_of_the_kept_model_are_those_of_trec_eval(trained: Path) -> None:
    study = open_study(trained)
    best, model = study.record.best, study.best_model
    assert best is not None
    assert best.peak is not None
    assert model is not None
    points, per_query = study.per_query[best.number]
    kept = per_query[points.index(best.peak.progress)]
    np.testing.assert_allclose(kept, trec_values(trained, model, "dev"), atol=1e-6)
    np.testing.assert_allclose(study.tests[best.number], trec_values(trained, model, "test"), atol=1e-6)
    base = study.run_folder.base_model
    np.testing.assert_allclose(study.per_query[UNTRAINED][1][0], trec_values(trained, base, "dev"), atol=1e-6)
    assert best.value == pytest.approx(float(np.mean(trec_values(trained, model, "dev"))), abs=1e-6)
    frame = study.evaluations()
    assert frame["ndcg"].notna().all()
    assert (frame["ndcg"] - frame["value"]).abs().max() > 0.01
    if study.record.measure.key == "recall@100":
        assert frame["recall_100"].tolist() == frame["value"].tolist()


def test_everything_that_a_study_says_is_about_its_metric(trained: Path) -> None:
    label = METRICS[locate_study(trained).spec.evaluation.metric]
    said = (trained.parent / "said.txt").read_text()
    for line in (f"untrained {label} ", f"  {label} ", f"Test {label}, evaluated once:", f"Peaks are {label} on dev"):
        assert line in said
    folder = locate_study(trained).run_folder
    shown = [said, (folder.path / "report.html").read_text().partition("plotly.js v")[0]]
    optuna_study = open_views(trained)[0]
    assert optuna_study.metric_names == [label]
    shown.append(json.dumps(optuna_study.system_attrs if hasattr(optuna_study, "system_attrs") else ""))
    shown += [path.read_text() for path in (folder.path / "logs").glob("coordinator*.jsonl")]
    assert all(label in text for text in (shown[0], shown[1], shown[-1]))
    assert [text.count("NDCG") for text in shown] == [0] * len(shown)


@pytest.fixture(scope="module")
def fallen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a scripted study on recall@100 whose second trial falls and is stopped."""
    folder = tmp_path_factory.mktemp("fallen")
    file = write_toy_study(
        folder, script={}, evaluation={"metric": "recall@100"}, budget={"trials": 2}, space={"start": FALL}
    )
    run(file)
    return file


def test_a_run_whose_recall_falls_is_stopped_and_every_view_of_it_is_about_recall(
    fallen: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = open_study(fallen)
    stopped = study.trials().set_index("trial").loc[1]
    assert (stopped["state"], stopped["ended_by"]) == ("pruned", "drop-off")
    assert stopped["stop_reason"].startswith("drop-off: Recall@100 0.")
    status = describe_study(study)
    assert (status["metric"], status["trials"][1]["state"]) == ("recall@100", "pruned")
    assert status["trials"][1]["curve"][0] == [0, pytest.approx(0.5)]
    print_leaderboard(study)
    findings = diagnose(study)
    sentences = [one.sentence for one in findings if one.effect is not None]
    page = render_page(study, findings).partition("plotly.js v")[0]
    texts = [capsys.readouterr().out, page, write_note(study, findings)]
    assert all("Recall@100" in text for text in texts)
    assert "NDCG" not in "".join([*texts, *sentences])


def test_the_note_that_the_dashboard_shows_while_a_study_runs_names_the_metric(fallen: Path) -> None:
    storage = optuna.storages.RDBStorage(f"sqlite:///{locate_study(fallen).run_folder.database}")
    attributes = str(storage.get_study_system_attrs(1))
    storage.engine.dispose()
    assert "Leaderboard (Recall@100: peaks on dev, selected)" in attributes
    assert "NDCG" not in attributes

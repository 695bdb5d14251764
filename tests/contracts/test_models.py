"""The contract of every kind of model: whoever loads one that a study names gets the figure that the study gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from model_kinds import KINDS
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

from sweep.messages import Assignment, Rehearsal, RehearsalTask, Report, Verdict
from sweep.plan import StudyPlan, plan_study
from sweep.rehearsal import rehearse_study
from sweep.run_folder import RunFolder
from sweep.storage.location import locate_study
from sweep.testing import write_toy_collection, write_toy_study
from sweep.trial import prepare_study, run_trial

STEPS = 4


@dataclass
class Reports:
    """A channel in this process that keeps the reports."""

    heard: list[Report] = field(default_factory=list)

    def sign(self, *, long_call: bool = False) -> None:
        pass

    def report(self, report: Report) -> Verdict:
        self.heard.append(report)
        return Verdict()

    def is_pausing(self) -> bool:
        return False


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("collection")
    write_toy_collection(folder, documents=120)
    return folder


@pytest.fixture
def plan_of(tmp_path: Path, collection: Path) -> Callable[..., StudyPlan]:
    """Plans a study of a model that a function writes below a folder."""

    def plan(write: Callable[[Path], None], *, model: dict[str, Any] | None = None, **tables: Any) -> StudyPlan:
        write(tmp_path)
        usual = {
            "data": {"collection": f"beir:{collection}"},
            "evaluation": {"max_queries": 24, "max_documents": 40, "grid": [0.5, 1.0]},
            "space": {"learning_rate": 2e-3, "warmup_ratio": 0.0, "batch_size": 8},
        }
        return plan_study(locate_study(write_toy_study(tmp_path, model_settings=model, **{**usual, **tables})))

    return plan


def rehearse(plan: StudyPlan, folder: Path) -> Rehearsal:
    """The way of ``sweep check``."""
    points = tuple(
        plan.space.params(plan.space.lowest() | {"data_format": name}) for name in plan.spec.space.data_format
    )
    task = RehearsalTask(spec=plan.spec, folder=plan.folder, run_folder=folder / "rehearsal", points=points)
    return rehearse_study(task, Reports())


def run(plan: StudyPlan) -> tuple[float, list[Report]]:
    """The way of ``sweep run``: NDCG@10 of the untrained model, and a trial's reports."""
    points = plan.space.params(plan.space.lowest() | {"data_format": "query-document"})
    evaluations = tuple(replace(planned, step=STEPS * planned.progress // 1000) for planned in plan.evaluations(8))
    task = Assignment(
        spec=plan.spec,
        folder=plan.folder,
        run_folder=plan.run_folder.path,
        trial=0,
        params=points,
        steps=STEPS,
        evaluations=evaluations,
    )
    prepared, reports = prepare_study(task, Reports()), Reports()
    run_trial(task, reports)
    return prepared.baseline.ndcg_10, reports.heard


def measure_as_used(plan: StudyPlan, folder: Path) -> float:
    """NDCG@10 of a model by the library's own evaluator, loaded by its path alone."""
    judged, collection = plan.evaluation_set("dev"), plan.collection
    evaluator = InformationRetrievalEvaluator(
        {query: collection.queries[query] for query in judged.query_ids},
        {name: collection.documents[name].embedded(plan.spec.data.document) for name in judged.document_ids},
        {query: {name for name, grade in judged.qrels[query].items() if grade > 0} for query in judged.query_ids},
    )
    figures = evaluator(SentenceTransformer(str(folder), device="cpu"))
    return float(figures[evaluator.primary_metric])


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_gives_the_figure_of_the_study_to_whoever_loads_it(kind, plan_of, tmp_path):
    write, settings = KINDS[kind]
    plan = plan_of(write, model=settings)
    tried = rehearse(plan, tmp_path)
    untrained, reports = run(plan)
    assert tried.evaluation.ndcg_10 == pytest.approx(untrained, abs=1e-6)
    assert measure_as_used(plan, plan.run_folder.base_model) == pytest.approx(untrained, abs=1e-3)
    folder = RunFolder(plan.run_folder.path)
    best = max(reports, key=lambda report: report.evaluation.value)
    kept = folder.peak_model(0, best.progress)
    assert measure_as_used(plan, kept) == pytest.approx(best.evaluation.ndcg_10, abs=1e-3)

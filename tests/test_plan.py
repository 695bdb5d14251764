from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest
from hard_negatives import HardNegatives

from sweep.data import FORMATS
from sweep.data.formats.format import Role
from sweep.errors import StudyFileError, SweepError
from sweep.plan import plan_study
from sweep.progress import PlannedEvaluation
from sweep.run_folder import RunFolder
from sweep.storage.location import locate_study
from sweep.testing import QUERIES, write_toy_study
from sweep.training.losses import LOSSES
from sweep.training.losses.loss import ONE, Loss


def test_a_plan_says_what_a_run_would_do_and_writes_nothing(tmp_path: Path) -> None:
    file = write_toy_study(tmp_path, script={})
    before = sorted(tmp_path.rglob("*"))
    plan = plan_study(locate_study(file))
    assert plan.file == file.resolve()
    assert plan.folder == tmp_path.resolve()
    assert plan.run_folder == RunFolder.beside(file)
    assert plan.base_model == (tmp_path / "model").resolve()
    assert set(plan.columns) == {"title-content", "query-document"}
    assert plan.space.spec == plan.spec.space
    assert plan.steps(4) == 80
    assert plan.evaluations(16) == tuple(
        PlannedEvaluation(step, progress)
        for step, progress in [(2, 100), (4, 200), (8, 400), (12, 600), (16, 800), (20, 1000)]
    )
    assert sorted(tmp_path.rglob("*")) == before


def test_a_plan_judges_the_queries_that_the_study_asks_for(tmp_path: Path) -> None:
    plan = plan_study(
        locate_study(write_toy_study(tmp_path, script={}, evaluation={"max_queries": 20, "max_documents": 50}))
    )
    judged = plan.evaluation_set("dev")
    assert len(judged.query_ids) == 20 < QUERIES
    assert len(judged.document_ids) == 50
    assert plan.evaluation_set("dev").query_ids == judged.query_ids
    assert not set(judged.query_ids) & set(plan.evaluation_set("test").query_ids)


@pytest.mark.parametrize(("share", "has_test"), [(0.2, True), (0.0, False)])
def test_a_plan_knows_whether_there_is_a_test_split(tmp_path: Path, share: float, has_test: bool) -> None:
    data = {"collection": "beir:collection", "split": {"dev": 0.2, "test": share}}
    assert plan_study(locate_study(write_toy_study(tmp_path, script={}, data=data))).has_test_split is has_test


def test_the_same_study_is_identified_alike_wherever_it_lies(tmp_path: Path) -> None:
    first, second = (plan_study(locate_study(write_toy_study(tmp_path / name, script={}))) for name in ("one", "two"))
    assert first.revision == second.revision
    assert first.collection.content_hash == second.collection.content_hash


def test_the_command_lines_budget_takes_the_place_of_the_files(tmp_path: Path) -> None:
    file = write_toy_study(tmp_path, script={})
    plan = plan_study(locate_study(file), trials=9)
    assert plan.spec.budget.trials == 9
    assert plan.spec.budget.examples == 320
    with pytest.raises(SweepError, match=r"^--trials must be at least 1, got 0$"):
        plan_study(locate_study(file), trials=0)


@pytest.mark.parametrize("batch_size", [64, 128, 512])
def test_a_batch_may_not_be_above_the_distinct_texts_of_a_format(tmp_path: Path, batch_size: int) -> None:
    space = {"batch_size": batch_size, "data_format": "query-document"}
    file = write_toy_study(tmp_path, script={}, space=space, budget={"examples": 20 * batch_size})
    if batch_size <= 128:
        assert plan_study(locate_study(file)).spec.space.batch_sizes == (batch_size,)
        return
    with pytest.raises(
        StudyFileError, match=r"space\.batch_size: 512 is above the \d+ distinct texts of data format q"
    ):
        plan_study(locate_study(file))


@pytest.fixture
def hard_negatives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMATS, HardNegatives.name, HardNegatives)


@pytest.mark.usefixtures("hard_negatives")
def test_a_format_is_found_by_its_name_and_has_the_options_of_its_table(tmp_path: Path) -> None:
    file = write_toy_study(
        tmp_path, script={}, space={"data_format": "hard-negatives"}, formats={"hard-negatives": {"count": 2}}
    )
    columns = plan_study(locate_study(file)).columns["hard-negatives"]
    assert list(columns) == ["anchor", "positive", "negative_1", "negative_2"]


def test_variants_and_mixtures_of_formats_have_rows_of_their_own(tmp_path: Path) -> None:
    names = ["query-document", "query-document:titled", "title-content+query-document:titled"]
    file = write_toy_study(
        tmp_path,
        script={},
        space={"data_format": names, "mixture": {"low": 0.2, "high": 0.8}},
        data={"document": "text"},
    )
    file.write_text(file.read_text() + '\n[formats."query-document:titled"]\ndocument = "title-and-text"\n')
    plan = plan_study(locate_study(file))
    plain, titled, mixed = (plan.columns[name] for name in names)
    assert plain["anchor"] == titled["anchor"]
    assert all(f"\n{text}" in both for text, both in zip(plain["positive"], titled["positive"], strict=True))
    assert mixed["anchor"][-len(titled["anchor"]) :] == titled["anchor"]
    sections = plan.rows[names[2]].sections
    assert [section.part for section in sections] == [0, 1]
    assert sum(section.rows for section in sections) == len(mixed["anchor"])
    space = plan.space
    lowest = space.lowest()
    assert "mixture" not in lowest
    assert space.params(lowest).mixture is None
    assert space.params(lowest | {"data_format": names[2], "mixture": 0.3}).mixture == 0.3


MISTAKES = {
    "option out of range": (
        {"formats": {"hard-negatives": {"count": 0}}},
        r"formats\.hard-negatives\.count: input should be greater than or equal to 1, got 0",
    ),
    "unknown option": (
        {"formats": {"hard-negatives": {"cuont": 2}}},
        r"formats\.hard-negatives\.cuont: unknown key; did you mean count\?",
    ),
    "options of an unknown format": (
        {"formats": {"triples": {}}},
        "unknown data format 'triples'; known: hard-negatives, query-document, query-negatives, synthetic-query,",
    ),
    "unknown format of a variant": (
        {"space": {"data_format": "triples:own"}},
        r"space\.data_format: unknown data format 'triples'; known: ",
    ),
    "unknown format in a mixture": (
        {"space": {"data_format": "title-content+triples"}},
        r"space\.data_format: unknown data format 'triples'; known: ",
    ),
    "mixture of other columns": (
        {"space": {"data_format": "query-document+hard-negatives"}},
        r"space\.data_format: query-document\+hard-negatives mixes formats of different columns"
        r" \(query-document: anchor, positive; hard-negatives: negative_1, positive, anchor\)",
    ),
    "options of a mixture": (
        {"formats": {"title-content+query-document": {}}},
        r"formats\.title-content\+query-document: title-content\+query-document is a mixture, and has no options",
    ),
    "share outside of 0 and 1": (
        {"space": {"mixture": {"low": 0.0, "high": 0.5}}},
        r"space\.mixture: must be above 0, got 0\.0",
    ),
    "share of a format that is no mixture": (
        {"space": {"start": [{"data_format": "query-document", "mixture": 0.5}]}},
        r"space\.start\[0\]\.mixture: matters only where data_format is a mixture, such as A\+B",
    ),
    "unknown loss": ({"loss": {"name": "mse"}}, r"loss\.name: unknown loss 'mse'; known: .*multiple-negatives-ranking"),
    "unknown option of the loss": (
        {"loss": {"options": {"scael": 3.0}}},
        r"loss\.options\.scael: unknown key; did you mean scale\?",
    ),
    "option that is searched": (
        {"loss": {"options": {"scale": 3.0}}},
        r"loss\.options\.scale: is searched: set space\.scale instead",
    ),
    "format that the loss does not take": (
        {"loss": {"name": "pairs-alone"}, "space": {"data_format": "hard-negatives"}},
        r"loss\.name: pairs-alone takes 0 columns of the role negative, not 1 as in data format hard-negatives",
    ),
}


@pytest.mark.usefixtures("hard_negatives")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_format_or_loss_that_does_not_stand_is_refused_with_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: str
) -> None:
    class PairsAlone(Loss):
        name = "pairs-alone"
        takes: ClassVar[Mapping[Role, range]] = {"anchor": ONE, "positive": ONE}

    monkeypatch.setitem(LOSSES, PairsAlone.name, PairsAlone)
    tables, problem = MISTAKES[mistake]
    with pytest.raises(StudyFileError, match=problem):
        plan_study(locate_study(write_toy_study(tmp_path, script={}, **tables)))


def test_a_relative_study_file_is_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_toy_study(tmp_path, script={})
    monkeypatch.chdir(tmp_path)
    assert plan_study(locate_study("toy.toml")).file == (tmp_path / "toy.toml").resolve()


@pytest.mark.parametrize(("similarity", "scale"), [("cosine", 20.0), ("dot", 1.0)])
def test_the_scale_suits_the_models_similarity_where_the_file_names_none(tmp_path, similarity, scale):
    file = write_toy_study(tmp_path, script={})
    (tmp_path / "model" / "config_sentence_transformers.json").write_text(
        json.dumps({"similarity_fn_name": similarity})
    )
    assert plan_study(locate_study(file)).spec.space.scale == scale
    file.write_text(file.read_text().replace("[space]", "[space]\nscale = 5.0"))
    assert plan_study(locate_study(file)).spec.space.scale == 5.0

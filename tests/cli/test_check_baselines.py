from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from rehearsals import MODEL, NONE

from sweep.cli.check_baselines import describe_baselines
from sweep.messages import Evaluation, Rehearsal
from sweep.plan import StudyPlan, plan_study
from sweep.storage.location import locate_study
from sweep.testing import write_toy_study


def rehearsal(untrained: Sequence[float], shuffled: Sequence[float] | None) -> Rehearsal:
    evaluation = Evaluation(
        per_query=np.array(untrained, dtype=np.float32),
        positives=NONE,
        negatives=NONE,
        seconds=1.0,
        shuffled=None if shuffled is None else np.array(shuffled, dtype=np.float32),
    )
    return Rehearsal(model=MODEL, evaluation=evaluation, texts_per_s=1.0, pairs_per_s=None, silence_s=0.0)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> StudyPlan:
    """A study of a collection in which BM25 finds every document, by its rare words."""
    return plan_study(locate_study(write_toy_study(tmp_path_factory.mktemp("toy"), script={})))


def say(plan: StudyPlan, untrained: float, shuffled: float, *, misses: int = 8) -> str:
    queries = len(plan.evaluation_set("dev").query_ids)
    missed = [float(place >= misses) for place in range(queries)]
    values = [untrained * found for found in missed]
    return " ".join(" ".join(describe_baselines(plan, rehearsal(values, [shuffled] * queries))).split())


def test_the_untrained_model_stands_beside_bm25_and_shuffled_judgements(plan: StudyPlan) -> None:
    queries = len(plan.evaluation_set("dev").query_ids)
    said = " ".join(describe_baselines(plan, rehearsal([1.0] * queries, [0.1] * queries)))
    assert said.startswith("Compare:  NDCG@10: untrained 1.0000, BM25 1.0000")
    assert said.endswith("untrained by shuffled judgements 0.1000")


def test_bm25_that_beats_the_model_is_said(plan: StudyPlan) -> None:
    assert say(plan, 0.5, 0.1).endswith("BM25 beats the untrained model here: a trained one has that to beat, too")


def test_a_model_at_the_level_of_chance_where_words_fit_is_said(plan: StudyPlan) -> None:
    assert "the model ranks no better than by chance, BM25 does better" in say(plan, 0.1, 0.1)


def test_judgements_that_fit_no_better_than_shuffled_ones_are_said(tmp_path: Path) -> None:
    file = write_toy_study(tmp_path, script={})
    judged = tmp_path / "collection" / "qrels" / "all.tsv"
    heading, *rows = judged.read_text().splitlines()
    pairs = [row.split("\t") for row in rows]
    moved = [f"{query}\t{other}\t1" for (query, _, _), (_, other, _) in zip(pairs, pairs[7:] + pairs[:7], strict=True)]
    judged.write_text("\n".join([heading, *moved]) + "\n")
    said = say(plan_study(locate_study(file)), 0.02, 0.02)
    assert "the judgements fit the texts no better than shuffled ones: see whether the ids of qrels" in said


def test_where_nothing_was_shuffled_nothing_is_compared(plan: StudyPlan) -> None:
    assert list(describe_baselines(plan, rehearsal([1.0], None))) == []

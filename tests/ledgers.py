"""Studies written by hand for tests of storages: trials without anybody who trains."""

from __future__ import annotations

import numpy as np

from sweep.coordinator.ledger import Ledger
from sweep.messages import Cosines, Evaluation, Report
from sweep.settings.space import SearchSpace
from sweep.settings.study_file import SpaceSpec

SPACE = SearchSpace(SpaceSpec())
DISTRIBUTIONS = SPACE.distributions
VALUES = {
    "learning_rate": 1e-4,
    "warmup_ratio": 0.1,
    "log2_batch_size": 5,
    "data_format": "title-content",
    "scale": 20.0,
    "scheduler": "linear",
}
COSINES = Cosines(mean=0.5, p5=0.1, p95=0.9)
BASELINE = 0.5


def make_evaluation(value: float, *, queries: int = 2) -> Evaluation:
    values = np.full(queries, value, dtype=np.float32)
    return Evaluation(per_query=values, positives=COSINES, negatives=COSINES, seconds=0.1)


def make_report(progress: int, value: float, *, queries: int = 2) -> Report:
    return Report(
        progress=progress,
        step=progress,
        examples=progress * 32,
        evaluation=make_evaluation(value, queries=queries),
        seconds=1.0,
        evaluation_seconds=0.1,
        micro_batch=32,
        loss=None,
    )


def begin_study(ledger: Ledger) -> None:
    ledger.begin_study({"spec": {}}, make_evaluation(BASELINE), metric="NDCG@10")


def begin_trial(ledger: Ledger) -> int:
    return ledger.begin_trial(VALUES, distributions=DISTRIBUTIONS, attributes={"seed": 0})


def end_trial(ledger: Ledger, number: int, value: float) -> None:
    ledger.end_trial(number, value=value, pruned=False, peak=value)

"""Trials by hand, for tests of what is decided upon them: ten steps of ten pairs, a measurement after each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweep.coordinator.running import RunningTrial
from sweep.progress import plan_evaluations
from sweep.settings.dimensions import Params
from sweep.stopping.stop import Stop
from sweep.storage.evaluations import EvaluationRow
from sweep.storage.records import TrialRecord, describe_stop, find_peak

PARAMS = Params(
    learning_rate=1e-4,
    effective_learning_rate=1e-4,
    warmup_ratio=0.0,
    batch_size=10,
    data_format="query-document",
    scale=20.0,
    scheduler="linear",
)


def make_rows(values: Sequence[float], *, step_s: float = 1.0) -> tuple[EvaluationRow, ...]:
    """Measurements at 10 %, 20 % and so on, of ten steps of ten pairs."""
    return tuple(
        EvaluationRow(
            trial=0,
            progress=100 * place,
            step=place,
            value=value,
            seconds=step_s * place,
            evaluation_seconds=0.1 * place,
            examples=10 * place,
        )
        for place, value in enumerate(values, start=1)
    )


def make_trial(number: int, *values: float, step_s: float = 1.0, **changes: Any) -> TrialRecord:
    """A trial with these measurements; ``kind`` is that of its stop, and anything else a field of the record."""
    kind = changes.pop("kind", None)
    stop = describe_stop(Stop(kind, f"{kind}: so it is") if kind else None)
    rows = make_rows(values, step_s=step_s)
    peak = find_peak(rows)
    usual: dict[str, Any] = {
        "state": "complete",
        "value": peak.value if peak else None,
        "params": PARAMS,
        "rows": rows,
        "attributes": {"steps": 10, **stop, **changes.pop("attributes", {})},
    }
    return TrialRecord(number=number, **{**usual, **changes})


def make_values(ndcg: float) -> NDArray[np.float32]:
    """Values of queries that are all the same."""
    return np.full(4, ndcg, dtype=np.float32)


def make_running(number: int, *values: float, **changes: Any) -> RunningTrial:
    """A trial that runs, with these measurements; the untrained model has 0.5."""
    trial = RunningTrial(
        number=number,
        params=PARAMS,
        steps=10,
        evaluations=plan_evaluations(range(100, 1001, 100), 10),
        progress=[0],
        per_query=[make_values(0.5)],
        **changes,
    )
    for place, value in enumerate(values, start=1):
        trial.add_point(100 * place, make_values(value))
    return trial

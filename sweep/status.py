"""The JSON of ``sweep status --json``."""

from __future__ import annotations

import math
from typing import Any

from sweep.by_benchmark import curves_by_benchmark
from sweep.recommendation import Comparison, compare_over_seeds, recommend
from sweep.storage.confirmations import Confirmed, find_confirmed
from sweep.storage.evaluations import UNTRAINED
from sweep.storage.records import ENDED_BY, StudyRecord, TrialRecord, count_saved
from sweep.study import Study

STATUS_VERSION = 1
"""Version of the JSON; additions keep it."""


def describe_study(study: Study) -> dict[str, Any]:
    """A study as plain values for JSON; a number that does not exist is null."""
    record = study.record
    saved, fraction = count_saved(record.trials)
    return {
        "version": STATUS_VERSION,
        "study": record.name,
        "metric": record.measure.key,
        "generated_queries": record.generated_queries,
        "state": study.state,
        "budget": {
            "trials": study.budget,
            "finished": record.counted,
            "ended_by": record.attributes.get(ENDED_BY) if study.state == "finished" else None,
        },
        "baseline": {"dev": _finite(record.baseline), "test": _test_value(study, UNTRAINED)},
        "coordinator": {"pid": study.owner.pid, "host": study.owner.host} if study.owner else None,
        "benchmarks": [{"name": one.name, "weight": one.weight} for one in record.benchmarks],
        "trials": [
            {**_describe_trial(trial, record), "benchmarks": _describe_benchmarks(study, trial.number)}
            for trial in record.trials
        ],
        "best": _describe_best(study),
        "recommendation": _describe_recommendation(study),
        "confirmed": [_describe_confirmed(group) for group in find_confirmed(record)],
        "confirmed_gain": _describe_gain(compare_over_seeds(study, UNTRAINED)),
        "saved": {"examples": saved, "fraction": fraction},
    }


def _describe_trial(trial: TrialRecord, record: StudyRecord) -> dict[str, Any]:
    params, peak, baseline = trial.params, trial.peak, record.baseline
    rank, trials = record.rung_ranks.get(trial.number, (None, None))
    paused = {"progress": trial.progress, "rank": rank, "trials": trials} if trial.state == "paused" else None
    untrained = [[0, _finite(baseline)]] if baseline is not None else []
    return {
        "number": trial.number,
        "state": trial.state,
        "value": _finite(trial.value),
        "peak": peak.value if peak else None,
        "peak_progress": peak.progress if peak else None,
        "retention": _finite(trial.retention(baseline)),
        "stop_reason": trial.stop.text if trial.stop else None,
        "error": trial.attributes.get("error"),
        "params": _describe_params(trial),
        "effective_learning_rate": params.effective_learning_rate if params else None,
        **{name: trial.attributes.get(name) for name in ("steps", "micro_batch", "seed", "device", "node")},
        "progress": trial.progress,
        "curve": untrained + [[row.progress, _finite(row.value)] for row in trial.curve],
        "equal_to": trial.equal_to,
        "promoted": trial.promoted,
        "confirms": trial.confirms,
        "longer_than": trial.longer_than,
        "retrained_examples": trial.retrained_examples,
        "paused": paused,
        "seconds": trial.rows[-1].seconds if trial.rows else None,
        "evaluation_seconds": trial.rows[-1].evaluation_seconds if trial.rows else None,
        "interruptions": trial.attributes.get("interruptions", 0),
    }


def _describe_benchmarks(study: Study, number: int) -> dict[str, Any]:
    """A trial on each benchmark: its curve, and the change from its peak to its end."""
    return {
        curve.name: {
            "peak": _finite(curve.peak),
            "curve": [[point, _finite(value)] for point, value in zip(curve.progress, curve.values, strict=True)],
            "change": dict(zip(("mean", "low", "high"), map(_finite, curve.change), strict=True)),
            "fell": curve.has_fallen,
        }
        for curve in curves_by_benchmark(study, number)
    }


def _describe_params(trial: TrialRecord) -> dict[str, Any] | None:
    if trial.params is None:
        return None
    params = trial.params.as_dict() | {"seed": trial.attributes.get("seed")}  # its own, or the study's
    del params["effective_learning_rate"]
    return params


def _describe_best(study: Study) -> dict[str, Any] | None:
    best = study.record.best
    if best is None:
        return None
    return {
        "number": best.number,
        "value": _finite(best.value),
        "test": _test_value(study, best.number),
        "params": _describe_params(best),
        "checkpoint": str(study.best_model) if study.best_model else None,
    }


def _describe_recommendation(study: Study) -> dict[str, Any]:
    advice = recommend(study)
    model = study.find_model(advice.number) if advice.use else None
    return {
        "use": advice.use,
        "number": advice.trial,
        "reason": advice.sentence,
        "checkpoint": str(model) if model else None,
    }


def _describe_confirmed(group: Confirmed) -> dict[str, Any]:
    trainings = [
        {"number": trial.number, "seed": trial.attributes.get("seed"), "peak": trial.peak.value if trial.peak else None}
        for trial in group.runs
    ]
    return {"number": group.number, "mean": group.mean, "spread": group.spread, "trainings": trainings}


def _describe_gain(gain: Comparison | None) -> dict[str, float] | None:
    """The gain over the untrained model on test, over queries and training seeds."""
    return None if gain is None else {"mean": gain.gain, "low": gain.low, "high": gain.high}


def _test_value(study: Study, number: int) -> float | None:
    score = study.test_score(number)
    return None if score is None else _finite(score.mean)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None

"""Studies of thousands of trials for benchmarks, as sweeps leave them behind, written in few transactions.

Optuna commits every trial that it is given by itself, which takes minutes for thousands of them. So its tables are
filled here as it fills them, and what came of it is held against what Optuna itself makes of one such trial.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import optuna
import sqlalchemy
from ledgers import BASELINE, make_report
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import TrialState, create_trial

from sweep.coordinator.changes import describe_beginning
from sweep.coordinator.ledger import Ledger
from sweep.plan import StudyPlan
from sweep.run_folder import RunFolder
from sweep.settings.space import SearchSpace
from sweep.storage.location import DatabaseLocation, Waiting, lock_study
from sweep.storage.mirror import OWN_ATTRIBUTES
from sweep.storage.schema import EVALUATIONS, RUNS, TRIALS
from sweep.testing import scripted_ndcg
from sweep.training.checkpoint import publish

POINTS = tuple(range(50, 1001, 50))
"""Twenty measurements a trial, in thousandths."""

NOISE = 0.02
SECONDS = 20.0
DEVICE = "CPU, 2 cores"

Rows = dict[sqlalchemy.Table, list[dict[str, Any]]]


@dataclass(frozen=True)
class FilledTrial:
    """A trial: its number, its values by their names in Optuna, our attributes, its measurements so far."""

    number: int
    values: Mapping[str, Any]
    distributions: Mapping[str, BaseDistribution]
    attributes: Mapping[str, Any]
    vectors: NDArray[np.float32] = field(repr=False)  # (T, Q) NDCG of each query at the first T of POINTS

    @property
    def has_ended(self) -> bool:
        """Whether it has ended; else it was interrupted after its last measurement."""
        return len(self.vectors) == len(POINTS)

    @property
    def shown(self) -> dict[str, Any]:
        """The attributes that Optuna shows."""
        return {
            name: value for name, value in self.attributes.items() if name not in OWN_ATTRIBUTES and value is not None
        }

    @property
    def curve(self) -> dict[int, float]:
        """NDCG@10 at each point, without the untrained one."""
        return dict(zip(POINTS, np.mean(self.vectors, axis=1, dtype=np.float64).tolist(), strict=False))


def fill(place: DatabaseLocation, plan: StudyPlan, *, trials: int, queries: int, interrupted: int = 0) -> None:
    """Writes a study of finished trials of twenty measurements, and checks that Optuna reads it as its own.

    Args:
        place: Where the study is to be; nothing may be there.
        plan: The study.
        trials: How many trials.
        queries: Queries of each measurement.
        interrupted: Trials after them that were interrupted, each at a place of its own, with its checkpoint.
    """
    random = np.random.default_rng(0)
    with lock_study(place, waiting=Waiting()) as held:
        ledger = Ledger(held.storage, plan.spec.name)
        began = describe_beginning(plan, revision=plan.revision, collection_hash=plan.collection.content_hash)
        ledger.begin_study(
            {"parameters": 1, **began}, make_report(0, BASELINE, queries=queries).evaluation, metric="NDCG@10"
        )
        points = [len(POINTS)] * trials + random.integers(1, len(POINTS), interrupted).tolist()
        made = [
            make_trial(number, plan.space, random, queries=queries, points=count) for number, count in enumerate(points)
        ]
        rows: Rows = defaultdict(list)
        for trial in made:
            add_optuna_rows(rows, trial)
            add_our_rows(rows, trial)
        with held.storage.engine.begin() as connection:
            for table, values in rows.items():
                connection.execute(table.insert(), values)
            if connection.dialect.name == "postgresql":  # the numbers that were given here are not to be given again
                last = "SELECT setval(pg_get_serial_sequence('trials', 'trial_id'), max(trial_id)) FROM trials"
                connection.exec_driver_sql(last)
                connection.exec_driver_sql("ANALYZE")
        check(ledger.study, made)
    for trial in made[trials:]:
        leave_files(plan.run_folder, trial)


def make_trial(
    number: int, space: SearchSpace, random: np.random.Generator, *, queries: int, points: int
) -> FilledTrial:
    values = {name: draw(distribution, random) for name, distribution in space.distributions.items()}
    params = space.params(values)
    means = np.array([[scripted_ndcg(params, point)] for point in POINTS[:points]])
    vectors = np.clip(means + random.normal(0, NOISE, (points, queries)), 0, 1).astype("<f4")
    trial = FilledTrial(number, values, space.distributions, {}, vectors)
    curve = trial.curve
    best = max(curve, key=lambda point: curve[point])
    attributes = {
        "params": params.as_dict(),
        "batch_size": params.batch_size,
        "effective_learning_rate": params.effective_learning_rate,
        "steps": len(POINTS),
        "seed": 0,
        "device": DEVICE,
        "attempt": 1,
        "paused": not trial.has_ended,
        "micro_batch": params.batch_size,
        "false_negatives": 0.001,
    }
    if trial.has_ended:
        end = {"peak": curve[best], "peak_progress": best, "retention": curve[POINTS[-1]] / curve[best]}
        attributes |= {**end, "stop_reason": None}
    return replace(trial, attributes=attributes)


def leave_files(folder: RunFolder, trial: FilledTrial) -> None:
    """Writes the checkpoint and the peak model of an interrupted trial, as scripted ones do."""
    curve = trial.curve
    best = max(curve, key=lambda point: curve[point])
    files = {
        folder.checkpoint(trial.number, len(curve)): ("step.json", len(curve)),
        folder.peak_model(trial.number, best): ("ndcg.json", curve[best]),
    }
    for final, (name, content) in files.items():
        partial = final.with_name(f"{final.name}.partial")
        partial.mkdir(parents=True)
        (partial / name).write_text(json.dumps(content))
        publish(partial, final)


def draw(distribution: BaseDistribution, random: np.random.Generator) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(random.integers(len(distribution.choices)))]
    low, high = distribution.low, distribution.high  # type: ignore[attr-defined]
    if not isinstance(distribution, FloatDistribution):
        return int(random.integers(low, high + 1))
    if distribution.log:
        return float(math.exp(random.uniform(math.log(low), math.log(high))))
    return float(random.uniform(low, high))


def add_optuna_rows(rows: Rows, trial: FilledTrial) -> None:
    """What Optuna and its dashboard keep of a trial; the study is the first of its database."""
    place = {"trial_id": trial.number + 1}
    ended = datetime(2026, 1, 1) + timedelta(seconds=SECONDS * trial.number)
    rows[models.TrialModel.__table__].append(
        {
            **place,
            "number": trial.number,
            "study_id": 1,
            "state": TrialState.COMPLETE if trial.has_ended else TrialState.RUNNING,
            "datetime_start": ended - timedelta(seconds=SECONDS),
            "datetime_complete": ended if trial.has_ended else None,
        }
    )
    if trial.has_ended:
        value = {
            "objective": 0,
            "value": trial.attributes["peak"],
            "value_type": models.TrialValueModel.TrialValueType.FINITE,
        }
        rows[models.TrialValueModel.__table__].append({**place, **value})
    for name, found in trial.values.items():
        distribution = trial.distributions[name]
        stored = {"param_value": distribution.to_internal_repr(found), "param_name": name}
        stored["distribution_json"] = distribution_to_json(distribution)
        rows[models.TrialParamModel.__table__].append({**place, **stored})
    for name, found in trial.shown.items():
        stored = {"key": name, "value_json": json.dumps(found)}
        rows[models.TrialUserAttributeModel.__table__].append({**place, **stored})
    finite = models.TrialIntermediateValueModel.TrialIntermediateValueType.FINITE
    for point, ndcg in {0: BASELINE, **trial.curve}.items():
        stored = {"step": point, "intermediate_value": ndcg, "intermediate_value_type": finite}
        rows[models.TrialIntermediateValueModel.__table__].append({**place, **stored})


def add_our_rows(rows: Rows, trial: FilledTrial) -> None:
    number, found = {"trial": trial.number}, trial.attributes
    began = SECONDS * trial.number
    texts = {name: distribution_to_json(one) for name, one in trial.distributions.items()}
    rows[TRIALS].append(
        {
            "number": trial.number,
            "state": "complete" if trial.has_ended else "running",
            "value": found.get("peak"),
            "values": json.dumps(trial.values),
            "distributions": json.dumps(texts),
            "attributes": json.dumps(found),
            "began": began,
            "ended": began + SECONDS if trial.has_ended else None,
        }
    )
    rows[RUNS].append({**number, "run": 0, "slot": "cpu", "device": DEVICE, "began": began, "ended": began + SECONDS})
    for step, (point, ndcg) in enumerate(trial.curve.items(), 1):
        rows[EVALUATIONS].append(
            {
                **dict.fromkeys(EVALUATIONS.columns.keys()),
                **number,
                "split": "dev",
                "progress": point,
                "step": step,
                "examples": step * found["batch_size"],
                "seconds": SECONDS * step / len(POINTS),
                "evaluation_seconds": 0.1 * step,
                "ndcg": ndcg,
                "value": ndcg,
                "per_query": trial.vectors[step - 1].tobytes(),
            }
        )


def check(study: optuna.Study, made: list[FilledTrial]) -> None:
    """Holds what Optuna reads of the study against what Optuna itself would have made of its first and last trial."""
    found = study.get_trials(deepcopy=False)
    if [trial.number for trial in found] != list(range(len(made))):
        raise AssertionError(f"Optuna reads {len(found)} trials, and {len(made)} were filled in")
    for trial in (made[0], made[-1]):
        frozen = found[trial.number]
        expected = create_trial(
            state=TrialState.COMPLETE if trial.has_ended else TrialState.RUNNING,
            value=trial.attributes.get("peak"),
            params=dict(trial.values),
            distributions=dict(trial.distributions),
            user_attrs=trial.shown,
            intermediate_values={0: BASELINE, **trial.curve},
        )
        for name in ("state", "value", "params", "distributions", "user_attrs", "intermediate_values"):
            read, meant = getattr(frozen, name), getattr(expected, name)
            if read != meant:
                raise AssertionError(f"trial {trial.number}: Optuna reads {name} as {read!r}, and it is {meant!r}")

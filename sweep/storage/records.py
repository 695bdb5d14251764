"""TrialRecord and StudyRecord: what is known of a study, read from its database into plain values."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import func, select

from sweep.errors import StorageError
from sweep.measures.measures import DEFAULT_METRIC, Measure, find_measure
from sweep.settings.dimensions import Params
from sweep.stopping.stop import Stop
from sweep.storage.evaluations import UNTRAINED, EvaluationRow, EvaluationTable, curves
from sweep.storage.repetition import repeated
from sweep.storage.schema import OLD_TRIALS, has_columns
from sweep.storage.transaction import reading

State = Literal["waiting", "running", "complete", "pruned", "fail"]

FINISHED: tuple[State, ...] = ("complete", "pruned", "fail")

SPEC = "spec"
BASE_MODEL = "base_model"
COLLECTION_HASH = "collection_hash"
EXCUSED = "excused"
ENDED_BY = "ended_by"
BUDGET_TRIALS = "budget_trials"
HISTORY = "history"
SPEC_NOW = "spec_now"
"""Names of the study's user attributes."""

TO_ITS_END = "budget"
"""What ended a trial that was neither stopped nor failed."""


@dataclass(frozen=True)
class Peak:
    """The best evaluation of a run: its progress in thousandths and its value."""

    progress: int
    ndcg: float


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """What is known of one trial.

    Attributes:
        number: Its number in the study.
        state: Its state, in Optuna's words.
        value: Its value in the Optuna study, or None.
        params: Its settings, or None before they were recorded.
        rows: Its measurements, ascending by progress, without the untrained point.
        attributes: The user attributes that the coordinator wrote.
        is_excused: Whether it failed for a cause that ended the study: it does not count and runs again.
    """

    number: int
    state: State
    value: float | None
    params: Params | None
    rows: tuple[EvaluationRow, ...]
    attributes: Mapping[str, Any]
    is_excused: bool = False

    @functools.cached_property
    def peak(self) -> Peak | None:
        """Its best finite evaluation after at least one optimizer step."""
        return find_peak(self.rows)

    @property
    def progress(self) -> int:
        """How far it has been measured, in thousandths."""
        return self.rows[-1].progress if self.rows else 0

    @property
    def examples(self) -> int:
        """Training pairs it had seen at its last measurement."""
        return self.rows[-1].examples if self.rows else 0

    @property
    def planned_examples(self) -> int:
        """Training pairs of the whole trial, in whole batches."""
        return int(self.attributes.get("steps", 0)) * (self.params.batch_size if self.params else 0)

    @functools.cached_property
    def stop(self) -> Stop | None:
        """Why it ended before its budget was spent."""
        return read_stop(self.attributes)

    @property
    def ended_by(self) -> str | None:
        """What ended it, in a word: the rule that stopped it, ``error``, or ``budget``; None while it goes on."""
        if self.state not in FINISHED:
            return None
        if self.state == "fail":
            return "error"
        return self.stop.kind if self.stop else TO_ITS_END

    @property
    def is_counted(self) -> bool:
        """Whether it counts against the budget of trials."""
        return self.state in FINISHED and not self.is_excused

    def retention(self, baseline: float | None) -> float | None:
        """Last value over the highest so far, the untrained model's included; None where it was never measured."""
        if not self.rows or not math.isfinite(self.rows[-1].ndcg):
            return None
        highest = max(row.ndcg for row in self.rows if math.isfinite(row.ndcg))
        highest = max(highest, baseline if baseline is not None else highest)
        return self.rows[-1].ndcg / highest if highest > 0 else None


@dataclass(frozen=True, kw_only=True)
class StudyRecord:
    """What is known of a study.

    Attributes:
        name: Its name.
        attributes: The study's user attributes.
        trials: Its trials, by number.
        baseline: Value of the untrained model on the dev split, or None before it was measured.
    """

    name: str
    attributes: Mapping[str, Any]
    trials: tuple[TrialRecord, ...]
    baseline: float | None

    @functools.cached_property
    def measure(self) -> Measure:
        """What its values are: the metric that its file named when it began."""
        return find_measure(self.attributes.get(SPEC, {}).get("evaluation", {}).get("metric", DEFAULT_METRIC))

    @functools.cached_property
    def counted(self) -> int:
        """Trials that count against the budget."""
        return sum(trial.is_counted for trial in self.trials)

    @functools.cached_property
    def best(self) -> TrialRecord | None:
        """The finished trial with the highest peak among those whose value stands."""
        complete = [trial for trial in self.trials if trial.state == "complete" and trial.value is not None]
        return max(complete, key=lambda trial: (trial.value, -trial.number), default=None)

    @property
    def default(self) -> TrialRecord | None:
        """The trial of the study file's first start point: the configuration that the best one is compared with."""
        first = (trial for trial in self.trials if trial.attributes.get("start") == 0)
        return next((trial for trial in first if trial.state in ("complete", "pruned") and trial.peak), None)

    def leaderboard(self) -> list[TrialRecord]:
        """The trials that were measured, the highest peak first."""
        measured = [(trial.peak, trial) for trial in self.trials]
        ranked = sorted(
            ((peak, trial) for peak, trial in measured if peak is not None),
            key=lambda pair: (-pair[0].ndcg, pair[1].number),
        )
        return [trial for _, trial in ranked]


def find_peak(rows: Sequence[EvaluationRow]) -> Peak | None:
    """The highest finite measurement, the earliest of equals; None where there is none."""
    finite = [row for row in rows if math.isfinite(row.ndcg)]
    best = max(finite, key=lambda row: (row.ndcg, -row.progress), default=None)
    return None if best is None else Peak(best.progress, best.ndcg)


def count_saved(trials: Sequence[TrialRecord]) -> tuple[int, float]:
    """Training pairs that stopping has saved, and their share of what the trials that ended would have seen."""
    ended = [
        trial
        for trial in trials
        if trial.state in ("complete", "pruned")
        and trial.rows
        and not (trial.stop and trial.stop.kind == "study ended")
    ]
    saved = sum(trial.planned_examples - trial.examples for trial in ended if trial.stop)
    planned = sum(trial.planned_examples for trial in ended)
    return saved, saved / planned if planned else 0.0


def load_record(storage: RDBStorage, table: EvaluationTable) -> StudyRecord:
    """Reads the one study of a database.

    Raises:
        StorageError: If the database holds no study, or several.
    """
    summaries = optuna.get_all_study_names(storage)
    if len(summaries) != 1:
        raise StorageError(f"a study's database holds one study, found {len(summaries)}")
    study = optuna.load_study(study_name=summaries[0], storage=storage)
    return make_record(study, table, storage.engine)


def make_record(study: optuna.Study, table: EvaluationTable, engine: sqlalchemy.Engine) -> StudyRecord:
    """What is known of an open study."""
    rows = curves(table.rows())
    untrained = table.rows(UNTRAINED)
    trials = study.get_trials(deepcopy=False)
    excused = set(study.user_attrs.get(EXCUSED, ()))
    old_numbers = _read_old_numbers(engine)
    return StudyRecord(
        name=study.study_name,
        attributes=study.user_attrs,
        trials=tuple(
            _trial_record(
                trial,
                tuple(rows.get(trial.number, ())),
                is_excused=trial.number in excused,
                old_numbers=old_numbers.get(trial.number),
            )
            for trial in trials
        ),
        baseline=untrained[0].ndcg if untrained else None,
    )


def read_trial(storage: RDBStorage, study_id: int, number: int) -> TrialRecord:
    """What is known of one trial of a study, without its measurements."""
    trial = storage.get_trial(storage.get_trial_id_from_study_id_trial_number(study_id, number))
    return _trial_record(trial, (), is_excused=False)


def settings_of(attributes: Mapping[str, Any]) -> Params | None:
    """A trial's settings as its user attributes have them, or None before they were recorded."""
    params = attributes.get("params")
    return Params(**params) if params else None


@repeated
def find_newest(storage: RDBStorage, study_id: int) -> int:
    """The id of a study's newest trial in the storage; 0 before the first."""
    query = select(func.max(models.TrialModel.trial_id)).where(models.TrialModel.study_id == study_id)
    with reading(storage.engine) as connection:
        return connection.execute(query).scalar() or 0


def find_number(storage: RDBStorage, trial_id: int) -> int:
    """The number of a trial in its study, by its id in the storage; Optuna would read the whole trial for it."""
    query = select(models.TrialModel.number).where(models.TrialModel.trial_id == trial_id)
    with reading(storage.engine) as connection:
        return int(connection.execute(query).scalar_one())


def describe_stop(stop: Stop | None) -> dict[str, Any]:
    """The user attributes of a trial that say why it was stopped."""
    if stop is None:
        return {"stop_reason": None}
    return {"stop_reason": stop.text, "stop_kind": stop.kind, "stop_numbers": dict(stop.numbers)}


def read_stop(attributes: Mapping[str, Any]) -> Stop | None:
    """Why a trial was stopped, by its user attributes; None where it was not."""
    text = attributes.get("stop_reason")
    if text is None:
        return None
    numbers = attributes.get("stop_numbers", {})
    kind = attributes.get("stop_kind")
    return _read_old_stop(text, numbers) if kind is None else Stop(kind, text, numbers)


def _read_old_stop(text: str, numbers: Mapping[str, Any]) -> Stop:
    """A stop as it was recorded before its kind was: the kind is how the text begins, and the incumbent was a rival."""
    kind: Any = text.partition(":")[0]
    return Stop(kind, text, {"incumbent" if name == "rival" else name: value for name, value in numbers.items()})


@repeated
def _read_old_numbers(engine: sqlalchemy.Engine) -> dict[int, Mapping[str, Any]]:
    """The numbers behind the stops of trials that ended when these stood in a table of their own, by trial."""
    if not has_columns(engine, OLD_TRIALS):
        return {}
    with reading(engine) as connection:
        found = connection.execute(select(OLD_TRIALS.c.trial, OLD_TRIALS.c.stop_numbers)).all()
    return {trial: numbers for trial, numbers in found if numbers}


def _trial_record(
    trial: FrozenTrial,
    rows: tuple[EvaluationRow, ...],
    *,
    is_excused: bool,
    old_numbers: Mapping[str, Any] | None = None,
) -> TrialRecord:
    return TrialRecord(
        number=trial.number,
        state=state_of(trial.state),
        value=trial.values[0] if trial.values else None,
        params=settings_of(trial.user_attrs),
        rows=rows,
        attributes={**trial.user_attrs, "stop_numbers": old_numbers} if old_numbers else trial.user_attrs,
        is_excused=is_excused,
    )


def state_of(state: TrialState) -> State:
    """A state in Optuna's words."""
    return state.name.lower()  # type: ignore[return-value]

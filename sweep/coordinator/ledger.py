"""Ledger: the only writer of a study.

An evaluation is committed in our table first and in Optuna's second, and only then answered; what a crash leaves
between the two is made good at the next start.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import RandomSampler
from optuna.storages import RDBStorage
from optuna.trial import Trial, TrialState

from sweep.messages import Evaluation, Report
from sweep.storage.evaluations import UNTRAINED, EvaluationTable
from sweep.storage.records import SPEC, StudyRecord, TrialRecord, make_record, update_record
from sweep.storage.remarks import save_remark, save_study_remark
from sweep.storage.trials import TrialRow, TrialTable, find_end

METRIC_NAME = "NDCG@10"


class Ledger:
    """Writes a study: what was tried, what was measured, how it ended.

    Args:
        storage: Optuna's storage of the study's database.
        name: The study's name.
    """

    def __init__(self, storage: RDBStorage, name: str) -> None:
        self._study = optuna.create_study(
            study_name=name,
            storage=storage,
            direction="maximize",
            load_if_exists=True,
            sampler=RandomSampler(seed=0),  # never asked: every value is settled before it comes here
        )
        self.table = EvaluationTable(storage.engine, writable=True)
        self.trials = TrialTable(storage.engine)
        self._trials: dict[int, Trial] = {}

    @property
    def study(self) -> optuna.Study:
        """The study itself."""
        return self._study

    def record(self) -> StudyRecord:
        """The study as it stands."""
        return make_record(self._study, self.table)

    def update_record(self, record: StudyRecord, number: int) -> StudyRecord:
        """The study as it stands, where since ``record`` only that trial has ended."""
        return update_record(record, self._study, self.table, number)

    def values(self) -> dict[int, dict[str, Any]]:
        """Values of every trial by their names in the Optuna study."""
        return {trial.number: dict(trial.params) for trial in self._study.get_trials(deepcopy=False)}

    def begin_study(self, attributes: Mapping[str, Any], baseline: Evaluation) -> None:
        """Writes down what a study began with; a crash in between leaves a study without its last attribute."""
        if self.table.judgement(UNTRAINED, "dev") is None:
            self.table.add_judgement(UNTRAINED, "dev", baseline)
        self.name_metric()
        for name, value in attributes.items():
            self._study.set_user_attr(name, value)

    def name_metric(self) -> None:
        """Names the study's value; the dashboard shows the name."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            self._study.set_metric_names([METRIC_NAME])

    def has_begun(self) -> bool:
        """Whether the study's beginning was written down whole."""
        return SPEC in self._study.user_attrs

    def set_attribute(self, name: str, value: Any) -> None:
        """Writes a user attribute of the study."""
        self._study.set_user_attr(name, value)

    def remark(self, text: str) -> None:
        """Writes our part of the study's note, as Markdown."""
        save_study_remark(self._study, text)

    def next_number(self) -> int:
        """The number that the next new trial will have."""
        return len(self._study.get_trials(deepcopy=False))

    def begin_trial(
        self,
        values: Mapping[str, Any],
        *,
        distributions: Mapping[str, BaseDistribution],
        attributes: Mapping[str, Any],
        baseline: float,
    ) -> int:
        """Writes down a new trial, as running, with the untrained model's value as its first point."""
        self._study.enqueue_trial(dict(values), user_attrs=dict(attributes))
        trial = self._study.ask(dict(distributions))
        self._trials[trial.number] = trial
        trial.report(baseline, 0)
        return trial.number

    def adopt_trials(self, *, distributions: Mapping[str, BaseDistribution], baseline: float) -> list[TrialRecord]:
        """Takes over the trials that an earlier coordinator left behind, made whole.

        A trial that was killed between its enqueueing and its parameters gets the parameters it was enqueued with; a
        measurement that our table has and Optuna's lacks is reported again.
        """
        with warnings.catch_warnings():  # a setting stands as it was enqueued, in a range that was narrowed since too
            warnings.filterwarnings("ignore", "Fixed parameter", UserWarning)
            self._adopt_settings(distributions)
        for frozen in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            committed = {0: baseline} | {row.progress: row.ndcg for row in self.table.rows(frozen.number)}
            for progress, ndcg in committed.items():
                if progress not in frozen.intermediate_values:
                    self._trials[frozen.number].report(ndcg, progress)
        return [trial for trial in self.record().trials if trial.state == "running"]

    def _adopt_settings(self, distributions: Mapping[str, BaseDistribution]) -> None:
        for _ in self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            trial = self._study.ask(dict(distributions))  # takes the oldest waiting trial, as it was enqueued
            self._trials[trial.number] = trial
        for frozen in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            trial = self._trials.setdefault(frozen.number, Trial(self._study, frozen._trial_id))
            for name, distribution in distributions.items():
                if name not in frozen.params:
                    _suggest(trial, name, distribution)

    def note(self, number: int, **attributes: Any) -> None:
        """Writes user attributes of a running trial."""
        for name, value in attributes.items():
            self._trials[number].set_user_attr(name, value)

    def commit(self, number: int, report: Report) -> None:
        """Commits a measurement: once this returns it is on the disk."""
        self.table.add(number, report)
        self._trials[number].report(report.evaluation.ndcg, report.progress)

    def committed(self, number: int, progress: int) -> NDArray[np.float32] | None:
        """(Q,) NDCG per query of a committed measurement, or None where there is none."""
        points, per_query = self.table.per_query(number)
        return per_query[points.index(progress)] if progress in points else None

    def end_trial(
        self,
        number: int,
        *,
        value: float | None,
        pruned: bool,
        remark: str,
        stop_numbers: Mapping[str, Any] | None = None,
        **attributes: Any,
    ) -> None:
        """Writes down how a trial ended: complete with a value, pruned, or failed.

        Our table comes first: a trial that a crash leaves running ends once more, and its row is written anew.

        Args:
            number: The trial.
            value: Its peak where it is complete; None where it failed.
            pruned: Whether it is pruned; Optuna then keeps its last value by itself.
            remark: What the dashboard shows of it, as Markdown.
            stop_numbers: The numbers behind its stop.
            attributes: User attributes that go with it.
        """
        self.note(number, **{name: _storable(found) for name, found in attributes.items()})
        trial = self._trials.pop(number)
        state = "pruned" if pruned else "fail" if value is None else "complete"
        self.trials.end(_trial_row(number, state, trial.user_attrs, stop_numbers or {}))
        save_remark(trial, remark)
        if pruned:
            self._study.tell(trial, state=TrialState.PRUNED)
        elif value is None:
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            self._study.tell(trial, value)


def _suggest(trial: Trial, name: str, distribution: BaseDistribution) -> None:
    """Has a trial take the value it was enqueued with."""
    if isinstance(distribution, FloatDistribution):
        trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)
    elif isinstance(distribution, IntDistribution):
        trial.suggest_int(name, distribution.low, distribution.high)
    elif isinstance(distribution, CategoricalDistribution):
        trial.suggest_categorical(name, distribution.choices)


def _trial_row(number: int, state: str, attributes: Mapping[str, Any], stop_numbers: Mapping[str, Any]) -> TrialRow:
    """What our table says of a trial that has ended; the rest of it stands in its attributes."""
    stop_reason = attributes.get("stop_reason")
    return TrialRow(
        trial=number,
        state=state,
        ended_by=find_end(state, stop_reason),
        stop_reason=stop_reason,
        stop_numbers=stop_numbers,
        restarts=attributes.get("interruptions", 0),
        **{
            name: attributes.get(name)
            for name in ("error", "peak", "peak_progress", "retention", "device", "micro_batch")
        },
    )


def _storable(value: Any) -> Any:
    """The value, or None where JSON has no word for it."""
    return None if isinstance(value, float) and not math.isfinite(value) else value

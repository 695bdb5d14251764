"""Ledger: the only writer of a study. What belongs together is committed together, and only then answered."""

from __future__ import annotations

import dataclasses
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import RandomSampler
from optuna.trial import Trial, TrialState, create_trial

from sweep.messages import Evaluation, Report
from sweep.settings.space import SearchSpace
from sweep.storage.evaluations import UNTRAINED, EvaluationRow, EvaluationTable, as_row
from sweep.storage.records import (
    SPEC,
    State,
    StudyRecord,
    TrialRecord,
    find_newest,
    find_number,
    make_record,
    read_trial,
    settings_of,
    state_of,
)
from sweep.storage.remarks import save_remark, save_study_remark
from sweep.storage.repetition import is_made_again
from sweep.storage.runs import RunTable
from sweep.storage.study_storage import StudyStorage
from sweep.storage.transaction import write_together

R = TypeVar("R")


@dataclass(frozen=True)
class Measurement:
    """A measurement that is to be committed.

    Attributes:
        trial: The trial's number.
        report: What it reported.
        attributes: User attributes of the trial that go with it.
    """

    trial: int
    report: Report
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class _Open:
    """A trial that has not ended, as it is written down.

    Attributes:
        trial_id: Its id in the storage.
        attributes: Its user attributes.
        last: Its last value, the untrained model's before the first.
        rows: Its measurements, without the untrained model's.
    """

    trial_id: int
    attributes: dict[str, Any]
    last: float
    rows: list[EvaluationRow] = field(default_factory=list)

    def record(self, number: int, state: State, value: float | None) -> TrialRecord:
        """What is known of it."""
        return TrialRecord(
            number=number,
            state=state,
            value=value,
            params=settings_of(self.attributes),
            rows=tuple(self.rows),
            attributes=dict(self.attributes),
        )


class Ledger:
    """Writes a study: what was tried, what was measured, how it ended.

    Each method that writes of a trial is one transaction: once it returns, all of it is on the disk, and a crash leaves
    none of it half-written.

    Args:
        storage: Optuna's storage of the study's database.
        name: The study's name.
    """

    def __init__(self, storage: StudyStorage, name: str) -> None:
        self._study = optuna.create_study(
            study_name=name,
            storage=storage,
            direction="maximize",
            load_if_exists=True,
            sampler=RandomSampler(seed=0),  # never asked: every value is settled before it comes here
        )
        self._storage = storage  # the study's own looks at every unfinished trial before each answer
        self._study_id = storage.get_study_id_from_name(name)
        self.table = EvaluationTable(storage.engine, writable=True)
        self._runs = RunTable(storage.engine)
        self._open: dict[int, _Open] = {}  # by the trial's number
        self._ended: dict[int, TrialRecord] = {}  # until they are asked for
        self._next_number = 0

    @property
    def study(self) -> optuna.Study:
        """The study itself."""
        return self._study

    def record(self) -> StudyRecord:
        """The study as it stands."""
        found = make_record(self._study, self.table, self._storage.engine)
        self._next_number = len(found.trials)
        return found

    def update_record(self, record: StudyRecord, number: int) -> StudyRecord:
        """The study's trials as they stand, where since ``record`` only that one has ended.

        Those that have begun since are taken in too, as far as one with a higher number has ended.
        """
        trials = list(record.trials)
        for begun in range(len(trials), number):
            if begun in self._open:
                trials.append(self._open[begun].record(begun, "running", None))
            else:  # somebody has enqueued it
                trials.append(read_trial(self._storage, self._study_id, begun))
        trials[number : number + 1] = [self._ended.pop(number)]
        return dataclasses.replace(record, trials=tuple(trials))

    def values(self) -> dict[int, dict[str, Any]]:
        """Values of every trial by their names in the Optuna study."""
        return {trial.number: dict(trial.params) for trial in self._study.get_trials(deepcopy=False)}

    def begin_study(self, attributes: Mapping[str, Any], baseline: Evaluation, *, metric: str) -> None:
        """Writes down what a study began with; a crash in between leaves a study without its last attribute."""
        if self.table.judgement(UNTRAINED, "dev") is None:
            self.table.add_judgement(UNTRAINED, "dev", baseline)
        self.name_metric(metric)
        for name, value in attributes.items():
            self.set_attribute(name, value)

    def name_metric(self, metric: str) -> None:
        """Names the study's value for a person; the dashboard shows the name."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            self._study.set_metric_names([metric])

    def has_begun(self) -> bool:
        """Whether the study's beginning was written down whole."""
        return SPEC in self._study.user_attrs

    def set_attribute(self, name: str, value: Any) -> None:
        """Writes a user attribute of the study."""
        self._storage.set_study_user_attr(self._study_id, name, value)

    def remark(self, text: str) -> None:
        """Writes our part of the study's note, as Markdown."""
        self._together(lambda: save_study_remark(self._storage, self._study_id, text))

    def next_number(self) -> int:
        """The number that the next new trial will have, unless somebody else enqueues one in the meantime."""
        return self._next_number

    def begin_trial(
        self,
        values: Mapping[str, Any],
        *,
        distributions: Mapping[str, BaseDistribution],
        attributes: Mapping[str, Any],
        baseline: float,
    ) -> int:
        """Writes down a new trial, as running, with the untrained model's value as its first point."""
        trial = create_trial(
            state=TrialState.RUNNING,
            params=dict(values),
            distributions={name: distributions[name] for name in values},
            intermediate_values={0: baseline},
        )

        before = find_newest(self._storage, self._study_id)

        def create() -> tuple[int, int]:
            created = find_newest(self._storage, self._study_id) if is_made_again() else before
            if created == before:  # else it was committed, and the answer lost
                created = self._storage.create_new_trial(self._study_id, trial)
                self._storage.set_trial_user_attrs(created, attributes)
            return created, find_number(self._storage, created)

        created, number = self._together(create)
        self._open[number] = _Open(created, dict(attributes), baseline)
        self._next_number = number + 1
        return number

    def adopt_trials(self, *, space: SearchSpace, baseline: float) -> StudyRecord:
        """Takes over the trials that an earlier coordinator left behind, and those that somebody has enqueued.

        An enqueued trial gets the parameters it was enqueued with; a measurement that our table has and Optuna's lacks,
        as a study from before they were written together can have it, is reported again.

        Returns:
            The study as it stands then.
        """
        with warnings.catch_warnings():  # a setting stands as it was enqueued, in a range that was narrowed since too
            warnings.filterwarnings("ignore", "Fixed parameter", UserWarning)
            self._adopt_settings(space)
        for frozen in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            rows = self.table.rows(frozen.number)
            committed = {0: baseline} | {row.progress: row.ndcg for row in rows}
            for progress, value in committed.items():
                if progress not in frozen.intermediate_values:
                    self._storage.set_trial_intermediate_value(frozen._trial_id, progress, value)
            last = committed[max(committed)]
            self._open[frozen.number] = _Open(frozen._trial_id, dict(frozen.user_attrs), last, rows)
        return self.record()

    def _adopt_settings(self, space: SearchSpace) -> None:
        for _ in self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            self._study.ask()  # takes the oldest waiting trial
        for frozen in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            recorded = frozen.user_attrs.get("params")  # else what it lacks is newer than it, and not drawn
            theirs = {
                one.parameter: space.distributions[one.parameter]
                for one in space.dimensions
                if recorded is None or one.name in recorded
            }
            space.suggest(Trial(self._study, frozen._trial_id), theirs)

    def begin_run(self, number: int, *, slot: str, device: str, attempt: int) -> None:
        """Writes down that a process of a trial begins."""
        began = time.time()

        def begin() -> None:
            self._runs.begin_run(number, slot=slot, device=device, began=began)
            self.note(number, device=device, attempt=attempt, paused=False)

        self._together(begin)

    def end_run(self, number: int) -> None:
        """Writes down that the last process of a trial has ended."""
        self._runs.end_run(number)

    def note(self, number: int, **attributes: Any) -> None:
        """Writes user attributes of a running trial."""
        trial = self._open[number]
        storable = {name: _storable(value) for name, value in attributes.items()}

        self._together(lambda: self._storage.set_trial_user_attrs(trial.trial_id, storable))
        trial.attributes |= storable

    def commit(self, measured: Sequence[Measurement]) -> None:
        """Commits measurements: once this returns all of them are on the disk.

        Raises:
            ValueError: If one of them was committed before; then none is now.
        """

        def commit() -> None:
            self.table.add([(one.trial, one.report) for one in measured])
            self._storage.set_trial_intermediate_values(
                [(self._open[one.trial].trial_id, one.report.progress, one.report.evaluation.ndcg) for one in measured]
            )
            for one in measured:
                self.note(one.trial, **one.attributes)

        self._together(commit)
        for one in measured:
            trial = self._open[one.trial]
            trial.last = one.report.evaluation.ndcg
            trial.rows.append(as_row(one.trial, one.report))

    def end_trial(
        self,
        number: int,
        *,
        value: float | None,
        pruned: bool,
        remark: str,
        **attributes: Any,
    ) -> None:
        """Writes down how a trial ended: complete with a value, pruned, or failed.

        Args:
            number: The trial.
            value: Its peak where it is complete; None where it failed.
            pruned: Whether it is pruned; its value is then its last measurement, as Optuna has it.
            remark: What the dashboard shows of it, as Markdown.
            attributes: User attributes that go with it.
        """
        trial = self._open[number]
        state = TrialState.PRUNED if pruned else TrialState.FAIL if value is None else TrialState.COMPLETE
        final = trial.last if pruned else value
        stands = final if final is not None and math.isfinite(final) else None

        def end() -> None:
            if is_made_again() and self._storage.get_trial(trial.trial_id).state.is_finished():
                return  # it was committed, and the answer lost
            self.note(number, **attributes)
            save_remark(self._storage, self._study_id, trial.trial_id, remark)
            self._storage.set_trial_state_values(trial.trial_id, state, None if stands is None else [stands])

        self._together(end)
        self._ended[number] = trial.record(number, state_of(state), stands)
        del self._open[number]

    def _together(self, call: Callable[[], R]) -> R:
        return write_together(self._storage, call)


def _storable(value: Any) -> Any:
    """The value, or None where JSON has no word for it."""
    if isinstance(value, dict):
        return {name: _storable(found) for name, found in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""Mirror: Optuna's tables of a study, kept in step with ours through Optuna's public interface.

Optuna and its dashboard read the mirror. It lags a little: a trial that ends soon is written once and complete, and no
report waits for it. A trial that has ended in it can no longer be changed.
"""

from __future__ import annotations

import bisect
import functools
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.samplers import RandomSampler
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from sweep.storage.evaluations import UNTRAINED, EvaluationTable
from sweep.storage.retry import retry
from sweep.storage.study_tables import FINISHED, StudyTables, TrialRow, import_content, import_trial
from sweep.storage.transaction import write_together

OWN_ATTRIBUTES = frozenset(
    {"params", "attempt", "paused", "counted", "without_progress", "suspected", "mark", "resumable", "exhausted"}
)
"""Attributes of a trial that are its coordinator's own, and not shown."""

UNFINISHED = (TrialState.WAITING, TrialState.RUNNING)


@dataclass
class _Shown:
    """The part of a trial that the mirror shows while it has not ended there."""

    trial_id: int
    steps: set[int]
    attributes: dict[str, Any]


class Mirror:
    """Optuna's study of a name, made where it is not there, in a storage that is open for its writer.

    Our tables take over what only Optuna's hold: a study of an older version, and trials that were enqueued.

    Attributes:
        waiting: Numbers of the trials that were enqueued and have not begun.
    """

    waiting: Sequence[int]

    def __init__(self, storage: RDBStorage, name: str, *, tables: StudyTables, evaluations: EvaluationTable) -> None:
        self._storage = storage
        self._name = name
        self._tables = tables
        self._evaluations = evaluations
        self._count = 0
        self._shown: dict[int, _Shown] = {}  # trials that have not ended here
        self._behind: set[int] = set()  # trials that it does not show as they stand
        self._attributes_behind: dict[str, Any] = {}
        retry(self._make)
        retry(self.look)
        write_together(storage, self._take_in)

    def study(self) -> optuna.Study:
        """The study as Optuna loads it."""
        sampler = RandomSampler(seed=0)  # never asked: every value is settled before it comes here
        return retry(lambda: optuna.load_study(study_name=self._name, storage=self._storage, sampler=sampler))

    def look(self) -> None:
        """Reads its state; outside of a transaction, which Optuna would roll back where it does not find a trial."""
        self.study_id = self._storage.get_study_id_from_name(self._name)
        self._count = self._count_trials()
        self._look_at_unfinished()

    def find_id(self, number: int) -> int:
        """A trial's id in the storage; raises KeyError where it has none of that number."""
        return self._storage.get_trial_id_from_study_id_trial_number(self.study_id, number)

    def trial(self, number: int) -> FrozenTrial:
        """A trial as Optuna has it."""
        return retry(lambda: self._storage.get_trial(self.find_id(number)))

    def mark(self, number: int) -> None:
        """Has a trial shown as it stands by then."""
        self._behind.add(number)

    def mark_attribute(self, name: str, value: Any) -> None:
        """Has an attribute of the study shown."""
        self._attributes_behind[name] = value

    def make_anew(self) -> None:
        """Makes Optuna's study anew out of our tables: the only way in which a trial that has ended there goes on."""
        self.catch_up()
        write_together(self._storage, lambda: self._make_way(self._count), before_again=self.look)

    @property
    def is_behind(self) -> bool:
        """Whether there is something to be shown."""
        return bool(self._behind or self._attributes_behind)

    def catch_up(self, *, at_most_s: float = math.inf) -> bool:
        """Shows the study as it stands, or as much of it as the time is enough for; whether that was all."""
        if self.is_behind:
            shown = write_together(self._storage, lambda: self._show(at_most_s), before_again=self.look)
            self._behind.difference_update(shown)
            self._attributes_behind.clear()
        return not self._behind

    def _show(self, at_most_s: float) -> Iterable[int]:
        deadline = time.monotonic() + at_most_s
        for name, value in self._attributes_behind.items():
            self._storage.set_study_user_attr(self.study_id, name, value)
        shown = []
        for row in self._tables.rows(sorted(self._behind)):
            if not self._show_trial(row, self._points(row.number)):
                self._make_way(row.number)
                return set(self._behind)
            shown.append(row.number)
            if time.monotonic() > deadline:
                break
        return shown

    def _show_trial(self, row: TrialRow, points: Mapping[int, float]) -> bool:
        """Shows a trial; False where somebody else has enqueued one under its number."""
        if row.number in self._shown:
            self._update(self._shown[row.number], row, points)
        elif row.number >= self._count:  # else it has ended here, and an answer was lost
            trial_id = self._storage.create_new_trial(self.study_id, _freeze(row, points))
            if self.find_id(row.number) != trial_id:
                self._count = self._storage.get_trial_number_from_id(trial_id)
                return False
            self._count = row.number + 1
            if row.state not in FINISHED:
                self._shown[row.number] = _Shown(trial_id, set(points), _visible(row.attributes))
        return True

    def _points(self, number: int) -> dict[int, float]:
        """A trial's curve: the untrained model first."""
        rows = [*self._evaluations.rows(UNTRAINED), *self._evaluations.rows(number)]
        return {row.progress: row.value for row in rows}

    def _take_in(self) -> None:
        rows, attributes = self._tables.rows(), self._tables.attributes()
        if not rows and not attributes:  # of a version that had it in Optuna's tables alone
            found = import_content(self._storage, self._name)
            rows, attributes = list(found.trials), dict(found.attributes)
            self._tables.set_attributes(attributes)
            self._tables.put(rows)
        theirs = [number for number in self.waiting if number < len(rows) and rows[number].state != "waiting"]
        self._tables.put([import_trial(self.trial(number)) for number in range(len(rows), self._count)])
        shown = self._storage.get_study_user_attrs(self.study_id)
        self._attributes_behind = {name: one for name, one in attributes.items() if shown.get(name) != one}
        self._behind = {row.number for row in rows if row.number >= self._count or row.number in self._shown}
        if theirs:
            self._make_way(theirs[0])

    def _make_way(self, first: int) -> None:
        """Moves what others have enqueued under numbers of ours, from a first one on, behind the last of ours."""
        rows = self._tables.rows()
        theirs = [self.trial(number) for number in range(first, self._count)]
        moved = [replace(import_trial(trial), number=place) for place, trial in enumerate(theirs, len(rows))]
        self._remake([*(_freeze(row, self._points(row.number)) for row in rows), *theirs])
        self._tables.put(moved)

    def _remake(self, trials: Sequence[FrozenTrial]) -> None:
        """Makes the study anew out of these trials, in their order; what else is known of it stays."""
        storage, before = self._storage, self.study_id
        kept = storage.get_study_user_attrs(before), storage.get_study_system_attrs(before)
        storage.delete_study(before)
        self.study_id = storage.create_new_study([StudyDirection.MAXIMIZE], self._name)
        for name, value in kept[0].items():
            storage.set_study_user_attr(self.study_id, name, value)
        for name, value in kept[1].items():
            storage.set_study_system_attr(self.study_id, name, value)
        for trial in trials:
            storage.create_new_trial(self.study_id, trial)
        self._count = len(trials)
        self._look_at_unfinished()

    def _look_at_unfinished(self) -> None:
        going = self._storage.get_all_trials(self.study_id, deepcopy=False, states=UNFINISHED)
        self.waiting = [trial.number for trial in going if trial.state == TrialState.WAITING]
        self._shown = {
            trial.number: _Shown(self.find_id(trial.number), set(trial.intermediate_values), dict(trial.user_attrs))
            for trial in going
            if trial.state == TrialState.RUNNING
        }

    def _make(self) -> None:
        optuna.create_study(study_name=self._name, storage=self._storage, direction="maximize", load_if_exists=True)

    def _update(self, shown: _Shown, row: TrialRow, points: Mapping[int, float]) -> None:
        for step in points.keys() - shown.steps:
            self._storage.set_trial_intermediate_value(shown.trial_id, step, points[step])
        for name, value in _visible(row.attributes).items():
            if shown.attributes.get(name) != value:
                self._storage.set_trial_user_attr(shown.trial_id, name, value)
                shown.attributes[name] = value
        shown.steps |= points.keys()
        if row.state in FINISHED:
            values = None if row.value is None else [row.value]
            self._storage.set_trial_state_values(shown.trial_id, TrialState[row.state.upper()], values)
            del self._shown[row.number]

    def _is_there(self, number: int) -> bool:
        try:
            self.find_id(number)
        except KeyError:
            return False
        return True

    def _count_trials(self) -> int:
        """Trials that are there; Optuna would read them all to count them."""
        above = 1
        while self._is_there(above - 1):
            above *= 2
        return bisect.bisect_left(range(above), True, lo=above // 2, key=lambda number: not self._is_there(number))


def _visible(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if name not in OWN_ATTRIBUTES and value is not None}


def _freeze(row: TrialRow, points: Mapping[int, float]) -> FrozenTrial:
    """A trial as Optuna takes it whole."""
    return FrozenTrial(
        number=row.number,
        trial_id=-1,  # it is given one
        state=TrialState[row.state.upper()],
        value=row.value,
        params=dict(row.values),
        distributions={name: _distribution(text) for name, text in row.distributions.items()},
        user_attrs=_visible(row.attributes),
        system_attrs={},
        intermediate_values=dict(points),
        datetime_start=_as_datetime(row.began),
        datetime_complete=_as_datetime(row.ended),
    )


@functools.lru_cache(maxsize=256)
def _distribution(text: str) -> BaseDistribution:
    return json_to_distribution(text)


def _as_datetime(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds)

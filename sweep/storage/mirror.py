"""Mirror: Optuna's tables of a study, kept after ours by what Optuna makes public.

Whoever reads a study with Optuna, its dashboard among them, reads the mirror. It follows a little behind: a trial that
ends soon is written once and whole, and nobody who waits for an answer waits for it.
"""

from __future__ import annotations

import bisect
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.samplers import RandomSampler
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from sweep.storage.retry import retry
from sweep.storage.study_tables import FINISHED, TrialRow

OWN_ATTRIBUTES = frozenset({"params", "attempt", "paused", "counted", "without_progress", "mark"})
"""Attributes of a trial that are its coordinator's own, and shown to nobody."""

UNFINISHED = (TrialState.WAITING, TrialState.RUNNING)


@dataclass
class _Shown:
    """What the mirror shows of a trial that has not ended there."""

    trial_id: int
    steps: set[int]
    attributes: dict[str, Any]


class Mirror:
    """Optuna's study of a name, made where it is not there.

    Every method that writes is called in a transaction (`sweep.storage.transaction.write_together`).

    Args:
        storage: Optuna's storage of the study's database, opened for its writer.
        name: The study's name.

    Attributes:
        count: Trials that it has.
        waiting: Numbers of those that somebody has enqueued and nobody has begun.
        attributes: The user attributes of the study that it shows.
    """

    count: int
    waiting: Sequence[int]
    attributes: dict[str, Any]

    def __init__(self, storage: RDBStorage, name: str) -> None:
        self._storage = storage
        self._name = name
        self._shown: dict[int, _Shown] = {}
        retry(self._make)
        retry(self.look)

    @property
    def unfinished(self) -> Sequence[int]:
        """Numbers of the trials that run, as it shows them."""
        return list(self._shown)

    def study(self) -> optuna.Study:
        """The study, as anybody reads it."""
        sampler = RandomSampler(seed=0)  # never asked: every value is settled before it comes here
        return retry(lambda: optuna.load_study(study_name=self._name, storage=self._storage, sampler=sampler))

    def look(self) -> None:
        """Reads how far it is; in no transaction, which Optuna rolls back where it does not find a trial."""
        self.study_id = self._storage.get_study_id_from_name(self._name)
        self.count = self._count()
        self._look_into()

    def _look_into(self) -> None:
        self.attributes = self._storage.get_study_user_attrs(self.study_id)
        going = self._storage.get_all_trials(self.study_id, deepcopy=False, states=UNFINISHED)
        self.waiting = [trial.number for trial in going if trial.state == TrialState.WAITING]
        self._shown = {
            trial.number: _Shown(self.find_id(trial.number), set(trial.intermediate_values), dict(trial.user_attrs))
            for trial in going
            if trial.state == TrialState.RUNNING
        }

    def find_id(self, number: int) -> int:
        """A trial's id in the storage; raises KeyError where it has none of that number."""
        return self._storage.get_trial_id_from_study_id_trial_number(self.study_id, number)

    def trial(self, number: int) -> FrozenTrial:
        """A trial as it shows it."""
        return retry(lambda: self._storage.get_trial(self.find_id(number)))

    def show_attribute(self, name: str, value: Any) -> None:
        """Shows a user attribute of the study."""
        self._storage.set_study_user_attr(self.study_id, name, value)
        self.attributes[name] = value

    def show(self, row: TrialRow, points: Mapping[int, float]) -> bool:
        """Shows a trial as it stands; those with lower numbers come first.

        Args:
            row: The trial.
            points: Its values by their step, the untrained model's among them.

        Returns:
            Whether it could: somebody else can have enqueued a trial under its number; `remake` takes it back then.
        """
        shown = self._shown.get(row.number)
        if shown is not None:
            self._update(shown, row, points)
            return True
        trial_id = self._storage.create_new_trial(self.study_id, _freeze(row, points))
        if self.find_id(row.number) != trial_id:
            self.count = self._storage.get_trial_number_from_id(trial_id)
            return False
        if row.state not in FINISHED:
            self._shown[row.number] = _Shown(trial_id, set(points), dict(_visible(row.attributes)))
        self.count = row.number + 1
        return True

    def remake(self, trials: Iterable[FrozenTrial | tuple[TrialRow, Mapping[int, float]]]) -> None:
        """Makes the study anew out of these trials, in their order; what else is known of it stays."""
        storage, before, made = self._storage, self.study_id, 0
        kept = storage.get_study_user_attrs(before), storage.get_study_system_attrs(before)
        storage.delete_study(before)
        study_id = storage.create_new_study([StudyDirection.MAXIMIZE], self._name)
        for name, value in kept[0].items():
            storage.set_study_user_attr(study_id, name, value)
        for name, value in kept[1].items():
            storage.set_study_system_attr(study_id, name, value)
        for made, trial in enumerate(trials, 1):  # noqa: B007 - how many there were
            storage.create_new_trial(study_id, trial if isinstance(trial, FrozenTrial) else _freeze(*trial))
        self.study_id, self.count = study_id, made
        self._look_into()

    def _make(self) -> None:
        optuna.create_study(study_name=self._name, storage=self._storage, direction="maximize", load_if_exists=True)

    def _update(self, shown: _Shown, row: TrialRow, points: Mapping[int, float]) -> None:
        for step in points.keys() - shown.steps:
            self._storage.set_trial_intermediate_value(shown.trial_id, step, points[step])
        for name, value in _visible(row.attributes).items():
            if name not in shown.attributes or shown.attributes[name] != value:
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

    def _count(self) -> int:
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

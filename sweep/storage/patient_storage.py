"""PatientStorage: Optuna's storage, for the one writer of a study on a server that may be restarted.

Calls that were under way when the connection was lost are made again, a write in such a way that it stands once.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy
from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.storages._rdb import models
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from sweep.storage.repetition import repeat, repeated
from sweep.storage.study_storage import StudyStorage

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


class _Attempt(threading.local):
    """What is known, in a thread, of the trial that is being created."""

    newest: int | None = None  # id of the newest trial when the first attempt began


class PatientStorage(StudyStorage):
    """Optuna's storage, for the one writer of a study on a server that may be restarted."""

    get_study_id_from_name = repeated(StudyStorage.get_study_id_from_name)
    get_study_name_from_id = repeated(StudyStorage.get_study_name_from_id)
    get_study_directions = repeated(StudyStorage.get_study_directions)
    get_study_user_attrs = repeated(StudyStorage.get_study_user_attrs)
    get_study_system_attrs = repeated(StudyStorage.get_study_system_attrs)
    get_trial_user_attrs = repeated(StudyStorage.get_trial_user_attrs)
    get_trial_system_attrs = repeated(StudyStorage.get_trial_system_attrs)
    get_all_studies = repeated(StudyStorage.get_all_studies)
    get_trial_param = repeated(StudyStorage.get_trial_param)
    get_trial_id_from_study_id_trial_number = repeated(StudyStorage.get_trial_id_from_study_id_trial_number)
    get_trial = repeated(StudyStorage.get_trial)
    _get_trials = repeated(StudyStorage._get_trials)
    _get_best_trial_id = repeated(StudyStorage._get_best_trial_id)

    # a value that stands already is written over with itself, or refused by a key and left as it is
    set_study_user_attr = repeated(StudyStorage.set_study_user_attr)
    set_study_system_attr = repeated(StudyStorage.set_study_system_attr)
    set_study_system_attrs = repeated(StudyStorage.set_study_system_attrs)
    set_trial_user_attr = repeated(StudyStorage.set_trial_user_attr)
    set_trial_system_attr = repeated(StudyStorage.set_trial_system_attr)
    set_trial_user_attrs = repeated(StudyStorage.set_trial_user_attrs)
    set_trial_intermediate_value = repeated(StudyStorage.set_trial_intermediate_value)
    set_trial_intermediate_values = repeated(StudyStorage.set_trial_intermediate_values)
    _set_trial_param = repeated(StudyStorage._set_trial_param)

    def __init__(self, url: str, **settings: Any) -> None:
        self._attempt = _Attempt()
        super().__init__(url, **settings)

    def __getstate__(self) -> dict[Any, Any]:
        """Optuna's state, without what belongs to threads of this process."""
        return {name: value for name, value in super().__getstate__().items() if name != "_attempt"}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """Opens the storage anew."""
        self._attempt = _Attempt()
        super().__setstate__(state)

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        """Creates a study; one that a lost answer was about is the same study."""

        def again() -> int:
            try:
                return super(PatientStorage, self).create_new_study(directions, study_name)
            except DuplicatedStudyError:
                if study_name is None:
                    raise
                return self.get_study_id_from_name(study_name)

        return repeat(lambda: super(PatientStorage, self).create_new_study(directions, study_name), again=again)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Moves a trial to another state; where it is there already after a lost answer, it was this call's doing."""

        def again() -> bool:
            try:
                moved = super(PatientStorage, self).set_trial_state_values(trial_id, state, values)
            except UpdateFinishedTrialError:
                if self.get_trial(trial_id).state != state:
                    raise
                return True
            return moved or state == TrialState.RUNNING

        return repeat(lambda: super(PatientStorage, self).set_trial_state_values(trial_id, state, values), again=again)

    def _create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> FrozenTrial:
        self._attempt.newest = None
        return repeat(lambda: super(PatientStorage, self)._create_new_trial(study_id, template_trial))

    def _get_prepared_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None, session: Session
    ) -> models.TrialModel:
        """The new trial, within Optuna's transaction and its own repetitions.

        A trial that is newer than the newest one of the first attempt is what an attempt left whose answer was lost.
        """
        newest = session.scalar(
            sqlalchemy.select(sqlalchemy.func.max(models.TrialModel.trial_id)).where(
                models.TrialModel.study_id == study_id
            )
        )
        if self._attempt.newest is None:
            self._attempt.newest = newest or 0
        elif newest is not None and newest > self._attempt.newest:
            return session.get_one(models.TrialModel, newest)
        return super()._get_prepared_new_trial(study_id, template_trial, session)

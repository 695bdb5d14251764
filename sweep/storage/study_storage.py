"""StudyStorage: Optuna's storage, which loads thousands of trials in pieces, and writes what comes together at once."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping, Sequence
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from sweep.storage.transaction import reading, writing

PIECE = 500
"""Trials of a piece. Optuna makes some ninety objects of a trial of twenty measurements before it makes a trial of
them: of 5,000 trials at once hundreds of MiB, which a process then keeps."""


class StudyStorage(RDBStorage):
    """Optuna's storage of a study's database.

    Optuna writes each value by itself and looks twice before it does; the methods below do the same for many values
    with two statements.
    """

    piece = PIECE

    def set_trial_user_attrs(self, trial_id: int, attributes: Mapping[str, Any]) -> None:
        """Writes user attributes of a trial, new ones or in place of those before.

        Raises:
            UpdateFinishedTrialError: If the trial has ended.
        """
        rows = [{"trial_id": trial_id, "key": key, "value_json": json.dumps(attributes[key])} for key in attributes]
        self._put(models.TrialUserAttributeModel, rows, keys=("trial_id", "key"))

    def set_trial_intermediate_values(self, values: Sequence[tuple[int, int, float]]) -> None:
        """Writes values of trials, new ones or in place of those before.

        Args:
            values: (trial's id, step, value) of each.

        Raises:
            UpdateFinishedTrialError: If one of the trials has ended; then none is written.
        """
        model, rows = models.TrialIntermediateValueModel, []
        for trial_id, step, value in values:
            stored, kind = model.intermediate_value_to_stored_repr(value)
            place = {"trial_id": trial_id, "step": step}
            rows.append({**place, "intermediate_value": stored, "intermediate_value_type": kind})
        self._put(model, rows, keys=("trial_id", "step"))

    def set_study_system_attrs(self, study_id: int, attributes: Mapping[str, Any]) -> None:
        """Writes attributes of a study that are not for a person, new ones or in place of those before."""
        rows = [{"study_id": study_id, "key": key, "value_json": json.dumps(attributes[key])} for key in attributes]
        if rows:
            with writing(self.engine) as connection:
                self._upsert(connection, models.StudySystemAttributeModel, rows, keys=("study_id", "key"))

    def _put(self, model: Any, rows: Sequence[Mapping[str, Any]], *, keys: tuple[str, str]) -> None:
        """Writes rows of trials into a table of Optuna's, where none of the trials has ended."""
        if not rows:
            return
        trial, going = models.TrialModel, (TrialState.RUNNING, TrialState.WAITING)
        ids = {row["trial_id"] for row in rows}
        ended = select(trial.number).where(trial.trial_id.in_(ids), trial.state.not_in(going))
        with writing(self.engine) as connection:
            number = connection.execute(ended).scalar()
            if number is not None:
                raise UpdateFinishedTrialError(f"Trial#{number} has already finished and can not be updated.")
            self._upsert(connection, model, rows, keys=keys)

    def _upsert(
        self, connection: Connection, model: Any, rows: Sequence[Mapping[str, Any]], *, keys: tuple[str, str]
    ) -> None:
        insert = (postgresql if self.engine.dialect.name == "postgresql" else sqlite).insert(model.__table__)
        values = {name: insert.excluded[name] for name in rows[0] if name not in keys}
        connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=values), rows)

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        if trial_id_greater_than > -1:  # only what is new
            return super()._get_trials(study_id, states, included_trial_ids, trial_id_greater_than)
        query = select(models.TrialModel.trial_id).where(models.TrialModel.study_id == study_id)
        with reading(self.engine) as connection:
            ids = sorted(connection.execute(query).scalars())
        last = ids[-1] if ids else -1
        load = super()._get_trials
        pieces = [set(ids[start : start + self.piece]) for start in range(0, len(ids), self.piece)] or [set()]
        loaded = [trial for piece in pieces for trial in load(study_id, states, piece, last)]
        return list({trial._trial_id: trial for trial in loaded}.values())  # each piece has what came since as well

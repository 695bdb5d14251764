"""StudyStorage: Optuna's storage, which loads a study of thousands of trials in pieces."""

from __future__ import annotations

from collections.abc import Container

from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import select

from sweep.storage.transaction import reading

PIECE = 500
"""Trials of a piece. Optuna makes some ninety objects of a trial of twenty measurements before it makes a trial of
them: of 5,000 trials at once hundreds of MiB, which a process then keeps."""


class StudyStorage(RDBStorage):
    """Optuna's storage of a study's database."""

    piece = PIECE

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

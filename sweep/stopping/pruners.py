"""DropOffPruner: the drop-off rule as Optuna sees it, for any study that reports intermediate values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from optuna.pruners import BasePruner
from optuna.study import StudyDirection

from sweep.stopping.means import explain_means
from sweep.stopping.rules import DropOff

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial


@dataclass(frozen=True, kw_only=True)
class DropOffPruner(DropOff, BasePruner):
    """Prunes a trial whose score has really fallen from its own peak.

    A trial is compared with itself, never with other trials. Only its reported means are known, so the noise is
    estimated from its curve: at least four reports are needed. Steps may come at any distance.

    Attributes:
        last_step: Step of a complete trial's last report, from 1.
        not_before: Progress in [0, 1] at which a trial's learning rate has risen; the grace follows it.
    """

    last_step: int
    not_before: float = 0.0

    def __post_init__(self) -> None:
        if self.last_step < 1:
            raise ValueError(f"last_step must be at least 1, got {self.last_step}")
        if not 0.0 <= self.not_before <= 1.0:
            raise ValueError(f"not_before must lie in [0, 1], got {self.not_before}")
        super().__post_init__()

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether a trial has fallen at its last report.

        Raises:
            ValueError: If the study does not maximize, or a step lies beyond ``last_step``.
        """
        if study.direction is not StudyDirection.MAXIMIZE:
            raise ValueError(f"DropOffPruner needs a maximize study, got {study.direction.name}")
        steps = sorted(trial.intermediate_values)
        if not steps:
            return False
        if steps[-1] > self.last_step:
            raise ValueError(f"step {steps[-1]} lies beyond last_step = {self.last_step}")
        means = np.array([trial.intermediate_values[step] for step in steps])
        return explain_means(self, np.array(steps) / self.last_step, means, self.not_before).fallen

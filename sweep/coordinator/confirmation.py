"""Confirmation: the best configurations of a study are trained again with other seeds, as trials of the study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sweep.coordinator.events import Tell, describe_params
from sweep.coordinator.ledger import Ledger
from sweep.coordinator.proposals import Proposal
from sweep.coordinator.running import RunningTrial, begin_trial
from sweep.errors import SweepError
from sweep.plan import StudyPlan
from sweep.storage.confirmations import rank_configurations
from sweep.storage.records import CONFIRMS, StudyRecord, TrialRecord


@dataclass(frozen=True)
class Replicate:
    """A training that is to be made: that of a trial, with another seed."""

    of: TrialRecord
    seed: int


def list_missing(plan: StudyPlan, record: StudyRecord, under_way: Sequence[RunningTrial] = ()) -> list[Replicate]:
    """The trainings that a study's confirmation still lacks, those of the best configuration first.

    One that failed is not made again, unless it goes on with the next run.

    Args:
        plan: The study.
        record: Its trials.
        under_way: Trials that run or wait.
    """
    spec = plan.confirm
    if not spec:
        return []
    made = {(trial.confirms, trial.attributes.get("seed")) for trial in record.trials if trial.confirms is not None}
    made |= {(trial.confirms, trial.params.seed) for trial in under_way if trial.confirms is not None}
    missing = []
    for trial in rank_configurations(record)[: spec.top]:
        own = int(trial.attributes.get("seed", plan.spec.seed))
        seeds = (own + step for step in range(1, spec.seeds))
        missing += [Replicate(trial, seed) for seed in seeds if (trial.number, seed) not in made]
    return missing


def check_confirm(plan: StudyPlan, record: StudyRecord | None) -> None:
    """Checks that there is something to confirm where that was asked for by command.

    Raises:
        SweepError: If no trial has ended with a model.
    """
    if plan.is_confirming and (record is None or not rank_configurations(record)):
        raise SweepError(
            f"{plan.file}: no trial has ended with a model yet, so there is nothing to confirm: run it first"
        )


def begin_replicate(
    plan: StudyPlan, ledger: Ledger, replicate: Replicate, *, baseline: NDArray[np.float32], tell: Tell
) -> RunningTrial:
    """A new trial that trains a configuration with another seed, written down as running.

    It pauses at no rung, does not count against the budget of trials, and the sampler never learns of it.
    """
    of = replicate.of
    if of.params is None:
        raise ValueError(f"trial {of.number} must have recorded settings")
    params = replace(of.params, seed=replicate.seed)
    proposal = Proposal(ledger.values_of(of.number), params, {CONFIRMS: of.number})
    trial = begin_trial(plan, ledger, proposal, baseline=baseline)
    tell("confirm", f"confirms trial {of.number} with seed {replicate.seed}: {describe_params(params)}", trial.number)
    return trial

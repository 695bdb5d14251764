"""Lengthening: the best configurations of a study are trained for longer, as trials of the study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sweep.coordinator.budget import Room
from sweep.coordinator.events import Tell, describe_params
from sweep.coordinator.ledger import Ledger
from sweep.coordinator.proposals import Proposal
from sweep.coordinator.running import RunningTrial, begin_trial
from sweep.measures.score import Score
from sweep.plan import StudyPlan
from sweep.settings.ranges import ends
from sweep.stopping.doubling import WIDTH, carry_rate, has_paid
from sweep.storage.confirmations import rank_configurations
from sweep.storage.records import LONGER_THAN, StudyRecord, TrialRecord


@dataclass(frozen=True)
class Longer:
    """A training that is to be made: a trial's configuration for twice as long.

    Attributes:
        of: The trial.
        learning_rate: Its rate, as the search would propose it.
        examples: Its training pairs.
        seconds: Seconds that it will take, by the pace of the trial.
    """

    of: TrialRecord
    learning_rate: float
    examples: int
    seconds: float

    @property
    def length(self) -> int:
        """Its length, in multiples of the study's examples."""
        return 2 * self.of.length


def list_longer(
    plan: StudyPlan, ledger: Ledger, record: StudyRecord, room: Room, under_way: Sequence[RunningTrial] = ()
) -> list[Longer]:
    """The longer trainings that are to be begun now, that of the best configuration first.

    Args:
        plan: The study.
        ledger: Its writer, which holds the value of every query.
        record: Its trials.
        room: What is left of its totals; of trials that are under way it lacks only what they have seen.
        under_way: Trials that run or wait.
    """
    begun = {trial.longer_than for trial in record.trials} | {trial.longer_than for trial in under_way}
    for trial in under_way:
        if trial.longer_than is not None:
            left = trial.planned_examples - trial.examples
            room = room.without(examples=left, seconds=left * _pace(record.trials[trial.longer_than]))
    for doubling in range(plan.spec.budget.doublings_at_most):
        ranked, longer = _rank(record, 2**doubling), _rank(record, 2 ** (doubling + 1))
        if not ranked:
            return []
        paid = has_paid(*(_score(ledger, record, one)[0] for one in (longer[0], ranked[0]))) if longer else None
        chosen = [] if paid else [trial for trial in ranked[:WIDTH] if trial.number not in begun]
        due = list(_choose_fitting((_plan_longer(plan, ledger, record, trial) for trial in chosen), room))
        if due or paid is False or any(trial.params.length == 2 ** (doubling + 1) for trial in under_way):
            return due
    return []


def _rank(record: StudyRecord, length: int) -> list[TrialRecord]:
    return [trial for trial in rank_configurations(record) if trial.length == length]


def _score(ledger: Ledger, record: StudyRecord, trial: TrialRecord) -> tuple[Score, Score]:
    """A trial at its peak and at its end."""
    if trial.peak is None:
        raise ValueError(f"trial {trial.number} must have a peak")
    points, per_query = ledger.table.per_query(trial.number)
    weights = record.query_weights("dev")
    return Score(per_query[points.index(trial.peak.progress)], weights), Score(per_query[-1], weights)


def _plan_longer(plan: StudyPlan, ledger: Ledger, record: StudyRecord, of: TrialRecord) -> Longer:
    if of.params is None or of.peak is None:
        raise ValueError(f"trial {of.number} must have recorded settings and a peak")
    at_peak, at_end = _score(ledger, record, of)
    spent = plan.spent(of.params, of.peak.progress)
    rate = carry_rate(of.params.learning_rate, at_peak=at_peak, at_end=at_end, spent=spent)
    lowest = min(of.params.learning_rate, ends(plan.spec.space.learning_rate)[0])
    examples = of.params.batch_size * plan.steps(of.params.batch_size, length=2 * of.length)
    return Longer(of, max(rate, lowest), examples, seconds=examples * _pace(of))


def _pace(trial: TrialRecord) -> float:
    """Seconds that a trial took for each of its training pairs, looks included."""
    return trial.rows[-1].seconds / max(1, trial.examples)


def _choose_fitting(due: Iterator[Longer], room: Room) -> Iterator[Longer]:
    """Those that fit into what is left, one beside the other."""
    for longer in due:
        if room.holds(examples=longer.examples, seconds=longer.seconds):
            room = room.without(examples=longer.examples, seconds=longer.seconds)
            yield longer


def begin_longer(
    plan: StudyPlan, ledger: Ledger, longer: Longer, *, baseline: NDArray[np.float32], tell: Tell
) -> RunningTrial:
    """A new trial that trains a configuration for twice as long, written down as running.

    It pauses at no rung, does not count against the budget of trials, and the sampler never learns of it.
    """
    number = longer.of.number
    values = {**ledger.values_of(number), "learning_rate": longer.learning_rate}
    params = replace(plan.space.params(values), length=longer.length)
    trial = begin_trial(plan, ledger, Proposal(values, params, {LONGER_THAN: number}), baseline=baseline)
    tell("lengthen", f"trains trial {number} for {longer.examples:,} pairs: {describe_params(params)}", trial.number)
    return trial

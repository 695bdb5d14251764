"""TrialCompletion: the end of a trial is recorded, shown to the sampler and the dashboard, and its files pruned."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from sweep.columns import write_leaderboard
from sweep.coordinator.checkpoint_pruning import CheckpointPruner
from sweep.coordinator.events import Tell
from sweep.coordinator.failure_recovery import FailureStreak
from sweep.coordinator.ledger import Ledger
from sweep.coordinator.proposal_stock import ProposalStock
from sweep.coordinator.proposals import seen_value
from sweep.coordinator.reruns import find_excused_by_success
from sweep.coordinator.running import RunningTrial
from sweep.errors import StudyEndedError
from sweep.logs import last_lines
from sweep.plan import StudyPlan
from sweep.progress import COMPLETE
from sweep.settings.study_file import StudySpec
from sweep.stopping.stop import Stop
from sweep.storage.notes import quote
from sweep.storage.records import Peak, StudyRecord, TrialRecord, describe_stop

NOTE_S = 2.0
"""Seconds between two updates of the study's note: a sweep of many short trials has more to do."""

MIRROR_S = 1.0
"""Seconds between two updates of Optuna's tables, so that changes which come together are written together."""

MIRROR_SLICE_S = 0.05
"""Seconds of one update, after which the reports that have come in are answered."""

MIRROR_SHARE = 0.3
"""Maximum share of the coordinator's time that the updates take while trials run; the rest is done at the end."""


class TrialCompletion:
    """Ends trials, and keeps the study's record, its note and Optuna's tables up to date.

    Args:
        plan: The study.
        ledger: Its writer.
        proposals: Is shown how each trial ended.
        pruner: Deletes files of trials.
        tell: Tells of what happened.

    Attributes:
        record: The study as it stands; there once `begin` was called.
    """

    record: StudyRecord

    def __init__(
        self, plan: StudyPlan, ledger: Ledger, *, proposals: ProposalStock, pruner: CheckpointPruner, tell: Tell
    ) -> None:
        self._plan = plan
        self._ledger = ledger
        self._proposals = proposals
        self._pruner = pruner
        self._tell = tell
        self._failures = FailureStreak()
        self._noted: StudyRecord | None = None
        self._note_due = 0.0
        self._mirror_due = 0.0

    def begin(self, record: StudyRecord) -> None:
        """Shows the sampler the study's trials, and deletes the files that they no longer need."""
        self.record = self._noted = record
        self._proposals.rebuild(self.record, self._ledger.values())
        self._pruner.prune(self.record)

    def settle(self, trial: RunningTrial, cause: str | None, *, ends_study: bool = True) -> bool:
        """Ends an interrupted trial where only its end was missing, or where it fails for a cause; else False."""
        if trial.stop is not None or trial.is_measured_to_the_end:
            self.end(trial)
        elif cause is not None:
            self.fail(trial, cause, resumable=True, ends_study=ends_study)
        else:
            return False
        return True

    def end(self, trial: RunningTrial) -> None:
        """Ends a trial that went to its end or was stopped."""
        best = self.record.best
        conclusion = conclude(trial.stop, trial.peak, best.value if best else None)
        highest = max(value for _, value in trial.curve if math.isfinite(value))
        self._ledger.end_trial(
            trial.number,
            value=conclusion.value,
            pruned=conclusion.pruned,
            peak=trial.peak.value if trial.peak else None,
            peak_progress=trial.peak.progress if trial.peak else None,
            retention=trial.curve[-1][1] / highest if highest > 0 else None,
            **describe_stop(trial.stop),
        )
        self._failures.clear()
        self._after_end(trial)
        state = "pruned" if conclusion.pruned else "complete"
        peak = (
            f"peak {trial.peak.value:.4f} at {trial.peak.progress / COMPLETE:.1%}"
            if trial.peak
            else "no finite evaluation"
        )
        text = f"{state}, {peak}" + (f"; {trial.stop.text}" if trial.stop else "")
        self._tell("end", text, trial.number, state=state, attempt=trial.attempt)
        if trial.peak and (trial.stop is None or trial.stop.kind not in ("diverged", "study ended")):
            self.rerun(find_excused_by_success(self.record), "another trial has ended well since")

    def refresh(self, number: int) -> None:
        """Updates the record of a trial that was paused at a rung, or goes on from it."""
        self.record = self._ledger.update_record(self.record, number)
        self._pruner.prune(self.record)

    def end_equal(self, trial: RunningTrial, known: TrialRecord) -> None:
        """Ends a trial that is equal to one that has ended: it is not trained again, and has that one's curve."""
        self._ledger.end_equal(trial.number, known)
        self._after_end(trial)
        peak = f", peak {known.peak.value:.4f} at {known.peak.progress / COMPLETE:.1%}" if known.peak else ""
        text = f"{known.state}{peak}; equal to trial {known.number}, whose curve it has: it is not trained again"
        self._tell("end", text, trial.number, state=known.state, equal_to=known.number)

    def fail(
        self,
        trial: RunningTrial,
        cause: str,
        *,
        resumable: bool = False,
        exhausted: bool = False,
        ends_study: bool = True,
    ) -> None:
        """Ends a trial that failed, with the cause and its last log lines.

        Args:
            trial: The trial.
            cause: The cause.
            resumable: Whether it failed for interruptions, so that the next run goes on with it.
            exhausted: Whether its settings exhaust the device, so that nothing is gained by another attempt.
            ends_study: Whether the study ends where trials keep failing.

        Raises:
            StudyEndedError: If trials keep failing for one cause.
        """
        log = self._plan.run_folder.log(trial.number)
        lines = last_lines(log)
        marks = {name: True for name, holds in (("resumable", resumable), ("exhausted", exhausted)) if holds}
        self._ledger.end_trial(trial.number, value=None, pruned=False, error=cause, last_log_lines=lines, **marks)
        self._after_end(trial)
        output = f"; output: {lines[-1]}" if lines else ""
        again = "; the next run goes on with it from its last checkpoint" if resumable else ""
        text = f"failed: {cause}; see {log}{output}{again}"
        self._tell("end", text, trial.number, state="fail", attempt=trial.attempt, log=lines)
        self._failures.add(trial.number, cause)
        numbers = self._failures.ending([ended for ended in self.record.trials if ended.is_counted])
        if numbers and ends_study:
            self._give_up(numbers, cause)

    def rerun(self, numbers: Sequence[int], reason: str) -> None:
        """Has trials that failed run again as new ones; they do not count any more."""
        if not numbers:
            return
        self._ledger.excuse(numbers)
        self.record = self.record.excuse(numbers)
        self._failures.remove(numbers)
        values = self._ledger.values()
        for number in numbers:
            self._proposals.add_rerun(number, values[number])
            cause = self.record.trials[number].attributes.get("error")
            self._tell("rerun", f"its settings run again, since {reason}; it failed: {cause}", number)

    def mirror(self) -> bool:
        """Updates Optuna's tables for a moment, if that is due; returns whether it was."""
        now = time.monotonic()
        if now < self._mirror_due or not self._ledger.is_behind:
            return False
        is_complete = self._ledger.mirror(at_most_s=MIRROR_SLICE_S)
        took = time.monotonic() - now
        self._mirror_due = now + (took + MIRROR_S if is_complete else took / MIRROR_SHARE)
        return True

    def update_note(self, *, at_once: bool = False) -> bool:
        """Writes the study's note, if a trial has ended since the last one and it is due; returns whether it was.

        Args:
            at_once: Whether to write it however short ago the last one was.
        """
        is_due = at_once or time.monotonic() >= self._note_due
        if self._noted is None or self._noted is self.record or not is_due:
            return False
        self._ledger.remark(write_study_note(self.record, self._plan.spec))
        self._noted = self.record
        self._note_due = time.monotonic() + NOTE_S
        return True

    def _give_up(self, numbers: Sequence[int], cause: str) -> None:
        """Ends the study: its failed trials do not count, and run again with the next run."""
        self._ledger.excuse([number for number in numbers if not self.record.trials[number].is_resumable])
        raise StudyEndedError(
            f"trials {', '.join(map(str, numbers))} failed in a row, so the study was ended: {cause}; see"
            f" {self._plan.run_folder.log(numbers[-1])}; once that is fixed, the same command runs them again"
        )

    def _after_end(self, trial: RunningTrial) -> None:
        """Updates the record and the sampler, and deletes the files that are no longer needed."""
        self.record = self._ledger.update_record(self.record, trial.number)
        ended = self.record.trials[trial.number]
        is_shown = ended.state != "fail" and ended.equal_to is None
        value = seen_value(ended, self.record.baseline) if is_shown else None
        self._proposals.conclude(trial.number, value)
        self._pruner.prune(self.record)


@dataclass(frozen=True)
class Conclusion:
    """The record of a trial's end: its value where it is complete, else None; and whether it is pruned."""

    value: float | None
    pruned: bool


def conclude(stop: Stop | None, peak: Peak | None, best_peak: float | None) -> Conclusion:
    """The record of a trial that has ended without a failure.

    Args:
        stop: Why it was stopped, or None where it went to its end.
        peak: Its best evaluation.
        best_peak: The highest peak of all complete trials; the model of one that failed or diverged is not kept.

    Returns:
        COMPLETE with its peak where it went to its end, or where it was stopped by a rule and its peak beats every
        complete trial's, so that the study's best trial is always the best model there is; else PRUNED.
    """
    if peak is None or not math.isfinite(peak.value):
        return Conclusion(None, pruned=True)
    beats_all = best_peak is None or peak.value > best_peak
    if stop is not None and (stop.kind == "diverged" or not beats_all):
        return Conclusion(None, pruned=True)
    return Conclusion(peak.value, pruned=False)


def write_study_note(record: StudyRecord, spec: StudySpec) -> str:
    """The state of a running study as Markdown: how far it is, and the leaderboard."""
    untrained = "" if record.baseline is None else f"; the untrained model has {record.baseline:.4f}"
    ended = f"{record.counted} of {spec.budget.trials} trials have ended"
    state = f"{ended}{untrained}. The report and the diagnosis come at its end."
    heading = f"### Leaderboard ({record.measure.label}: peaks on dev, selected)"
    return "\n\n".join([f"## {quote(record.name)}", state, heading, write_leaderboard(record, spec.space)])

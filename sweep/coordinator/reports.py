"""Reports: a trial's evaluation is committed, decided upon, answered and followed up, in this order."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sweep.coordinator.checkpoint_pruning import CheckpointPruner
from sweep.coordinator.events import Tell
from sweep.coordinator.ledger import Ledger, Measurement
from sweep.coordinator.placement import DeviceLimits
from sweep.coordinator.running import RunningTrial
from sweep.measures.benchmarks import slice_queries, split_means
from sweep.measures.geometry import COLLAPSED
from sweep.messages import Report, Verdict
from sweep.plan import StudyPlan
from sweep.progress import COMPLETE
from sweep.stopping.policy import StopPolicy, make_policy, take_look
from sweep.stopping.stop import Stop


class Reports:
    """Commits the reports of trials and decides by them.

    Args:
        plan: The study.
        ledger: Its writer.
        limits: Remembers how much memory trials use.
        pruner: Deletes files of trials.
        tell: Tells of what happened.
    """

    def __init__(
        self, plan: StudyPlan, ledger: Ledger, *, limits: DeviceLimits, pruner: CheckpointPruner, tell: Tell
    ) -> None:
        self._measure = plan.spec.evaluation.measure
        self._benchmarks = slice_queries(plan.benchmarks, "dev")
        self._policy = make_policy(plan.spec.stopping, self._measure.label)
        self._ledger = ledger
        self._limits = limits
        self._pruner = pruner
        self._tell = tell
        self._committed: set[int] = set()  # trials whose report was committed and is to be decided upon
        self._marked: dict[int, list[Path]] = {}  # models of their earlier peaks, which are to be deleted

    def commit(self, heard: Sequence[tuple[RunningTrial, Report]]) -> None:
        """Commits reports that came in together, so that they wait for the disk once; committed points are skipped."""
        heard = [
            (trial, _count_from_the_beginning(trial, report))
            for trial, report in heard
            if report.progress not in trial.progress
        ]
        if not heard:
            return
        self._ledger.commit([Measurement(trial.number, report, _find_news(trial, report)) for trial, report in heard])
        self._committed = {trial.number for trial, _ in heard}
        for trial, report in heard:
            trial.add(report)
            if trial.slot:
                self._limits.raise_peak(
                    trial.slot.label,
                    batch_size=trial.params.batch_size,
                    micro_batch=report.micro_batch,
                    memory_gib=report.memory_gib or 0.0,
                )

    def take(self, trial: RunningTrial, *, incumbent: float | None) -> Verdict:
        """Decides by a trial's committed report how it goes on; one that came in again decides nothing."""
        if trial.number in self._committed:
            if trial.peak is not None:
                marked = self._pruner.mark_peaks_for_deletion(trial.number, kept=trial.peak.progress)
                self._marked[trial.number] = marked
            self.decide(trial, incumbent=incumbent)
        reason = trial.stop.text if trial.stop else None
        return Verdict(stop=trial.stop is not None, pause=trial.is_at_rung, reason=reason)

    def follow_up(self, trial: RunningTrial, report: Report) -> None:
        """Deletes files and tells of an answered report, for which its trial need not wait."""
        if trial.number in self._committed:
            self._committed.remove(trial.number)
            self._pruner.delete(trial.number, self._marked.pop(trial.number, ()))
            self._tell_measured(trial, report)
            return
        committed = trial.per_query[trial.progress.index(report.progress)]
        equal = np.array_equal(committed, report.evaluation.per_query, equal_nan=True)
        where, how = f"{report.progress / COMPLETE:.1%}", "equal" if equal else "differs"
        text = f"{where} measured again after an interruption: {how}; the first measurement stands"
        self._tell("remeasure", text, trial.number, equal=equal, progress=report.progress, attempt=trial.attempt)

    def decide(self, trial: RunningTrial, *, incumbent: float | None) -> None:
        """Decides by a trial's last measurement whether it is to be stopped."""
        trial.stop, trial.verdict = decide(trial, self._policy, incumbent=incumbent)

    def _tell_measured(self, trial: RunningTrial, report: Report) -> None:
        value = report.evaluation.value
        means = split_means(report.evaluation.per_query, self._benchmarks)
        parts = ", ".join(f"{name} {mean:.4f}" for name, mean in means.items())
        by_benchmark = f" ({parts})" if parts else ""
        text = f"{report.progress / COMPLETE:.1%}  {self._measure.label} {value:.4f}{by_benchmark}  {trial.verdict}"
        if report.evaluation.has_collapsed:
            text += f"; {COLLAPSED}"
        numbers = {"progress": report.progress, "metric": self._measure.key, "value": value, "step": report.step}
        numbers |= {"benchmarks": means} if means else {}
        self._tell("evaluate", text, trial.number, **numbers, attempt=trial.attempt)


def _count_from_the_beginning(trial: RunningTrial, report: Report) -> Report:
    """The report with the seconds of all of its trial's processes."""
    return dataclasses.replace(
        report,
        seconds=trial.seconds_before + report.seconds,
        evaluation_seconds=trial.evaluation_seconds_before + report.evaluation_seconds,
    )


def _find_news(trial: RunningTrial, report: Report) -> dict[str, object]:
    """The attributes of a trial that its report changes."""
    news: dict[str, object] = {}
    if trial.micro_batch != report.micro_batch:
        news["micro_batch"] = report.micro_batch
    if len(trial.progress) == 1:  # its first report: the share follows from the plan and never changes
        news["false_negatives"] = report.false_negatives
    if report.evaluation.has_collapsed and trial.collapsed_at is None:
        news["collapsed_at"] = report.progress
    return news


def decide(trial: RunningTrial, policy: StopPolicy, *, incumbent: float | None) -> tuple[Stop | None, str]:
    """Why a trial is stopped at its last measurement, or None; and its state in a few words, for a person.

    Args:
        trial: The trial.
        policy: The study's policy of stopping.
        incumbent: The highest peak of all other trials so far, or None.
    """
    look = take_look(
        policy,
        progress=trial.progress,
        per_query=np.stack(trial.per_query),
        warmup_end=trial.warmup_end,
        scheduler=trial.params.scheduler,
        weights=trial.weights,
    )
    stop = policy.decide(look, incumbent=incumbent)
    return stop, policy.describe(look, stop=stop)

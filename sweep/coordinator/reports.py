"""Reports: what becomes of a trial's evaluation. Committed, decided upon, answered: in this order."""

from __future__ import annotations

import dataclasses

import numpy as np

from sweep.coordinator.events import Tell
from sweep.coordinator.ledger import Ledger
from sweep.coordinator.limits import DeviceLimits
from sweep.coordinator.retention import Keeper
from sweep.coordinator.running import RunningTrial
from sweep.coordinator.verdicts import decide
from sweep.messages import Report, Verdict
from sweep.plan import StudyPlan
from sweep.progress import WHOLE


class Reports:
    """Takes reports in.

    Args:
        plan: The study.
        ledger: Its writer.
        limits: Remembers how much memory trials use.
        keeper: Keeps the files of trials.
        tell: Tells of what happened.
    """

    def __init__(self, plan: StudyPlan, ledger: Ledger, *, limits: DeviceLimits, keeper: Keeper, tell: Tell) -> None:
        self._plan = plan
        self._ledger = ledger
        self._limits = limits
        self._keeper = keeper
        self._tell = tell

    def take(self, trial: RunningTrial, report: Report, *, rival: float | None) -> Verdict:
        """Commits a report and decides how its trial goes on; a point that is committed already is compared alone.

        Args:
            trial: The trial.
            report: Its report.
            rival: The highest peak of all other trials.
        """
        committed = self._ledger.committed(trial.number, report.progress)
        if committed is None:
            self._commit(trial, report)
            self.decide(trial, rival=rival)
            self._tell_of(trial, report)
        else:
            equal = np.array_equal(committed, report.evaluation.per_query, equal_nan=True)
            where, how = f"{report.progress / WHOLE:.1%}", "equal" if equal else "differs"
            text = f"{where} measured again after an interruption: {how}; the first measurement stands"
            self._tell("remeasure", text, trial.number, equal=equal, progress=report.progress, attempt=trial.attempt)
        return Verdict(stop=trial.stop_reason is not None, reason=trial.stop_reason)

    def decide(self, trial: RunningTrial, *, rival: float | None) -> None:
        """Decides by a trial's last measurement whether it is to be stopped."""
        verdict, trial.verdict = decide(
            self._plan.spec.stopping,
            progress=trial.progress,
            per_query=np.stack(trial.per_query),
            warmup_end=trial.warmup_end,
            scheduler=trial.params.scheduler,
            rival=rival,
        )
        trial.stop_reason, trial.stop_numbers = verdict.reason, verdict.numbers

    def _commit(self, trial: RunningTrial, report: Report) -> None:
        report = dataclasses.replace(
            report,
            seconds=trial.seconds_before + report.seconds,
            evaluation_seconds=trial.evaluation_seconds_before + report.evaluation_seconds,
        )
        if trial.micro_batch != report.micro_batch:
            self._ledger.note(trial.number, micro_batch=report.micro_batch)
        if len(trial.progress) == 1:  # its first report: the share follows from the plan and never changes
            self._ledger.note(trial.number, false_negatives=report.false_negatives)
        self._ledger.commit(trial.number, report)
        trial.add(report)
        if trial.slot:
            self._limits.raise_peak(
                trial.slot.label,
                batch_size=trial.params.batch_size,
                micro_batch=report.micro_batch,
                memory_gib=report.memory_gib or 0.0,
            )
        if trial.peak is not None:
            self._keeper.forget_peaks(trial.number, kept=trial.peak.progress)

    def _tell_of(self, trial: RunningTrial, report: Report) -> None:
        ndcg = report.evaluation.ndcg
        text = f"{report.progress / WHOLE:.1%}  NDCG@10 {ndcg:.4f}  {trial.verdict}"
        numbers = {"progress": report.progress, "ndcg": ndcg, "step": report.step, "attempt": trial.attempt}
        self._tell("evaluate", text, trial.number, **numbers)

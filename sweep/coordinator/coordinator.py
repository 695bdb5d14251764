"""Coordinator: asks, tells, stops, adopts and counts; the one that owns a study while it runs."""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Sequence

import numpy as np

from sweep.coordinator.events import Event, SweepView, Watcher, describe_params
from sweep.coordinator.failures import FailureStreak
from sweep.coordinator.files import forget_peaks, saved_step, tidy
from sweep.coordinator.jobs import InterruptedRunError, StopSignal
from sweep.coordinator.ledger import Ledger
from sweep.coordinator.limits import DeviceLimits
from sweep.coordinator.outlook import make_view
from sweep.coordinator.proposals import Proposer, seen_value
from sweep.coordinator.remarks import write_remark
from sweep.coordinator.running import RunningTrial, begin_trial, make_assignment, revive_trial
from sweep.coordinator.slots import Slot
from sweep.coordinator.verdicts import conclude, decide
from sweep.errors import StudyEndedError
from sweep.launch import Died, Launcher, Message
from sweep.messages import Failure, Report, TrialResult, Verdict
from sweep.plan import StudyPlan
from sweep.progress import WHOLE
from sweep.storage.evaluations import UNTRAINED
from sweep.storage.records import EXCUSED
from sweep.worker import Done, Job, Started

POLL_S = 0.2
PAUSE_S = 20.0
"""Seconds that a trial gets to finish its step when the run is interrupted; after that its last checkpoint counts."""

MAX_WITHOUT_PROGRESS = 3


class Coordinator:
    """Runs the trials of a study to its budget.

    Args:
        plan: The study.
        ledger: Its writer.
        launcher: Runs the trials.
        slots: Where they run.
        watcher: Is told of everything.
        stop: The signals that end the run.
        body: What a trial's process runs.
    """

    def __init__(
        self,
        plan: StudyPlan,
        *,
        ledger: Ledger,
        launcher: Launcher,
        slots: Sequence[Slot],
        watcher: Watcher,
        stop: StopSignal,
        body: str,
    ) -> None:
        self._plan = plan
        self._ledger = ledger
        self._launcher = launcher
        self._slots = slots
        self._watcher = watcher
        self._stop = stop
        self._body = body
        self._baseline = ledger.table.per_query(UNTRAINED)[1][0]
        self._running: dict[str, RunningTrial] = {}  # by the name of its job
        self._waiting: deque[RunningTrial] = deque()  # interrupted trials that go on before new ones begin
        self._failures = FailureStreak()
        self._limits = DeviceLimits(ledger)
        self._pausing_since: float | None = None
        self._cold_told = False
        self._proposer = Proposer(plan.space, seed=plan.spec.seed, trials=plan.spec.budget.trials)
        self._record = ledger.record()

    @property
    def baseline(self) -> float:
        """NDCG@10 of the untrained model."""
        return float(np.mean(self._baseline, dtype=np.float64))

    def run(self) -> None:
        """Runs until the budget of trials is spent.

        Raises:
            InterruptedRunError: If a signal came; what was running goes on with the next run.
            StudyEndedError: If trials keep failing for one cause.
        """
        self._adopt()
        while True:
            self._fill_slots()
            if not self._running:
                break
            for message in self._launcher.wait(POLL_S):
                self._handle(message)
            self._obey_signal()
            self._watcher.refresh(self._view())
        if self._stop.signal is not None:
            raise InterruptedRunError(self._stop.signal)

    # ---- where trials come from

    def _adopt(self) -> None:
        """Takes over what an earlier run left behind."""
        left = self._ledger.adopt_trials(distributions=self._plan.space.distributions, baseline=self.baseline)
        self._record = self._ledger.record()
        values = self._ledger.values()
        self._proposer.rebuild(self._record, values)
        tidy(self._plan.run_folder, self._record)
        for record in left:
            params = self._plan.space.params(values[record.number])
            measured = self._ledger.table.per_query(record.number)
            trial = revive_trial(self._plan, record, params=params, baseline=self._baseline, measured=measured)
            if len(trial.progress) > 1:
                trial.stop_reason = self._decide(trial)
            paused = bool(record.attributes.get("paused"))
            if not paused:
                trial.interrupt(self._saved_step(trial))
            self._note_interruptions(trial)
            text = f"goes on from step {self._saved_step(trial)} (it was {'paused' if paused else 'interrupted'})"
            self._tell("adopt", text, trial.number)
            if not self._settle(trial) and not self._is_stuck(trial, "interrupted"):
                self._waiting.append(trial)

    def _fill_slots(self) -> None:
        taken = {trial.slot.name for trial in self._running.values() if trial.slot}
        for slot in self._slots:
            if slot.name in taken or self._stop.signal is not None:
                continue
            trial = self._waiting.popleft() if self._waiting else self._begin(slot)
            if trial is not None:
                self._launch(trial, slot)

    def _begin(self, slot: Slot) -> RunningTrial | None:
        """A new trial, if the budget holds one more."""
        if self._record.counted + len(self._running) + len(self._waiting) >= self._plan.spec.budget.trials:
            return None
        largest = self._limits.largest_batch(slot.label)
        proposal = self._proposer.propose(self._ledger.next_number(), largest_batch=largest)
        params = proposal.params
        number = self._ledger.begin_trial(
            proposal.values,
            distributions=self._plan.space.distributions,
            attributes={
                **proposal.origin,
                "params": params.as_dict(),
                "batch_size": params.batch_size,
                "effective_learning_rate": params.effective_learning_rate,
                "steps": self._plan.steps(params.batch_size),
                "seed": self._plan.spec.seed,
            },
            baseline=self.baseline,
        )
        return begin_trial(self._plan, number, params=params, baseline=self._baseline)

    def _launch(self, trial: RunningTrial, slot: Slot) -> None:
        trial.slot = slot
        plan = self._plan
        held_to = trial.micro_batch or self._limits.micro_batch(slot.label, asked=plan.spec.workers.micro_batch)
        self._ledger.note(trial.number, device=slot.label, paused=False)
        job = Job(
            name=trial.job,
            body=self._body,
            task=make_assignment(plan, trial, device=slot.device, micro_batch=held_to),
            log=plan.run_folder.log(trial.number),
            environment=slot.environment,
        )
        self._ledger.trials.begin_run(trial.number, slot=slot.name, device=slot.label)
        self._launcher.start(job)
        self._running[trial.job] = trial
        self._tell("start", describe_params(trial.params), trial.number, slot=slot.name)

    # ---- what trials say

    def _handle(self, message: Message) -> None:
        trial = self._running[message.job]
        payload = message.payload
        if isinstance(payload, Report):
            self._on_report(trial, payload)
        elif isinstance(payload, Started):
            if not payload.warm and not self._cold_told:
                self._cold_told = True
                self._tell("warning", "the fork server's imports failed, so every trial imports anew; see its log")
        else:
            del self._running[message.job]
            self._ledger.trials.end_run(trial.number)
            if isinstance(payload, Done):
                self._on_done(trial, payload.result)
            elif isinstance(payload, Failure):
                self._on_failure(trial, payload)
            elif isinstance(payload, Died):
                self._on_death(trial, payload)

    def _on_report(self, trial: RunningTrial, report: Report) -> None:
        """Commits, decides, answers: in this order."""
        committed = self._ledger.committed(trial.number, report.progress)
        if committed is not None:
            equal = np.array_equal(committed, report.evaluation.per_query, equal_nan=True)
            text = (
                f"{report.progress / WHOLE:.1%} measured again after an interruption: {'equal' if equal else 'differs'}"
            )
            self._tell("remeasure", f"{text}; the first measurement stands", trial.number, equal=equal)
        else:
            report = dataclasses.replace(
                report,
                seconds=trial.seconds_before + report.seconds,
                evaluation_seconds=trial.evaluation_seconds_before + report.evaluation_seconds,
            )
            if trial.micro_batch != report.micro_batch:
                self._ledger.note(trial.number, micro_batch=report.micro_batch)
            self._ledger.commit(trial.number, report)
            trial.add(report)
            if trial.peak is not None:
                forget_peaks(self._plan.run_folder, trial.number, kept=trial.peak.progress)
            trial.stop_reason = self._decide(trial)
            ndcg = report.evaluation.ndcg
            text = f"{report.progress / WHOLE:.1%}  NDCG@10 {ndcg:.4f}  {trial.verdict}"
            self._tell("evaluate", text, trial.number, progress=report.progress, ndcg=ndcg, step=report.step)
        self._launcher.answer(trial.job, _verdict(trial.stop_reason))
        if self._pausing_since is not None:
            self._launcher.pause(trial.job)

    def _decide(self, trial: RunningTrial) -> str | None:
        verdict, trial.verdict = decide(
            self._plan.spec.stopping,
            progress=trial.progress,
            per_query=np.stack(trial.per_query),
            warmup_end=trial.warmup_end,
        )
        trial.stop_numbers = verdict.numbers
        return verdict.reason

    def _on_done(self, trial: RunningTrial, result: TrialResult) -> None:
        if result.status == "paused":
            self._ledger.note(trial.number, paused=True)
            self._tell("pause", f"saved at step {result.step}, to go on from there", trial.number)
            self._requeue(trial)
        else:
            self._end(trial)

    def _on_death(self, trial: RunningTrial, death: Died) -> None:
        if self._stop.signal is not None:  # its death is the user's wish, and none of its interruptions
            self._ledger.note(trial.number, paused=True)
            self._tell("pause", "ended before it could save; its last checkpoint counts", trial.number)
            return
        trial.interrupt(self._saved_step(trial))
        self._note_interruptions(trial)
        if not self._settle(trial) and not self._is_stuck(trial, death.reason):
            self._tell("retry", f"{death.reason}; goes on from step {self._saved_step(trial)}", trial.number)
            self._requeue(trial)

    def _is_stuck(self, trial: RunningTrial, reason: str) -> bool:
        """Fails a trial that was interrupted too often without getting any further."""
        if trial.without_progress < MAX_WITHOUT_PROGRESS:
            return False
        self._fail(trial, f"{reason}, {MAX_WITHOUT_PROGRESS} times without progress")
        return True

    def _on_failure(self, trial: RunningTrial, failure: Failure) -> None:
        exhausted = failure.exhausted_micro_batch
        if exhausted is None:
            self._fail(trial, failure.cause)
        elif exhausted > 1:
            trial.micro_batch = exhausted // 2
            self._ledger.note(trial.number, micro_batch=trial.micro_batch)
            self._limits.lower_micro_batch(_device(trial), trial.micro_batch)
            self._tell("retry", f"{failure.cause}; goes on with {trial.micro_batch}", trial.number)
            self._requeue(trial)
        else:
            self._limits.lower_batch(_device(trial), trial.params.batch_size // 2)
            self._fail(trial, failure.cause)

    def _requeue(self, trial: RunningTrial) -> None:
        trial.slot = None
        points = self._ledger.table.rows(trial.number)
        if points:
            trial.seconds_before = points[-1].seconds
            trial.evaluation_seconds_before = points[-1].evaluation_seconds
        self._waiting.append(trial)

    def _note_interruptions(self, trial: RunningTrial) -> None:
        self._ledger.note(
            trial.number,
            interruptions=trial.interruptions,
            without_progress=trial.without_progress,
            mark=list(trial.mark),
        )

    # ---- how trials end

    def _settle(self, trial: RunningTrial) -> bool:
        """Ends a trial that was interrupted when all but its end was known."""
        if trial.stop_reason is None and not trial.is_measured_whole:
            return False
        self._end(trial)
        return True

    def _end(self, trial: RunningTrial) -> None:
        best = self._record.best
        conclusion = conclude(trial.stop_reason, trial.peak, best.value if best else None)
        ndcg = [value for _, value in trial.curve if np.isfinite(value)]
        self._ledger.end_trial(
            trial.number,
            value=conclusion.value,
            pruned=conclusion.pruned,
            remark=write_remark(trial, reason=trial.stop_reason or "It went to the end of its budget."),
            peak=trial.peak.ndcg if trial.peak else None,
            peak_progress=trial.peak.progress if trial.peak else None,
            retention=trial.curve[-1][1] / max(ndcg) if max(ndcg) > 0 else None,
            stop_reason=trial.stop_reason,
            stop_numbers=trial.stop_numbers,
        )
        self._failures.clear()
        self._after_end(trial)
        state = "pruned" if conclusion.pruned else "complete"
        peak = (
            f"peak {trial.peak.ndcg:.4f} at {trial.peak.progress / WHOLE:.1%}" if trial.peak else "no finite evaluation"
        )
        text = f"{state}, {peak}" + (f"; {trial.stop_reason}" if trial.stop_reason else "")
        self._tell("end", text, trial.number, state=state)

    def _fail(self, trial: RunningTrial, cause: str) -> None:
        self._ledger.end_trial(
            trial.number, value=None, pruned=False, remark=write_remark(trial, error=cause), error=cause
        )
        self._after_end(trial)
        self._tell("end", f"failed: {cause}; see {self._plan.run_folder.log(trial.number)}", trial.number, state="fail")
        self._failures.add(trial.number, cause)
        numbers = self._failures.ending([found for found in self._record.trials if found.is_counted])
        if numbers:
            self._give_up(numbers, cause)

    def _give_up(self, numbers: Sequence[int], cause: str) -> None:
        """Ends the study: its failed trials do not count, and run again with the next run."""
        self._ledger.set_attribute(EXCUSED, sorted({*self._record.attributes.get(EXCUSED, ()), *numbers}))
        for trial in self._running.values():
            self._ledger.note(trial.number, paused=True)
        raise StudyEndedError(
            f"trials {', '.join(map(str, numbers))} failed in a row, so the study was ended: {cause}; see"
            f" {self._plan.run_folder.log(numbers[-1])}; once that is mended, the same command runs them again"
        )

    def _after_end(self, trial: RunningTrial) -> None:
        """What follows from any end: the record, what the sampler knows, and which files are kept."""
        self._record = self._ledger.record()
        ended = self._record.trials[trial.number]
        self._proposer.conclude(trial.number, None if ended.state == "fail" else seen_value(ended, self.baseline))
        tidy(self._plan.run_folder, self._record)

    def _saved_step(self, trial: RunningTrial) -> int:
        return saved_step(self._plan.run_folder, trial.number)

    # ---- signals and watchers

    def _obey_signal(self) -> None:
        """The first signal lets each trial finish its step and save; the second ends everything at once."""
        if self._stop.signal is None:
            return
        if self._pausing_since is None:
            self._pausing_since = time.monotonic()
            self._tell(
                "pause", f"{self._stop.signal.name}: every trial finishes its step and saves; once more ends at once"
            )
            for trial in self._running.values():
                self._launcher.pause(trial.job)
        if self._stop.count > 1 or time.monotonic() - self._pausing_since > PAUSE_S:
            for trial in list(self._running.values()):
                self._launcher.kill(trial.job)
            self._pausing_since = time.monotonic()

    def _tell(self, kind: str, text: str, trial: int | None = None, **numbers: object) -> None:
        self._watcher.show(Event(kind, text, trial, numbers))  # type: ignore[arg-type]

    def _view(self) -> SweepView:
        return make_view(self._plan, self._record, list(self._running.values()), self._slots, self.baseline)


def _verdict(stop_reason: str | None) -> Verdict:
    return Verdict(stop=stop_reason is not None, reason=stop_reason)


def _device(trial: RunningTrial) -> str:
    return trial.slot.label if trial.slot else ""

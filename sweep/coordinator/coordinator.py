"""Coordinator: runs the trials of a study; it alone asks, tells, stops, adopts and counts."""

from __future__ import annotations

import gc
import time
from collections.abc import Collection, Sequence
from functools import partial

from sweep.clock import Clock
from sweep.coordinator.budget import BudgetTracker, EndedBy, Pausing
from sweep.coordinator.checkpoint_pruning import CheckpointPruner
from sweep.coordinator.events import SweepView, Watcher, describe_params, make_view, tell_to
from sweep.coordinator.failure_recovery import FailureRecovery, find_allowance, find_stalled
from sweep.coordinator.ledger import Ledger
from sweep.coordinator.placement import DeviceLimits, Placement
from sweep.coordinator.proposal_stock import WAIT_S, ProposalStock
from sweep.coordinator.reports import Reports
from sweep.coordinator.running import RunningTrial, make_job, revive_trials
from sweep.coordinator.trial_completion import TrialCompletion
from sweep.coordinator.trial_queue import TrialQueue
from sweep.errors import StorageError, StudyEndedError
from sweep.launch import Died, Launcher, Message, Slot
from sweep.messages import LONG_CALL_S, Done, Failure, Report, Started, TrialResult
from sweep.plan import StudyPlan
from sweep.signals import InterruptedRunError, StopSignal
from sweep.stopping.stop import Stop
from sweep.storage.evaluations import UNTRAINED
from sweep.storage.records import ENDED_BY

POLL_S = 0.2

VIEW_SHARE = 0.05
"""Maximum share of the coordinator's time that showing the state of the sweep takes."""


class Coordinator:
    """Runs the trials of a study to its budget.

    Args:
        plan: The study.
        ledger: Its writer.
        launcher: Runs the trials.
        slots: Their slots.
        watcher: Is told of everything.
        stop: The signals that end the run.
        body: Body of a trial's job.
        pause_s: Seconds that a trial gets to finish its step when the run ends early.
        finish: Trials that are paused or were not promoted, and are to go to their end.
        cut_off_at: When the run before was cut off, in seconds since 1970, or None where it came to its end.
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
        pause_s: float,
        finish: Collection[int],
        cut_off_at: float | None,
    ) -> None:
        self._plan = plan
        self._ledger = ledger
        self._launcher = launcher
        self._watcher = watcher
        self._body = body
        self._tell = tell_to(watcher)
        self._baseline = ledger.table.per_query(UNTRAINED)[1][0]
        self._running: dict[str, RunningTrial] = {}  # by the name of its job
        self._final_messages: dict[str, Message] = {}  # of jobs that are gone, until they are reaped, by name
        self._limits = DeviceLimits(ledger)
        self._proposals = ProposalStock(plan, slots=len(slots), tell=partial(self._tell, "study"))
        pruner = CheckpointPruner(plan.run_folder, plan.spec.checkpoints, slots=len(slots), tell=self._tell)
        self._reports = Reports(plan, ledger, limits=self._limits, pruner=pruner, tell=self._tell)
        self._completion = TrialCompletion(plan, ledger, proposals=self._proposals, pruner=pruner, tell=self._tell)
        self._budget_tracker = BudgetTracker(ledger, plan.spec.budget, now=time.monotonic())
        self._queue = TrialQueue(
            plan,
            ledger,
            budget=self._budget_tracker,
            proposals=self._proposals,
            completion=self._completion,
            baseline=self._baseline,
            tell=self._tell,
        )
        self._recovery = FailureRecovery(plan, ledger, limits=self._limits, tell=self._tell)
        self._pausing = Pausing(launcher, stop, pause_s=pause_s, tell=self._tell)
        workers = plan.spec.workers
        self._placement = Placement(slots, workers, launcher=launcher, limits=self._limits, tell=self._tell)
        self._clock = Clock(time.monotonic())
        self._stop = stop
        self._finish = finish
        self._cut_off_at = cut_off_at
        self._cold_told = False
        self._awaits_proposal = False
        self._view_due = 0.0
        # the one that was made last comes last
        self._moves = [self._end, self._place, self._completion.mirror, self._completion.update_note, self._show]

    def run(self) -> EndedBy:
        """Runs until the budget is spent, and returns the part of it that ended the study.

        Raises:
            InterruptedRunError: If a signal came; the trials go on with the next run.
            StudyEndedError: If trials keep failing for one cause.
            StorageError: If the disk is full or cannot be written.
        """
        try:
            self._adopt()
            gc.collect()
            if not gc.get_freeze_count():
                gc.freeze()  # what was loaded stays: see `rare_collections`
            self._check_budget([])  # it may have been lowered, or spent when an earlier run was cut off
            while self._go_on():
                pass
        except (StudyEndedError, StorageError):
            for trial in self._running.values():
                self._ledger.note(trial.number, paused=True)
            raise
        finally:
            self._proposals.close()
            self._budget_tracker.save(time.monotonic())
            self._completion.update_note(at_once=True)
            self._ledger.mirror()
        self._watcher.refresh(self._view())
        if self._stop.signal is not None:
            raise InterruptedRunError(self._stop.signal)
        self._tell("budget", self._budget_tracker.describe_end(), ended_by=self._budget_tracker.ended_by)
        return self._budget_tracker.ended_by

    def _go_on(self) -> bool:
        """Makes one move at most, which may take its time, then answers every report that has come in."""
        has_moved = self._move()
        if not self._running and not has_moved and not self._has_work():
            return False
        idle_s = WAIT_S if self._awaits_proposal else POLL_S
        wait_s = 0.0 if has_moved or self._final_messages else idle_s
        heard = [message for message in self._launcher.wait(wait_s) if self._is_current(message)]
        self._clock.tick(time.monotonic())  # what was said while the coordinator was busy was said in time
        self._answer([(self._running[said.job], said.payload) for said in heard if isinstance(said.payload, Report)])
        for message in heard:
            self._handle(message)
        self._look_after()
        return True

    def _move(self) -> bool:
        """Ends a trial, places one, or shows the state of the study, in turns; False if none of it was due."""
        for move in tuple(self._moves):
            if move():
                self._moves.remove(move)
                self._moves.append(move)
                return True
        return False

    # ---- where trials come from, and where they go

    def _adopt(self) -> None:
        """Takes over the trials of an earlier run; a process of one that is still alive is ended first."""
        record = self._queue.adopt(self._ledger.adopt_trials(self._plan.space), finish=self._finish)
        self._ledger.set_attribute(ENDED_BY, None)
        for trial in record.trials:
            if trial.state == "running":
                self._end_older_attempt(trial.number)
        self._completion.begin(record)
        trials = list(revive_trials(self._plan, self._ledger, record, baseline=self._baseline))
        if self._cut_off_at is not None:
            self._recovery.count_cut_off(record, trials, at=self._cut_off_at)
        self._queue.begin(record, trials)
        for adopted in trials:
            if len(adopted.progress) > 1:
                self._reports.decide(adopted, incumbent=self._incumbent(adopted))
            step = self._recovery.saved_step(adopted)
            text = f"goes on from step {step} (it was {'paused' if adopted.was_paused else 'interrupted'})"
            self._tell("adopt", text, adopted.number, step=step, paused=adopted.was_paused)
            if not self._settle(adopted, self._recovery.find_cause(adopted, "interrupted")):
                self._queue.waiting.append(adopted)

    def _has_work(self) -> bool:
        """Whether trials are to be placed, though perhaps not at once."""
        return not self._pausing.is_on and self._queue.has_trials(self._running.values())

    def _place(self) -> bool:
        """Starts one trial, if there is a slot for one: first those that wait, then a new one, then a paused one."""
        self._awaits_proposal = False
        if not self._has_work():
            return False
        if self._queue.end_known():
            return True
        running = list(self._running.values())
        for slot in self._placement.find_free(running):
            ready = self._queue.list_ready(running)
            admitted = (trial for trial in ready if self._placement.admits(trial, slot, running))
            trial = next(admitted, None)
            if not ready and not self._queue.is_another_due(running):
                return self._queue.go_on(running)
            if not ready:
                trial = self._queue.begin_another(largest_batch=self._limits.largest_batch(slot.label))
                if trial is None:
                    self._awaits_proposal = True
                    return False
                if self._proposals.equals(trial.number):
                    return True
                trial = trial if self._placement.admits(trial, slot, running) else None
            if trial is not None:
                self._queue.waiting.remove(trial)
                self._launch(trial, slot)
                return True
        return False

    def _launch(self, trial: RunningTrial, slot: Slot) -> None:
        self._end_older_attempt(trial.number)
        self._placement.take(slot, self._running.values())
        trial.slot = slot
        trial.attempt += 1
        trial.heard, trial.allowance_s = self._clock.now, LONG_CALL_S  # its imports may be the first
        trial.killed_for = None
        self._plan.run_folder.trial(trial.number).mkdir(mode=0o700, parents=True, exist_ok=True)
        micro_batch = self._placement.limit_micro_batch(trial, slot)
        job = make_job(self._plan, trial, body=self._body, slot=slot, micro_batch=micro_batch)
        self._ledger.begin_run(trial.number, slot=slot, attempt=trial.attempt)
        self._launcher.start(job)
        self._running[trial.job] = trial
        self._tell("start", describe_params(trial.params), trial.number, slot=slot.name, attempt=trial.attempt)

    def _end_older_attempt(self, number: int) -> None:
        killed = self._launcher.end_older_attempt(self._plan.run_folder.attempt_lock(number))
        if killed is not None:
            self._tell("warning", f"ended process {killed}, an older attempt that was still alive", number)

    # ---- messages of trials

    def _incumbent(self, trial: RunningTrial) -> float | None:
        """The highest peak of all other trials."""
        best, others = self._completion.record.best, [*self._running.values(), *self._queue.waiting]
        peaks = [other.peak.value for other in others if other.number != trial.number and other.peak]
        known = [best.value] if best and best.value is not None else []
        return max([*peaks, *self._queue.peaks, *known], default=None)

    def _is_current(self, message: Message) -> bool:
        """Whether a message is of a trial's newest attempt; an older one is dropped, and not answered."""
        trial = self._running.get(message.job)
        if trial is not None and message.attempt == trial.attempt:
            return True
        self._tell("warning", f"{message.job}: a message of attempt {message.attempt} came too late and is dropped")
        return False

    def _answer(self, reports: Sequence[tuple[RunningTrial, Report]]) -> None:
        """Commits the reports that came in together, answers each, then does what they leave to be done."""
        self._reports.commit(reports)
        for trial, _ in reports:
            self._launcher.answer(trial.job, self._reports.take(trial, incumbent=self._incumbent(trial)))
            self._placement.health.note_report(trial.slot)
        for trial, report in reports:
            self._reports.follow_up(trial, report)

    def _handle(self, message: Message) -> None:
        trial = self._running[message.job]
        trial.heard, trial.allowance_s = self._clock.now, find_allowance(message.payload)
        if isinstance(message.payload, Started):
            self._note_start(trial, is_warm=message.payload.warm)
        elif isinstance(message.payload, (Done, Failure, Died)):
            self._final_messages[message.job] = message

    def _note_start(self, trial: RunningTrial, *, is_warm: bool) -> None:
        node = self._launcher.node_of(trial.job)
        if node != trial.node:
            trial.node = node
            self._ledger.note(trial.number, node=node)
        if not is_warm and not self._cold_told:
            self._cold_told = True
            self._tell("warning", "the fork server's imports failed, so every trial imports anew; see its log")

    def _end(self) -> bool:
        """Ends the trial whose job has been gone the longest, if there is one."""
        job = next(iter(self._final_messages), None)
        if job is None:
            return False
        payload, trial = self._final_messages.pop(job).payload, self._running.pop(job)
        self._ledger.end_run(trial.number)
        if trial.slot:
            self._placement.leave(trial.slot)
        match payload:
            case Done():
                self._on_done(trial, payload.result)
            case Failure():
                self._on_failure(trial, payload)
            case Died():
                self._on_death(trial, payload)
        self._go_elsewhere(self._placement.retire_sick())
        return True

    def _on_done(self, trial: RunningTrial, result: TrialResult) -> None:
        if result.status != "paused":
            self._placement.health.note_end(trial.slot)
            self._completion.end(trial)
            self._queue.note_end(trial)
        elif self._budget_tracker.is_early:
            self._end_early(trial)
        elif trial.is_at_rung:
            self._queue.pause(trial)
        else:
            self._ledger.note(trial.number, paused=True)
            text = f"saved at step {result.step}, to go on from there"
            self._tell("pause", text, trial.number, step=result.step, attempt=trial.attempt)
            self._requeue(trial)

    def _on_death(self, trial: RunningTrial, death: Died) -> None:
        if self._stop.signal is not None:  # the user asked for its death, so it does not count
            self._ledger.note(trial.number, paused=True)
            self._tell("pause", "ended before it could save; its last checkpoint counts", trial.number)
            return
        if self._budget_tracker.is_early:
            self._end_early(trial)
            return
        reason = f"{trial.killed_for}, so it was killed" if trial.killed_for else death.reason
        slot = trial.slot
        self._recovery.count(trial)
        cause = self._recovery.find_cause(trial, reason)
        is_suspect = cause is not None and self._placement.suspect(slot, trial.number, self._running.values())
        if not self._settle(trial, cause, ends_study=not is_suspect):
            step = self._recovery.saved_step(trial)
            self._tell("retry", f"{reason}; goes on from step {step}", trial.number, step=step, attempt=trial.attempt)
            self._requeue(trial)

    def _settle(self, trial: RunningTrial, cause: str | None, *, ends_study: bool = True) -> bool:
        """Ends or pauses an interrupted trial where only that was missing, or fails it for a cause; else False."""
        if cause is None and trial.is_at_rung:
            self._queue.pause(trial)
            return True
        is_settled = self._completion.settle(trial, cause, ends_study=ends_study)
        if is_settled and (trial.stop is not None or trial.is_measured_to_the_end):
            self._queue.note_end(trial)
        return is_settled

    def _on_failure(self, trial: RunningTrial, failure: Failure) -> None:
        is_exhausted = failure.exhausted_micro_batch is not None
        if not is_exhausted:
            self._recovery.check_disk(trial, failure)
        elif self._recovery.lower_memory(trial, failure):
            self._requeue(trial)
            return
        is_suspect = not is_exhausted and self._placement.suspect(trial.slot, trial.number, self._running.values())
        self._completion.fail(trial, failure.cause, exhausted=is_exhausted, ends_study=not is_suspect)

    def _go_elsewhere(self, numbers: Sequence[int]) -> None:
        """Has the trials that failed on a sick device run again: from their checkpoints, or as new ones."""
        resumable = [number for number in numbers if self._completion.record.trials[number].is_resumable]
        if resumable:
            self._ledger.reopen(resumable)
            self._completion.record = record = self._ledger.record()
            revived = revive_trials(self._plan, self._ledger, record, baseline=self._baseline)
            self._queue.waiting += [trial for trial in revived if trial.number in resumable]
        self._completion.rerun([number for number in numbers if number not in resumable], "its device was at fault")

    def _requeue(self, trial: RunningTrial) -> None:
        trial.slot = None
        points = self._ledger.table.rows(trial.number)
        if points:
            trial.seconds_before = points[-1].seconds
            trial.evaluation_seconds_before = points[-1].evaluation_seconds
        self._queue.waiting.append(trial)

    # ---- budgets, signals, silence and watchers

    def _look_after(self) -> None:
        now, running = time.monotonic(), list(self._running.values())
        alive = [trial for trial in running if trial.job not in self._final_messages]
        awake = self._clock.tick(now)
        self._recovery.give_sign(now)
        self._budget_tracker.tick(now, running)
        self._pausing.look_after(alive)
        self._check_budget(running)
        for trial in alive:
            stalled = find_stalled(trial, now=awake, stall_s=self._plan.spec.workers.stall_s)
            if stalled is not None and not self._pausing.is_on:
                trial.killed_for = stalled
                self._launcher.kill(trial.job)

    def _show(self) -> bool:
        """Shows the state of the sweep, if that is due."""
        now = time.monotonic()
        if now < self._view_due:
            return False
        self._watcher.refresh(self._view())
        self._view_due = now + (time.monotonic() - now) / VIEW_SHARE
        return True

    def _check_budget(self, running: Sequence[RunningTrial]) -> None:
        """Ends the study early where its time is spent or its target reached: each trial ends with what it has."""
        if self._stop.signal is None and self._budget_tracker.ends_early(self._completion.record, running):
            self._pausing.begin(running)
            waiting, self._queue.waiting = self._queue.waiting, []
            for trial in waiting:
                self._end_early(trial)
            self._queue.end_paused()

    def _end_early(self, trial: RunningTrial) -> None:
        """Ends a trial for the study's budget, where its own curve gave no other reason."""
        if trial.stop is None:
            trial.stop = Stop("study ended", f"study ended: {self._budget_tracker.describe_end()}")
        self._completion.end(trial)

    def _view(self) -> SweepView:
        running = list(self._running.values())
        return make_view(self._plan, self._completion.record, running, self._placement.slots)

"""Coordinator: asks, tells, stops, adopts and counts; the one that owns a study while it runs."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence

from sweep.coordinator.budget import BudgetTracker, EndedBy
from sweep.coordinator.checkpoint_pruning import CheckpointPruner
from sweep.coordinator.events import SweepView, Watcher, describe_params, make_view, tell_to
from sweep.coordinator.failure_recovery import Clock, Interruptions, find_stalled
from sweep.coordinator.ledger import Ledger
from sweep.coordinator.pausing import Pausing
from sweep.coordinator.placement import DeviceLimits, Placement
from sweep.coordinator.proposals import Proposer
from sweep.coordinator.reports import Reports
from sweep.coordinator.running import RunningTrial, begin_trial, make_assignment, revive_trial
from sweep.coordinator.trial_completion import Endings
from sweep.errors import StorageError, StudyEndedError
from sweep.launch import Died, Launcher, Message, Slot
from sweep.measures.score import Score
from sweep.messages import Done, Failure, Job, Report, Started, TrialResult
from sweep.plan import StudyPlan
from sweep.signals import InterruptedRunError, StopSignal
from sweep.stopping.stop import Stop
from sweep.storage.evaluations import UNTRAINED

POLL_S = 0.2

MIRROR_S = 1.0
"""Seconds by which Optuna's tables are behind ours at most, where there is time enough: what comes together in them is
written together."""

MIRROR_SLICE_S = 0.05
"""Seconds of it at a time, after which the reports that came in meanwhile are answered."""

MIRROR_SHARE = 0.3
"""Most of the coordinator's time that goes into it while trials run; the rest of it is done at the end."""

VIEW_SHARE = 0.05
"""Most of the coordinator's time that goes into showing the state of the sweep."""


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
        pause_s: Seconds that a trial gets to finish its step when the run ends early.
        was_cut_off: Whether the run before was, so that trials may have been at fault.
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
        was_cut_off: bool,
    ) -> None:
        self._plan = plan
        self._ledger = ledger
        self._launcher = launcher
        self._watcher = watcher
        self._body = body
        self._tell = tell_to(watcher)
        self._baseline = ledger.table.per_query(UNTRAINED)[1][0]
        self._running: dict[str, RunningTrial] = {}  # by the name of its job
        self._final_messages: dict[str, Message] = {}  # of jobs that are gone, until they are taken leave of, by name
        self._moves = [
            self._end,
            self._place,
            self._mirror,
            self._remark,
            self._show,
        ]  # the one that was made last comes last
        self._waiting: list[RunningTrial] = []  # begun trials without a place; they go on before new ones begin
        self._limits = DeviceLimits(ledger)
        self._proposer = Proposer(plan.space, seed=plan.spec.seed, trials=plan.spec.budget.trials)
        keeper = CheckpointPruner(plan.run_folder, plan.spec.checkpoints, slots=len(slots), tell=self._tell)
        self._reports = Reports(plan, ledger, limits=self._limits, keeper=keeper, tell=self._tell)
        self._endings = Endings(plan, ledger, proposer=self._proposer, keeper=keeper, tell=self._tell)
        self._interruptions = Interruptions(plan, ledger, limits=self._limits, tell=self._tell)
        self._pausing = Pausing(launcher, stop, pause_s=pause_s, tell=self._tell)
        self._placement = Placement(
            slots,
            launcher=launcher,
            limits=self._limits,
            micro_batch=plan.spec.workers.micro_batch,
            warn=lambda text: self._tell("warning", text),
        )
        self._clock = Clock(time.monotonic())
        self._budget_tracker = BudgetTracker(ledger, plan.spec.budget, now=time.monotonic())
        self._stop = stop
        self._was_cut_off = was_cut_off
        self._cold_told = False
        self._view_due = 0.0
        self._mirror_due = 0.0

    @property
    def baseline(self) -> float:
        """Value of the untrained model."""
        return Score(self._baseline).mean

    def run(self) -> EndedBy:
        """Runs until the budget is spent.

        Returns:
            The part of the budget that ended the study.

        Raises:
            InterruptedRunError: If a signal came; what was running goes on with the next run.
            StudyEndedError: If trials keep failing for one cause.
            StorageError: If the disk is full or cannot be written.
        """
        try:
            self._adopt()
            gc.collect()
            gc.freeze()  # what was loaded stays: see `rare_collections`
            self._check_budget([])  # it may have been lowered, or spent when an earlier run was cut off
            while self._go_on():
                pass
        except (StudyEndedError, StorageError):
            for trial in self._running.values():
                self._ledger.note(trial.number, paused=True)
            raise
        finally:
            self._budget_tracker.save(time.monotonic())
            self._endings.remark(at_once=True)
            self._ledger.mirror()
        self._watcher.refresh(self._view())
        if self._stop.signal is not None:
            raise InterruptedRunError(self._stop.signal)
        self._tell("budget", self._budget_tracker.describe_end(), ended_by=self._budget_tracker.ended_by)
        return self._budget_tracker.ended_by

    def _go_on(self) -> bool:
        """One round: one thing at most that takes its time, then every report that is there is answered."""
        has_moved = self._move()
        if not self._running and not has_moved and not self._has_work():
            return False
        has_more = has_moved or bool(self._final_messages)
        heard = [message for message in self._launcher.wait(0.0 if has_more else POLL_S) if self._is_current(message)]
        self._answer([(self._running[one.job], one.payload) for one in heard if isinstance(one.payload, Report)])
        for message in heard:
            self._handle(message)
        self._look_after()
        return True

    def _move(self) -> bool:
        """Ends a trial, places one, or says where the study stands: in turns. Whether one of them was to be done."""
        for move in tuple(self._moves):
            if move():
                self._moves.remove(move)
                self._moves.append(move)
                return True
        return False

    # ---- where trials come from, and where they go

    def _adopt(self) -> None:
        """Takes over what an earlier run left behind; a process of it that is still alive is ended first."""
        found = self._ledger.adopt_trials(self._plan.space)
        left = [record for record in found.trials if record.state == "running"]
        for record in left:
            self._end_older_attempt(record.number)
        self._endings.begin(found)
        values = self._ledger.values()
        for record in left:
            params = self._plan.space.params(values[record.number])
            measured = self._ledger.table.per_query(record.number)
            trial = revive_trial(self._plan, record, params=params, baseline=self._baseline, measured=measured)
            if len(trial.progress) > 1:
                self._reports.decide(trial, incumbent=self._incumbent(trial))
            paused = bool(record.attributes.get("paused"))
            if self._was_cut_off and not paused and trial.attempt > trial.counted:
                self._interruptions.count(trial)
            step = self._interruptions.saved_step(trial)
            text = f"goes on from step {step} (it was {'paused' if paused else 'interrupted'})"
            self._tell("adopt", text, trial.number, step=step, paused=paused)
            if not self._endings.settle(trial) and not self._fails(trial, "interrupted"):
                self._waiting.append(trial)

    def _has_work(self) -> bool:
        """Whether trials are to be placed, though perhaps not at once."""
        return not self._pausing.is_on and (bool(self._waiting) or self._has_room())

    def _has_room(self) -> bool:
        counted = self._endings.record.counted + len(self._running) + len(self._waiting)
        return counted < self._plan.spec.budget.trials

    def _place(self) -> bool:
        """Starts one trial, if there is a slot for one: those that wait come first."""
        if not self._has_work():
            return False
        running = self._running.values()
        for slot in self._placement.find_free(running):
            trial = next((one for one in self._waiting if self._placement.admits(one, slot, running)), None)
            if trial is None and not self._waiting:
                trial = self._begin(slot)
                self._waiting.append(trial)
                trial = trial if self._placement.admits(trial, slot, running) else None
            if trial is not None:
                self._waiting.remove(trial)
                self._launch(trial, slot)
                return True
        return False

    def _begin(self, slot: Slot) -> RunningTrial:
        """A new trial."""
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
        )
        return begin_trial(self._plan, number, params=params, baseline=self._baseline)

    def _launch(self, trial: RunningTrial, slot: Slot) -> None:
        plan, folder = self._plan, self._plan.run_folder
        self._end_older_attempt(trial.number)
        self._placement.take(slot, self._running.values())
        trial.slot = slot
        trial.attempt += 1
        trial.heard = self._clock.now
        trial.killed_for = None
        folder.trial(trial.number).mkdir(mode=0o700, parents=True, exist_ok=True)
        job = Job(
            name=trial.job,
            body=self._body,
            task=make_assignment(plan, trial, slot=slot, micro_batch=self._placement.held_to(trial, slot)),
            log=folder.log(trial.number),
            environment=slot.environment,
            attempt=trial.attempt,
            lock=folder.attempt_lock(trial.number),
        )
        self._ledger.begin_run(trial.number, slot=slot.name, device=slot.label, attempt=trial.attempt)
        self._launcher.start(job)
        self._running[trial.job] = trial
        self._tell("start", describe_params(trial.params), trial.number, slot=slot.name, attempt=trial.attempt)

    def _end_older_attempt(self, number: int) -> None:
        killed = self._launcher.end_older_attempt(self._plan.run_folder.attempt_lock(number))
        if killed is not None:
            self._tell("warning", f"ended process {killed}, an older attempt that was still alive", number)

    # ---- what trials say

    def _incumbent(self, trial: RunningTrial) -> float | None:
        """The highest peak of all other trials."""
        best, others = self._endings.record.best, [*self._running.values(), *self._waiting]
        peaks = [other.peak.ndcg for other in others if other.number != trial.number and other.peak]
        return max([*peaks, *([best.value] if best and best.value is not None else [])], default=None)

    def _is_current(self, message: Message) -> bool:
        """Whether a message is of a trial's newest attempt; an older one is not heeded, and not answered."""
        trial = self._running.get(message.job)
        if trial is not None and message.attempt == trial.attempt:
            return True
        self._tell("warning", f"{message.job}: a message of attempt {message.attempt} came too late and is dropped")
        return False

    def _answer(self, reports: Sequence[tuple[RunningTrial, Report]]) -> None:
        """Answers the reports that came in together: committed together, and followed up once all are answered."""
        self._reports.commit(reports)
        for trial, _ in reports:
            self._launcher.answer(trial.job, self._reports.take(trial, incumbent=self._incumbent(trial)))
        for trial, report in reports:
            self._reports.follow_up(trial, report)

    def _handle(self, message: Message) -> None:
        self._running[message.job].heard = self._clock.now
        if isinstance(message.payload, Started):
            if not message.payload.warm and not self._cold_told:
                self._cold_told = True
                self._tell("warning", "the fork server's imports failed, so every trial imports anew; see its log")
        elif isinstance(message.payload, (Done, Failure, Died)):
            self._final_messages[message.job] = message

    def _end(self) -> bool:
        """Takes leave of the trial whose job is gone the longest, if there is one."""
        job = next(iter(self._final_messages), None)
        if job is None:
            return False
        payload, trial = self._final_messages.pop(job).payload, self._running.pop(job)
        self._ledger.end_run(trial.number)
        if trial.slot:
            self._placement.leave(trial.slot)
        if isinstance(payload, Done):
            self._on_done(trial, payload.result)
        elif isinstance(payload, Failure):
            self._on_failure(trial, payload)
        elif isinstance(payload, Died):
            self._on_death(trial, payload)
        return True

    def _on_done(self, trial: RunningTrial, result: TrialResult) -> None:
        if result.status != "paused":
            self._endings.end(trial)
        elif self._budget_tracker.is_early:
            self._end_early(trial)
        else:
            self._ledger.note(trial.number, paused=True)
            text = f"saved at step {result.step}, to go on from there"
            self._tell("pause", text, trial.number, step=result.step, attempt=trial.attempt)
            self._requeue(trial)

    def _on_death(self, trial: RunningTrial, death: Died) -> None:
        if self._pausing.is_interrupted:  # its death is the user's wish, and none of its interruptions
            self._ledger.note(trial.number, paused=True)
            self._tell("pause", "ended before it could save; its last checkpoint counts", trial.number)
            return
        if self._budget_tracker.is_early:
            self._end_early(trial)
            return
        reason = f"{trial.killed_for}, so it was killed" if trial.killed_for else death.reason
        self._interruptions.count(trial)
        if not self._endings.settle(trial) and not self._fails(trial, reason):
            step = self._interruptions.saved_step(trial)
            self._tell("retry", f"{reason}; goes on from step {step}", trial.number, step=step, attempt=trial.attempt)
            self._requeue(trial)

    def _on_failure(self, trial: RunningTrial, failure: Failure) -> None:
        if failure.exhausted_micro_batch is not None:
            if self._interruptions.lower_memory(trial, failure):
                self._requeue(trial)
            else:
                self._endings.fail(trial, failure.cause)
        elif self._interruptions.is_disk_failure(failure):
            self._ledger.note(trial.number, paused=True)
            raise StorageError(
                f"{self._plan.run_folder.path}: trial {trial.number} could not write: {failure.cause}; nothing is lost:"
                " make room or mend the disk, and run the same command again"
            )
        else:
            self._endings.fail(trial, failure.cause)

    def _fails(self, trial: RunningTrial, reason: str) -> bool:
        """Fails a trial that was interrupted too often without getting any further."""
        cause = self._interruptions.find_cause(trial, reason)
        if cause is not None:
            self._endings.fail(trial, cause)
        return cause is not None

    def _requeue(self, trial: RunningTrial) -> None:
        trial.slot = None
        points = self._ledger.table.rows(trial.number)
        if points:
            trial.seconds_before = points[-1].seconds
            trial.evaluation_seconds_before = points[-1].evaluation_seconds
        self._waiting.append(trial)

    # ---- budgets, signals, silence and watchers

    def _look_after(self) -> None:
        now, running = time.monotonic(), list(self._running.values())
        alive = [trial for trial in running if trial.job not in self._final_messages]
        awake = self._clock.tick(now)
        self._budget_tracker.tick(now, running)
        self._pausing.look_after(alive)
        self._check_budget(running)
        for trial in alive:
            stalled = find_stalled(trial, now=awake, stall_s=self._plan.spec.workers.stall_s)
            if stalled is not None and not self._pausing.is_on:
                trial.killed_for = stalled
                self._launcher.kill(trial.job)

    def _remark(self) -> bool:
        """Writes the note on where the study stands, if that is due."""
        return self._endings.remark()

    def _mirror(self) -> bool:
        """Shows the study in Optuna's tables, if that is due."""
        now = time.monotonic()
        if now < self._mirror_due or not self._ledger.is_behind:
            return False
        is_whole = self._ledger.mirror(at_most_s=MIRROR_SLICE_S)
        took = time.monotonic() - now
        self._mirror_due = now + (took + MIRROR_S if is_whole else took / MIRROR_SHARE)
        return True

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
        if self._stop.signal is None and self._budget_tracker.ends_early(self._endings.record, running):
            self._pausing.begin(running)
            waiting, self._waiting = self._waiting, []
            for trial in waiting:
                self._end_early(trial)

    def _end_early(self, trial: RunningTrial) -> None:
        """Ends a trial for the study's budget, where its own curve gave no other reason."""
        if trial.stop is None:
            trial.stop = Stop("study ended", f"study ended: {self._budget_tracker.describe_end()}")
        self._endings.end(trial)

    def _view(self) -> SweepView:
        running = list(self._running.values())
        return make_view(self._plan, self._endings.record, running, self._placement.slots, self.baseline)

"""run_study: runs or resumes a study to the end of its budget."""

from __future__ import annotations

import contextlib
import gc
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna

from sweep.coordinator.budget import PAUSE_S, BudgetTracker, EndedBy
from sweep.coordinator.changes import (
    check_unchanged,
    describe_beginning,
    describe_history,
    find_changes,
    find_content_changes,
)
from sweep.coordinator.checkpoint_pruning import check_disk, folder_bytes
from sweep.coordinator.confirmation import check_confirm, list_missing
from sweep.coordinator.coordinator import Coordinator
from sweep.coordinator.events import Event, EventKind, EventLog, Watcher
from sweep.coordinator.failure_recovery import mark_run
from sweep.coordinator.ledger import Ledger
from sweep.coordinator.lengthening import list_longer
from sweep.coordinator.placement import check_room, count_weight_bytes
from sweep.coordinator.reruns import NoResultError, begin_reruns, check_finish, check_result
from sweep.coordinator.study_jobs import StudyJobs, is_complete
from sweep.errors import StorageError, StudyFileError, SweepError
from sweep.launch import Launcher, Slot, make_launcher
from sweep.launch.jobs import JobFailedError
from sweep.launch.launcher import describe_slots
from sweep.messages import PreparedStudy
from sweep.plan import StudyPlan
from sweep.run_folder import claim_folder, read_study_name, write_study_name
from sweep.signals import InterruptedRunError, StopSignal
from sweep.storage.failures import explain_failures
from sweep.storage.location import LockedStudy, Waiting, check_name, lock_study
from sweep.storage.records import BUDGET_TRIALS, ENDED_BY, StudyRecord
from sweep.storage.retry import retry
from sweep.storage.study_tables import FINISHED

JOBS = "sweep.trial"
"""Module that holds the bodies of a study's jobs: prepare_study, compile_again, run_trial, evaluate_models."""

YOUNG = 20_000
"""New objects after which Python collects garbage; its own 700 are for programs that make few."""


@contextlib.contextmanager
def rare_collections() -> Iterator[None]:
    """Collects garbage in cycles more rarely in a ``with`` block; the settings are restored afterwards.

    A study of 5,000 trials is a million objects that stay. A collection of all of them takes 0.2 s, in which no report
    is answered; Python's own settings make thirty while such a study is loaded, half of the time of loading. So loaded
    objects are frozen as well (`Coordinator.run`), where the program that runs the study has frozen none itself.
    """
    before, has_frozen = gc.get_threshold(), gc.get_freeze_count() > 0
    gc.set_threshold(YOUNG, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        if not has_frozen:
            gc.unfreeze()


def run_study(
    plan: StudyPlan,
    *,
    watcher: Watcher,
    stop: StopSignal,
    launcher: Launcher | None = None,
    jobs: str = JOBS,
    pause_s: float = PAUSE_S,
    finish: Collection[int] = (),
    exhibit: Callable[[], tuple[str, Mapping[str, Any]]] | None = None,
) -> StudyRecord:
    """Runs or resumes a study until its budget is spent, and returns it; one that is finished is left as it is.

    Args:
        plan: The study.
        watcher: Is told of everything.
        stop: The signals that end the run.
        launcher: Runs the jobs; None runs them where the study file says.
        jobs: Module with the bodies of the jobs.
        pause_s: Seconds that a trial gets to finish its step when the run ends early.
        finish: Trials that are paused or were not promoted, and are to go to their end, whatever budget is left.
        exhibit: Makes the note of the finished study and its figures by name, for its dashboard.

    Raises:
        SweepError: If it cannot run, was interrupted, or its trials keep failing. What was committed stays.
    """
    own = launcher or make_launcher(plan.spec.workers, (jobs,), shared=plan.shared_folder)
    log = EventLog(plan.run_folder.coordinator_log, watcher)
    try:
        with rare_collections():
            return _StudyRun(plan, own, log, stop, jobs, pause_s, tuple(finish), exhibit).run()
    except SweepError as error:
        if not log.is_empty:  # a start that is refused changes nothing
            log.show(Event("error", str(error)))
        raise
    finally:
        own.close()


def find_fitting_slots(plan: StudyPlan, launcher: Launcher, *, stop: StopSignal) -> list[Slot]:
    """The slots of a study, if the minimum that its trials take fits the memory and the disk.

    Raises:
        DeviceError: If they do not, or a device does not exist.
    """
    slots = launcher.find_slots(plan.spec.workers, stop=stop)
    base = plan.run_folder.base_model if plan.run_folder.base_model.is_dir() else plan.base_model
    if base != plan.base_model or plan.spec.model.keep_layers is None:  # layers that are cut need no room
        check_room(slots, count_weight_bytes(base))
        check_disk(plan.spec.checkpoints, slots=len(slots), model_bytes=folder_bytes(base))
    return slots


@dataclass(frozen=True)
class _StudyRun:
    """One run of a study, from the lock to the evaluation of its best model on the test split."""

    plan: StudyPlan
    launcher: Launcher
    watcher: EventLog
    stop: StopSignal
    jobs: str
    pause_s: float
    finish: Collection[int]
    exhibit: Callable[[], tuple[str, Mapping[str, Any]]] | None

    @property
    def _study_jobs(self) -> StudyJobs:
        return StudyJobs(self.plan, self.launcher, self.stop, self.jobs, self._tell)

    def run(self) -> StudyRecord:
        try:
            with explain_failures(
                self.plan.location.database, ending="; what was committed stands, and the same command goes on"
            ):
                return self._run()
        except OSError as error:
            problem = f"{error.filename or self.plan.run_folder.path}: cannot be written: {error.strerror or error}"
            advice = "nothing that was reported is lost: fix that, and run the same command again"
            raise StorageError(f"{problem}; {advice}") from error
        except StorageError:
            if self.stop.signal is not None:  # the server was gone when the user had enough
                raise InterruptedRunError(self.stop.signal) from None
            raise

    def _run(self) -> StudyRecord:
        folder = self.plan.run_folder.path
        slots: Sequence[Slot] = ()
        is_new = not folder.is_dir()
        if is_new:  # a study that this machine cannot run leaves nothing behind
            slots = find_fitting_slots(self.plan, self.launcher, stop=self.stop)
        claim_folder(folder)
        waiting = Waiting(tell=lambda text: self._tell("warning", text), is_ended=lambda: self.stop.signal is not None)
        try:
            with lock_study(self.plan.location.database, waiting=waiting) as held:
                return self._run_held(held, slots, is_new=is_new)
        finally:
            if is_new:
                with contextlib.suppress(OSError):
                    folder.rmdir()  # succeeds only where it is empty

    def _run_held(self, held: LockedStudy, slots: Sequence[Slot], *, is_new: bool) -> StudyRecord:
        try:
            ledger = self._find_ledger(held)
            if ledger is None and self.finish:
                raise SweepError(f"{self.plan.file}: its study has not begun, so no trial can be finished")
            check_confirm(self.plan, ledger.record() if ledger else None)
            finished = self._find_finished(ledger) if ledger else None
            if finished is not None:
                return finished
            slots = slots or find_fitting_slots(self.plan, self.launcher, stop=self.stop)
            ledger = self._begin(held, ledger, slots)
        except SweepError as error:
            # nor does a study that could not begin, except for a log that its message names
            if is_new and not self._has_database() and not (isinstance(error, JobFailedError) and error.log):
                self.plan.location.database.discard()
                shutil.rmtree(self.plan.run_folder.path, ignore_errors=True)
            raise
        self._note_changes(ledger)
        ledger.set_attribute(BUDGET_TRIALS, self.plan.spec.budget.trials)
        ended_by = self._run_trials(ledger, slots)
        check_result(self.plan, ledger)
        self._study_jobs.evaluate_once(ledger, slots[0])
        ledger.set_attribute(ENDED_BY, ended_by)
        if self.exhibit is not None:
            ledger.exhibit(*self.exhibit())
        ledger.mirror()
        return ledger.record()

    def _run_trials(self, ledger: Ledger, slots: Sequence[Slot]) -> EndedBy:
        with mark_run(self.plan.run_folder.unfinished) as cut_off_at:
            return Coordinator(
                self.plan,
                ledger=ledger,
                launcher=self.launcher,
                slots=slots,
                watcher=self.watcher,
                stop=self.stop,
                body=f"{self.jobs}:run_trial",
                pause_s=self.pause_s,
                finish=self.finish,
                cut_off_at=cut_off_at,
            ).run()

    def _note_changes(self, ledger: Ledger) -> None:
        """Writes down what changed in the study file since the last run."""
        attributes = ledger.attributes
        changes = find_changes(attributes, self.plan.spec)
        for change in changes:
            self._tell("change", str(change), key=change.key, old=change.old, new=change.new)
        if changes:
            for name, value in describe_history(attributes, changes, self.plan.spec).items():
                ledger.set_attribute(name, value)

    def _has_database(self) -> bool:
        try:
            return self.plan.location.database.exists()
        except StorageError:  # unknown, so nothing is removed
            return True

    def _find_ledger(self, held: LockedStudy) -> Ledger | None:
        """The writer of a study whose database is there."""
        plan, folder = self.plan, self.plan.run_folder
        if not plan.location.database.exists():
            if folder.trials() and read_study_name(folder) is None:
                raise StorageError(
                    f"{folder.path}: holds trials of a study that {plan.location.database} does not have under the name"
                    f" {plan.spec.name!r}: put its old name back, or give the file another name to begin a new study"
                )
            return None
        for name in retry(lambda: optuna.get_all_study_names(held.storage)):
            check_name(plan.file, plan.spec, name)
        ledger = Ledger(held.storage, plan.spec.name)
        write_study_name(folder, plan.spec.name)
        return ledger

    def _find_finished(self, ledger: Ledger) -> StudyRecord | None:
        """The study, if its budget is spent and its best model evaluated; refuses a file that no longer fits it."""
        plan, record = self.plan, ledger.record()
        if not ledger.has_begun():
            if record.trials:
                raise StorageError(
                    f"{plan.location.database}: a fork into this study was cut off; delete it, and fork again"
                )
            return None
        has_measured = any(trial.rows or trial.state in ("running", "paused") for trial in record.trials)
        check_unchanged(plan, record.attributes, has_measured=has_measured)
        if plan.spec.budget.trials < record.counted:
            raise StudyFileError(
                plan.file,
                f"{plan.spec.budget.trials} is below the {record.counted} trials that are finished, and those stay:"
                f" set it to {record.counted} or more",
                key="budget.trials",
            )
        tracker = BudgetTracker(ledger, plan.spec.budget, now=0.0)
        is_early = tracker.ends_early(record, ())
        record = record if is_early else begin_reruns(plan, ledger, record, tell=self._tell)
        check_finish(plan, record, self.finish)
        if is_early and (self.finish or plan.is_confirming):
            what = "finished" if self.finish else "confirmed"
            raise StudyFileError(plan.file, f"is spent, so no trial can be {what}: raise it", key="budget")
        if self.finish:
            return None
        is_spent = is_early or record.counted == plan.spec.budget.trials
        is_done = is_early or not (
            list_longer(plan, ledger, record, tracker.find_room(record, ())) or list_missing(plan, record)
        )
        is_raised = not is_early and record.is_cut_off_while_paused
        if not is_spent or not is_done or is_raised or any(trial.state not in FINISHED for trial in record.trials):
            return None
        if record.best is None:
            raise NoResultError(plan, record)
        return None if self._study_jobs.find_unevaluated(ledger, record) else record

    def _begin(self, held: LockedStudy, ledger: Ledger | None, slots: Sequence[Slot]) -> Ledger:
        """The writer of a study that has begun and whose base model is there."""
        folder, jobs = self.plan.run_folder, self._study_jobs
        for line in describe_slots(slots):
            self._tell("study", line)
        for note in self.plan.collection.notes:
            self._tell("study", f"{self.plan.collection.name}: {note}")
        prepared: PreparedStudy | None = None
        if ledger is None or not is_complete(folder.base_model):
            prepared = jobs.prepare(slots[0])
        ledger = ledger or Ledger(held.storage, self.plan.spec.name)
        if not ledger.has_begun() or any(find_content_changes(self.plan, ledger.attributes)):
            prepared = prepared or jobs.prepare(slots[0])
            write_study_name(folder, self.plan.spec.name)
            revision, collection_hash = prepared.revision, prepared.collection_hash
            began = describe_beginning(self.plan, revision=revision, collection_hash=collection_hash)
            metric = self.plan.spec.evaluation.measure.label
            ledger.begin_study({"parameters": prepared.parameters, **began}, prepared.baseline, metric=metric)
        jobs.compile(slots[0])
        return ledger

    def _tell(self, kind: EventKind, text: str, trial: int | None = None, **numbers: object) -> None:
        self.watcher.show(Event(kind, text, trial, numbers))

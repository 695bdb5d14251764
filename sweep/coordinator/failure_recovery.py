"""FailureRecovery: trials whose processes died, fell silent or ran out of memory, and failures that end a study."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from sweep.coordinator.checkpoint_pruning import saved_step
from sweep.coordinator.events import Tell
from sweep.coordinator.ledger import Ledger
from sweep.coordinator.placement import DeviceLimits
from sweep.coordinator.reruns import generalize
from sweep.coordinator.running import RunningTrial
from sweep.errors import StorageError, SweepError
from sweep.messages import LONG_CALL_S, Alive, Failure, Started
from sweep.plan import StudyPlan
from sweep.storage.failures import DATABASE_ERRORS
from sweep.storage.records import StudyRecord, TrialRecord

MAX_WITHOUT_PROGRESS = 3

MAX_SUSPECTED = 5
"""Deaths of the coordinator in a row, after which the trial that ran alone each time is held to take it along."""

UNKNOWN_START_S = 600.0
"""Seconds that a start and a step are taken to last in a study in which no trial has been measured yet."""

SIGN_S = 1.0
"""Seconds between two signs of life of a coordinator."""

MIN_FREE_BYTES = 32 * 2**20
"""Free space below which a failure is taken for the disk's: libraries report a full one in many ways."""


@contextlib.contextmanager
def mark_run(file: Path) -> Iterator[float | None]:
    """Keeps a file for the life of a ``with`` block, and yields when an earlier block was cut off, or None.

    A run that ends because the disk is full or the database is gone can write nothing more, not even that its trials
    were not at fault; but it can remove a file. A run that was killed cannot, and perhaps a trial took it along. The
    file's time is that of its last sign of life.
    """
    try:
        cut_off_at = file.stat().st_mtime
    except FileNotFoundError:
        cut_off_at = None
        file.touch(mode=0o600)
    try:
        yield cut_off_at
    except (SweepError, OSError, *DATABASE_ERRORS):
        _remove(file)
        raise
    _remove(file)


class FailureRecovery:
    """Counts the interruptions of trials, and decides whether a trial that failed goes on.

    Args:
        plan: The study.
        ledger: Its writer.
        limits: What devices can hold.
        tell: Tells of what happened.
    """

    def __init__(self, plan: StudyPlan, ledger: Ledger, *, limits: DeviceLimits, tell: Tell) -> None:
        self._plan = plan
        self._ledger = ledger
        self._limits = limits
        self._tell = tell
        self._signed = 0.0

    def give_sign(self, now: float) -> None:
        """Has the file of `mark_run` say that this coordinator is alive; trials were adopted before."""
        if now - self._signed >= SIGN_S:
            self._signed = now
            with contextlib.suppress(OSError):
                os.utime(self._plan.run_folder.unfinished)

    def saved_step(self, trial: RunningTrial) -> int:
        """Optimizer step from which a trial would go on."""
        return saved_step(self._plan.run_folder, trial.number)

    def count(self, trial: RunningTrial) -> None:
        """Counts that a trial's process died."""
        trial.interrupt(self.saved_step(trial))
        self._note(trial)

    def count_cut_off(self, record: StudyRecord, adopted: Sequence[RunningTrial], *, at: float) -> None:
        """Notes that the coordinator died while trials ran, at a time in seconds since 1970.

        That is no fault of a trial, unless it takes its coordinator along, as one that exhausts the machine's memory
        may. Suspect is one that ran alone, for longer than its start and a step take.
        """
        ran = [trial for trial in adopted if trial.attempt and not trial.was_paused]
        for trial in ran:
            if trial.attempt > trial.counted:
                ran_s = at - self._ledger.last_began(trial.number)
                is_suspect = len(ran) == 1 and ran_s > estimate_start_s(record, trial.number)
                trial.cut_off(self.saved_step(trial), is_suspect=is_suspect)
                self._note(trial)

    def _note(self, trial: RunningTrial) -> None:
        names = ("interruptions", "without_progress", "suspected", "counted")
        self._ledger.note(trial.number, mark=list(trial.mark), **{name: getattr(trial, name) for name in names})

    def find_cause(self, trial: RunningTrial, reason: str) -> str | None:
        """The cause for which an interrupted trial fails, or None where it may go on."""
        if trial.suspected >= MAX_SUSPECTED:
            return f"its coordinator died while it ran alone, {MAX_SUSPECTED} times without progress"
        if trial.without_progress >= MAX_WITHOUT_PROGRESS:
            return f"{reason}, {MAX_WITHOUT_PROGRESS} times without progress"
        return None

    def lower_memory(self, trial: RunningTrial, failure: Failure) -> bool:
        """Halves the micro-batch of a trial that ran out of memory, and remembers that for its device.

        Returns:
            Whether the trial can go on; at a micro-batch of 1 it cannot, and its device gets no such batch again.
        """
        exhausted = failure.exhausted_micro_batch or 1
        device = trial.slot.label if trial.slot else ""
        if exhausted <= 1:
            self._limits.lower_batch(device, trial.params.batch_size // 2)
            return False
        trial.micro_batch = exhausted // 2
        self._ledger.note(trial.number, micro_batch=trial.micro_batch)
        self._limits.lower_micro_batch(device, trial.micro_batch)
        text = f"{failure.cause}; goes on with {trial.micro_batch}"
        self._tell("retry", text, trial.number, attempt=trial.attempt, micro_batch=trial.micro_batch)
        return True

    def check_disk(self, trial: RunningTrial, failure: Failure) -> None:
        """Ends the run where the disk made a trial fail; the trial goes on with the next run.

        Raises:
            StorageError: If the disk is full or cannot be written.
        """
        folder = self._plan.run_folder.path
        if failure.disk_failed or shutil.disk_usage(folder).free < MIN_FREE_BYTES:
            self._ledger.note(trial.number, paused=True)
            raise StorageError(
                f"{folder}: trial {trial.number} could not write: {failure.cause}; nothing is lost: make room or fix"
                " the disk, and run the same command again"
            )


def estimate_start_s(record: StudyRecord, number: int) -> float:
    """Seconds within which a trial has started and made a step, by those to a first measurement: its own or others'."""
    first = {trial.number: trial.rows[0].seconds for trial in record.trials if trial.rows}
    return first.get(number, max(first.values(), default=UNKNOWN_START_S))


def _remove(file: Path) -> None:
    with contextlib.suppress(OSError):
        file.unlink(missing_ok=True)


def find_allowance(message: object) -> float:
    """Seconds that a trial's process may be silent after a message, where the study's limit is shorter."""
    match message:
        case Alive():
            return message.allowance_s
        case Started(warm=False):  # it imports what the fork server was to have imported
            return LONG_CALL_S
        case _:
            return 0.0


def find_stalled(trial: RunningTrial, *, now: float, stall_s: float) -> str | None:
    """The reason to kill a trial's process that has sent nothing for too long, or None."""
    limit_s = max(stall_s, trial.allowance_s)
    if now - trial.heard < limit_s or trial.killed_for is not None:
        return None
    return f"reported nothing for {limit_s:g} s"


MAX_FAILURES = 3


class FailureStreak:
    """The failures since a trial last ended well."""

    def __init__(self) -> None:
        self._failures: list[tuple[int, str]] = []  # trial, cause

    def add(self, trial: int, cause: str) -> None:
        """Adds the failure of a trial."""
        self._failures.append((trial, generalize(cause)))

    def clear(self) -> None:
        """Forgets the failures, since a trial ended well."""
        self._failures.clear()

    def remove(self, trials: Sequence[int]) -> None:
        """Forgets the failures of trials that run again."""
        self._failures = [failure for failure in self._failures if failure[0] not in trials]

    def ending(self, ended: Sequence[TrialRecord]) -> list[int]:
        """The failed trials that together end the study, or none.

        Args:
            ended: Every trial that has ended and counts.

        Returns:
            The study's first two trials where both failed before their first evaluation, or the last three where they
            failed in a row for one cause, whatever numbers and addresses it names.
        """
        if len(ended) == 2 and all(trial.state == "fail" and not trial.rows for trial in ended):
            return [trial.number for trial in ended]
        last = self._failures[-MAX_FAILURES:]
        in_a_row = len(last) == MAX_FAILURES and len({cause for _, cause in last}) == 1
        return [trial for trial, _ in last] if in_a_row else []

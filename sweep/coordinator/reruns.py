"""Trials that came to nothing run again, and a study without any result says why."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence

from sweep.coordinator.changes import find_changes, find_content_changes
from sweep.coordinator.events import Tell
from sweep.coordinator.ledger import Ledger
from sweep.errors import StudyEndedError, SweepError
from sweep.plan import StudyPlan
from sweep.storage.records import StudyRecord, TrialRecord

_VARYING = re.compile(r"0x[0-9a-fA-F]+|\d[\d.,]*")


def generalize(cause: str) -> str:
    """A cause of failure with ``#`` for each number and address, in which failures of one cause may differ."""
    return _VARYING.sub("#", cause)


class NoResultError(StudyEndedError):
    """No trial of a study came to a result, for the causes that its record names."""

    def __init__(self, plan: StudyPlan, record: StudyRecord) -> None:
        causes = describe_no_result(record.trials)
        where = f"see {plan.run_folder.logs}; once that is fixed, the same command goes on"
        super().__init__(f"{plan.file}: no trial came to a result: {causes}; {where}")


def check_finish(plan: StudyPlan, record: StudyRecord, numbers: Collection[int]) -> None:
    """Checks the numbers of trials that are to be finished.

    Raises:
        SweepError: If one of them is not paused at a rung, and was not when its study ended.
    """
    for number in numbers:
        trial = record.trials[number] if 0 <= number < len(record.trials) else None
        if trial is None or not trial.may_be_promoted:
            there = "there is no such trial" if trial is None else f"it is {trial.state} and paused at no rung"
            paused = ", ".join(str(other.number) for other in record.trials if other.may_be_promoted) or "none"
            raise SweepError(f"{plan.file}: trial {number} cannot be finished: {there}; paused are: {paused}")


def check_result(plan: StudyPlan, ledger: Ledger) -> None:
    """Has the failed trials of a study without any result run again with the next run.

    Raises:
        NoResultError: If there is none.
    """
    record = ledger.record()
    if record.best is None:
        ledger.excuse([trial.number for trial in record.trials if trial.state == "fail" and not trial.is_resumable])
        ledger.mirror()
        raise NoResultError(plan, record)


def begin_reruns(plan: StudyPlan, ledger: Ledger, record: StudyRecord, *, tell: Tell) -> StudyRecord:
    """Has trials that came to nothing run again, at a start; returns the study then."""
    changes = find_changes(record.attributes, plan.spec)
    has_changed = any(not change.key.startswith("budget.") for change in changes)
    resumable = [trial.number for trial in record.trials if trial.is_resumable]
    if any(find_content_changes(plan, record.attributes)):  # their checkpoints are of another model or collection
        ledger.excuse(resumable)
        record, resumable, has_changed = record.excuse(resumable), [], True
    rerun = find_reruns(record, has_changed=has_changed)
    for number in rerun:
        tell("rerun", "it does not count any more, since the study has changed", number)
    ledger.excuse(rerun)
    ledger.reopen(resumable)
    return ledger.record()


def find_reruns(record: StudyRecord, *, has_changed: bool) -> list[int]:
    """The trials that came to nothing and do not count any more when a study is started.

    Where its file, its model or its collection has changed these are all that failed, which run again as new trials; in
    a study without any result also those that diverged. Trials that failed for interruptions go on under their own
    numbers instead.
    """
    lost = ("error", "diverged") if record.best is None else ("error",)
    return [trial.number for trial in record.trials if has_changed and _stands(trial) and trial.ended_by in lost]


def find_excused_by_success(record: StudyRecord) -> list[int]:
    """The failed trials that run again, since another one ended well after them.

    Not those that ran again already, or whose settings exhaust a device: with a study that works they are at fault.
    """
    failed = [trial for trial in record.trials if _stands(trial) and trial.ended_by == "error"]
    return [trial.number for trial in failed if not trial.attributes.keys() & {"rerun_of", "exhausted"}]


def _stands(trial: TrialRecord) -> bool:
    """Whether a trial's end counts, and stands until something changes."""
    return trial.is_counted and not trial.is_resumable


def describe_no_result(trials: Sequence[TrialRecord]) -> str:
    """Why none of the trials of a study came to a result, each cause once and the most frequent first."""
    ended = [trial for trial in trials if trial.is_counted]
    diverged = [trial for trial in ended if trial.ended_by == "diverged"]
    causes = [_describe_diverged(diverged, of=len(ended))] if diverged else []
    others = [trial for trial in ended if trial.ended_by != "diverged"]
    causes += _describe_failures([trial.stop.text if trial.stop else trial.attributes.get("error") for trial in others])
    return "; ".join(causes) or "none has ended"


def _describe_diverged(diverged: Sequence[TrialRecord], *, of: int) -> str:
    rates = [trial.params.effective_learning_rate for trial in diverged if trial.params]
    span = f" at learning rates from {min(rates):.2e} to {max(rates):.2e}" if rates else ""
    who = "all of them" if len(diverged) == of else f"{len(diverged)} of {of}"
    return f"{who} diverged{span}: lower space.learning_rate"


def _describe_failures(causes: Sequence[str | None]) -> list[str]:
    """Each cause once, by an example, and how many trials had it."""
    known = [cause or "no cause is known" for cause in causes]
    examples = {generalize(cause): cause for cause in reversed(known)}
    counted = Counter(map(generalize, known)).most_common()
    return [f"{examples[general]} ({_count(number)})" for general, number in counted]


def _count(number: int) -> str:
    return "1 trial" if number == 1 else f"{number} trials"

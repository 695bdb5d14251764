"""Which trials that came to nothing run again, and how a study without any result says why."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from sweep.storage.records import StudyRecord, TrialRecord

_VARYING = re.compile(r"0x[0-9a-fA-F]+|\d[\d.,]*")


def generalize(cause: str) -> str:
    """A cause of failure with ``#`` for each number and address, in which failures of one cause may differ."""
    return _VARYING.sub("#", cause)


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
    causes += _describe_failures(trial for trial in ended if trial.state == "fail")
    return "; ".join(causes) or "none was measured before the study ended"


def _describe_diverged(diverged: Sequence[TrialRecord], *, of: int) -> str:
    rates = [trial.params.effective_learning_rate for trial in diverged if trial.params]
    span = f" at learning rates from {min(rates):.2e} to {max(rates):.2e}" if rates else ""
    who = "all of them" if len(diverged) == of else f"{len(diverged)} of {of}"
    return f"{who} diverged{span}: lower space.learning_rate"


def _describe_failures(failed: Iterable[TrialRecord]) -> list[str]:
    causes = [str(trial.attributes.get("error")) for trial in failed]
    examples = {generalize(cause): cause for cause in reversed(causes)}
    counted = Counter(map(generalize, causes)).most_common()
    return [f"{examples[general]} ({_count(number)})" for general, number in counted]


def _count(number: int) -> str:
    return "1 trial" if number == 1 else f"{number} trials"

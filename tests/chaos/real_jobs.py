"""The real jobs of a sweep, with a trial that appends to a history what it is answered."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from history import HISTORY

from sweep.messages import Assignment, Channel, Report, TrialResult, Verdict
from sweep.trial import compile_again, evaluate_models, prepare_study
from sweep.trial import run_trial as run_real_trial

__all__ = ["compile_again", "evaluate_models", "prepare_study", "run_trial"]


class RecordingChannel:
    """A trial's line to its coordinator, of which a history is kept."""

    def __init__(self, task: Assignment, channel: Channel) -> None:
        self._task = task
        self._channel = channel

    def report(self, report: Report) -> Verdict:
        verdict = self._channel.report(report)
        note(self._task, "answered", progress=report.progress, ndcg=report.evaluation.value)
        return verdict

    def sign(self, *, long_call: bool = False) -> None:
        self._channel.sign(long_call=long_call)

    def is_pausing(self) -> bool:
        return self._channel.is_pausing()


def run_trial(task: Assignment, channel: Channel) -> TrialResult:
    note(task, "begin")
    return run_real_trial(task, RecordingChannel(task, channel))


def note(task: Assignment, event: str, **numbers: Any) -> None:
    who = {"trial": task.trial, "attempt": task.attempt, "pid": os.getpid()}
    entry = {"time": time.time(), "event": event, **who, **numbers}
    descriptor = os.open(os.environ[HISTORY], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, (json.dumps(entry) + "\n").encode())
    os.close(descriptor)

"""BudgetTracker: a study's usage of its budget over all of its runs, and its end: trials finish their step and save."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from sweep.clock import MAX_AWAKE_S
from sweep.coordinator.events import Tell
from sweep.coordinator.ledger import Ledger
from sweep.coordinator.running import RunningTrial
from sweep.launch import Launcher
from sweep.settings.study_file import BudgetSpec
from sweep.signals import ORDERS, StopSignal
from sweep.storage.records import StudyRecord

EndedBy = Literal["trials", "total_examples", "wall_clock_h", "device_hours", "target"]

SPENT = "spent"
"""Study attribute: {"wall_clock_s": ..., "device_s": ...} of all runs so far."""

SAVE_S = 15.0
"""Seconds between two writes of the usage, which a crash may lose."""

HOUR_S = 3600.0

PAUSE_S = 20.0
"""Seconds that a trial gets to finish its step; after that its last checkpoint counts."""


@dataclass(frozen=True, kw_only=True)
class BudgetUsage:
    """The usage of a study's budget.

    Attributes:
        trials: Trials that are done and count.
        wall_clock_s: Seconds that its runs have taken.
        device_s: Seconds that trials have held devices, summed over devices.
        examples: Training pairs that trials have seen, but for those that confirm others.
        best: Highest value on the dev split that a trial has reached, or None before the first.
    """

    trials: int
    wall_clock_s: float = 0.0
    device_s: float = 0.0
    examples: int = 0
    best: float | None = None


@dataclass(frozen=True, kw_only=True)
class Room:
    """What is left of the totals of a study; infinite where its budget names none.

    Attributes:
        examples: Training pairs.
        wall_clock_s: Seconds of the run.
        device_s: Seconds of devices, summed over them.
    """

    examples: float = math.inf
    wall_clock_s: float = math.inf
    device_s: float = math.inf

    def holds(self, *, examples: int, seconds: float) -> bool:
        """Whether a trial of so many training pairs and seconds on its device fits."""
        return examples <= self.examples and seconds <= min(self.wall_clock_s, self.device_s)

    def without(self, *, examples: int, seconds: float) -> Room:
        """What is left besides a trial; others can run beside it, as far as the hours of the run go."""
        return replace(self, examples=self.examples - examples, device_s=self.device_s - seconds)


def find_room(budget: BudgetSpec, usage: BudgetUsage) -> Room:
    """What a usage leaves of a budget's totals."""
    return Room(
        examples=math.inf if budget.total_examples is None else budget.total_examples - usage.examples,
        wall_clock_s=math.inf if budget.wall_clock_h is None else budget.wall_clock_h * HOUR_S - usage.wall_clock_s,
        device_s=math.inf if budget.device_hours is None else budget.device_hours * HOUR_S - usage.device_s,
    )


def find_end(budget: BudgetSpec, usage: BudgetUsage) -> EndedBy | None:
    """The part of a budget that ends a study, or None while there is some left.

    The target comes first: a study that reached it was a success, whatever else was spent.
    """
    if budget.target is not None and usage.best is not None and usage.best >= budget.target:
        return "target"
    if usage.trials >= budget.trials:
        return "trials"
    if budget.total_examples is not None and usage.examples >= budget.total_examples:
        return "total_examples"
    return find_spent_hours(budget, usage)


def find_spent_hours(budget: BudgetSpec, usage: BudgetUsage) -> EndedBy | None:
    """The hours of a budget that are spent, or None."""
    if budget.wall_clock_h is not None and usage.wall_clock_s >= budget.wall_clock_h * HOUR_S:
        return "wall_clock_h"
    if budget.device_hours is not None and usage.device_s >= budget.device_hours * HOUR_S:
        return "device_hours"
    return None


def describe_end(ended_by: EndedBy, budget: BudgetSpec, usage: BudgetUsage) -> str:
    """The end of a study, in words."""
    match ended_by:
        case "target":
            return f"the target of {budget.target:g} is reached: {usage.best:.4f}"
        case "total_examples":
            return f"the {budget.total_examples:,} training pairs are spent"
        case "wall_clock_h":
            return f"the {budget.wall_clock_h:g} h of wall-clock time are spent"
        case "device_hours":
            return f"the {budget.device_hours:g} device hours are spent"
        case "trials":
            return f"all {budget.trials} trials are done"


class BudgetTracker:
    """Counts the usage of a study's budget, on top of that of earlier runs, and notices when it ends the study.

    Args:
        ledger: The study's writer.
        budget: The study's budget.
        now: The time in seconds, on any clock that goes forward.
    """

    def __init__(self, ledger: Ledger, budget: BudgetSpec, *, now: float) -> None:
        self._ledger = ledger
        self._budget = budget
        before = ledger.attributes.get(SPENT, {})
        self._wall_clock_s: float = before.get("wall_clock_s", 0.0)
        self._device_s: float = before.get("device_s", 0.0)
        self._last = now
        self._saved = now
        self._usage = BudgetUsage(trials=0)
        self.ended_by: EndedBy = "trials"

    @property
    def is_early(self) -> bool:
        """Whether the study ends before its trials are done."""
        return self.ended_by != "trials"

    def tick(self, now: float, running: Iterable[RunningTrial]) -> None:
        """Counts the time since the last call; a time in which this machine slept does not count."""
        passed = min(max(0.0, now - self._last), MAX_AWAKE_S)
        places = {trial.slot.place for trial in running if trial.slot}
        self._wall_clock_s += passed
        self._device_s += passed * len(places)
        self._last = now
        if now - self._saved > SAVE_S:
            self.save(now)

    def save(self, now: float) -> None:
        """Writes down the usage."""
        self._saved = now
        values = {"wall_clock_s": round(self._wall_clock_s, 3), "device_s": round(self._device_s, 3)}
        self._ledger.set_attribute(SPENT, values)

    def ends_early(self, record: StudyRecord, running: Iterable[RunningTrial]) -> bool:
        """Whether the study ends now, before its trials are done, and did not before.

        Once the search is done, its hours end trials that train for longer as well.
        """
        running = list(running)
        peaks = [trial.peak.value for trial in running if trial.peak]
        if record.best is not None and record.best.value is not None:
            peaks.append(record.best.value)
        self._usage = replace(self._measure(record, running), best=max(peaks, default=None))
        ended_by = find_end(self._budget, self._usage)
        if ended_by == "trials" and any(trial.longer_than is not None for trial in running):
            ended_by = find_spent_hours(self._budget, self._usage)
        if self.is_early or ended_by in (None, "trials"):
            return False
        self.ended_by = ended_by
        return True

    def find_room(self, record: StudyRecord, running: Iterable[RunningTrial]) -> Room:
        """What is left of the study's totals."""
        return find_room(self._budget, self._measure(record, running))

    def _measure(self, record: StudyRecord, running: Iterable[RunningTrial]) -> BudgetUsage:
        is_searching = record.is_cut_off_while_paused  # some of the trials that have ended may go on
        return BudgetUsage(
            trials=0 if is_searching else record.counted,
            wall_clock_s=self._wall_clock_s,
            device_s=self._device_s,
            examples=0 if self._budget.total_examples is None else count_examples(record, running),
        )

    def describe_end(self) -> str:
        """The end of the study, in words."""
        return describe_end(self.ended_by, self._budget, self._usage)


def count_examples(record: StudyRecord, running: Iterable[RunningTrial]) -> int:
    """Training pairs that the trials of a study have seen up to their last measurements, but for those that confirm."""
    counted = [trial for trial in record.trials if trial.confirms is None]
    seen = {trial.number: trial.examples for trial in counted}
    seen |= {trial.number: trial.examples for trial in running if trial.confirms is None}
    return sum(seen.values()) + sum(trial.retrained_examples for trial in counted)


class Pausing:
    """Pauses the trials that run, because a signal came or the budget is spent.

    Args:
        launcher: Runs the trials.
        stop: The signals that end the run.
        pause_s: Seconds that a trial gets to finish its step.
        tell: Tells of what happened.
    """

    def __init__(self, launcher: Launcher, stop: StopSignal, *, pause_s: float, tell: Tell) -> None:
        self._launcher = launcher
        self._stop = stop
        self._pause_s = pause_s
        self._tell = tell
        self._since: float | None = None

    @property
    def is_on(self) -> bool:
        """Whether trials are being paused, so that none begins."""
        return self._since is not None or self._stop.signal is not None

    def begin(self, running: Iterable[RunningTrial]) -> None:
        """Asks every trial to finish its step and to save."""
        if self._since is None:
            self._since = time.monotonic()
            for trial in running:
                self._launcher.pause(trial.job)

    def look_after(self, running: Iterable[RunningTrial]) -> None:
        """Obeys a signal; a second one ends everything at once, and so does a step that takes too long."""
        trials = list(running)
        if self._stop.signal is not None and self._since is None:
            again = "; once more ends at once" if self._stop.signal in ORDERS else ""
            self._tell("pause", f"{self._stop.signal.name}: every trial finishes its step and saves{again}")
            self.begin(trials)
        if self._since is None:
            return
        if self._stop.count > 1 or time.monotonic() - self._since > self._pause_s:
            for trial in trials:
                if trial.killed_for is None:
                    trial.killed_for = "its step took too long to be waited for"
                    self._launcher.kill(trial.job)

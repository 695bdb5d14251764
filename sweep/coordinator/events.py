"""Events and the state of a running sweep, for its watchers, and the log of the events."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from sweep.coordinator.running import RunningTrial
from sweep.launch import Slot
from sweep.logs import MAX_BYTES, open_log, rotate
from sweep.measures.measures import find_measure
from sweep.plan import StudyPlan
from sweep.progress import COMPLETE
from sweep.settings.dimensions import Params, SpaceSettings
from sweep.stopping.doubling import expect_lengths, expect_search
from sweep.storage.records import StudyRecord, TrialRecord, count_saved

_BetweenTrials = Literal["study", "change", "prepare", "pause", "budget", "test", "warning", "error"]
_Beginning = Literal["start", "adopt", "rerun", "promote", "lengthen", "confirm"]
_OfATrial = Literal[_Beginning, "evaluate", "remeasure", "retry", "end", "delete", "replace"]
EventKind = _BetweenTrials | _OfATrial


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes:
        kind: Its kind.
        text: One line for a person.
        trial: The trial it happened to.
        numbers: The numbers behind it.
    """

    kind: EventKind
    text: str
    trial: int | None = None
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RunningView:
    """A running trial, as a watcher sees it.

    Attributes:
        trial: Its number.
        slot: Name of its slot.
        node: Name of its machine, where that may be another one than the coordinator's.
        params: Its settings.
        progress: How far it has been measured, in thousandths.
        curve: (progress, value) so far, the untrained point first.
        verdict: The decision at its last evaluation, in words.
    """

    trial: int
    slot: str
    node: str | None
    params: Params
    progress: int
    curve: Sequence[tuple[int, float]]
    verdict: str


@dataclass(frozen=True, kw_only=True)
class SweepView:
    """A running sweep, as a watcher sees it.

    Attributes:
        name: The study's name.
        metric: Label of its metric.
        finished: Trials that are done and count.
        trials: Trials of the budget.
        baseline: Value of the untrained model.
        best: The best finished trial.
        paused: Trials that are paused at rungs.
        running: The trials that run now.
        space: The search space.
        slots: Every slot with the name of its device.
        saved_examples: Training pairs that stopping has saved.
        saved_fraction: Their share of what the finished trials would have seen.
        seconds_left: Estimate of the time left, or None while there is nothing to go by.
        generated_queries: Data format whose generated queries dev and test are made of; None where they were judged.
    """

    name: str
    metric: str
    finished: int
    trials: int
    baseline: float | None
    best: TrialRecord | None
    paused: int
    running: Sequence[RunningView]
    space: SpaceSettings
    slots: Mapping[str, str]
    saved_examples: int
    saved_fraction: float
    seconds_left: float | None
    generated_queries: str | None = None


class Watcher(Protocol):
    """A display of a running sweep."""

    def show(self, event: Event) -> None:
        """Shows something that happened."""

    def refresh(self, sweep: SweepView) -> None:
        """Shows the state of the sweep; called a few times a second."""


class SilentWatcher:
    """Shows nothing, in place of a watcher that failed."""

    def show(self, event: Event) -> None:
        """Shows nothing."""

    def refresh(self, sweep: SweepView) -> None:
        """Shows nothing."""


class Tell(Protocol):
    """A function that tells the watcher of an event."""

    def __call__(self, kind: EventKind, text: str, trial: int | None = None, **numbers: object) -> None:
        """Makes an event of its arguments."""


def tell_to(watcher: Watcher) -> Tell:
    """A function that makes events and shows them to a watcher."""

    def tell(kind: EventKind, text: str, trial: int | None = None, **numbers: object) -> None:
        watcher.show(Event(kind, text, trial, numbers))

    return tell


def describe_params(params: Params) -> str:
    """A trial's settings in a line."""
    return ", ".join([*(dimension.clause(params) for dimension in params.given), *say_length(params)])


def say_length(params: Params) -> list[str]:
    """How long a trial is beside those of the search; nothing of one that is as long."""
    return [f"{params.length} times as long"] if params.length > 1 else []


def format_event(event: Event) -> str:
    """An event as a line of JSON; a number that is not finite is null, and other objects are their text."""
    fields = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "event": event.kind,
        "trial": event.trial,
        "text": event.text,
        **{name: _plain(value) for name, value in event.numbers.items()},
    }
    return json.dumps(fields, allow_nan=False, default=str)


class EventLog:
    """A watcher that writes every event down, and hands it on to another.

    It begins to write once the run folder is there; a disk that is full or cannot be written is no reason to stop. Nor
    is a watcher that fails, since its terminal or the reader of its pipe is gone: a silent one takes its place.

    Args:
        file: The log.
        watcher: Is told of everything as well.
        max_bytes: Size at which the log is rotated.

    Attributes:
        is_empty: Whether it was told of nothing yet.
    """

    def __init__(self, file: Path, watcher: Watcher, *, max_bytes: int = MAX_BYTES) -> None:
        self._file = file
        self._watcher = watcher
        self._max_bytes = max_bytes
        self.is_empty = True

    def show(self, event: Event) -> None:
        """Writes an event down and hands it on."""
        self.is_empty = False
        with contextlib.suppress(OSError):
            self._append(format_event(event) + "\n")
        self._hand_on(lambda: self._watcher.show(event))

    def refresh(self, sweep: SweepView) -> None:
        """Hands the state on."""
        self._hand_on(lambda: self._watcher.refresh(sweep))

    def _hand_on(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a display, trials must not die of it
            self._watcher = SilentWatcher()
            reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            self.show(Event("warning", f"nothing is shown any more ({reason}); what happens stands in this log"))

    def _append(self, line: str) -> None:
        """Appends a line in one write, so that a crash leaves at most the last one incomplete."""
        if not self._file.parent.parent.is_dir():
            return
        rotate(self._file, max_bytes=self._max_bytes)
        descriptor = open_log(self._file)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def make_view(
    plan: StudyPlan, record: StudyRecord, running: Sequence[RunningTrial], slots: Sequence[Slot]
) -> SweepView:
    """The state of a running sweep."""
    saved, fraction = count_saved(record.trials)
    return SweepView(
        name=plan.spec.name,
        metric=find_measure(plan.spec.evaluation.metric).label,
        generated_queries=plan.spec.evaluation.generated_queries,
        finished=record.counted,
        trials=plan.spec.budget.trials,
        baseline=record.baseline,
        best=record.best,
        paused=sum(trial.state == "paused" for trial in record.trials),
        running=[
            RunningView(
                trial=trial.number,
                slot=trial.slot.name,
                node=trial.node,
                params=trial.params,
                progress=trial.progress[-1],
                curve=trial.curve,
                verdict=trial.verdict,
            )
            for trial in running
            if trial.slot
        ],
        space=plan.spec.space,
        slots={slot.name: slot.label for slot in slots},
        saved_examples=saved,
        saved_fraction=fraction,
        seconds_left=estimate_seconds_left(plan, record, running, len(slots)),
    )


def estimate_seconds_left(
    plan: StudyPlan, record: StudyRecord, running: Sequence[RunningTrial], slots: int
) -> float | None:
    """Seconds until the budget is spent, by the pace and the length of the trials so far; None before the first."""
    measured = [trial for trial in record.trials if trial.rows]
    done = {trial.number: trial.length * trial.progress / COMPLETE for trial in measured}  # in trials of length 1
    if not sum(done.values()):
        return None
    pace = sum(trial.rows[-1].seconds for trial in measured) / sum(done.values())
    done |= {trial.number: trial.params.length * trial.progress[-1] / COMPLETE for trial in running}
    longer = {trial.number for trial in record.trials if trial.longer_than is not None}
    longer |= {trial.number for trial in running if trial.longer_than is not None}
    left = max(0.0, sum(expect_lengths(plan.spec)) - sum(done.get(number, 0.0) for number in longer))
    if plan.spec.rungs:
        searched = sum(share for number, share in done.items() if number not in longer)
        left += max(0.0, expect_search(plan.spec) / plan.spec.budget.examples - searched)
        return pace * left / max(1, slots)
    ended = [trial.progress / COMPLETE for trial in measured if trial.is_counted]
    usual = sum(ended) / len(ended) if ended else 1.0
    searching = [trial for trial in running if trial.is_searched]
    to_begin = max(0, plan.spec.budget.trials - record.counted - len(searching))
    left += to_begin * usual + sum(max(0.0, usual - done[trial.number]) for trial in searching)
    return pace * left / max(1, min(slots, to_begin + len(running)))

"""What a running sweep tells whoever watches: events as they happen, and the state it is in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from sweep.settings.dimensions import SHOWN, Params, SpaceSettings
from sweep.storage.records import TrialRecord

EventKind = Literal[
    "study",
    "change",
    "prepare",
    "start",
    "adopt",
    "evaluate",
    "remeasure",
    "retry",
    "end",
    "delete",
    "replace",
    "pause",
    "budget",
    "judge",
    "warning",
]


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes:
        kind: What kind of thing.
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
        slot: Where it runs.
        params: Its settings.
        progress: How far it has been measured, in thousandths.
        curve: (progress, NDCG@10) so far, the untrained point first.
        verdict: What was decided at its last evaluation, in words.
    """

    trial: int
    slot: str
    params: Params
    progress: int
    curve: Sequence[tuple[int, float]]
    verdict: str


@dataclass(frozen=True, kw_only=True)
class SweepView:
    """A running sweep, as a watcher sees it.

    Attributes:
        name: The study's name.
        finished: Trials that are done and count.
        trials: Trials of the budget.
        baseline: NDCG@10 of the untrained model.
        best: The best finished trial.
        running: The trials that run now.
        space: What the study searches.
        slots: Every slot with the name of its device.
        saved_examples: Training pairs that stopping has saved.
        saved_fraction: Their share of what the finished trials would have seen.
        seconds_left: Estimate of the time left, or None while there is nothing to go by.
    """

    name: str
    finished: int
    trials: int
    baseline: float | None
    best: TrialRecord | None
    running: Sequence[RunningView]
    space: SpaceSettings
    slots: Mapping[str, str]
    saved_examples: int
    saved_fraction: float
    seconds_left: float | None


class Watcher(Protocol):
    """Whoever shows a running sweep."""

    def show(self, event: Event) -> None:
        """Shows something that happened."""
        ...

    def refresh(self, sweep: SweepView) -> None:
        """Shows the state of the sweep; called a few times a second."""
        ...


class Tell(Protocol):
    """Tells whoever watches of something that happened."""

    def __call__(self, kind: EventKind, text: str, trial: int | None = None, **numbers: object) -> None:
        """Makes an event of its arguments."""
        ...


def tell_to(watcher: Watcher) -> Tell:
    """A function that makes events and shows them to a watcher."""

    def tell(kind: EventKind, text: str, trial: int | None = None, **numbers: object) -> None:
        watcher.show(Event(kind, text, trial, numbers))

    return tell


def describe_params(params: Params) -> str:
    """A trial's settings in a line."""
    return ", ".join(one.clause(params) for one in SHOWN)

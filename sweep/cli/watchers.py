"""Watchers of a running sweep: a live view on a terminal, one plain line an event elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from datetime import datetime
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sweep.coordinator.event_log import format_event
from sweep.coordinator.events import Event, RunningView, SweepView
from sweep.progress import WHOLE

STATE_S = 25.0
"""Seconds after which a plain watcher says where the sweep stands and how much time is left."""

BARS = "▁▂▃▄▅▆▇█"
ASCII_BARS = "_.-=+*#@"
STYLES = {"end": "bold", "warning": "yellow", "retry": "yellow", "pause": "yellow"}


class PlainWatcher:
    """One line an event, and at least every half minute one with the state and the time left."""

    def __init__(self) -> None:
        self._stated = time.monotonic()

    def __enter__(self) -> Self:
        """Needs nothing."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Needs nothing."""

    def show(self, event: Event) -> None:
        """Prints an event."""
        if event.kind != "replace":
            _print_line(describe_event(event))

    def refresh(self, sweep: SweepView) -> None:
        """Prints the state if that was a while ago."""
        if time.monotonic() - self._stated >= STATE_S:
            self._stated = time.monotonic()
            _print_line(describe_sweep(sweep))


class JsonWatcher:
    """One JSON object an event, as the coordinator's log has them."""

    def __enter__(self) -> Self:
        """Needs nothing."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Needs nothing."""

    def show(self, event: Event) -> None:
        """Prints an event."""
        print(format_event(event), flush=True)

    def refresh(self, sweep: SweepView) -> None:
        """Prints nothing: the state follows from the events."""


class LiveWatcher:
    """The state of the sweep at the foot of the terminal, and above it a line for each trial that ends."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._live = Live(console=self._console, refresh_per_second=4, transient=True)
        self._slots: dict[str, str] = {}

    def __enter__(self) -> Self:
        """Begins to draw."""
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends drawing and leaves the terminal as it was."""
        self._live.stop()

    def show(self, event: Event) -> None:
        """Prints an event above the state; an evaluation shows in the state alone, and what it replaced in the log."""
        if event.kind not in ("evaluate", "replace"):
            line = f"{datetime.now():%H:%M:%S}  {describe_event(event)}"
            self._console.print(Text(line, style=STYLES.get(event.kind, "dim")))

    def refresh(self, sweep: SweepView) -> None:
        """Draws the state."""
        bars = BARS if self._console.encoding.lower().startswith("utf") else ASCII_BARS
        self._live.update(Group(Text(describe_sweep(sweep), style="bold"), _running_table(sweep, bars)))


def _print_line(line: str) -> None:
    print(f"{datetime.now():%H:%M:%S}  {line}", flush=True)


def describe_event(event: Event) -> str:
    """An event as a line."""
    return event.text if event.trial is None else f"trial {event.trial}  {event.kind}: {event.text}"


def describe_sweep(sweep: SweepView) -> str:
    """The state of a sweep as a line."""
    parts = [f"{sweep.finished} of {sweep.trials} trials"]
    if sweep.best is not None and sweep.best.peak is not None:
        parts.append(f"best {sweep.best.peak.ndcg:.4f} (trial {sweep.best.number})")
    if sweep.baseline is not None:
        parts.append(f"untrained {sweep.baseline:.4f}")
    if sweep.saved_examples:
        parts.append(f"stopping saved {sweep.saved_examples:,} examples ({sweep.saved_fraction:.0%})")
    left = "time left unknown yet" if sweep.seconds_left is None else f"about {format_time(sweep.seconds_left)} left"
    return f"{sweep.name}: " + ", ".join([*parts, left])


def format_time(seconds: float) -> str:
    """Seconds as a person says them, rounded up to what matters."""
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    if seconds < 5400:
        return f"{math.ceil(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


def sparkline(curve: Sequence[tuple[int, float]], bars: str = BARS) -> str:
    """A curve as one character a measurement, from its lowest to its highest; ``!`` where it is not finite."""
    values = [value for _, value in curve]
    finite = [value for value in values if math.isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)
    scale = (len(bars) - 1) / (high - low) if high > low else 0.0
    return "".join(bars[round((value - low) * scale)] if math.isfinite(value) else "!" for value in values)


def _running_table(sweep: SweepView, bars: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), expand=False)
    for heading in ("device", "trial", "what", "done", "NDCG@10", "", "verdict"):
        table.add_column(heading, no_wrap=heading != "what", overflow="ellipsis")
    for trial in sweep.running:
        name = sweep.slots.get(trial.slot, trial.slot)
        now = trial.curve[-1][1]
        table.add_row(
            name if len(sweep.slots) == 1 else f"{trial.slot} {name}",
            str(trial.trial),
            _short_params(trial),
            f"{trial.progress / WHOLE:.0%}",
            f"{now:.4f}" if math.isfinite(now) else "not finite",
            sparkline(trial.curve, bars),
            trial.verdict,
        )
    return table


def _short_params(trial: RunningView) -> str:
    params = trial.params
    return (
        f"{params.data_format} lr {params.effective_learning_rate:.1e} warm-up {params.warmup_ratio:.2f}"
        f" batch {params.batch_size}"
    )

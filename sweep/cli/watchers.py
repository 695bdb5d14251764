"""Watchers of a running sweep: a live view on a terminal, one plain line an event elsewhere."""

from __future__ import annotations

import contextlib
import itertools
import math
import textwrap
import time
from collections.abc import Sequence
from datetime import datetime

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from sweep.cli.foot import Foot, measure
from sweep.coordinator.events import Event, RunningView, SweepView, format_event, say_length
from sweep.printable import make_printable
from sweep.progress import COMPLETE
from sweep.settings.dimension import Dimension
from sweep.settings.dimensions import SHOWN, Params

STATE_S = 25.0
"""Seconds after which a plain watcher says where the sweep stands and how much time is left."""

BARS = "▁▂▃▄▅▆▇█"
ASCII_BARS = "_.-=+*#@"
COLUMNS = {"trial": 0, "done": 0, "value": 0, "curve": 60, "verdict": 80, "what": 120, "device": 150}
"""The cells of a running trial, and the width of a terminal from which each is shown; the metric heads the value."""

STYLES = {"end": "bold", "warning": "yellow", "retry": "yellow", "rerun": "yellow", "pause": "yellow"}


UNSHOWN = ("replace", "error")
"""Events for the log alone: models that make way for better ones, and what a command says at its end."""


class PlainWatcher:
    """One line an event, and every half minute one with the state and the time left."""

    def __init__(self) -> None:
        self._stated = time.monotonic()

    def show(self, event: Event) -> None:
        """Prints an event."""
        if event.kind not in UNSHOWN:
            _print_line(describe_event(event))

    def refresh(self, sweep: SweepView) -> None:
        """Prints the state if that was a while ago."""
        if time.monotonic() - self._stated >= STATE_S:
            self._stated = time.monotonic()
            _print_line(describe_sweep(sweep))


class JsonWatcher:
    """One JSON object an event, as the coordinator's log has them."""

    def show(self, event: Event) -> None:
        """Prints an event."""
        print(format_event(event), flush=True)

    def refresh(self, sweep: SweepView) -> None:
        """Prints nothing: the state follows from the events."""


class LiveWatcher:
    """The state of the sweep at the foot of the terminal, and above it a line for each trial that ends."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._foot = Foot(self._console)

    def close(self) -> None:
        """Ends drawing and leaves the terminal as it was, if it is still there."""
        with contextlib.suppress(OSError):
            self._foot.erase()

    def show(self, event: Event) -> None:
        """Prints an event above the state; evaluations show in the state alone."""
        if event.kind not in ("evaluate", *UNSHOWN):
            line = f"{datetime.now():%H:%M:%S}  {describe_event(event)}"
            self._foot.print(Text(line, style=STYLES.get(event.kind, "dim")))

    def refresh(self, sweep: SweepView) -> None:
        """Draws the state."""
        bars = BARS if self._console.encoding.lower().startswith("utf") else ASCII_BARS
        size = measure(self._console)
        self._foot.draw(list_state(sweep, size.width, bars, height=size.height))


def _print_line(line: str) -> None:
    print(f"{datetime.now():%H:%M:%S}  {line}", flush=True)


def describe_event(event: Event) -> str:
    """An event as a line, without control characters."""
    line = event.text if event.trial is None else f"trial {event.trial}  {event.kind}: {event.text}"
    return make_printable(line)


def describe_sweep(sweep: SweepView) -> str:
    """The state of a sweep as a line."""
    parts = [f"{sweep.finished} of {sweep.trials} trials"]
    if sweep.generated_queries is not None:
        parts.append(f"every figure on generated queries ({sweep.generated_queries})")
    if sweep.paused:
        parts.append(f"{sweep.paused} paused")
    if sweep.best is not None and sweep.best.peak is not None:
        parts.append(f"best {sweep.best.peak.value:.4f} (trial {sweep.best.number})")
    if sweep.baseline is not None:
        parts.append(f"untrained {sweep.baseline:.4f}")
    if sweep.saved_examples:
        parts.append(f"stopping saved {sweep.saved_examples:,} examples ({sweep.saved_fraction:.0%})")
    left = "time left unknown yet" if sweep.seconds_left is None else f"about {format_time(sweep.seconds_left)} left"
    return f"{sweep.name}: " + ", ".join([*parts, left])


def format_time(seconds: float) -> str:
    """Seconds for a person, rounded up."""
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


def list_state(sweep: SweepView, width: int, bars: str = BARS, *, height: int | None = None) -> list[str]:
    """The state of a sweep as lines for a terminal: the narrower, the fewer cells of each trial.

    Where the lines of all trials are too many for its height, several share a line, and machines are told apart.
    """
    head = _wrap(describe_sweep(sweep), width - 1)
    lines = _list_trials(sweep, width, bars)
    room = max(1, height - 1 - len(head)) if height else len(lines)
    return [*head, *(lines if len(lines) <= room else _list_by_node(sweep, width - 1, room))]


def _list_trials(sweep: SweepView, width: int, bars: str) -> list[str]:
    """A line a trial."""
    rows = [_cells(trial, sweep, bars) for trial in sweep.running]
    shown = [heading for heading, minimum in COLUMNS.items() if width >= minimum]
    table = [dict(zip(COLUMNS, COLUMNS, strict=True)) | {"value": sweep.metric}, *rows] if rows else []
    widths = {heading: max(cell_len(row[heading]) for row in table) for heading in shown} if table else {}
    return ["  ".join(set_cell_size(row[heading], widths[heading]) for heading in shown).rstrip() for row in table]


def _list_by_node(sweep: SweepView, width: int, room: int) -> list[str]:
    """As many trials as some lines hold, behind the names of their machines; few machines have lines of their own."""
    lines = [f"trial, done, {sweep.metric} of {len(sweep.running)} trials"]
    running = sorted(sweep.running, key=lambda trial: (trial.node or "", trial.trial))
    groups = [(node, list(trials)) for node, trials in itertools.groupby(running, key=lambda trial: trial.node)]
    left = len(running)
    for node, trials in groups:
        for place, trial in enumerate(trials):
            name = f"{node}: " if node and not place else ""
            cell = f"{name}{trial.trial} {trial.progress / COMPLETE:.0%} {_write_value(trial)}"
            begins = len(lines) == 1 or (not place and len(groups) < room / 2)
            if not begins and cell_len(joined := f"{lines[-1]} | {cell}") <= width:
                lines[-1] = joined
            elif len(lines) == room - 1 and left > 1:
                return [*lines, f"and {left} more"]
            else:
                lines.append(cell)
            left -= 1
    return lines


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(20, width)) or [""]


def _cells(trial: RunningView, sweep: SweepView, bars: str) -> dict[str, str]:
    label = sweep.slots.get(trial.slot, trial.slot)
    node = f"{trial.node} " if trial.node and not trial.slot.startswith(f"{trial.node}/") else ""
    return {
        "trial": str(trial.trial),
        "done": f"{trial.progress / COMPLETE:.0%}",
        "value": _write_value(trial),
        "curve": sparkline(trial.curve, bars),
        "verdict": trial.verdict,
        "what": " ".join([*_list_settings(trial.params, sweep), *say_length(trial.params)]),
        "device": node + (label if len(sweep.slots) == 1 else f"{trial.slot} {label}"),
    }


def _write_value(trial: RunningView) -> str:
    now = trial.curve[-1][1]
    return f"{now:.4f}" if math.isfinite(now) else "not finite"


def _list_settings(params: Params, sweep: SweepView) -> list[str]:
    return [each.short(params) for each in SHOWN if _is_shown(each, sweep, params)]


def _is_shown(dimension: Dimension, sweep: SweepView, params: Params) -> bool:
    is_searched = dimension.is_always_shown or dimension.varies(getattr(sweep.space, dimension.name))
    return is_searched and getattr(params, dimension.name) is not None

"""EventLog: the coordinator's log, one JSON object a line: time, event, trial, text and numbers."""

from __future__ import annotations

import contextlib
import json
import math
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sweep.coordinator.events import Event, SweepView, Watcher
from sweep.logs import MAX_BYTES, open_log, put_aside


def format_event(event: Event) -> str:
    """An event as a line of JSON; a number that is not finite is null, and what JSON has no word for is its text."""
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

    It begins to write once the run folder is there; a disk that is full or cannot be written is no reason to stop.

    Args:
        file: The log.
        watcher: Is told of everything as well.
        max_bytes: Size at which the log is put aside.
    """

    def __init__(self, file: Path, watcher: Watcher, *, max_bytes: int = MAX_BYTES) -> None:
        self._file = file
        self._watcher = watcher
        self._max_bytes = max_bytes

    def show(self, event: Event) -> None:
        """Writes an event down and hands it on."""
        with contextlib.suppress(OSError):
            self._append(format_event(event) + "\n")
        self._watcher.show(event)

    def refresh(self, sweep: SweepView) -> None:
        """Hands the state on."""
        self._watcher.refresh(sweep)

    def _append(self, line: str) -> None:
        """Appends a whole line in one write, so that a crash leaves no half of one but the last."""
        if not self._file.parent.parent.is_dir():
            return
        put_aside(self._file, max_bytes=self._max_bytes)
        descriptor = open_log(self._file)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value

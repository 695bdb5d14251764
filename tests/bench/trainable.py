"""A trial without a model, for orchestrators beside each other: it sleeps, writes what a trial writes, and reports.

What it does is what `sweep.testing.run_trial` does between two reports. It imports next to nothing, since some
orchestrators import it in each trial's process.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

from sweep.training.checkpoint import publish, remove

STEPS = 20


def train(
    folder: Path, report: Callable[[float, int], None], *, rate: float, seconds: float, points: int, history: Path
) -> None:
    """Sleeps for so many seconds and measures itself at so many points, each with a model and a checkpoint on the disk.

    Args:
        folder: The trial's own.
        report: Is given an NDCG@10 that rises, and the step.
        rate: Learning rate.
        seconds: Seconds of the whole trial, without what it writes.
        points: Reports.
        history: File to which it appends when it begins and ends.
    """
    _note(history, "begin")
    folder.mkdir(parents=True, exist_ok=True)
    older: list[Path] = []
    for step in range(1, STEPS + 1):
        time.sleep(seconds / STEPS)
        if step % (STEPS // points) == 0:
            ndcg = 0.5 + 0.3 * step / STEPS - 0.05 * abs(math.log10(rate / 1e-4))
            newer = [_save(folder / f"{kind}-{step:04d}", ndcg) for kind in ("peak", "step")]
            report(ndcg, step)
            for path in older:
                remove(path)
            older = newer
    _note(history, "end")


def _save(folder: Path, ndcg: float) -> Path:
    partial = folder.with_name(folder.name + ".partial")
    partial.mkdir()
    (partial / "ndcg.json").write_text(json.dumps(ndcg))
    publish(partial, folder)
    return folder


def _note(history: Path, event: str) -> None:
    descriptor = os.open(history, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, (json.dumps({"time": time.time(), "event": event}) + "\n").encode())
    os.close(descriptor)

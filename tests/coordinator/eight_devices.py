"""Scripted jobs on a machine with eight CUDA devices; each trial notes who held its device before it."""

from __future__ import annotations

import os
from pathlib import Path

from sweep import testing
from sweep.messages import Assignment, Channel, Device, TrialResult
from sweep.testing import judge_models, prepare_study

__all__ = ["judge_models", "list_devices", "prepare_study", "run_trial"]


def list_devices(task: None, channel: Channel) -> tuple[str, list[Device]]:  # noqa: ARG001
    return "2.13.0+cu130", [Device(name="pretended", memory_gib=80.0, uuid=f"GPU-{place}") for place in range(8)]


def run_trial(task: Assignment, channel: Channel) -> TrialResult:
    """A scripted trial; in a folder of its device it leaves its process id while it runs, and notes whom it met."""
    place = task.folder / "devices" / os.environ["CUDA_VISIBLE_DEVICES"]
    place.mkdir(parents=True, exist_ok=True)
    met = [int(left.name) for left in place.glob("[0-9]*") if is_alive(int(left.name))]
    mine = place / str(os.getpid())
    mine.touch()
    (task.folder / "met").mkdir(exist_ok=True)
    (task.folder / "met" / f"{task.trial}-{task.attempt}").write_text(f"{place.name} {len(met)}")
    return testing.run_trial(task, channel)


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()

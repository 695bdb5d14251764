"""Scripted jobs whose trials note who held their device before them."""

from __future__ import annotations

import json
import os
from pathlib import Path

from processes import wait_until

from sweep import testing
from sweep.messages import Assignment, Channel, TrialResult
from sweep.testing import SCRIPT, compile_again, evaluate_models, prepare_study

__all__ = ["compile_again", "evaluate_models", "prepare_study", "run_trial"]


def run_trial(task: Assignment, channel: Channel) -> TrialResult:
    """A scripted trial that leaves its process id in a folder of its device, and notes whom it met there.

    Its steps begin once as many trials have begun as the script's ``together`` says.
    """
    place = task.folder / "devices" / os.environ["CUDA_VISIBLE_DEVICES"]
    place.mkdir(parents=True, exist_ok=True)
    met = [int(left.name) for left in place.glob("[0-9]*") if is_alive(int(left.name))]
    mine = place / str(os.getpid())
    mine.touch()
    (task.folder / "met").mkdir(exist_ok=True)
    (task.folder / "met" / f"{task.trial}-{task.attempt}").write_text(f"{place.name} {len(met)}")
    together = json.loads((task.folder / task.spec.model.base / SCRIPT).read_text())["together"]
    wait_until(lambda: len(list((task.folder / "met").iterdir())) >= together)
    return testing.run_trial(task, channel)


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()

"""What reading and tokenizing data costs a study: the start of a trial with a compiled collection, and without one.

A trial's start is from the launcher's start of its process, which is forked warm as in a study, until the first pass
through the model. Without the compiled collection a trial reads, makes and tokenizes all of that itself.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sweep.launch import Died, LocalLauncher
from sweep.messages import Assignment, Channel, Done, Failure, Job
from sweep.progress import count_steps
from sweep.run_folder import RunFolder
from sweep.settings.dimensions import Params
from sweep.settings.study_file import load_study

ROOT = Path(__file__).resolve().parents[2]
STUDY = ROOT / "studies" / "quickstart.toml"


def prepare(task: Assignment, channel: Channel) -> None:
    """Prepares a study as its first job does."""
    from sweep.trial import prepare_study

    prepare_study(task, channel)


def start_trial(task: Assignment, channel: Channel) -> float:
    """The time at which a trial first passes through the model; it ends after that step."""
    import sweep.trial as trial
    from sweep.training.fit import StepAction

    fit, times = trial.fit, list[float]()

    def note_first(model: Any, plan: Any, **settings: Any) -> int:
        model.register_forward_pre_hook(lambda *_: times.append(time.time()))
        return fit(model, plan, **{**settings, "on_step": lambda *_: StepAction.STOP})

    trial.fit = note_first
    trial.run_trial(task, channel)
    return times[0]


def run_job(launcher: LocalLauncher, function: str, task: Assignment) -> tuple[float, Any]:
    """When the launcher was told, and the result."""
    began = time.time()
    launcher.start(Job(name=function, body=f"data:{function}", task=task, log=task.run_folder / f"{function}.log"))
    while True:
        for message in launcher.wait(60.0):
            match message.payload:
                case Done(result):
                    return began, result
                case Failure(traceback=text) | Died(reason=text):
                    raise SystemExit(text)


def measure_starts(folder: Path, *, rounds: int) -> dict[str, list[float]]:
    """Seconds to a trial's first step, in turn with a compiled collection and without one."""
    spec = load_study(STUDY)
    params = Params(
        learning_rate=5.6e-4,
        effective_learning_rate=5.6e-4,
        warmup_ratio=0.1,
        batch_size=64,
        data_format="query-document",
        scale=20.0,
        scheduler="linear",
    )
    task = Assignment(
        spec=spec,
        folder=STUDY.parent,
        run_folder=folder / "compiled",
        trial=0,
        params=params,
        steps=count_steps(spec.budget.examples, params.batch_size),
        evaluations=(),
    )
    task.run_folder.mkdir()
    launcher = LocalLauncher(("sweep.trial",))
    found: dict[str, list[float]] = {"with": [], "without": []}
    try:
        run_job(launcher, "prepare", task)
        bare = replace(task, run_folder=folder / "bare")
        shutil.copytree(task.run_folder, bare.run_folder)
        shutil.rmtree(RunFolder(bare.run_folder).compiled, ignore_errors=True)
        for _ in range(rounds):
            for name, chosen in (("with", task), ("without", bare)):
                began, first_pass = run_job(launcher, "start_trial", chosen)
                found[name].append(first_pass - began)
    finally:
        launcher.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what reading and tokenizing data costs a study.")
    parser.add_argument("--rounds", type=int, default=5, help="trials started of each kind (default: %(default)s)")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write what was found as JSON too")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the scratch folder goes too
    found: dict[str, Any] = {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "load": f"{os.getloadavg()[0]:.1f} before the run",
    }
    with tempfile.TemporaryDirectory(dir=STUDY.parent, prefix=".bench-") as scratch:
        found["starts_s"] = measure_starts(Path(scratch), rounds=options.rounds)
    for name in ("date", "machine", "load"):
        print(f"{name:<22}{found[name]}")
    medians = {name: statistics.median(seconds) for name, seconds in found["starts_s"].items()}
    for name, seconds in found["starts_s"].items():
        print(f"{f'start, {name}':<22}{medians[name]:6.2f} s (median of {len(seconds)})")
    print(f"{'ratio':<22}{medians['with'] / medians['without']:6.2f}")
    if options.save:
        options.save.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

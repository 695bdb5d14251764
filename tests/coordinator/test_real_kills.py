"""Real trainings whose processes are killed at random moments go on bit for bit as if nothing had happened."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from processes import end_group, living, start_script, wait_until

from sweep.run_folder import RunFolder
from sweep.storage.database import open_storage_read_only
from sweep.storage.evaluations import EvaluationTable
from sweep.storage.records import StudyRecord, load_record
from sweep.testing import write_toy_study

KILL = """
import json, os, random, signal, sys, threading, time
from sweep.signals import StopSignal
from sweep.coordinator.run import run_study
from sweep.launch import LocalLauncher
from sweep.plan import plan_study
from sweep.storage.location import locate_study

class Nemesis:
    # kills one of a trial's processes some time after an evaluation, at the latest when it writes its next checkpoint
    # or model

    def __init__(self, folder, launcher, kills):
        self.folder, self.launcher, self.left = folder, launcher, kills
        self.random = random.Random(3)
        self.killed = []

    def show(self, event):
        print(event.kind, event.trial, event.text, flush=True)
        if event.kind == "evaluate" and self.left:
            self.left -= 1
            how = ("at once", "later", "while it writes")[self.left % 3]
            pid = self.random.choice(self.launcher.process_ids(f"trial-{event.trial}"))
            threading.Thread(target=self.kill, args=(event.trial, pid, how), daemon=True).start()

    def kill(self, trial, pid, how):
        if how == "later":
            time.sleep(self.random.uniform(0.0, 0.4))
        folder, deadline = self.folder.trial(trial), time.monotonic() + 5.0
        while how == "while it writes" and time.monotonic() < deadline:
            if any(folder.glob("work/checkpoint-*/*")) or any(folder.glob("*.partial/*")):
                break
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.killed.append(how)

    def refresh(self, sweep):
        pass

launcher = LocalLauncher(("sweep.trial",))
for file, kills in json.loads(sys.argv[1]):
    plan = plan_study(locate_study(file))
    nemesis = Nemesis(plan.run_folder, launcher, kills)
    with StopSignal() as stop:
        run_study(plan, watcher=nemesis, stop=stop, launcher=launcher)
    print("killed", len(nemesis.killed), flush=True)
"""

LATE = 3
"""Kills that may come late: those that wait for a while, and the one after the last evaluation."""

DEADLINE_S = 600.0
"""Seconds after which the test gives up; on two idle cores it takes some 20."""


def read(file: Path) -> tuple[StudyRecord, EvaluationTable]:
    storage = open_storage_read_only(RunFolder.beside(file).database)
    table = EvaluationTable(storage.engine, writable=False)
    return load_record(storage, table), table


@pytest.mark.parametrize(("ranks", "kills"), [(1, 7), (2, 5)])
def test_the_curves_of_killed_trainings_equal_those_of_untouched_ones_bit_for_bit(
    tmp_path: Path, tiny_model: Path, ranks: int, kills: int
) -> None:
    files = []
    for name in ("untouched", "killed"):
        (tmp_path / name).mkdir()
        shutil.copytree(tiny_model, tmp_path / name / "model")
        files.append(
            write_toy_study(
                tmp_path / name,
                evaluation={"max_queries": 20, "max_documents": 40, "grid": [0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 1.0]},
                budget={"trials": 1, "examples": 160},
                space={"batch_size": 8, "learning_rate": 3e-3, "data_format": "query-document"},
                stopping={"drop_off": False},
                workers={"devices": "cpu", "micro_batch": 4 // ranks, "gpus_per_trial": ranks},  # the cached loss
            )
        )
    arguments = [json.dumps([[str(files[0]), 0], [str(files[1]), kills]])]
    process = start_script(KILL, arguments, folder=tmp_path, errors=tmp_path / "errors.txt")
    try:
        out, _ = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, (out, (tmp_path / "errors.txt").read_text())
        assert wait_until(lambda: not living(process.pid), within_s=5), living(process.pid)
    finally:
        end_group(process.pid)
    killed = [int(line.removeprefix("killed ")) for line in out.splitlines() if line.startswith("killed")]
    assert killed[0] == 0
    assert kills - LATE <= killed[1] <= kills  # one that comes late finds its process at its end already
    assert "differs" not in out
    (whole, whole_table), (other, other_table) = (read(file) for file in files)
    assert sum(trial.attributes.get("interruptions", 0) for trial in other.trials) >= kills - LATE
    for ours, theirs in zip(other.trials, whole.trials, strict=True):
        assert ours.params == theirs.params
        assert (ours.state, ours.value) == (theirs.state, theirs.value) == ("complete", theirs.value)
        (points, values), (whole_points, whole_values) = (
            table.per_query(ours.number) for table in (other_table, whole_table)
        )
        assert points == whole_points == [100, 200, 300, 500, 600, 700, 1000]
        np.testing.assert_array_equal(values, whole_values)
    assert figures(files[1]) == figures(files[0])
    assert len({row[1] for row in figures(files[0])}) == 7  # it learned, so that equal figures say something


def figures(file: Path) -> list[tuple[float, ...]]:
    """What is measured at each evaluation of trials and does not come in steps: losses, cosines, norm, rate."""
    columns = "progress, loss, positive_mean, negative_mean, validation_loss, gradient_norm, learning_rate"
    with contextlib.closing(sqlite3.connect(RunFolder.beside(file).database)) as connection:
        return connection.execute(
            f"SELECT {columns} FROM evaluations WHERE trial >= 0 AND split = 'dev' ORDER BY trial, progress"
        ).fetchall()

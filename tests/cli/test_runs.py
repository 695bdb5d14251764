"""Whole runs of real trainings by the command: in a terminal, and with its log printed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from terminal import open_terminal

from sweep.run_folder import RunFolder
from sweep.testing import write_toy_study

START_S = 240.0
"""Seconds that the imports may take on a machine that is very busy."""

GRACE_S = 30.0
"""Seconds within which a run ends that was asked to."""


def write_study(folder: Path, *, model: Path, examples: int) -> Path:
    folder.mkdir()
    (folder / "model").symlink_to(model)
    return write_toy_study(
        folder,
        evaluation={"max_documents": 60, "max_queries": 40, "grid": [0.5, 1.0]},
        budget={"trials": 1, "examples": examples},
        space={"batch_size": 4},
        stopping={"drop_off": False},
    )


def test_ctrl_c_in_a_terminal_ends_a_run_within_30_s_and_says_how_to_go_on(tmp_path: Path, tiny_model: Path) -> None:
    file = write_study(tmp_path / "study", model=tiny_model, examples=40_000)  # more than it comes to
    shell = ["bash", "--norc", "--noprofile", "-i"]
    with open_terminal(tmp_path, shell, width=160, height=30, PS1="$ ") as terminal:
        terminal.type(f"{sys.executable} -m sweep run {file}; echo ended with $?")
        terminal.wait(lambda screen: any("start:" in line for line in screen), within_s=START_S)
        began = time.monotonic()
        terminal.tell("send-keys", "C-c")
        screen = terminal.wait(lambda screen: any(line.startswith("ended with") for line in screen))
        assert time.monotonic() - began < GRACE_S
        assert screen[-3:-1] == ["sweep: interrupted; run the same command again to go on", "ended with 130"]
        assert any("saved at step" in line for line in screen), screen
    assert RunFolder.beside(file).checkpoint_folders(0)


def test_the_log_that_a_run_prints_is_json_and_nothing_else(tmp_path: Path, tiny_model: Path) -> None:
    file = write_study(tmp_path / "study", model=tiny_model, examples=80)
    command = [sys.executable, "-m", "sweep", "run", str(file), "--log", "json"]
    places = os.pathsep.join(place for place in sys.path if place)
    environment = {**os.environ, "PYTHONPATH": places, "PYTHONIOENCODING": "utf-8"}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=240)
    assert (ended.returncode, ended.stderr) == (0, "")
    printed = [json.loads(line) for line in ended.stdout.splitlines()]
    kinds = [line["event"] for line in printed]
    place = kinds.index("prepare")
    assert set(kinds[:place]) == {"study"}  # the slot, and how the collection was read
    assert kinds[place : place + 4] == ["prepare", "prepare", "start", "evaluate"]
    assert kinds[-3:] == ["end", "budget", "test"]
    written = [json.loads(line) for line in RunFolder.beside(file).coordinator_log.read_text().splitlines()]
    for line in (*printed, *written):
        del line["time"]
    assert printed[-len(written) :] == written

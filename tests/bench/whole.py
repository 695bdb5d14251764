"""Whole sweeps of the quickstart: unstopped, with its own stopping, and with `outclassed`, one after another.

Every sweep is a real one, so three seeds take an hour and a half on two cores.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

QUICKSTART = Path(__file__).resolve().parents[2] / "studies" / "quickstart.toml"
STOPPING = {
    "none": "drop_off = false",
    "its own": None,
    "and outclassed": "outclassed = true",
}


def write_variant(text: str, name: str, seed: int, stopping: str | None) -> str:
    """The study file under another name and seed, and with another way to stop; ``None`` leaves its own."""
    text = re.sub(r'^name = ".*"', f'name = "{name}"', text, count=1, flags=re.MULTILINE)
    text = re.sub(r"^seed = .*\n", "", text, flags=re.MULTILINE)
    text = text.replace("\n\n[model]", f"\nseed = {seed}\n\n[model]", 1)
    if stopping == STOPPING["none"]:
        return re.sub(r"^\[stopping\]\n(?:[^\[\n].*\n)*", f"[stopping]\n{stopping}\n", text, flags=re.MULTILINE)
    return text if stopping is None else text.replace("[stopping]\n", f"[stopping]\n{stopping}\n", 1)


def sweep(command: str, study: Path, *words: str) -> str:
    """Standard output of one of sweep's commands."""
    done = subprocess.run(
        [sys.executable, "-m", "sweep", command, str(study), *words], check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


def measure_sweep(study: Path) -> dict[str, Any]:
    """Runs the study to its end, and counts what it found and what it took."""
    begun = time.monotonic()
    sweep("run", study)
    seconds = time.monotonic() - begun
    status = json.loads(sweep("status", study, "--json"))
    return {
        "best": status["best"]["value"],
        "share": 1.0 - status["saved"]["fraction"],
        "stopped": sum(trial["stop_reason"] is not None for trial in status["trials"]),
        "seconds": seconds,
    }


def measure_whole(folder: Path, seeds: Sequence[int]) -> None:
    """Prints one line a sweep, and how each compares with the unstopped one of its seed.

    Args:
        folder: Where the sweeps lie; they go on where they were when they are measured there again.
        seeds: Seeds of the study.
    """
    print("\n## Whole sweeps of the quickstart\n")
    print("| seed | stopping | best dev NDCG@10 | below the unstopped | examples used | stopped | seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    folder.mkdir(parents=True, exist_ok=True)
    text = QUICKSTART.read_text(encoding="utf-8")
    for seed in seeds:
        unstopped = None
        for place, (label, stopping) in enumerate(STOPPING.items()):
            name = f"quickstart-{seed}-{place}"
            study = folder / f"{name}.toml"
            study.write_text(write_variant(text, name, seed, stopping), encoding="utf-8")
            found = measure_sweep(study)
            unstopped = found["best"] if unstopped is None else unstopped
            print(
                f"| {seed} | {label} | {found['best']:.4f} | {unstopped - found['best']:.4f} | {found['share']:.0%} "
                f"| {found['stopped']} | {found['seconds']:.0f} |",
                flush=True,
            )

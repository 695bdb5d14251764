"""Whole sweeps of the quickstart: unstopped, with its rungs alone, as it is, and under Optuna's pruners.

Every sweep is a real one, so a seed takes an hour on two cores. The unstopped sweep has the same sampler and seed; it
knows neither rungs nor the drop-off rule, and no trial of it is longer. What was measured is kept, a line each, so that
another call goes on with what is missing.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from pruned import PRUNERS, Sweep, search_with

from sweep.measures.score import Score
from sweep.study import open_study

QUICKSTART = Path(__file__).resolve().parents[2] / "studies" / "quickstart.toml"
KEEP = Path(__file__).parent / "results" / "whole.jsonl"
UNSTOPPED = "unstopped"
NO_LENGTHS = (r"^total_examples = .*\n", "")
NOTHING = (NO_LENGTHS, (r"^\[rungs\].*\n", ""), (r"^drop_off = .*\n", "drop_off = false\n"))
VARIANTS: Mapping[str, Sequence[tuple[str, str]]] = {
    UNSTOPPED: NOTHING,
    "rungs alone": (NO_LENGTHS,),
    "as it is": (),
    **dict.fromkeys(PRUNERS, NOTHING),
}
"""Variants of the file, each by what is replaced in it: a regular expression and the text in its place."""


def write_variant(text: str, name: str, seed: int, changes: Sequence[tuple[str, str]]) -> str:
    """The study file under another name and seed, with the changes of a variant.

    Raises:
        ValueError: If a change finds nothing to replace.
    """
    for pattern, new in ((r'^name = ".*"$', f'name = "{name}"\nseed = {seed}'), *changes):
        text, count = re.subn(pattern, new, text, flags=re.MULTILINE)
        if count != 1:
            raise ValueError(f"{pattern} must stand in {QUICKSTART} once, and does {count} times")
    return text


def measure_sweep(file: Path) -> Sweep:
    """Runs the study to its end, and counts what it found and what it took."""
    began = time.monotonic()
    command = [sys.executable, "-m", "sweep", "run", str(file), "--plain"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - began
    with open_study(file) as study:
        best = study.record.best
        test = None if best is None else study.test_score(best.number)
        if best is None or best.peak is None or test is None:
            raise ValueError(f"{file}: its best model must have been evaluated on the test split")
        examples = sum(trial.examples + trial.retrained_examples for trial in study.record.trials)
        return Sweep(best.peak.value, test, examples, seconds)


def measure_whole(seeds: Sequence[int], keep: Path = KEEP) -> None:
    """Measures what is missing of some seeds, and prints a line for each sweep that was ever measured.

    Args:
        seeds: Seeds of the study.
        keep: File of what was measured.
    """
    known = {(one["seed"], one["variant"]) for one in read_lines(keep)}
    text = QUICKSTART.read_text(encoding="utf-8")
    for seed in seeds:
        for label, changes in VARIANTS.items():
            if (seed, label) in known:
                continue
            with tempfile.TemporaryDirectory() as scratch:
                file = Path(scratch) / "quickstart.toml"
                file.write_text(write_variant(text, "quickstart", seed, changes), encoding="utf-8")
                found = search_with(label, file) if label in PRUNERS else measure_sweep(file)
            with keep.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(describe(seed, label, found)) + "\n")
    print(*tabulate(read_lines(keep)), sep="\n")


def describe(seed: int, label: str, found: Sweep) -> dict[str, Any]:
    """A sweep as a line of the file."""
    return {
        "seed": seed,
        "variant": label,
        "dev": round(found.dev, 5),
        "test": [round(value, 5) for value in found.test.per_query.tolist()],
        "examples": found.examples,
        "seconds": round(found.seconds, 1),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def read_lines(keep: Path) -> list[dict[str, Any]]:
    """What was measured so far."""
    return [json.loads(line) for line in keep.read_text().splitlines()] if keep.exists() else []


def tabulate(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Each sweep, and how it compares with the unstopped one of its seed."""
    yield "\n## Whole sweeps of the quickstart\n"
    yield "| seed | variant | best dev | best test | against the unstopped, paired by query | examples | seconds |"
    yield "| --- |" + " --- |" * 6
    unstopped = {one["seed"]: one for one in found if one["variant"] == UNSTOPPED}
    for one in sorted(found, key=lambda one: (one["seed"], list(VARIANTS).index(one["variant"]))):
        test, other = Score(np.array(one["test"])), unstopped.get(one["seed"])
        line = f"| {one['seed']} | {one['variant']} | {one['dev']:.4f} | {test.mean:.4f} |"
        if other is None:
            yield f"{line} - | {one['examples']:,} | {one['seconds']:.0f} |"
            continue
        gain = test.minus(Score(np.array(other["test"])))
        low, high = gain.interval()
        examples, seconds = one["examples"] / other["examples"], one["seconds"] / other["seconds"]
        yield (
            f"{line} {gain.mean:+.4f} ({low:+.4f} to {high:+.4f}) |"
            f" {one['examples']:,} ({examples:.0%}) | {one['seconds']:.0f} ({seconds:.0%}) |"
        )

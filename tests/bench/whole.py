"""Whole sweeps of the quickstart: unstopped, with its rungs alone, and as it is, one after another.

Every sweep is a real one, so three seeds take an hour on two cores. The unstopped sweep has the same sampler and seed;
it knows neither rungs nor the drop-off rule, and no trial of it is longer.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sweep.measures.score import Score
from sweep.study import open_study

QUICKSTART = Path(__file__).resolve().parents[2] / "studies" / "quickstart.toml"
NO_LENGTHS = (r"^total_examples = .*\n", "")
VARIANTS: dict[str, Sequence[tuple[str, str]]] = {
    "unstopped": (NO_LENGTHS, (r"^\[rungs\]\n", ""), (r"^drop_off = .*\n", "drop_off = false\n")),
    "rungs alone": (NO_LENGTHS,),
    "as it is": (),
}
"""Variants of the file, each by what is replaced in it: a regular expression and the text in its place."""


@dataclass(frozen=True)
class Sweep:
    """What a sweep found and took: its best values on dev and on test, its training pairs and seconds."""

    dev: float
    test: Score
    examples: int
    seconds: float


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


def measure_whole(folder: Path, seeds: Sequence[int]) -> None:
    """Prints one line a sweep, and how each compares with the unstopped one of its seed.

    Args:
        folder: Where the sweeps lie; they go on where they were when they are measured there again.
        seeds: Seeds of the study.
    """
    print("\n## Whole sweeps of the quickstart\n")
    print("| seed | variant | best dev | best test | against the unstopped, paired by query | examples | seconds |")
    print("| --- |" + " --- |" * 6)
    folder.mkdir(parents=True, exist_ok=True)
    text = QUICKSTART.read_text(encoding="utf-8")
    for seed in seeds:
        unstopped: Sweep | None = None
        for place, (label, changes) in enumerate(VARIANTS.items()):
            name = f"quickstart-{seed}-{place}"
            file = folder / f"{name}.toml"
            file.write_text(write_variant(text, name, seed, changes), encoding="utf-8")
            found = measure_sweep(file)
            unstopped = unstopped or found
            gain = found.test.minus(unstopped.test)
            low, high = gain.interval()
            print(
                f"| {seed} | {label} | {found.dev:.4f} | {found.test.mean:.4f} |"
                f" {gain.mean:+.4f} ({low:+.4f} to {high:+.4f}) |"
                f" {found.examples:,} ({found.examples / unstopped.examples:.0%}) |"
                f" {found.seconds:.0f} ({found.seconds / unstopped.seconds:.0%}) |",
                flush=True,
            )

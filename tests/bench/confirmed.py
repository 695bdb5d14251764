"""Whether the interval of a confirmed configuration holds the truth, on simulated studies whose truth is known.

A study chooses the best of its trials on dev, trains the best two with two further seeds each, chooses by the mean over
the seeds, and evaluates the winner's three trainings on test. The truth is what the winner gains over the untrained
model over all seeds and all queries. The first training was chosen for its luck, and is one of the three.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from simulate import Noise, simulate_run

from sweep.measures.over_seeds import mean_over_seeds

UNTRAINED, TYPICAL, SPREAD = 0.75, 0.86, 0.02
"""NDCG@10 of the untrained model, and mean and standard deviation of that of configurations."""

TOP, SEEDS = 2, 3


@dataclass(frozen=True)
class Cell:
    """A kind of study: its trials, its queries on dev and on test, and how much trainings differ by their seeds."""

    trials: int
    queries: int
    seed_noise: float


def measure_confirmed(noise: Noise, studies: int) -> None:
    """Prints the coverage of the interval of 95 %, in every kind of study, and that of the first training alone."""
    print(f"\n## Intervals of confirmed configurations that hold the truth, of {studies:,} studies a cell\n")
    print("| trials | queries | spread over seeds | hold the truth | mean width | off by | first training, off by |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    random = np.random.default_rng(0)
    for trials in (12, 24):
        for queries in (50, 200, 1000):
            for seed_noise in (0.002, 0.006, 0.015):
                cell = Cell(trials, queries, seed_noise)
                found = np.array([_confirm(cell, noise, random) for _ in range(studies)])
                held, width, off, first = found.mean(axis=0)
                print(
                    f"| {trials} | {queries} | {seed_noise:g} | {held:.1%} | {width:.4f} | {off:+.4f} | {first:+.4f} |",
                    flush=True,
                )


def _confirm(cell: Cell, noise: Noise, random: np.random.Generator) -> tuple[bool, float, float, float]:
    """Whether the interval holds the truth, its width, and by how much the estimates on test are too high."""
    means = np.clip(random.normal(TYPICAL, SPREAD, cell.trials), UNTRAINED, 0.95)
    trainings = means[:, None] + random.normal(0.0, cell.seed_noise, (cell.trials, SEEDS))  # (N, S)
    truth = np.append(trainings.ravel(), UNTRAINED)
    still = np.zeros(len(truth))
    dev, test = (simulate_run(truth, still, queries=cell.queries, noise=noise, random=random) for _ in range(2))
    seen = dev[:-1].mean(axis=1).reshape(trainings.shape)
    top = np.argsort(-seen[:, 0])[:TOP]
    winner = top[seen[top].mean(axis=1).argmax()]
    gains = test[winner * SEEDS : (winner + 1) * SEEDS] - test[-1]
    interval, gain = mean_over_seeds(gains), means[winner] - UNTRAINED
    held = interval.low <= gain <= interval.high
    return held, interval.high - interval.low, interval.mean - gain, float(gains[0].mean()) - gain

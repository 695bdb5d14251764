"""What the stopping rules do: on curves whose truth is known, and on the bank of recorded runs.

``null``: how often a run is stopped that has not fallen by more than the margin. ``power``: how often one is stopped
that has. ``dips``: how often one is stopped that recovers. ``bank``: recorded runs under our rules and under Optuna's
pruners. ``grids``: what sparser grids of looks would have missed of them. ``rungs``: the same runs as trials that
pause. ``selection``: how much too good the best of some runs looks. ``confirmed``: how often the interval of a
confirmed configuration holds the truth. ``divisions``: breadth against length at one total. ``frontier``: errors
against budget, over the settings of our rules and of the best stock one. ``sampler``: what it learns from stopped runs.
``cost``: what a verdict takes. ``whole``: whole sweeps of the quickstart, really run.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import optuna
from confirmed import measure_confirmed
from divisions import measure_divisions
from grids import measure_grids
from numpy.typing import NDArray
from optuna.exceptions import ExperimentalWarning
from recorded import MARGIN, measure_frontier, measure_rungs, measure_sampler, measure_selection, replay_bank
from simulate import Noise, correlated, simulate_run
from whole import KEEP, measure_whole

from sweep.stopping.recorded import RecordedRun, load_bank
from sweep.stopping.rules import DropOff, summarize

BANK = Path(__file__).resolve().parent / "curves.npz"
ALPHAS = (0.01, 0.05, 0.2)
QUERIES = (50, 200, 1000)
LOOKS = (10, 20, 40)
PARTS = (
    "cost",
    "bank",
    "grids",
    "rungs",
    "selection",
    "confirmed",
    "divisions",
    "frontier",
    "sampler",
    "power",
    "dips",
    "null",
    "whole",
)
WARMUP_END = 0.1

Curve = NDArray[np.float64]


def null_curves(progress: Curve) -> dict[str, Curve]:
    """True means of runs that never lie more than the margin below their best once their warm-up has ended."""
    dip = np.where((progress > 0.0) & (progress < WARMUP_END), 0.6, 0.7)
    return {
        "flat": np.full_like(progress, 0.7),
        "rising": 0.6 + 0.15 * progress,
        "dip": dip,
        "boundary": np.where(progress < 0.4, 0.7, 0.7 - MARGIN),
    }


def attained_levels(per_query: Curve, progress: Curve, rule: DropOff) -> Iterator[tuple[int, float]]:
    """For each look that might stop a run, the smallest alpha at which it does."""
    means, covariance, freedom = summarize(progress, per_query)
    for last in range(1, len(means)):
        if means[:last].max() - means[last] > rule.margin:
            part = covariance[: last + 1, : last + 1]
            fall = rule.assess(progress[: last + 1], means[: last + 1], part, freedom, WARMUP_END)
            if fall.can_stop:
                yield last, fall.level


def first_stops(per_query: Curve, progress: Curve, rule: DropOff) -> list[int | None]:
    """The look at which a run is stopped, at each of the alphas; None where it is not."""
    levels = list(attained_levels(per_query, progress, rule))
    return [next((look for look, level in levels if level < alpha), None) for alpha in ALPHAS]


def measure_null(noises: dict[str, Noise], runs: int, random: np.random.Generator) -> None:
    """Prints the share of runs that are stopped though they have not fallen, in every cell."""
    print(f"\n## Runs that have not fallen and were stopped, of {runs:,} a cell; margin {MARGIN}\n")
    print("| noise | queries | looks | curve | " + " | ".join(f"alpha {alpha}" for alpha in ALPHAS) + " | within |")
    print("| --- | --- | --- | --- |" + " --- |" * (len(ALPHAS) + 1))
    rule, cells, broken = DropOff(margin=MARGIN), 0, []
    for label, noise in noises.items():
        for queries in QUERIES:
            for looks in LOOKS:
                progress = np.linspace(0.0, 1.0, looks + 1)
                for name, truth in null_curves(progress).items():
                    stopped = np.zeros(len(ALPHAS))
                    for _ in range(runs):
                        values = simulate_run(truth, progress, queries=queries, noise=noise, random=random)
                        stopped += [stop is not None for stop in first_stops(values, progress, rule)]
                    rates = stopped / runs
                    bounds = [alpha + 2.0 * math.sqrt(alpha * (1.0 - alpha) / runs) for alpha in ALPHAS]
                    within = bool((rates <= bounds).all())
                    cells += 1
                    broken += [] if within else [(label, queries, looks, name)]
                    shown = " | ".join(f"{rate:.4f}" for rate in rates)
                    print(
                        f"| {label} | {queries} | {looks} | {name} | {shown} | {'yes' if within else 'NO'} |",
                        flush=True,
                    )
    print(
        f"\nAt most alpha and two standard errors in {cells - len(broken)} of {cells} cells; not in: {broken or 'none'}"
    )


def measure_power(noises: dict[str, Noise], runs: int, random: np.random.Generator) -> None:
    """Prints the share of true falls that are stopped, by their size in standard errors of the paired difference."""
    print(
        f"\n## True falls stopped: beyond the margin by so many standard errors, for ten looks; {runs:,} runs a cell\n"
    )
    print(
        "| noise | queries | standard error | beyond by | "
        + " | ".join(f"alpha {alpha}" for alpha in ALPHAS)
        + " | looks to the stop, alpha 0.05 |"
    )
    print("| --- | --- | --- | --- |" + " --- |" * (len(ALPHAS) + 1))
    progress, rule = np.linspace(0.0, 1.0, 21), DropOff(margin=MARGIN)
    for label, noise in noises.items():
        for queries in QUERIES:
            error = paired_error(noise, queries, progress, random)
            for beyond in (0.0, 1.0, 2.0, 3.0, 3.5, 4.0, 5.0, 6.0):
                fall = MARGIN + beyond * error
                if fall > 0.6:
                    continue
                truth = np.where(progress <= 0.5, 0.7, 0.7 - fall)
                found = [
                    first_stops(
                        simulate_run(truth, progress, queries=queries, noise=noise, random=random), progress, rule
                    )
                    for _ in range(runs)
                ]
                shares = [np.mean([stops[place] is not None for stops in found]) for place in range(len(ALPHAS))]
                needed = [stops[1] - 10 for stops in found if stops[1] is not None and stops[1] > 10]
                mean = f"{np.mean(needed):.1f}" if needed else ""
                shown = " | ".join(f"{share:.3f}" for share in shares)
                print(f"| {label} | {queries} | {error:.4f} | {beyond} | {shown} | {mean} |", flush=True)


def paired_error(noise: Noise, queries: int, progress: Curve, random: np.random.Generator) -> float:
    """Standard error of the difference between the looks before and after the fall, where nothing falls."""
    values = simulate_run(np.full_like(progress, 0.7), progress, queries=20_000, noise=noise, random=random)
    return float(np.std(values[10] - values[11], ddof=1) / math.sqrt(queries))


def measure_dips(noises: dict[str, Noise], runs: int, random: np.random.Generator) -> None:
    """Prints how often a run is stopped that dips after its warm-up and recovers: the price of the test."""
    print(
        f"\n## Runs that dip after their warm-up and recover, stopped by the test; alpha 0.05, {runs:,} runs a cell\n"
    )
    print("| noise | queries | depth | looks of 20 it lasts | stopped |")
    print("| --- | --- | --- | --- | --- |")
    progress, rule = np.linspace(0.0, 1.0, 21), DropOff(margin=MARGIN)
    for label, noise in noises.items():
        for queries in (200, 1000):
            for depth in (0.02, 0.05, 0.1):
                for length in (1, 3, 6):
                    truth = np.full_like(progress, 0.7)
                    truth[8 : 8 + length] -= depth
                    stopped = sum(
                        first_stops(
                            simulate_run(truth, progress, queries=queries, noise=noise, random=random), progress, rule
                        )[1]
                        is not None
                        for _ in range(runs)
                    )
                    print(f"| {label} | {queries} | {depth} | {length} | {stopped / runs:.3f} |", flush=True)


def bank_noise(runs: Sequence[RecordedRun]) -> tuple[Noise, float]:
    """The noise of recorded runs: correlation between looks a quarter of the run apart, as simulated noise has it."""
    found = []
    for run in runs:
        far = np.searchsorted(run.progress, run.progress + 250)
        pairs = [(place, int(other)) for place, other in enumerate(far) if other < len(run.progress)]
        found += [float(np.corrcoef(run.per_query[one], run.per_query[other])[0, 1]) for one, other in pairs]
    middle = float(np.median(found))
    # values of a rank are less correlated than the scores they come from: invert by simulation
    grid = np.linspace(0.0, 0.99, 34)
    random = np.random.default_rng(0)
    two = np.array([0.0, 1.0])
    seen = [
        float(
            np.corrcoef(simulate_run(np.full(2, 0.75), two, queries=20_000, noise=correlated(c), random=random))[0, 1]
        )
        for c in grid
    ]
    return correlated(float(np.interp(middle, seen, grid))), middle


def measure_cost(random: np.random.Generator) -> None:
    """Prints how long a verdict takes."""
    print("\n## One verdict at 40 looks\n\n| queries | milliseconds, median of 9 |\n| --- | --- |")
    progress = np.linspace(0.0, 1.0, 40)
    for queries in (1000, 10_000):
        values = simulate_run(np.full(40, 0.7), progress, queries=queries, noise=correlated(0.9), random=random)
        seconds = []
        for _ in range(9):
            started = time.perf_counter()
            DropOff().assess(progress, *summarize(progress, values), 0.0)
            seconds.append(time.perf_counter() - started)
        print(f"| {queries:,} | {1000 * float(np.median(seconds)):.2f} |")


def main() -> None:
    """Prints what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=PARTS)
    parser.add_argument("--runs", type=int, default=2000, help="simulated runs a cell")
    parser.add_argument("--orders", type=int, default=30, help="orders of the recorded runs")
    parser.add_argument("--studies", type=int, default=100, help="simulated studies for the sampler")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the whole sweeps")
    parser.add_argument("--keep", type=Path, default=KEEP, help="file of the whole sweeps that were measured")
    parser.add_argument("--bank", type=Path, default=BANK, help="the recorded runs")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", ExperimentalWarning)  # of the sampler's settings
    random = np.random.default_rng(0)
    recorded = load_bank(options.bank)
    noise, correlation = bank_noise(recorded)
    print(f"Correlation of a query's NDCG@10 between looks a quarter of a run apart, in the bank: {correlation:.3f}")
    noises = {"bank": noise, "0": correlated(0.0), "0.95": correlated(0.95)}
    if "cost" in options.parts:
        measure_cost(random)
    if "bank" in options.parts:
        replay_bank(recorded, options.orders)
    if "grids" in options.parts:
        measure_grids(recorded, options.orders)
    if "rungs" in options.parts:
        measure_rungs(recorded, options.orders)
    if "selection" in options.parts:
        measure_selection(recorded, options.runs)
    if "confirmed" in options.parts:
        measure_confirmed(noise, options.runs)
    if "divisions" in options.parts:
        measure_divisions(options.orders)
    if "frontier" in options.parts:
        measure_frontier(recorded, options.orders)
    if "sampler" in options.parts:
        measure_sampler(recorded, options.studies, trials=60)
    if "power" in options.parts:
        measure_power(noises, options.runs, random)
    if "dips" in options.parts:
        measure_dips(noises, options.runs, random)
    if "null" in options.parts:
        measure_null(noises, options.runs, random)
    if "whole" in options.parts:
        measure_whole(options.seeds, options.keep)


if __name__ == "__main__":
    main()

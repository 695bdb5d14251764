"""What the stopping rules do: on curves whose truth is known, and on the bank of recorded runs.

``null``: how often a run is stopped that has not fallen by more than the margin. ``power``: how often one is stopped
that has. ``dips``: how often one is stopped that recovers. ``bank``: recorded runs under our rules and under Optuna's
pruners. ``sampler``: what it learns from stopped runs. ``cost``: what a verdict takes.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.trial import TrialState

from sweep.stopping import DropOff
from sweep.stopping.outcome import has_fallen
from sweep.stopping.recorded import RecordedRun, load_bank
from sweep.stopping.replay import SHARES, Replayed, judge_curve, replay_runs, stop_by_curve
from sweep.stopping.rules import summarize
from sweep.stopping.simulate import Noise, correlated, simulate_run

BANK = Path(__file__).resolve().parent / "curves.npz"
ALPHAS = (0.01, 0.05, 0.2)
QUERIES = (50, 200, 1000)
LOOKS = (10, 20, 40)
MARGIN = 0.01
WARMUP_END = 0.1
SHOWN = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0)

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
    means, covariance, queries = summarize(progress, per_query)
    for last in range(1, len(means)):
        if means[:last].max() - means[last] > rule.margin:
            part = covariance[: last + 1, : last + 1]
            fall = rule.judge(progress[: last + 1], means[: last + 1], part, queries - 1, WARMUP_END)
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


def replay_bank(runs: Sequence[RecordedRun], orders: int) -> None:
    """Prints what each rule does to the recorded runs, judged on some of the queries and held against all of them."""
    fallen = sum(has_fallen(run, margin=MARGIN) for run in runs)
    print(
        f"\n## {len(runs)} recorded runs, of which {fallen} fell; means over {orders} orders and choices of queries\n"
    )
    print(
        "| queries | rule | fallen stopped | their budget | healthy stopped | wrong | of the stopped | lost | budget |"
    )
    print("| --- |" + " --- |" * 8)
    whole = runs[0].per_query.shape[1]
    for queries in (50, 100, 200, whole):
        replayed = replay_runs(
            runs, DropOff(margin=MARGIN), queries=None if queries == whole else queries, orders=orders
        )
        for found in replayed:
            stopped = found.mean("fallen_stopped") + found.mean("healthy_stopped")
            print(
                f"| {queries} | {found.rule} | {found.mean('fallen_stopped'):.1f} | {found.mean('fallen_budget'):.3f}"
                f" | {found.mean('healthy_stopped'):.1f} | {found.mean('wrong'):.2f}"
                f" | {found.mean('wrong') / max(stopped, 1e-9):.3f} | {max(o.lost for o in found.outcomes):.3f}"
                f" | {found.mean('budget'):.3f} |",
                flush=True,
            )
    print_best(replayed)


def print_best(replayed: Sequence[Replayed]) -> None:
    """Prints the best NDCG@10 found at shares of the budget, and by how much it is below ours."""
    print("\n## Best NDCG@10 found; in brackets what it is below our rule, with its 95 % interval over the orders\n")
    print("| rule | " + " | ".join(f"at {share:.0%} of the budget" for share in SHOWN) + " |")
    print("| --- |" + " --- |" * len(SHOWN))
    places = [SHARES.index(share) for share in SHOWN]
    for found in replayed:
        below = (replayed[0].best - found.best)[:, places]
        half = 1.96 * below.std(axis=0, ddof=1) / math.sqrt(len(below))
        cells = [
            f"{mean:.4f} ({gap:+.4f} ± {width:.4f})"
            for mean, gap, width in zip(found.best[:, places].mean(axis=0), below.mean(axis=0), half, strict=True)
        ]
        print(f"| {found.rule} | " + " | ".join(cells) + " |")


def measure_sampler(runs: Sequence[RecordedRun], studies: int, trials: int) -> None:
    """Prints how soon a sampler finds the best configuration, by what it is told of stopped runs.

    A trial of a simulated study takes the curve of the recorded run nearest to it, of the same format, and is stopped
    as a real one would be. ``peak``: every trial is complete with its peak, as our coordinator shows them. ``Optuna``:
    a stopped one is pruned, with its reports. ``last``: every trial is complete with its last value.
    """
    print(f"\n## Best NDCG@10 found after so many trials, by what the sampler is told; means over {studies} studies\n")
    shown = [count for count in (10, 20, 30, 40, 60) if count <= trials]
    print("| told | " + " | ".join(f"{count} trials" for count in shown) + " | mean over all trials |")
    print("| --- |" + " --- |" * (len(shown) + 1))
    found = {told: [_simulate_study(runs, told, trials, seed) for seed in range(studies)] for told in TOLD}
    for told, traces in found.items():
        best = np.array(traces)
        cells = [f"{best[:, count - 1].mean():.4f}" for count in shown]
        below = np.array(found["peak"]).mean(axis=1) - best.mean(axis=1)
        half = 1.96 * below.std(ddof=1) / math.sqrt(studies)
        print(
            f"| {told} | " + " | ".join(cells) + f" | {best.mean():.4f} ({below.mean():+.4f} ± {half:.4f}) |",
            flush=True,
        )


TOLD = ("peak", "Optuna", "last")


def _simulate_study(runs: Sequence[RecordedRun], told: str, trials: int, seed: int) -> list[float]:
    """The highest peak found after each trial."""
    settings = {"n_startup_trials": max(4, trials // 5), "multivariate": True, "group": True, "constant_liar": True}
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed, **settings))
    best: list[float] = []
    for _ in range(trials):
        trial = study.ask(SPACE)
        run = min(
            (one for one in runs if one.params["data_format"] == trial.params["data_format"]),
            key=lambda one: _distance(one.params, trial.params),
        )
        leads = max(best, default=-math.inf)
        stop = stop_by_curve([run], {run.name: judge_curve(run, DropOff())}, forecast=True, best=leads)[0]
        values = run.means[1 : stop + 1]
        for place, value in enumerate(values, start=1):
            trial.report(float(value), int(run.progress[place]))
        if told == "Optuna" and stop < len(run.progress) - 1:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, float(values[-1] if told == "last" else values.max()))
        best.append(max(leads, float(values.max())))
    return best


SPACE = {
    "learning_rate": FloatDistribution(5e-6, 6e-4, log=True),
    "warmup_ratio": FloatDistribution(0.0, 0.3),
    "log2_batch_size": IntDistribution(4, 6),
    "scale": FloatDistribution(20.0, 100.0, log=True),
    "data_format": CategoricalDistribution(("title-content", "query-document")),
}


def _distance(recorded: Mapping[str, Any], asked: Mapping[str, Any]) -> float:
    """Squared distance of two configurations, every range being of length 1."""
    return sum(
        difference**2
        for difference in (
            math.log(recorded["learning_rate"] / asked["learning_rate"]) / math.log(6e-4 / 5e-6),
            (recorded["warmup_ratio"] - asked["warmup_ratio"]) / 0.3,
            (math.log2(recorded["batch_size"]) - asked["log2_batch_size"]) / 2.0,
            math.log(recorded["scale"] / asked["scale"]) / math.log(5.0),
        )
    )


def measure_cost(random: np.random.Generator) -> None:
    """Prints how long a verdict takes."""
    print("\n## One verdict at 40 looks\n\n| queries | milliseconds, median of 9 |\n| --- | --- |")
    progress = np.linspace(0.0, 1.0, 40)
    for queries in (1000, 10_000):
        values = simulate_run(np.full(40, 0.7), progress, queries=queries, noise=correlated(0.9), random=random)
        seconds = []
        for _ in range(9):
            started = time.perf_counter()
            DropOff().explain(progress, values)
            seconds.append(time.perf_counter() - started)
        print(f"| {queries:,} | {1000 * float(np.median(seconds)):.2f} |")


def main() -> None:
    """Prints what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=["cost", "bank", "sampler", "power", "dips", "null"])
    parser.add_argument("--runs", type=int, default=2000, help="simulated runs a cell")
    parser.add_argument("--orders", type=int, default=30, help="orders of the recorded runs")
    parser.add_argument("--studies", type=int, default=100, help="simulated studies for the sampler")
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
    if "sampler" in options.parts:
        measure_sampler(recorded, options.studies, trials=60)
    if "power" in options.parts:
        measure_power(noises, options.runs, random)
    if "dips" in options.parts:
        measure_dips(noises, options.runs, random)
    if "null" in options.parts:
        measure_null(noises, options.runs, random)


if __name__ == "__main__":
    main()

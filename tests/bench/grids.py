"""What sparser grids of looks would have missed on recorded runs: a part of ``stopping.py``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from recorded import MARGIN

from sweep.progress import COMPLETE
from sweep.stopping.outcome import has_fallen, score_stops
from sweep.stopping.policy import StopPolicy
from sweep.stopping.recorded import RecordedRun
from sweep.stopping.replay import look_at_run, sample_queries, stop_by_policy
from sweep.stopping.rungs import RungResult, compare, find_rungs

Grid = tuple[int, ...]

GRIDS: dict[str, Grid] = {
    "all of the bank": (50, 100, 150, 200, 250, 300, 350, 400, 450, 500, 600, 700, 800, 900, 1000),
    "old default": (50, 100, 150, 200, 250, 300, 400, 500, 600, 700, 800, 900, 1000),
    "10 looks": (50, 100, 150, 200, 250, 350, 450, 600, 800, 1000),
    "quickstart": (50, 100, 150, 250, 350, 500, 600, 800, 1000),
    "9 looks": (50, 100, 150, 200, 300, 400, 600, 800, 1000),
    "8 looks, the default": (50, 100, 150, 250, 350, 500, 700, 1000),
    "8, a rung earlier": (50, 100, 150, 250, 300, 400, 700, 1000),
    "8, later": (50, 100, 150, 250, 400, 600, 800, 1000),
    "7 looks": (50, 100, 150, 250, 400, 700, 1000),
    "7, without 15 %": (50, 100, 200, 300, 450, 700, 1000),
    "6 looks": (50, 100, 200, 350, 600, 1000),
    "5, evenly": (200, 400, 600, 800, 1000),
}
"""Grids out of the bank's own looks, the untrained model's apart.

The bank has none before 5 % and none between 5 and 10 %, where both defaults have more; of the quickstart's grid it has
60 % in place of 65 %.
"""

QUERIES = 200
EARLY = 150
"""Thousandths up to which a peak counts as early."""

RUNGS, KEEP, UNDECIDED, GRACE = (0.15, 0.5), (0.25, 0.5), 0.25, 0.02
COHORT = 16
"""Trials of a study that pauses them at rungs."""


def measure_grids(runs: Sequence[RecordedRun], orders: int) -> None:
    """Prints what each grid finds and costs; looks at 200 queries, the truth on all of them and at all looks."""
    early = [run for run in runs if run.progress[1 + int(np.argmax(run.means[1:]))] <= EARLY]
    fallen = sum(has_fallen(run, margin=MARGIN) for run in runs)
    print(
        f"\n## Grids of looks: {len(runs)} recorded runs, {fallen} fell, {len(early)} peak within"
        f" {EARLY / COMPLETE:.0%}; means over {orders} orders and choices of {QUERIES} queries\n"
    )
    print(
        "| grid | peak lost, mean (most) | early peaks, mean (most) | best lost | looks made | examples used"
        " | fallen stopped of | given up | at rungs: examples, looks | best lost there |"
    )
    print("| --- |" + " --- |" * 9)
    for name, grid in GRIDS.items():
        seen_runs = [thin_out(run, grid) for run in runs]
        lost, lost_early = (find_lost(some, grid) for some in (runs, early))
        best = max(run.means[1:].max() for run in runs) - max(run.means[1:].max() for run in seen_runs)
        stopped, looks = _replay(runs, grid, orders)
        halved = _halve(runs, grid, orders)
        print(
            f"| {name}: {', '.join(f'{point / 10:g}' for point in grid)}"
            f" | {np.mean(lost):.4f} ({max(lost):.4f}) | {np.mean(lost_early):.4f} ({max(lost_early):.4f}) | {best:.4f}"
            f" | {looks:.1f} | {stopped['budget']:.3f} | {stopped['fallen_stopped']:.1f} | {stopped['wrong']:.2f}"
            f" | {halved[0]:.3f}, {halved[1]:.1f} | {halved[2]:.4f} |",
            flush=True,
        )


def thin_out(run: RecordedRun, grid: Grid) -> RecordedRun:
    """A run as it would have been measured on a grid."""
    chosen = np.flatnonzero(np.isin(run.progress, (0, *grid)))
    return replace(run, progress=run.progress[chosen], per_query=run.per_query[chosen])


def find_lost(runs: Sequence[RecordedRun], grid: Grid) -> list[float]:
    """By how much the peak of each run on a grid is below that of all its looks."""
    return [float(run.means[1:].max() - thin_out(run, grid).means[1:].max()) for run in runs]


def _replay(runs: Sequence[RecordedRun], grid: Grid, orders: int) -> tuple[dict[str, float], float]:
    """What the default rule stops on a grid, and the looks that a run gets."""
    random, policy = np.random.default_rng(0), StopPolicy(margin=MARGIN)
    found, looks = [], []
    for _ in range(orders):
        truth = [runs[place] for place in random.permutation(len(runs))]
        seen = [thin_out(run, grid) for run in sample_queries(truth, QUERIES, random)]
        stops = stop_by_policy(seen, {run.name: look_at_run(run, policy) for run in seen}, policy)
        thinned = [thin_out(run, grid) for run in truth]
        wrong = [_is_given_up(run, thin, stop) for run, thin, stop in zip(truth, thinned, stops, strict=True)]
        outcome = score_stops(seen, stops, truth=thinned, margin=MARGIN)
        fell = [
            stop < len(thin.progress) - 1 and has_fallen(run, margin=MARGIN)
            for run, thin, stop in zip(truth, thinned, stops, strict=True)
        ]
        found.append({"budget": outcome.budget, "fallen_stopped": float(sum(fell)), "wrong": float(sum(wrong))})
        looks.append(float(np.mean(stops)))
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}, float(np.mean(looks))


def _is_given_up(run: RecordedRun, thin: RecordedRun, stop: int) -> bool:
    """Whether a stopped run would later have beaten what it had found by more than the margin."""
    later = run.means[run.progress > thin.progress[stop]]
    return bool(len(later) and later.max() > thin.means[: stop + 1].max() + MARGIN)


def _halve(runs: Sequence[RecordedRun], grid: Grid, orders: int) -> tuple[float, float, float]:
    """Studies whose trials pause at rungs: examples used, looks a trial, and how far the best found is below the best.

    Each is of trials of one encoder, which share their queries; all go to the first rung, and the shares of `KEEP` on.
    """
    random, found = np.random.default_rng(1), []
    groups = sorted({run.group for run in runs})
    for _ in range(orders):
        group = groups[int(random.integers(len(groups)))]
        same = [run for run in runs if run.group.split("-seed")[0] == group.split("-seed")[0]]
        cohort = [same[place] for place in random.permutation(len(same))[:COHORT]]
        seen = [thin_out(run, grid) for run in sample_queries(cohort, QUERIES, random)]
        pauses = [
            find_rungs(RUNGS, run.progress[1:], warmup_end=run.warmup_end, grace=GRACE, scheduler=run.scheduler)
            for run in seen
        ]
        alive = set(range(len(seen)))
        reached = [pauses[number][0] for number in range(len(seen))]
        for rung, keep in enumerate(KEEP):
            results = []
            for number in sorted(alive):
                reached[number], run = pauses[number][rung], seen[number]
                place = int(np.searchsorted(run.progress, reached[number]))
                results.append(
                    RungResult(number=number, gains=run.per_query[place] - run.per_query[0], group=run.group)
                )
            places = compare(results, keep=keep, undecided=UNDECIDED)
            alive = {number for number in alive if places[number].is_kept}
        for number in alive:
            reached[number] = COMPLETE
        looks = [int(np.sum(np.array(grid) <= point)) for point in reached]
        peaks = [thin_out(run, grid).means[1 : 1 + count].max() for run, count in zip(cohort, looks, strict=True)]
        best = max(run.means[1:].max() for run in cohort)
        found.append((np.mean(reached) / COMPLETE, np.mean(looks), best - max(peaks)))
    examples, looks_made, lost = np.mean(found, axis=0)
    return float(examples), float(looks_made), float(lost)

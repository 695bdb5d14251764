"""Proves the diagnosis: how often it is wrong, and how often it finds what is there, on simulated studies.

The studies are sampled as real ones are: every point is asked of the coordinator's own Proposer (start points, then TPE
over peaks), and every measurement goes through the coordinator's own verdict, which stops a run that has fallen. The
curves are planted: each cause alone, in pairs, none, at several multiples of the quickstart's format effect, with noise
per query and from run to run of the size that was measured on real runs. The shapes that are planted are not those that
the diagnosis assumes: rates act through a logistic curve, scale through a square, shares of false negatives through a
root, and falls begin at the warm-up's end or later. Run it with ``make bench-diagnosis``; results go to
``tests/bench/results/``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import multiprocessing
import platform
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray

from sweep.coordinator.proposals import Proposer
from sweep.progress import COMPLETE, count_steps, plan_evaluations, warmup_end
from sweep.report.diagnosis.cause import OVERALL
from sweep.report.diagnosis.causes import CAUSES
from sweep.report.diagnosis.findings import Finding, diagnose_runs
from sweep.report.diagnosis.run_outcomes import RunOutcome, Stop, measure_run
from sweep.settings.dimensions import Params, StartSpec
from sweep.settings.ranges import FloatRange, PowerRange
from sweep.settings.space import SearchSpace
from sweep.settings.study_file import DropOffSpec, SpaceSpec
from sweep.stopping.policy import StopPolicy, take_look

TOO_HIGH, TOO_LOW, FORMAT, WARMUP, SCALE, NEGATIVES, OVERFITTING = (cause.name for cause in CAUSES)

RESULTS = Path(__file__).parent / "results"
EFFECT = 0.12
"""The quickstart's format effect: NDCG@10 at the end, query-document less title-content, mean of its two rates (seed 0:
0.815 - 0.747 at 5e-5 and 0.890 - 0.717 at 5.6e-4)."""

BASELINE, GAIN = 0.735, 0.05
QUERIES = 600
EXAMPLES = 5120
GRID = (50, 100, 150, 200, 300, 400, 500, 650, 800, 1000)
TRIALS = (12, 30, 60, 100)
EFFECTS = (0.5, 1.0, 2.0)
FOR_TITLES = f"{TOO_HIGH}, title-content alone"
"""The interaction: a rate that is too high for one format alone."""

ALONE = (TOO_HIGH, FOR_TITLES, TOO_LOW, FORMAT, WARMUP, SCALE, NEGATIVES, OVERFITTING)
PAIRS = tuple(itertools.combinations((TOO_HIGH, TOO_LOW, FORMAT, WARMUP, SCALE, NEGATIVES, OVERFITTING), 2))

SPREAD, MOVED = 0.10, 1.5
"""Noise of a query's NDCG by the end of a run, and its growth with how far the run has moved: together they give the
standard errors that were measured on the quickstart's runs, 0.005 near the untrained model and 0.0128 at 0.155 from
it."""

EVALUATION_NOISE = 0.02

SPACE = SpaceSpec(
    learning_rate=FloatRange(low=5e-6, high=6e-4, log=True),
    warmup_ratio=FloatRange(low=0.0, high=0.3),
    batch_size=PowerRange(low=16, high=256),
    data_format=("title-content", "query-document"),
    scale=FloatRange(low=20.0, high=100.0, log=True),
    start=tuple(
        StartSpec(learning_rate=rate, warmup_ratio=0.1, batch_size=64, data_format=name, scale=20.0)
        for rate in (5e-5, 5.6e-4)
        for name in ("title-content", "query-document")
    ),
)


@dataclass(frozen=True)
class Planted:
    """What is true of a simulated study.

    Attributes:
        causes: Names of the causes.
        effect: Multiple of the quickstart's format effect that each has.
        run_noise: Noise from run to run over the standard error over queries.
    """

    causes: tuple[str, ...]
    effect: float
    run_noise: float

    def allows(self, finding: Finding) -> bool:
        """Whether a "supported" of this cause and scope is right."""
        if finding.cause == TOO_HIGH and FOR_TITLES in self.causes and finding.scope != "query-document":
            return True
        return finding.cause in self.causes


@dataclass
class TrainingStats:
    """What a run does, as functions of its settings: how far it rises, and how deep and from where it falls."""

    gain: float = GAIN
    falls: list[tuple[float, float]] = field(default_factory=list)  # (depth, progress at which it begins)
    overfits: float = 0.0

    def shift(self, share: float) -> float:
        """Mean NDCG over the untrained model's after a share of the run."""
        rise = 1.0 - math.exp(-share / 0.2)
        return self.gain * rise - sum(
            depth * (1.0 - math.exp(-max(0.0, share - begins) / 0.2)) for depth, begins in self.falls
        )

    def loss(self, share: float) -> float:
        """Validation loss after a share of the run."""
        falling = 0.6 + 0.4 * math.exp(-share / (0.15 if self.overfits else 0.3))
        return falling * (1.0 + self.overfits * max(0.0, share - 0.4))


def share_of_negatives(params: Params) -> float:
    """Share of anchors with a false negative in their batch, of a collection with many near-equal documents."""
    crowd = {"title-content": 0.004, "query-document": 0.0015}[params.data_format]
    return 1.0 - math.exp(-crowd * params.batch_size)


def plan_course(params: Params, planted: Planted) -> TrainingStats:
    """What the planted causes make of a run."""
    course, depth = TrainingStats(), planted.effect * EFFECT
    rate = params.effective_learning_rate * math.sqrt(64 / params.batch_size)
    title = params.data_format == "title-content"
    heat = 1.0 / (1.0 + math.exp(-(math.log10(rate) - math.log10(2.2e-4)) / 0.1))
    cold = 1.0 / (1.0 + math.exp((math.log10(rate) - math.log10(2e-5)) / 0.1))
    if TOO_HIGH in planted.causes or (FOR_TITLES in planted.causes and title):
        course.falls.append((depth * heat, 0.08))
    if TOO_LOW in planted.causes:
        course.gain += depth * (1.0 - cold)
    if FORMAT in planted.causes:
        course.gain += 0.0 if title else 0.6 * depth
        course.falls.append((0.4 * depth if title else 0.0, 0.15))
    if WARMUP in planted.causes:
        course.falls.append((depth * (1.0 - params.warmup_ratio / 0.3), params.warmup_ratio))
    if SCALE in planted.causes:
        course.falls.append((depth * (math.log(params.scale / 20.0) / math.log(5.0)) ** 2, 0.1))
    if NEGATIVES in planted.causes:
        course.falls.append((depth * (share_of_negatives(params) / 0.64) ** 0.7, 0.1))
    if OVERFITTING in planted.causes:
        course.falls.append((depth, 0.4))
        course.overfits = 0.8 * planted.effect
    return course


def run_course(
    trial: int,
    params: Params,
    planted: Planted,
    *,
    baseline: NDArray[np.float64],
    random: np.random.Generator,
    incumbent: float,
) -> tuple[RunOutcome, float]:
    """Runs a trial through the coordinator's verdicts against the best peak so far; its outcome and its own peak."""
    course = plan_course(params, planted)
    steps = count_steps(EXAMPLES, params.batch_size)
    planned = plan_evaluations(GRID, steps)
    ends = warmup_end(params.warmup_ratio, steps)
    own = random.normal(0.0, 1.0, QUERIES)
    extra = random.normal(0.0, math.sqrt(max(0.0, planted.run_noise**2 - 1.0)) / math.sqrt(QUERIES))
    progress, values = [0], [baseline]
    losses: list[float | None] = [None]
    stop: Stop | None = None
    policy = StopPolicy()
    for point in planned:
        share = point.progress / COMPLETE
        shift = course.shift(share)
        spread = SPREAD * math.sqrt(share) + MOVED * abs(shift)
        noise = spread * (own + extra) + EVALUATION_NOISE * random.normal(0.0, 1.0, QUERIES)
        progress.append(point.progress)
        values.append(baseline + shift + noise)
        losses.append(course.loss(share) * math.exp(random.normal(0.0, 0.003)))
        look = take_look(policy, progress=progress, per_query=np.array(values, dtype=np.float32), warmup_end=ends)
        found = policy.decide(look, incumbent=incumbent)
        if found is not None:
            stop = "cannot_recover" if found.kind == "forecast" else "fallen"
            break
    outcome = measure_run(
        trial,
        params,
        progress=progress,
        per_query=np.array(values),
        warmup_end=ends,
        stop=stop,
        margin=DropOffSpec().margin,
        share=share_of_negatives(params),
        losses=losses,
    )
    assert outcome is not None
    return outcome, float(np.mean(values[1:], axis=1).max())


def simulate(planted: Planted, *, trials: int, seed: int) -> list[RunOutcome]:
    """A study from its start points to the end of its budget."""
    random = np.random.default_rng([seed, trials])
    baseline = np.clip(random.beta(1.1, 0.4, QUERIES), 0.0, 1.0)
    baseline += BASELINE - baseline.mean()
    proposer = Proposer(SearchSpace(SPACE), seed=seed, trials=trials)
    runs: list[RunOutcome] = []
    best = -math.inf
    for number in range(trials):
        proposal = proposer.propose(number)
        outcome, peak = run_course(number, proposal.params, planted, baseline=baseline, random=random, incumbent=best)
        best = max(best, peak)
        proposer.conclude(number, peak)
        runs.append(outcome)
    return runs


def assess(task: tuple[Planted, int, int]) -> dict[str, Any]:
    """What the diagnosis says of one simulated study: which supports are wrong, which planted causes it finds."""
    planted, trials, seed = task
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runs = simulate(planted, trials=trials, seed=seed)
    began = time.perf_counter()
    findings = diagnose_runs(runs, space=SPACE)
    supported = [one for one in findings if one.verdict == "supported"]
    denied = [one for one in findings if one.verdict == "not supported"]
    return {
        "causes": list(planted.causes),
        "effect": planted.effect,
        "trials": trials,
        "seed": seed,
        "wrong": sorted(f"{one.cause} ({one.scope})" for one in supported if not planted.allows(one)),
        "denied": sorted(f"{one.cause} ({one.scope})" for one in denied if planted.allows(one)),
        "found": sorted(cause for cause in planted.causes if any(_finds(one, cause) for one in supported)),
        "overall": sorted({one.cause for one in supported if one.scope == OVERALL and planted.allows(one)}),
        "unknown": sum(one.verdict == "cannot tell" for one in findings),
        "stopped": sum(run.end.is_stopped for run in runs),
        "titles": sum(run.params.data_format == "title-content" for run in runs),
        "seconds": time.perf_counter() - began,
    }


def _finds(finding: Finding, cause: str) -> bool:
    """Whether a support names a planted cause, overall or within a format; the interaction in its format alone."""
    if cause == FOR_TITLES:
        return finding.cause == TOO_HIGH and finding.scope == "title-content"
    return finding.cause == cause


def plan_tasks(studies: int, run_noise: float) -> list[tuple[Planted, int, int]]:
    """Every simulated study: ``studies`` of each kind and number of trials, three times as many with no cause.

    One of each kind comes before the second of any, so that a proof that is broken off is a smaller proof.
    """
    kinds = [Planted((), 0.0, run_noise)] * 3
    kinds += [Planted((cause,), effect, run_noise) for cause in ALONE for effect in EFFECTS]
    kinds += [Planted(pair, 1.0, run_noise) for pair in PAIRS]
    return [
        (planted, trials, 1000 * kind + repeat)
        for repeat in range(studies)
        for kind, planted in enumerate(kinds)
        for trials in TRIALS
    ]


def judge_all(tasks: Sequence[tuple[Planted, int, int]], *, processes: int, partial: Path, minutes: float) -> float:
    """Judges what ``partial`` does not hold yet and adds it, a line each, until the time is up; seconds spent."""
    done = {(one["trials"], one["seed"]) for one in read_lines(partial)}
    left = [task for task in tasks if task[1:] not in done]
    began = time.perf_counter()
    with multiprocessing.get_context("forkserver").Pool(processes) as pool, partial.open("a") as lines:
        for found in pool.imap_unordered(assess, left):
            lines.write(json.dumps(found) + "\n")
            lines.flush()
            if time.perf_counter() - began > 60 * minutes:
                break
    return time.perf_counter() - began


def read_lines(file: Path) -> list[dict[str, Any]]:
    """What has been judged so far."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def share(found: Sequence[bool]) -> str:
    """A share with its standard error."""
    if not found:
        return "-"
    mean = sum(found) / len(found)
    return f"{mean:5.1%} +- {math.sqrt(mean * (1 - mean) / len(found)):.1%} of {len(found)}"


def summarise(results: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The tables that are printed."""
    kinds = {
        "none": lambda one: not one["causes"],
        "alone": lambda one: len(one["causes"]) == 1,
        "pairs": lambda one: len(one["causes"]) == 2,
        "all": lambda one: True,  # noqa: ARG005 - every one belongs
    }
    yield "Studies with any wrong `supported` (at most 5 %):"
    for trials in sorted({one["trials"] for one in results}):
        for name, belongs in kinds.items():
            chosen = [one for one in results if one["trials"] == trials and belongs(one)]
            yield f"  {trials:4d} trials, {name:6s} {share([bool(one['wrong']) for one in chosen])}"
    wrong: dict[str, int] = defaultdict(int)
    denied: dict[str, int] = defaultdict(int)
    for one in results:
        for name in one["wrong"]:
            wrong[name] += 1
        for name in one["denied"]:
            denied[name] += 1
    yield "Wrongly supported: " + (", ".join(f"{name} {count}" for name, count in sorted(wrong.items())) or "none")
    yield "Wrongly not supported: " + (", ".join(f"{name} {count}" for name, count in sorted(denied.items())) or "none")
    yield "Power, each cause alone (supported overall or within a format; in brackets overall):"
    for cause in ALONE:
        for effect in EFFECTS:
            cells = []
            for trials in sorted({one["trials"] for one in results}):
                chosen = [
                    one
                    for one in results
                    if one["causes"] == [cause] and one["effect"] == effect and one["trials"] == trials
                ]
                found = sum(bool(one["found"]) for one in chosen) / max(1, len(chosen))
                whole = sum(bool(one["overall"]) for one in chosen) / max(1, len(chosen))
                cells.append(f"{trials}: {found:4.0%} ({whole:4.0%})")
            yield f"  {cause:61s} effect {effect:g}   " + "   ".join(cells)
    yield "Power in pairs, effect 1:"
    for cause in (TOO_HIGH, TOO_LOW, FORMAT, WARMUP, SCALE, NEGATIVES, OVERFITTING):
        cells = []
        for trials in sorted({one["trials"] for one in results}):
            chosen = [
                one for one in results if len(one["causes"]) == 2 and cause in one["causes"] and one["trials"] == trials
            ]
            found = sum(cause in one["found"] for one in chosen)
            cells.append(f"{trials}: {found / len(chosen):4.0%}" if chosen else f"{trials}: -")
        yield f"  {cause:55s}            " + "   ".join(cells)
    longest = max(one["seconds"] for one in results)
    yield f"The longest diagnosis took {longest:.2f} s."


def main() -> None:
    """Simulates, prints, and keeps the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=10, help="studies of each kind and number of trials")
    parser.add_argument("--run-noise", type=float, default=1.3, help="noise from run to run over that of queries")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=math.inf, help="time after which what is done is summarised")
    parser.add_argument("--partial", type=Path, help="file of what has been judged, with which another run goes on")
    parser.add_argument("--keep", type=Path, default=RESULTS, help="folder of the results")
    options = parser.parse_args()
    tasks = plan_tasks(options.studies, options.run_noise)
    with tempfile.TemporaryDirectory() as folder:
        partial = options.partial or Path(folder) / "judged.jsonl"
        seconds = judge_all(tasks, processes=options.processes, partial=partial, minutes=options.minutes)
        results = read_lines(partial)
    lines = [f"{len(results)} simulated studies, noise from run to run {options.run_noise:g} of that of queries"]
    lines += summarise(results)
    print("\n".join(lines), f"This run took {seconds:.0f} s on {options.processes} processes.", sep="\n")
    options.keep.mkdir(parents=True, exist_ok=True)
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    file = options.keep / f"diagnosis-{date}.json"
    versions = {"python": platform.python_version(), "numpy": np.__version__, "optuna": optuna.__version__}
    file.write_text(json.dumps({"date": date, "versions": versions, "summary": lines}, indent=1) + "\n")
    print(f"Kept in {file}.")


if __name__ == "__main__":
    main()

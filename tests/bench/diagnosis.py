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
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial as partial_of
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
from sweep.settings.study_file import DropOffSpec, RungsSpec, SpaceSpec
from sweep.stopping.doubling import WIDTH
from sweep.stopping.halving import promote_in_waves
from sweep.stopping.outcome import find_stops
from sweep.stopping.policy import Look, StopPolicy
from sweep.stopping.recorded import RecordedRun
from sweep.stopping.replay import look_at_run
from sweep.stopping.rungs import find_rungs

TOO_HIGH, TOO_LOW, FORMAT, WARMUP, SCALE, NEGATIVES, OVERFITTING, LENGTH = (cause.name for cause in CAUSES)

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
LENGTHENED = (*ALONE, LENGTH)
"""The causes of studies that train some trials for longer."""
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
    if LENGTH in planted.causes:
        course.falls.append((0.5 * depth * math.log2(params.length), 0.15))
    if OVERFITTING in planted.causes:
        course.falls.append((depth, 0.4))
        course.overfits = 0.8 * planted.effect
    return course


@dataclass(frozen=True)
class Drawn:
    """A trial with the whole curve that it would have: measurements, the untrained model's first, and losses."""

    number: int
    params: Params
    warmup_end: float
    progress: list[int]
    values: NDArray[np.float64]
    losses: list[float | None]

    @property
    def run(self) -> RecordedRun:
        """The same as a run that the rules of stopping can be replayed on."""
        return RecordedRun(
            name=str(self.number),
            group="",
            progress=np.array(self.progress),
            per_query=self.values.astype(np.float32),
            warmup_end=self.warmup_end,
            scheduler=self.params.scheduler,
            examples=EXAMPLES * self.params.length,
            params=self.params.as_dict(),
        )

    def peak(self, place: int) -> float:
        """The highest mean up to a measurement."""
        return float(self.values[1 : place + 1].mean(axis=1).max())

    def cut(self, place: int, stop: Stop | None) -> RunOutcome:
        """The outcome of the trial where it ended with a measurement, for a reason or at its end."""
        outcome = measure_run(
            self.number,
            self.params,
            progress=self.progress[: place + 1],
            per_query=self.values[: place + 1],
            warmup_end=self.warmup_end,
            stop=stop,
            margin=DropOffSpec().margin,
            share=share_of_negatives(self.params),
            losses=self.losses[: place + 1],
        )
        assert outcome is not None
        return outcome


def draw_course(
    number: int, params: Params, planted: Planted, *, baseline: NDArray[np.float64], random: np.random.Generator
) -> Drawn:
    """A trial whose curve is what the planted causes make of it, with noise per query and from run to run."""
    course = plan_course(params, planted)
    steps = count_steps(EXAMPLES * params.length, params.batch_size)
    own = random.normal(0.0, 1.0, QUERIES)
    extra = random.normal(0.0, math.sqrt(max(0.0, planted.run_noise**2 - 1.0)) / math.sqrt(QUERIES))
    progress, values = [0], [baseline]
    losses: list[float | None] = [None]
    for point in plan_evaluations(GRID, steps):
        share = point.progress / COMPLETE
        shift = course.shift(share)
        spread = SPREAD * math.sqrt(share) + MOVED * abs(shift)
        noise = spread * (own + extra) + EVALUATION_NOISE * random.normal(0.0, 1.0, QUERIES)
        progress.append(point.progress)
        values.append(baseline + shift + noise)
        losses.append(course.loss(share) * math.exp(random.normal(0.0, 0.003)))
    return Drawn(number, params, warmup_end(params.warmup_ratio, steps), progress, np.array(values), losses)


End = tuple[int, Stop | None]
"""The measurement with which a trial ends, and why it is stopped there."""


def find_end(drawn: Drawn, policy: StopPolicy, *, best: float) -> End:
    """The end of a trial that nothing but its own curve stops, against the best peak of the others."""
    looks = look_at_run(drawn.run, policy)
    for place in range(1, len(drawn.progress)):
        if (stop := _find_stop(looks[place], policy, best=best)) is not None:
            return place, stop
    return len(drawn.progress) - 1, None


def _find_stop(look: Look, policy: StopPolicy, *, best: float) -> Stop | None:
    found = policy.decide(look, incumbent=best)
    return None if found is None else "cannot_recover" if found.kind == "forecast" else "fallen"


def simulate(
    planted: Planted, *, trials: int, seed: int, rungs: RungsSpec | None = None, doublings: int = 0
) -> list[RunOutcome]:
    """A study from its start points to the end of its budget.

    Args:
        planted: What is true of it.
        trials: Trials of its search.
        seed: Seed of everything.
        rungs: Rungs at which trials pause; None trains each to its end.
        doublings: Times that the best two are trained for twice as long afterwards.
    """
    random = np.random.default_rng([seed, trials])
    baseline = np.clip(random.beta(1.1, 0.4, QUERIES), 0.0, 1.0)
    baseline += BASELINE - baseline.mean()
    proposer, policy = Proposer(SearchSpace(SPACE), seed=seed, trials=trials), StopPolicy()
    drawn: list[Drawn] = []
    ends: list[End] = []
    for number in range(trials):
        params = proposer.propose(number).params
        drawn.append(draw_course(number, params, planted, baseline=baseline, random=random))
        ends.append(find_end(drawn[-1], policy, best=_find_best(drawn, ends)))
        proposer.conclude(number, drawn[-1].peak(min(ends[-1][0], _first_pause(drawn[-1], rungs))))
    if rungs is not None:
        ends = list(_pause(drawn, policy, rungs))
    lengths = [1] * trials
    for doubling in range(1, doublings + 1):
        before = [place for place, length in enumerate(lengths) if length == 2 ** (doubling - 1)]
        whole = [place for place in before if ends[place][1] != "outclassed"]
        for place in sorted(whole, key=lambda place: -drawn[place].peak(ends[place][0]))[:WIDTH]:
            params = replace(drawn[place].params, length=2**doubling)
            drawn.append(draw_course(len(drawn), params, planted, baseline=baseline, random=random))
            ends.append(find_end(drawn[-1], policy, best=_find_best(drawn, ends)))
            lengths.append(2**doubling)
    return [one.cut(*end) for one, end in zip(drawn, ends, strict=True)]


def _find_best(drawn: Sequence[Drawn], ends: Sequence[End]) -> float:
    """The highest peak of the trials that have ended."""
    return max((one.peak(place) for one, (place, _) in zip(drawn, ends, strict=False)), default=-math.inf)


def _first_pause(drawn: Drawn, rungs: RungsSpec | None) -> int:
    """The measurement at which a trial is seen first by the sampler: its first rung, or its end."""
    if rungs is None:
        return len(drawn.progress) - 1
    scheduler = drawn.params.scheduler
    (pause, *_) = find_rungs(rungs.at, drawn.progress[1:], warmup_end=drawn.warmup_end, scheduler=scheduler)
    return drawn.progress.index(pause)


def _pause(drawn: Sequence[Drawn], policy: StopPolicy, rungs: RungsSpec) -> Iterator[End]:
    """How trials end that pause at rungs: by themselves, by their own curve, or where they were not promoted."""
    runs = [one.run for one in drawn]
    looks = {run.name: look_at_run(run, policy) for run in runs}
    for run, place in zip(runs, find_stops(promote_in_waves(runs, looks, policy, rungs)), strict=True):
        is_whole = place == len(run.progress) - 1
        yield place, None if is_whole else _find_stop(looks[run.name][place], policy, best=math.inf) or "outclassed"


def assess(task: tuple[Planted, int, int], *, with_rungs: bool = False) -> dict[str, Any]:
    """What the diagnosis says of one simulated study: which supports are wrong, which planted causes it finds.

    Studies with rungs train their best for twice and four times as long as well, as far as a total would go.
    """
    planted, trials, seed = task
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        paused = {"rungs": RungsSpec(), "doublings": 2} if with_rungs else {}
        runs = simulate(planted, trials=trials, seed=seed, **paused)
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


def plan_tasks(studies: int, run_noise: float, *, with_rungs: bool) -> list[tuple[Planted, int, int]]:
    """Every simulated study: ``studies`` of each kind and number of trials, three times as many with no cause.

    One of each kind comes before the second of any, so that a proof that is broken off is a smaller proof.
    """
    kinds = [Planted((), 0.0, run_noise)] * 3
    alone = LENGTHENED if with_rungs else ALONE
    kinds += [Planted((cause,), effect, run_noise) for cause in alone for effect in EFFECTS]
    kinds += [Planted(pair, 1.0, run_noise) for pair in PAIRS]
    return [
        (planted, trials, 1000 * kind + repeat)
        for repeat in range(studies)
        for kind, planted in enumerate(kinds)
        for trials in TRIALS
    ]


def judge_all(
    tasks: Sequence[tuple[Planted, int, int]], *, with_rungs: bool, processes: int, partial: Path, minutes: float
) -> float:
    """Judges what ``partial`` does not hold yet and adds it, a line each, until the time is up; seconds spent."""
    done = {(one["trials"], one["seed"]) for one in read_lines(partial)}
    left = [task for task in tasks if task[1:] not in done]
    began = time.perf_counter()
    with multiprocessing.get_context("forkserver").Pool(processes) as pool, partial.open("a") as lines:
        for found in pool.imap_unordered(partial_of(assess, with_rungs=with_rungs), left):
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
    for cause in [cause for cause in LENGTHENED if any(one["causes"] == [cause] for one in results)]:
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
    parser.add_argument("--rungs", action="store_true", help="studies whose trials pause at rungs, and longer trials")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=math.inf, help="time after which what is done is summarised")
    parser.add_argument("--partial", type=Path, help="file of what has been judged, with which another run goes on")
    parser.add_argument("--keep", type=Path, default=RESULTS, help="folder of the results")
    options = parser.parse_args()
    tasks = plan_tasks(options.studies, options.run_noise, with_rungs=options.rungs)
    with tempfile.TemporaryDirectory() as folder:
        partial = options.partial or Path(folder) / "judged.jsonl"
        seconds = judge_all(
            tasks,
            with_rungs=options.rungs,
            processes=options.processes,
            partial=partial,
            minutes=options.minutes,
        )
        results = read_lines(partial)
    kind = " with rungs and longer trials" if options.rungs else ""
    lines = [f"{len(results)} simulated studies{kind}, noise from run to run {options.run_noise:g} of that of queries"]
    lines += summarise(results)
    print("\n".join(lines), f"This run took {seconds:.0f} s on {options.processes} processes.", sep="\n")
    options.keep.mkdir(parents=True, exist_ok=True)
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    file = options.keep / f"diagnosis-{'rungs-' if options.rungs else ''}{date}.json"
    versions = {"python": platform.python_version(), "numpy": np.__version__, "optuna": optuna.__version__}
    file.write_text(json.dumps({"date": date, "versions": versions, "summary": lines}, indent=1) + "\n")
    print(f"Kept in {file}.")


if __name__ == "__main__":
    main()

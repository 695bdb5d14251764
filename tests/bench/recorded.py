"""What the stopping rules do to recorded runs: parts of ``stopping.py``, which see the bank and simulate nothing."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import PatientPruner
from optuna.trial import TrialState

from sweep.measures.selection import estimate_overstatement
from sweep.settings.study_file import RungsSpec
from sweep.stopping import rungs as rule
from sweep.stopping.halving import promote_asynchronously, promote_in_waves
from sweep.stopping.outcome import Legs, Outcome, Stops, find_stops, has_fallen, score_stops, train_in_turn
from sweep.stopping.policy import Look, StopPolicy
from sweep.stopping.power import expected_overstatement
from sweep.stopping.recorded import RecordedRun
from sweep.stopping.replay import (
    SHARES,
    Replayed,
    look_at_run,
    replay_runs,
    sample_queries,
    stop_by_policy,
    stop_by_pruner,
)
from sweep.stopping.rules import DropOff

MARGIN = 0.01
SHOWN = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0)


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


def measure_frontier(runs: Sequence[RecordedRun], orders: int) -> None:
    """Prints errors against budget over the settings of our two verdicts and of Optuna's PatientPruner.

    An error is a stopped run that would later have beaten its peak by more than the margin.
    """
    whole = runs[0].per_query.shape[1]
    shown = (50, 200, whole)
    print(f"\n## Errors, and the budget used, by setting; means over {orders} orders and choices of queries\n")
    print("| rule | " + " | ".join(f"errors at {count} | budget" for count in shown) + " |")
    print("| --- |" + " --- | --- |" * len(shown))
    rows: dict[str, dict[int, list[Outcome]]] = {}
    for count in shown:
        random = np.random.default_rng(0)
        for _ in range(orders):
            order = [runs[place] for place in random.permutation(len(runs))]
            seen = sample_queries(order, count, random)
            for name, stops in _stop_by_settings(seen):
                found = score_stops(seen, stops, truth=order, margin=MARGIN)
                rows.setdefault(name, {}).setdefault(count, []).append(found)
    for name, counts in rows.items():
        cells = [
            f"{np.mean([one.wrong for one in some]):.2f} | {np.mean([one.budget for one in some]):.3f}"
            for some in counts.values()
        ]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def _stop_by_settings(runs: Sequence[RecordedRun]) -> Iterator[tuple[str, Stops]]:
    for alpha in (0.001, 0.01, 0.05, 0.2, 0.4):
        policy = StopPolicy(margin=MARGIN, alpha=alpha)
        looks = {run.name: look_at_run(run, policy) for run in runs}
        yield f"by forecast, alpha {alpha:g}", stop_by_policy(runs, looks, policy)
        yield f"proved, alpha {alpha:g}", stop_by_policy(runs, looks, replace(policy, forecast=False))
    for patience in (1, 2, 3, 5, 8):
        for least in (0.005, 0.01, 0.02):
            pruner = PatientPruner(None, patience=patience, min_delta=least)
            yield f"Patient(None, {patience}, {least:g})", stop_by_pruner(runs, pruner)


def measure_rungs(runs: Sequence[RecordedRun], orders: int) -> None:
    """Prints the budget and the best lost of rungs and of what else they might be, in orders of 24 and of 12 runs.

    The rules see 200 of the queries. Orders are drawn from the whole bank, from the runs of its most frequent base
    model, and from either half of the bank.
    """
    models = [round(float(run.means[0]), 3) for run in runs]
    groups = sorted({run.group for run in runs})
    pools = {
        "all runs": list(runs),
        "one base model": [
            run for run, base in zip(runs, models, strict=True) if base == max(models, key=models.count)
        ],
        "half of the groups": [run for run in runs if run.group in groups[::2]],
        "the other half": [run for run in runs if run.group in groups[1::2]],
    }
    for trials in (24, 12):
        for name, pool in pools.items():
            if len(pool) < trials:
                continue
            print(f"\n## {trials} of {name} ({len(pool)}); means over {orders} orders, 200 queries seen\n")
            print("| rule | budget | best lost | within 0.005 | at most |\n| --- | --- | --- | --- | --- |")
            for label, found in _replay_rungs(pool, trials, orders).items():
                lost = np.array([one.best_lost for one in found])
                print(
                    f"| {label} | {np.mean([one.budget for one in found]):.3f} | {lost.mean():.4f}"
                    f" | {(lost <= 0.005).mean():.1%} | {lost.max():.3f} |",
                    flush=True,
                )


def measure_selection(runs: Sequence[RecordedRun], choices: int) -> None:
    """Prints how much too good the best of some runs looks, and how much worse it is than the best there is.

    Runs and queries are drawn from one group at a time; the truth is on the queries that were not drawn.
    """
    random = np.random.default_rng(1)
    groups = [[run for run in runs if run.group == group] for group in sorted({run.group for run in runs})]
    print(f"\n## The best of some runs on some queries; means over {choices:,} choices\n")
    print("| runs | queries | looks too good | expected | estimated from the queries | worse than the best |")
    print("| --- | --- | --- | --- | --- | --- |")
    for trials in (2, 4, 8):
        for queries in (25, 50, 100, 200):
            found = np.array([_choose_best(groups, trials, queries, random) for _ in range(choices)])
            overstated, worse, estimated = found.mean(axis=0)
            print(
                f"| {trials} | {queries} | {overstated:.4f} | {expected_overstatement(queries, trials):.4f}"
                f" | {estimated:.4f} | {worse:.4f} |",
                flush=True,
            )


def _choose_best(
    groups: Sequence[Sequence[RecordedRun]], trials: int, queries: int, random: np.random.Generator
) -> tuple[float, float, float]:
    """How much too good the best looks, how much worse it is than the best there is, and the estimate of the first."""
    group = groups[random.integers(len(groups))]
    chosen = [group[place].per_query[1:] for place in random.permutation(len(group))[:trials]]
    values = np.concatenate(chosen).astype(np.float64)  # (M, Q)
    order = random.permutation(values.shape[1])
    seen, others = values[:, order[:queries]], values[:, order[queries:]].mean(axis=1)
    best = int(seen.mean(axis=1).argmax())
    estimated = estimate_overstatement(seen)
    return float(seen[best].mean() - others[best]), float(others.max() - others[best]), estimated


def _replay_rungs(runs: Sequence[RecordedRun], trials: int, orders: int) -> dict[str, list[Outcome]]:
    random, found = np.random.default_rng(0), dict[str, list[Outcome]]()
    policy = StopPolicy(margin=MARGIN)
    choices = [sample_queries(runs, 200, random) for _ in range(QUERY_CHOICES)]
    looks = [{run.name: look_at_run(run, policy) for run in seen} for seen in choices]
    for order in range(orders):
        places, choice = random.permutation(len(runs))[:trials], order % len(choices)
        truth, seen = [runs[place] for place in places], [choices[choice][place] for place in places]
        for label, legs in _train_by_rungs(seen, looks[choice], policy):
            outcome = score_stops(seen, find_stops(legs), truth=truth, margin=MARGIN)
            found.setdefault(label, []).append(outcome)
    return found


def _train_by_rungs(
    runs: Sequence[RecordedRun], looks: Mapping[str, Sequence[Look]], policy: StopPolicy
) -> Iterator[tuple[str, Legs]]:
    usual = RungsSpec()

    def train(spec: RungsSpec = usual, *, policy: StopPolicy = policy, grace: float | None = policy.grace) -> Legs:
        return promote_in_waves(runs, looks, policy, spec, grace=grace)

    yield "rungs", train()
    yield "rungs, nobody stopped", train(policy=replace(policy, drop_off=False))
    for share in (0.0, 0.05, 0.2):
        with _changed("AHEAD", share):
            yield f"rungs, {share:g} ahead", train()
    for fewest in (1, 2, 4):
        with _changed("FEWEST", fewest):
            yield f"rungs, at least {fewest}", train()
    yield "rungs after the warm-up without a grace", train(grace=0.0)
    yield "rungs within the warm-up, too", train(grace=None)
    for room in (0.0, 0.5):
        yield f"rungs, undecided = {room:g}", train(RungsSpec(undecided=room))
    for at, keep in OTHER_RUNGS:
        yield f"at = {list(at)}, keep = {list(keep)}", train(RungsSpec(at=at, keep=keep))
    yield "ASHA, pausing", promote_asynchronously(runs, usual)
    yield "drop-off alone", train_in_turn(stop_by_policy(runs, looks, policy))


QUERY_CHOICES = 20

OTHER_RUNGS = (
    ((0.15, 0.5), (0.25, 0.5)),
    ((0.15, 0.5), (0.2, 0.5)),
    ((0.15, 0.6), (0.2, 0.5)),
    ((0.1, 0.5), (0.2, 0.5)),
    ((0.1, 0.65), (0.2, 0.5)),
    ((0.1, 0.6), (0.34, 0.5)),
    ((0.1, 0.3), (0.34, 0.34)),
    ((0.12, 0.3, 0.65), (0.4, 0.5, 0.5)),
)


@contextlib.contextmanager
def _changed(name: str, value: float) -> Iterator[None]:
    """The rule of rungs with another value of one of its constants."""
    usual = getattr(rule, name)
    setattr(rule, name, value)
    try:
        yield
    finally:
        setattr(rule, name, usual)


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
    policy = StopPolicy()
    best: list[float] = []
    for _ in range(trials):
        trial = study.ask(SPACE)
        run = min(
            (one for one in runs if one.params["data_format"] == trial.params["data_format"]),
            key=lambda one: _distance(one.params, trial.params),
        )
        leads = max(best, default=-math.inf)
        stop = stop_by_policy([run], {run.name: look_at_run(run, policy)}, policy, incumbent=max(best, default=None))[0]
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

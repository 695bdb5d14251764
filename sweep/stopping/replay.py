"""Replay: recorded runs once more under a stopping rule, without training.

A rule is asked after each measurement, as while a study runs, and knows what was measured until then: of the run
itself, and of the runs before it in the order.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    PatientPruner,
    SuccessiveHalvingPruner,
    WilcoxonPruner,
)
from optuna.trial import TrialState, create_trial

from sweep.measures.score import Score
from sweep.progress import COMPLETE
from sweep.settings.study_file import RungsSpec
from sweep.stopping.halving import promote_asynchronously, promote_in_waves
from sweep.stopping.outcome import Legs, Outcome, Stops, find_stops, score_stops, trace_best, train_in_turn
from sweep.stopping.policy import Look, StopPolicy, take_look
from sweep.stopping.recorded import RecordedRun
from sweep.stopping.rules import CurveRule

SHARES = tuple(np.round(np.linspace(0.02, 1.0, 50), 2).tolist())
"""Shares of the budget of all runs at which the best value found is traced."""

Rule = Callable[[Sequence[RecordedRun]], Legs]
"""A rule as replay sees it: runs in their order in, their training out, leg by leg."""

FORECAST = "drop-off, by forecast"
"""Name of the rule that studies run under by default."""

RUNGS = "rungs"
"""Name of that rule with rungs."""

ASHA = "ASHA, pausing"
"""Name of asynchronous successive halving whose trials pause."""


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """The effects of a rule on recorded runs, in several orders.

    Attributes:
        rule: Its name.
        outcomes: Its effects, for each of O orders.
        best: (O, 50) highest value found at each of `SHARES` of the budget of all runs.
    """

    rule: str
    outcomes: Sequence[Outcome]
    best: NDArray[np.float64]

    def mean(self, figure: str) -> float:
        """The mean of a figure of the outcomes over the orders."""
        return float(np.mean([getattr(outcome, figure) for outcome in self.outcomes]))


def replay_runs(
    runs: Sequence[RecordedRun],
    settings: CurveRule,
    *,
    rungs: RungsSpec | None = None,
    queries: int | None = None,
    orders: int = 20,
    seed: int = 0,
) -> list[Replayed]:
    """Recorded runs under our rules, under Optuna's pruners, and paused at rungs.

    Args:
        runs: Complete runs.
        settings: Margin, alpha and grace of our rules.
        rungs: The rungs; None for those that a study has by default.
        queries: The rules see so many of the queries alone, others for each order; the truth is on all of them.
        orders: Random orders in which the runs come.
        seed: Seed of the orders and of the choice of queries.

    Returns:
        One for each rule, ours first.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # some of Optuna's pruners are
        random = np.random.default_rng(seed)
        return _replay_orders(runs, settings, rungs or RungsSpec(), queries=queries, orders=orders, random=random)


def _replay_orders(
    runs: Sequence[RecordedRun],
    settings: CurveRule,
    rungs: RungsSpec,
    *,
    queries: int | None,
    orders: int,
    random: np.random.Generator,
) -> list[Replayed]:
    outcomes: dict[str, list[Outcome]] = {}
    traces: dict[str, list[NDArray[np.float64]]] = {}
    known: dict[str, list[Look]] = {}
    for _ in range(orders):
        truth = [runs[place] for place in random.permutation(len(runs))]
        seen, known = (truth, known) if queries is None else (sample_queries(truth, queries, random), {})
        for name, rule in make_rules(settings, seen, known, rungs).items():
            legs = rule(seen)
            scored = score_stops(seen, find_stops(legs), truth=truth, margin=settings.margin)
            outcomes.setdefault(name, []).append(scored)
            spent, best = trace_best(truth, legs)
            reached = np.searchsorted(spent, np.array(SHARES) * sum(run.examples for run in truth), side="right")
            traces.setdefault(name, []).append(best[np.maximum(reached, 1) - 1])
    return [Replayed(rule=name, outcomes=outcomes[name], best=np.array(traces[name])) for name in outcomes]


def sample_queries(runs: Sequence[RecordedRun], queries: int, random: np.random.Generator) -> list[RecordedRun]:
    """The runs on some of their queries, on all where there are no more: the same for all runs of a group."""
    chosen: dict[str, NDArray[np.int64]] = {}
    for run in runs:
        held = run.per_query.shape[1]
        if run.group not in chosen:
            chosen[run.group] = np.sort(random.choice(held, min(queries, held), replace=False))
    return [run.on_queries(chosen[run.group]) for run in runs]


def make_rules(
    settings: CurveRule, runs: Sequence[RecordedRun], known: dict[str, list[Look]], rungs: RungsSpec
) -> Mapping[str, Rule]:
    """Our rules and Optuna's pruners by name, with the settings that their users would choose for these runs.

    Args:
        settings: Margin, alpha and grace of ours.
        runs: The runs; their first measurement is the min_resource of Optuna's.
        known: Looks of ours at these very runs, by name; those that are missing are added.
        rungs: The rungs, and the shares that go on from them.
    """
    known.update({run.name: look_at_run(run, settings) for run in runs if run.name not in known})
    policy = StopPolicy(margin=settings.margin, alpha=settings.alpha, grace=settings.grace)
    in_turn = _make_rules_in_turn(policy, known, first=int(min(run.progress[1] for run in runs)))
    return {
        **{name: _make_rule(rule) for name, rule in in_turn.items()},
        RUNGS: lambda runs: promote_in_waves(runs, known, policy, rungs, grace=policy.grace),
        ASHA: lambda runs: promote_asynchronously(runs, rungs),
    }


def _make_rule(rule: Callable[[Sequence[RecordedRun]], Stops]) -> Rule:
    return lambda runs: train_in_turn(rule(runs))


def _make_rules_in_turn(
    policy: StopPolicy, known: Mapping[str, Sequence[Look]], *, first: int
) -> Mapping[str, Callable[[Sequence[RecordedRun]], Stops]]:
    """The rules under which runs are trained one after the other."""
    return {
        FORECAST: lambda runs: stop_by_policy(runs, known, policy),
        "drop-off, proved": lambda runs: stop_by_policy(runs, known, replace(policy, forecast=False)),
        "Nop": lambda runs: stop_by_pruner(runs, NopPruner()),
        "Patient(None, 3, 0.01)": lambda runs: stop_by_pruner(runs, PatientPruner(None, patience=3, min_delta=0.01)),
        "Median": lambda runs: stop_by_pruner(runs, MedianPruner()),
        "SuccessiveHalving": lambda runs: stop_by_pruner(
            runs, SuccessiveHalvingPruner(min_resource=first, reduction_factor=4)
        ),
        "Hyperband": lambda runs: stop_by_pruner(
            runs, HyperbandPruner(min_resource=first, max_resource=COMPLETE, reduction_factor=3)
        ),
        "Wilcoxon": stop_by_wilcoxon,
    }


def look_at_run(run: RecordedRun, rule: CurveRule) -> list[Look]:
    """A look at a run at each of its measurements."""
    return [
        take_look(
            rule,
            progress=run.progress[: place + 1],
            per_query=run.per_query[: place + 1],
            warmup_end=run.warmup_end,
            scheduler=run.scheduler,
            weights=run.weights,
        )
        for place in range(len(run.progress))
    ]


def stop_by_policy(
    runs: Sequence[RecordedRun],
    looks: Mapping[str, Sequence[Look]],
    policy: StopPolicy,
    *,
    incumbent: float | None = None,
) -> Stops:
    """The stops of a policy, as the coordinator obeys them.

    Args:
        runs: The runs in their order.
        looks: Looks at each, by its name, with the policy's margin, alpha and grace.
        policy: The policy.
        incumbent: The highest peak of the runs before these.
    """
    stops: Stops = []
    for run in runs:
        after = enumerate(looks[run.name][1:], 1)
        stopped = (place for place, look in after if policy.decide(look, incumbent=incumbent) is not None)
        stops.append(next(stopped, len(run.progress) - 1))
        peak = looks[run.name][stops[-1]].peak
        incumbent = peak if incumbent is None else max(incumbent, peak)
    return stops


def stop_by_pruner(runs: Sequence[RecordedRun], pruner: BasePruner) -> Stops:
    """The stops of a pruner of Optuna's, which is shown the runs one after the other in a study of its own."""
    study = optuna.create_study(direction="maximize", pruner=pruner)
    return [_prune(study, run) for run in runs]


def _prune(study: optuna.Study, run: RecordedRun) -> int:
    trial, last = study.ask(), len(run.progress) - 1
    for place in range(1, last + 1):
        trial.report(float(run.means[place]), int(run.progress[place]))
        if place < last and trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return place
    study.tell(trial, float(run.means[1:].max()))
    return last


def stop_by_wilcoxon(runs: Sequence[RecordedRun], p_threshold: float = 0.1) -> Stops:
    """The stops of Optuna's WilcoxonPruner, which compares the queries of a run with those of the best model so far.

    It is made for trials that measure one instance after the other; here each measurement of a run is such a trial,
    whose instances are the queries.
    """
    pruner = WilcoxonPruner(p_threshold=p_threshold)
    stops: Stops = []
    best: dict[str, tuple[float, np.ndarray]] = {}  # by group: the highest peak and its queries
    for run in runs:
        last, incumbent = len(run.progress) - 1, best.get(run.group)
        worse = (place for place in range(1, last) if incumbent and _is_worse(run, place, incumbent[1], pruner))
        stops.append(next(worse, last))
        place = 1 + int(np.argmax(run.means[1 : stops[-1] + 1]))
        if incumbent is None or run.means[place] > incumbent[0]:
            best[run.group] = float(run.means[place]), run.per_query[place]
    return stops


def _is_worse(run: RecordedRun, place: int, theirs: np.ndarray, pruner: WilcoxonPruner) -> bool:
    study = optuna.create_study(direction="maximize", pruner=pruner)
    values = dict(enumerate(theirs.tolist()))
    study.add_trial(create_trial(value=Score(theirs).mean, intermediate_values=values))
    ours = dict(enumerate(run.per_query[place].tolist()))
    return pruner.prune(study, create_trial(state=TrialState.RUNNING, intermediate_values=ours))

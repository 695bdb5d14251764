"""The command ``replay``: recorded runs once more under stopping rules, without training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sweep.cli.leaderboard import print_table
from sweep.errors import SweepError
from sweep.measures.measures import find_measure
from sweep.report.replayed import write_replay
from sweep.settings.study_file import RungsSpec
from sweep.stopping.recorded import RecordedRun, load_bank
from sweep.stopping.replay import ASHA, RUNGS, SHARES, Replayed, replay_runs
from sweep.stopping.rules import DropOff
from sweep.stopping.rungs import FEWEST
from sweep.study import Study

HEADINGS = (
    *("rule", "fallen stopped", "their budget", "healthy", "wrong", "most lost", "best lost", "budget"),
    *("at 25%", "at 50%"),
)


def print_replay(
    source: Study | Path,
    *,
    rule: DropOff,
    queries: int | None,
    orders: int,
    figure: str | None,
    as_json: bool,
) -> None:
    """Prints the savings and costs of each rule on recorded runs.

    Args:
        source: A study, or a bank of recorded runs.
        rule: Margin, alpha and grace of our rules.
        queries: The rules see so many of the queries alone; the truth is on all of them.
        orders: Orders of the runs that the figures are means over.
        figure: HTML file for the best value found against the budget.
        as_json: Whether to print JSON.

    Raises:
        SweepError: If the source cannot be read or holds no complete run, or the figure cannot be written.
    """
    if orders < 1:
        raise SweepError(f"--orders must be at least 1, got {orders}")
    if queries is not None and queries < 2:
        raise SweepError(f"--queries must be at least 2, got {queries}")
    runs, cut = load_runs(source)
    rungs = (not isinstance(source, Path) and source.spec.rungs) or RungsSpec()
    replayed = replay_runs(runs, rule, rungs=rungs, queries=queries, orders=orders)
    measure = find_measure(runs[0].metric)
    if figure is not None:
        title = f"{_find_file(source).name}: best {measure.label} found"
        write_replay(Path(figure), replayed, title=title, metric=measure.label)
    if as_json:
        rules = [describe_replayed(each) for each in replayed]
        print(json.dumps({"version": 1, "metric": measure.key, "runs": len(runs), "rules": rules}))
        return
    print_table(HEADINGS, [_row(each) for each in replayed])
    left_out = f" {cut} runs were stopped while they were recorded, and are left out." if cut else ""
    print(f"\n{len(runs)} complete runs on {measure.label}; means over {orders} orders in which they come.{left_out}")
    print(f"fallen: ends more than {rule.margin:g} below its peak; healthy: how many of the others were stopped.")
    print("wrong: was stopped, and would later have beaten its peak by more than that; most lost: by how much at most.")
    print("best lost: how much higher the best of all complete runs is than the best found.")
    print(f"at 25%, at 50%: the best {measure.label} found when so much of the budget of all runs is spent.")
    print(f"{RUNGS}: {_describe_rungs(rungs)}")
    if figure is not None:
        print(f"Figure: {figure}")


def _describe_rungs(rungs: RungsSpec) -> str:
    pauses = " and at ".join(
        f"{at:.0%} (the best {keep:.0%} go on)" for at, keep in zip(rungs.at, rungs.keep, strict=True)
    )
    return f"pauses at {pauses} of the learning rate spent; {FEWEST} go on at least.\n{ASHA}: the same, asynchronously."


def load_runs(source: Study | Path) -> tuple[list[RecordedRun], int]:
    """The complete runs of a study or of a bank, and how many were left out because they were stopped.

    Raises:
        SweepError: If the source cannot be read, holds no complete run, or runs on several metrics.
    """
    if isinstance(source, Path):
        runs, cut = load_bank(source), 0
    else:
        recorded = source.recorded_runs()
        runs = [run for run in recorded if run.is_complete]
        cut = len(recorded) - len(runs)
    if not runs:
        remedy = "record some with `drop_off = false`, and without [rungs]"
        raise SweepError(f"{_find_file(source)}: holds no run that went to its end; {remedy}")
    metrics = sorted({run.metric for run in runs})
    if len(metrics) > 1:
        raise SweepError(f"{_find_file(source)}: its runs cannot be compared: they are on {' and '.join(metrics)}")
    return runs, cut


def describe_replayed(replayed: Replayed) -> dict[str, Any]:
    """A rule's figures by name, as plain values."""
    first = replayed.outcomes[0]
    names = ("fallen_stopped", "fallen_budget", "healthy_stopped", "wrong", "lost", "budget", "best", "best_lost")
    means = {name: replayed.mean(name) for name in names}
    figures = {name: value if np.isfinite(value) else None for name, value in means.items()}
    figures["best_lost_at_most"] = max(outcome.best_lost for outcome in replayed.outcomes)
    best = dict(zip(map(str, SHARES), replayed.best.mean(axis=0).tolist(), strict=True))
    return {"rule": replayed.rule, "fallen": first.fallen, "healthy": first.healthy, **figures, "best_at": best}


def _find_file(source: Study | Path) -> Path:
    return source if isinstance(source, Path) else source.file


def _row(replayed: Replayed) -> Sequence[str]:
    first, best = replayed.outcomes[0], replayed.best.mean(axis=0)
    quarter, half = (best[SHARES.index(next(share for share in SHARES if share >= at))] for at in (0.25, 0.5))
    fallen_budget = replayed.mean("fallen_budget")
    return (
        replayed.rule,
        f"{replayed.mean('fallen_stopped'):.1f} of {first.fallen}",
        f"{fallen_budget:.0%}" if np.isfinite(fallen_budget) else "-",
        f"{replayed.mean('healthy_stopped'):.1f} of {first.healthy}",
        f"{replayed.mean('wrong'):.1f}",
        f"{max(outcome.lost for outcome in replayed.outcomes):.3f}",
        f"{replayed.mean('best_lost'):.4f}",
        f"{replayed.mean('budget'):.0%}",
        *(f"{value:.4f}" for value in (quarter, half)),
    )

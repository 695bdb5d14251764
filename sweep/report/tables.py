"""The numbers of the report: pandas frames in which every figure and every sentence of it can be looked up.

Progress counts thousandths, as everywhere; a trial has *fallen* where it was stopped for drop-off, or ended further
below the highest point of its curve than the margin of the study's drop-off rule.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.importance import FanovaImportanceEvaluator
from optuna.trial import TrialState, create_trial

from sweep.measures.geometry import COSINE_BINS
from sweep.settings.dimensions import DIMENSIONS, Dimension
from sweep.settings.study_file import DropOffSpec
from sweep.study import Study

MIN_IMPORTANCE_TRIALS = 10
"""Fewest trials of which importances are computed; with fewer, they are noise."""

COSINE_KINDS = ("positive", "negative")
LOSSES = ("loss", "validation_loss", "validation_loss_retrieval")


def tabulate_trials(study: Study) -> pd.DataFrame:
    """Every trial, the highest peak first and those without one last, with ``fell`` and the ``saved`` examples."""
    frame = study.trials()
    spec = study.spec.stopping.drop_off
    margin = spec.margin if isinstance(spec, DropOffSpec) else DropOffSpec().margin
    highest = frame["last"] / frame["retention"]
    frame["fell"] = (frame["ended_by"] == "drop-off") | (highest - frame["last"] > margin)
    stopped = frame["stop_reason"].notna() & frame["state"].isin(["complete", "pruned"])
    frame["saved"] = (frame["planned_examples"] - frame["examples"]).where(stopped, 0)
    return frame.sort_values(["peak", "trial"], ascending=[False, True], na_position="last", ignore_index=True)


def tabulate_curves(study: Study) -> pd.DataFrame:
    """Value of every measured trial over progress, the untrained point first, with its peak and its stop marked."""
    rows = study.evaluations()[["trial", "progress", "value"]]
    trials = study.trials().set_index("trial")
    baseline = study.record.baseline
    if baseline is not None:
        measured = rows["trial"].unique()
        rows = pd.concat([pd.DataFrame({"trial": measured, "progress": 0, "value": baseline}), rows])
    rows = rows.sort_values(["trial", "progress"], ignore_index=True)
    peak = rows["trial"].map(trials["peak_progress"])
    is_stopped = rows["trial"].map(trials["stop_reason"].notna())
    last = rows.groupby("trial")["progress"].transform("max")
    rows["data_format"] = rows["trial"].map(trials["data_format"])
    rows["is_peak"] = (rows["progress"] == peak).fillna(value=False).astype(bool)
    rows["is_stop"] = is_stopped.astype(bool) & (rows["progress"] == last)
    return rows


def tabulate_warmups(study: Study) -> pd.DataFrame:
    """Where on its curve the warm-up of every measured trial ends, by the straight line between measurements."""
    rows = []
    trials = study.trials().set_index("trial")
    for number, curve in tabulate_curves(study).groupby("trial"):
        end = float(trials.loc[number, "warmup_end"]) * 1000
        value = float(np.interp(end, curve["progress"], curve["value"]))
        if 0 < end <= curve["progress"].max() and np.isfinite(value):
            rows.append(
                {"trial": number, "data_format": trials.loc[number, "data_format"], "progress": end, "value": value}
            )
    return pd.DataFrame(rows, columns=["trial", "data_format", "progress", "value"])


def choose_pair(study: Study) -> dict[str, int]:
    """Two runs to look at closely: the best one that ``held``, and the one that ``fell`` the furthest.

    Where all runs have held, or all have fallen, there is only the one or the other.
    """
    frame = tabulate_trials(study)
    frame = frame[frame["retention"].notna() & (frame["progress"] > 0)]
    held, fell = frame[~frame["fell"]], frame[frame["fell"]]
    chosen = {}
    if len(held):
        chosen["held"] = int(held.iloc[0]["trial"])
    if len(fell):
        chosen["fell"] = int(fell.sort_values(["retention", "trial"]).iloc[0]["trial"])
    return chosen


def tabulate_cosines(study: Study) -> pd.DataFrame:
    """Cosines of positives and negatives over the progress of the chosen pair of runs: mean, 5 % and 95 %."""
    return _of_pair(study, [f"{kind}_{figure}" for kind in COSINE_KINDS for figure in ("mean", "p5", "p95")])


def tabulate_histograms(study: Study) -> pd.DataFrame:
    """Share of cosines in each bin, untrained and at the last measurement of each of the chosen pair of runs."""
    rows = _of_pair(study, [f"{kind}_histogram" for kind in COSINE_KINDS])
    centres = (COSINE_BINS[:-1] + COSINE_BINS[1:]) / 2
    found = []
    for (run, trial), points in rows.groupby(["run", "trial"], sort=False):
        for when, point in (("untrained", points.iloc[0]), ("last", points.iloc[-1])):
            counts = {kind: point[f"{kind}_histogram"] for kind in COSINE_KINDS}
            if all(count is not None and sum(count) for count in counts.values()):
                shares = {kind: np.array(count) / sum(count) for kind, count in counts.items() if count is not None}
                found.append(pd.DataFrame({"run": run, "trial": trial, "when": when, "cosine": centres, **shares}))
    columns = ["run", "trial", "when", "cosine", *COSINE_KINDS]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=columns)


def tabulate_losses(study: Study) -> pd.DataFrame:
    """Value, training loss and both validation losses over the progress of the chosen pair of runs."""
    return _of_pair(study, ["value", *LOSSES])


def tabulate_importances(study: Study) -> pd.DataFrame:
    """How much of the differences in peak and in retention each setting explains (fANOVA), in [0, 1].

    Stopped runs count with the retention that they had when they were stopped. Settings that never differed, or did
    not matter for some run, are left out; so is everything where fewer than ``MIN_IMPORTANCE_TRIALS`` trials were
    measured.
    """
    frame = study.trials()
    frame = frame[frame["state"].isin(["complete", "pruned"]) & frame["peak"].notna() & frame["retention"].notna()]
    differing = [one for one in DIMENSIONS if frame[one.name].nunique() > 1 and frame[one.name].notna().all()]
    settings = [one.name for one in differing]
    found = pd.DataFrame({"setting": settings})
    if len(frame) < MIN_IMPORTANCE_TRIALS or not settings:
        return pd.DataFrame({"setting": [], "peak": [], "retention": []})
    for target in ("peak", "retention"):
        shares = _importances(frame, differing, target)
        found[target] = [shares.get(name, 0.0) for name in settings]
    return found.sort_values("peak", ascending=False, kind="stable", ignore_index=True)


def tabulate_slots(study: Study) -> pd.DataFrame:
    """What each slot did: each process of a trial from its beginning to its end, in seconds since the first began.

    A process that was killed with its coordinator has no end of its own: it counts up to its trial's last measurement.
    """
    trials = study.trials().set_index("trial")
    first = min((run.began for run in study.runs), default=0.0)
    rows = [
        {
            "slot": run.slot,
            "device": run.device,
            "trial": run.trial,
            "run": run.run,
            "data_format": trials.loc[run.trial, "data_format"],
            "began": run.began - first,
            "ended": (run.began + _seconds(trials, run.trial) if run.ended is None else run.ended) - first,
        }
        for run in study.runs
    ]
    columns = ["slot", "device", "trial", "run", "data_format", "began", "ended"]
    return pd.DataFrame(rows, columns=columns).sort_values(["slot", "began"], ignore_index=True)


def tabulate_budget(study: Study) -> pd.DataFrame:
    """Training examples of each data format: seen by runs that held, by runs that fell, and saved by stopping."""
    frame = tabulate_trials(study)
    frame = frame[frame["data_format"].notna()]
    groups = frame.groupby("data_format", sort=True)
    rows = [
        {
            "data_format": name,
            "trials": len(group),
            "held": int(group.loc[~group["fell"], "examples"].sum()),
            "fell": int(group.loc[group["fell"], "examples"].sum()),
            "saved": int(group["saved"].sum()),
        }
        for name, group in groups
    ]
    return pd.DataFrame(rows, columns=["data_format", "trials", "held", "fell", "saved"])


def _of_pair(study: Study, names: list[str]) -> pd.DataFrame:
    """Figures of the chosen pair of runs over progress, the untrained model's first."""
    evaluations = study.evaluations()
    found = []
    for run, trial in choose_pair(study).items():
        rows = evaluations.loc[evaluations["trial"] == trial, ["progress", *names]].to_dict("records")
        if study.untrained is not None:
            rows = [{"progress": 0, **{name: study.untrained[name] for name in names}}, *rows]
        found += [{"run": run, "trial": trial, **row} for row in rows]
    frame = pd.DataFrame(found, columns=["run", "trial", "progress", *names])
    return frame.astype({name: "object" if name.endswith("_histogram") else "float64" for name in names})


def _seconds(trials: pd.DataFrame, number: int) -> float:
    seconds = trials.loc[number, "seconds"]
    return 0.0 if pd.isna(seconds) else float(seconds)


def _importances(frame: pd.DataFrame, differing: list[Dimension], target: str) -> dict[str, float]:
    if frame[target].nunique() < 2:
        return {}
    settings = [one.name for one in differing]
    distributions = {one.name: _distribution(frame[one.name], one) for one in differing}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study = optuna.create_study(direction="maximize")
        study.add_trials(
            [
                create_trial(
                    state=TrialState.COMPLETE,
                    value=float(row[target]),
                    params={name: _value(row[name]) for name in settings},
                    distributions=distributions,
                )
                for row in frame.to_dict("records")
            ]
        )
        # a small forest: the report is to be there in seconds, and the shares are rough whatever its size
        evaluator = FanovaImportanceEvaluator(n_trees=16, max_depth=8, seed=0)
        found = optuna.importance.get_param_importances(study, evaluator=evaluator, params=settings)
    return {name: float(share) for name, share in found.items()}


def _distribution(values: pd.Series[Any], dimension: Dimension) -> BaseDistribution:
    if dimension.kind == "choice":
        return CategoricalDistribution(sorted(values.unique()))
    if dimension.kind == "power of two":
        return IntDistribution(int(values.min()), int(values.max()), log=True)
    return FloatDistribution(float(values.min()), float(values.max()), log=dimension.log)


def _value(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value

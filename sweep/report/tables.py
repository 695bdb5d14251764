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
from optuna.trial import create_trial

from sweep.measures.geometry import COSINE_BINS
from sweep.settings.dimension import Dimension
from sweep.settings.dimensions import DIMENSIONS
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
    frame["saved"] = (frame["planned_examples"] - frame["examples"]).where(stopped, 0) - frame["retrained_examples"]
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
    """The end of the warm-up on the curve of every measured trial, by the straight line between measurements."""
    rows = []
    trials = study.trials().set_index("trial")
    for number, curve in tabulate_curves(study).groupby("trial"):
        end = float(trials.loc[number, "warmup_end"]) * 1000
        value = float(np.interp(end, curve["progress"], curve["value"]))
        if 0 < end <= curve["progress"].max() and np.isfinite(value):
            rows.append((number, trials.loc[number, "data_format"], end, value))
    return pd.DataFrame(rows, columns=["trial", "data_format", "progress", "value"])


def choose_pair(study: Study) -> dict[str, int]:
    """Up to two runs to look at closely: the best one that ``held``, and the one that ``fell`` the furthest."""
    frame = tabulate_trials(study)
    frame = frame[frame["retention"].notna() & (frame["progress"] > 0)]
    held, fell = frame[~frame["fell"]], frame[frame["fell"]]
    runs = {"held": held, "fell": fell.sort_values(["retention", "trial"])}
    return {name: int(run.iloc[0]["trial"]) for name, run in runs.items() if len(run)}


def tabulate_cosines(study: Study) -> pd.DataFrame:
    """Cosines of positives and negatives over the progress of the chosen pair of runs: mean, 5 % and 95 %."""
    return _of_pair(study, [f"{kind}_{figure}" for kind in COSINE_KINDS for figure in ("mean", "p5", "p95")])


def tabulate_histograms(study: Study) -> pd.DataFrame:
    """Share of cosines in each bin, untrained and at the last measurement of each of the chosen pair of runs."""
    rows = _of_pair(study, [f"{kind}_histogram" for kind in COSINE_KINDS])
    centres = (COSINE_BINS[:-1] + COSINE_BINS[1:]) / 2
    parts = []
    for (run, trial), points in rows.groupby(["run", "trial"], sort=False):
        for when, point in (("untrained", points.iloc[0]), ("last", points.iloc[-1])):
            counts = {kind: point[f"{kind}_histogram"] for kind in COSINE_KINDS}
            if all(count is not None and sum(count) for count in counts.values()):
                shares = {kind: np.array(count) / sum(count) for kind, count in counts.items() if count is not None}
                parts.append(pd.DataFrame({"run": run, "trial": trial, "when": when, "cosine": centres, **shares}))
    columns = ["run", "trial", "when", "cosine", *COSINE_KINDS]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def tabulate_losses(study: Study) -> pd.DataFrame:
    """Value, training loss and both validation losses over the progress of the chosen pair of runs."""
    return _of_pair(study, ["value", *LOSSES])


def tabulate_importances(study: Study) -> pd.DataFrame:
    """Share of the differences in peak and in retention that each setting explains (fANOVA), in [0, 1].

    Stopped runs count with their retention at the stop. Settings that never differed, or did not matter for some run,
    are left out, and so are seeds; so is everything where fewer than ``MIN_IMPORTANCE_TRIALS`` trials were measured.
    """
    frame = study.trials()
    is_measured = frame["peak"].notna() & frame["retention"].notna() & frame["equal_to"].isna()
    frame = frame[frame["state"].isin(["complete", "pruned"]) & is_measured]
    searched = [each for each in DIMENSIONS if not each.makes_replicates]
    differing = [each for each in searched if frame[each.name].nunique() > 1 and frame[each.name].notna().all()]
    if len(frame) < MIN_IMPORTANCE_TRIALS or not differing:
        return pd.DataFrame({"setting": [], "peak": [], "retention": []})
    importances = pd.DataFrame({"setting": [dimension.name for dimension in differing]})
    for target in ("peak", "retention"):
        shares = _importances(frame, differing, target)
        importances[target] = [shares.get(dimension.name, 0.0) for dimension in differing]
    return importances.sort_values("peak", ascending=False, kind="stable", ignore_index=True)


def tabulate_slots(study: Study) -> pd.DataFrame:
    """Each process of a trial on its slot, from its beginning to its end, in seconds since the first began.

    A process that was killed with its coordinator has no end of its own: it counts up to its trial's last measurement.
    """
    trials = study.trials().set_index("trial")
    first = min((run.began for run in study.runs), default=0.0)
    seconds = trials["seconds"].fillna(0.0)
    rows = []
    for run in study.runs:
        data_format = trials.loc[run.trial, "data_format"]
        ended = run.began + float(seconds[run.trial]) if run.ended is None else run.ended
        rows.append((run.slot, run.device, run.trial, run.run, data_format, run.began - first, ended - first))
    columns = ["slot", "device", "trial", "run", "data_format", "began", "ended"]
    return pd.DataFrame(rows, columns=columns).sort_values(["slot", "began"], ignore_index=True)


def tabulate_budget(study: Study) -> pd.DataFrame:
    """Training examples of each data format: seen by runs that held, by runs that fell, and saved by stopping."""
    frame = tabulate_trials(study)
    frame = frame[frame["data_format"].notna()]
    rows = []
    for name, group in frame.groupby("data_format", sort=True):
        held, fell = (int(group.loc[group["fell"] == has_fallen, "examples"].sum()) for has_fallen in (False, True))
        rows.append((name, len(group), held, fell, int(group["saved"].sum())))
    return pd.DataFrame(rows, columns=["data_format", "trials", "held", "fell", "saved"])


def _of_pair(study: Study, names: list[str]) -> pd.DataFrame:
    """Figures of the chosen pair of runs over progress, the untrained model's first."""
    evaluations = study.evaluations()
    points = []
    for run, trial in choose_pair(study).items():
        rows = evaluations.loc[evaluations["trial"] == trial, ["progress", *names]].to_dict("records")
        if study.untrained is not None:
            rows = [{"progress": 0, **{name: study.untrained[name] for name in names}}, *rows]
        points += [{"run": run, "trial": trial, **row} for row in rows]
    frame = pd.DataFrame(points, columns=["run", "trial", "progress", *names])
    return frame.astype({name: "object" if name.endswith("_histogram") else "float64" for name in names})


def _importances(frame: pd.DataFrame, differing: list[Dimension], target: str) -> dict[str, float]:
    if frame[target].nunique() < 2:
        return {}
    distributions = {each.name: _distribution(frame[each.name], each) for each in differing}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study = optuna.create_study(direction="maximize")
        for row in frame.to_dict("records"):
            params = {name: _value(row[name]) for name in distributions}
            study.add_trial(create_trial(value=float(row[target]), params=params, distributions=distributions))
        # a small forest: the report is to be there in seconds, and the shares are rough whatever its size
        evaluator = FanovaImportanceEvaluator(n_trees=16, max_depth=8, seed=0)
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator, params=list(distributions))
    return {name: float(share) for name, share in shares.items()}


def _distribution(values: pd.Series[Any], dimension: Dimension) -> BaseDistribution:
    if dimension.kind == "choice":
        return CategoricalDistribution(sorted(values.unique()))
    if dimension.kind == "power of two":
        return IntDistribution(int(values.min()), int(values.max()), log=True)
    return FloatDistribution(float(values.min()), float(values.max()), log=dimension.log)


def _value(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value

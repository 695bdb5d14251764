"""The runs of a study that have ended, as plain values for the diagnosis."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from sweep.progress import warmup_end
from sweep.report.diagnosis.run_outcomes import RunOutcome, Stop, measure_run
from sweep.settings.study_file import DropOffSpec
from sweep.stopping.stop import StopKind
from sweep.storage.evaluations import UNTRAINED
from sweep.study import Study

STOPS: Mapping[StopKind, Stop] = {
    "forecast": "cannot_recover",
    "outclassed": "outclassed",
    "not promoted": "outclassed",
    "study ended": "outclassed",
}
"""Reason of a stop by its kind; with any other kind the run had fallen. Nothing of its own curve ended a run that was
not promoted, or was cut by the end of its study: no incumbent is named, and how high it would have come is unknown."""

MARGIN = 0.01
"""Effect that matters where the study stops no run and so names no margin."""


def collect_runs(study: Study) -> list[RunOutcome]:
    """The runs of a study that have ended and were measured, by number."""
    frame = study.evaluations()
    runs = []
    for trial in study.record.trials:
        if trial.state not in ("complete", "pruned") or trial.params is None or not trial.rows:
            continue
        points, per_query = study.per_query[trial.number]
        untrained = study.per_query[UNTRAINED][1]
        losses = frame.loc[frame["trial"] == trial.number, "validation_loss"]
        steps = int(trial.attributes.get("steps", 0))
        run = measure_run(
            trial.number,
            trial.params,
            progress=[0, *points],
            per_query=np.concatenate([untrained[:1], per_query]),
            warmup_end=warmup_end(trial.params.warmup_ratio, steps) if steps else trial.params.warmup_ratio,
            stop=STOPS.get(trial.stop.kind, "fallen") if trial.stop else None,
            margin=find_margin(study),
            incumbent=trial.stop.numbers.get("incumbent", math.inf) if trial.stop else math.inf,
            share=trial.attributes.get("false_negatives"),
            weights=study.record.query_weights("dev"),
            losses=[None, *(None if np.isnan(loss) else float(loss) for loss in losses)],
        )
        if run is not None:
            runs.append(run)
    return runs


def find_margin(study: Study) -> float:
    """The margin of the study's drop-off rule."""
    rule = study.spec.stopping.drop_off
    return rule.margin if isinstance(rule, DropOffSpec) else MARGIN

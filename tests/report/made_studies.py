"""Studies for the report's tests: scripted trials on the real engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripted import run

from sweep import open_study
from sweep.storage.records import TrialRecord
from sweep.study import Study
from sweep.testing import write_toy_study

RATES = (6e-4, 3e-4, 1e-4, 5e-5, 1e-5)
START = [
    {"learning_rate": 5e-5, "warmup_ratio": 0.1, "batch_size": 8, "data_format": "title-content"},
    *(
        {
            "learning_rate": rate,
            "warmup_ratio": 0.1 * (place % 3),
            "batch_size": 4 * 2 ** (place % 3),
            "data_format": name,
        }
        for place, rate in enumerate(RATES)
        for name in ("query-document", "title-content")
    ),
    {"learning_rate": 2e-5, "warmup_ratio": 0.2, "batch_size": 8, "data_format": "title-content"},
]
"""Twelve trials: title-content pairs at a high rate fall and are stopped, trial 3 fails, trial 11 diverges."""


def change(study: Study, *, trials: Sequence[TrialRecord] | None = None, **values: Any) -> Study:
    """The same study with other trials or other values, those among them that a study reads when they are asked for."""
    if trials is not None:
        values["record"] = dataclasses.replace(values.get("record", study.record), trials=tuple(trials))
    fields = {field.name for field in dataclasses.fields(study)}
    changed = dataclasses.replace(study, **{name: value for name, value in values.items() if name in fields})
    changed.__dict__.update(values)  # where a cached property keeps what it has read
    return changed


def make_study(folder: Path, *, script: Mapping[str, Any] | None = None, **tables: Mapping[str, Any]) -> Study:
    """Runs a scripted study on the real engine, and opens it."""
    file = write_toy_study(folder, script=script or {}, **tables)
    run(file)
    return open_study(file)

"""The study file of a study that has begun: what its tables meant then, and the defaults that have changed since."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweep.settings.dimensions import DIMENSIONS
from sweep.settings.study_file import StudySpec

_BEFORE = {each.name: each.before for each in DIMENSIONS if each.before is not None}
"""Settings of the space in studies that are older than the dimension."""

_GONE = ("outclassed",)
"""Keys of the stopping that studies have which are older than rungs."""


def read_begun(stored: Mapping[str, Any]) -> StudySpec:
    """The study file in a study's attributes; a setting that is newer than the study has its value from before."""
    data: Mapping[str, Any] = stored["data"]
    split = {"leaks": "keep", **data.get("split", {})}
    stopping = {name: value for name, value in stored.get("stopping", {}).items() if name not in _GONE}
    changed = {"space": _BEFORE | stored["space"], "data": {"rules": 1, **data, "split": split}, "stopping": stopping}
    return StudySpec.model_validate({**stored, **changed})


def names_all_defaults(spec: StudySpec) -> bool:
    """Whether a study file leaves out none of the settings whose defaults have changed."""
    return (
        {"document", "rules"} <= spec.data.model_fields_set
        and "leaks" in spec.data.split.model_fields_set
        and "grid" in spec.evaluation.model_fields_set
    )


def keep_defaults(spec: StudySpec, begun: StudySpec) -> StudySpec:
    """A study file whose left-out settings have the values with which its study began, where a default has changed.

    So a study goes on, on the texts and judgements that it has been trained on and with the looks that it has made.
    """
    data, split, evaluation = spec.data, spec.data.split, spec.evaluation
    if "leaks" not in split.model_fields_set:
        split = split.model_copy(update={"leaks": begun.data.split.leaks})
    left_out = {"document", "rules"} - data.model_fields_set
    update = {"split": split, **{name: getattr(begun.data, name) for name in left_out}}
    if "grid" not in evaluation.model_fields_set:
        evaluation = evaluation.model_copy(update={"grid": begun.evaluation.grid})
    return spec.model_copy(update={"data": data.model_copy(update=update), "evaluation": evaluation})

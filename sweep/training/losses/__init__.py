"""The losses, one file each, found by their names; torch is imported when one is built."""

from __future__ import annotations

from sweep.settings.dimensions import Params
from sweep.settings.entries import load_entries
from sweep.settings.study_file import LossSpec
from sweep.training.losses.loss import Loss

LOSSES = load_entries("sweep.training.losses", Loss)
"""Every loss by its name in study files."""


def choose_loss(spec: LossSpec, params: Params) -> Loss:
    """The loss of a trial: with the options that its study gives it, and those that the trial's settings give it."""
    kind = LOSSES[spec.name]
    searched = {name: value for name, value in params.as_dict().items() if name in kind.model_fields}
    return kind.model_validate({**spec.options, **searched})

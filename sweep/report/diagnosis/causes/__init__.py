"""The suspected causes of a fall, one file each, in the order of the findings."""

from __future__ import annotations

from sweep.report.diagnosis.cause import Cause
from sweep.report.diagnosis.causes.false_negatives import FALSE_NEGATIVES
from sweep.report.diagnosis.causes.learning_rate import TOO_HIGH, TOO_LOW
from sweep.report.diagnosis.causes.loss_scale import LOSS_SCALE
from sweep.report.diagnosis.causes.overfitting import OVERFITTING
from sweep.report.diagnosis.causes.training_format import TRAINING_FORMAT
from sweep.report.diagnosis.causes.training_length import TRAINING_LENGTH
from sweep.report.diagnosis.causes.warmup import SHORT_WARMUP

CAUSES: tuple[Cause, ...] = (
    TOO_HIGH,
    TOO_LOW,
    TRAINING_FORMAT,
    SHORT_WARMUP,
    LOSS_SCALE,
    FALSE_NEGATIVES,
    OVERFITTING,
    TRAINING_LENGTH,
)

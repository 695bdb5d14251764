"""One point of the search space, in plain values: what training is told."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Scheduler = Literal["linear", "cosine", "constant", "cosine-with-floor"]


@dataclass(frozen=True, kw_only=True)
class Params:
    """The settings of one trial.

    Attributes:
        learning_rate: The rate as the search proposed it; with a learning-rate rule, the rate at batch 64.
        effective_learning_rate: The peak rate that training uses, after the rule.
        warmup_ratio: Share of the optimizer steps over which the rate rises from 0, in [0, 1).
        batch_size: Training pairs per optimizer step, in total.
        data_format: Name of the data format that makes the training columns.
        scale: What the cosines are multiplied by in the loss (1 / temperature).
        scheduler: Course of the rate after the warm-up.
    """

    learning_rate: float
    effective_learning_rate: float
    warmup_ratio: float
    batch_size: int
    data_format: str
    scale: float
    scheduler: Scheduler

    def as_dict(self) -> dict[str, Any]:
        """The settings by name, as plain values that JSON can carry."""
        return asdict(self)

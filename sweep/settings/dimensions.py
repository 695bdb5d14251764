"""The dimensions of the search space: a table, and beside it the typed lines that name each of them.

A dimension is an entry in `DIMENSIONS`, one line in each of `SpaceSettings`, `StartSpec` and `Params`, and a line for
the trainer that obeys it; everything else (Optuna's distributions, what is checked, printed, tabulated and drawn) goes
over the table. New entries go last: the sampler draws in the table's order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from sweep.settings.dimension import Condition, Dimension
from sweep.settings.ranges import (
    FloatRange,
    OneOrMore,
    PowerRange,
    PowerSetting,
    RealSetting,
    SeedSetting,
    Table,
)

RETRIEVAL_FORMAT = "query-document"
"""The data format of the task that models are evaluated on; every trial's validation loss is taken in it too."""

Scheduler = Literal["linear", "cosine", "constant", "cosine-with-floor"]

MIXTURE = "+"
"""Sign between the data formats of a mixture: the name of a mixture is theirs."""

SEEDS = 2**32
"""Number of seeds: NumPy's older generators, which the libraries set as well, take no larger one."""

DIMENSIONS: tuple[Dimension, ...] = (
    Dimension(
        name="learning_rate",
        kind="real",
        label="learning rate",
        about="Peak learning rate.",
        default=FloatRange(low=5e-6, high=6e-4, log=True),
        heading="rate",
        digits=".2e",
        log=True,
        used_as="effective_learning_rate",
        gt=0.0,
        is_always_shown=True,
    ),
    Dimension(
        name="warmup_ratio",
        kind="real",
        label="warm-up",
        about="Share of the steps over which the rate rises from 0.",
        default=FloatRange(low=0.0, high=0.3),
        digits=".2f",
        ge=0.0,
        lt=1.0,
        is_always_shown=True,
    ),
    Dimension(
        name="batch_size",
        kind="power of two",
        label="batch size",
        about="Training pairs per optimizer step, in total: powers of two.",
        default=PowerRange(low=16, high=64),
        heading="batch",
        ge=2,
        is_always_shown=True,
    ),
    Dimension(
        name="data_format",
        kind="choice",
        label="data format",
        about="How a collection becomes training pairs.",
        default=("title-content", "query-document"),
        heading="format",
        is_always_shown=True,
    ),
    Dimension(
        name="scale",
        kind="real",
        label="scale",
        about="Factor of the similarities in the loss (1 / temperature); left out: 20 for cosines, else 1.",
        default=20.0,
        digits="g",
        gt=0.0,
    ),
    Dimension(
        name="scheduler",
        kind="choice",
        label="scheduler",
        about="Course of the learning rate after the warm-up.",
        default=("linear",),
    ),
    Dimension(
        name="weight_decay",
        kind="real",
        label="weight decay",
        about="Share of the rate by which a step shrinks the weights, apart from biases and norms (AdamW).",
        default=0.0,
        before=0.0,
        digits=".3g",
        ge=0.0,
    ),
    Dimension(
        name="mixture",
        kind="real",
        label="mixture",
        about="Share of the first data format of a mixture in the training pairs; its others share the rest equally.",
        default=0.5,
        before=0.5,
        digits=".2f",
        gt=0.0,
        lt=1.0,
        needs=Condition(
            dimension="data_format", is_met=lambda name: MIXTURE in str(name), text="a mixture, such as A+B"
        ),
    ),
    Dimension(
        name="seed",
        kind="seed",
        label="seed",
        about="Seed of a trial's training, its order of examples and its dropout; left out: the study's.",
        default=None,
        digits="d",
        ge=0,
        lt=SEEDS,
    ),
)
"""Every dimension, in the order in which the sampler draws."""

SHOWN = tuple(sorted(DIMENSIONS, key=lambda dimension: dimension.name != "data_format"))
"""The same in the order in which they are shown: the format first, by which every figure groups the trials."""

_BY_NAME = {dimension.name: dimension for dimension in DIMENSIONS}


def _space(name: str) -> Any:
    return Field(default=_BY_NAME[name].default, description=_BY_NAME[name].about)


def _start(name: str) -> Any:
    dimension = _BY_NAME[name]
    return Field(default=None, description=dimension.about, gt=dimension.gt, ge=dimension.ge, lt=dimension.lt)


class SpaceSettings(Table):
    """The search space; each setting is a range, a list of choices, or one fixed value."""

    learning_rate: RealSetting = _space("learning_rate")
    warmup_ratio: RealSetting = _space("warmup_ratio")
    batch_size: PowerSetting = _space("batch_size")
    data_format: Annotated[tuple[str, ...], OneOrMore, Field(min_length=1)] = _space("data_format")
    scale: RealSetting = _space("scale")
    scheduler: Annotated[tuple[Scheduler, ...], OneOrMore, Field(min_length=1)] = _space("scheduler")
    weight_decay: RealSetting = _space("weight_decay")
    mixture: RealSetting = _space("mixture")
    seed: SeedSetting | None = _space("seed")

    @field_validator("*")
    @classmethod
    def _lies_within_its_bounds(cls, setting: Any, info: ValidationInfo) -> Any:
        dimension = _BY_NAME.get(info.field_name or "")
        if dimension is not None and setting is not None:
            dimension.check(setting)
        return setting

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Every batch size that a trial can have, ascending."""
        return (self.batch_size,) if isinstance(self.batch_size, int) else self.batch_size.powers()


class StartSpec(Table):
    """A point that is tried first; what it leaves out is left to the sampler."""

    learning_rate: float | None = _start("learning_rate")
    warmup_ratio: float | None = _start("warmup_ratio")
    batch_size: int | None = _start("batch_size")
    data_format: str | None = _start("data_format")
    scale: float | None = _start("scale")
    scheduler: Scheduler | None = _start("scheduler")
    weight_decay: float | None = _start("weight_decay")
    mixture: float | None = _start("mixture")
    seed: int | None = _start("seed")


@dataclass(frozen=True, kw_only=True)
class Params:
    """The settings of one trial, as `DIMENSIONS` describes them; one newer than a study has its value from before.

    ``learning_rate`` is the peak rate as the search proposed it, with a learning-rate rule that at batch 64;
    ``effective_learning_rate`` is the one that training uses, after the rule. A ``seed`` of None is the study's. The
    ``length``, in multiples of the study's examples, is not searched: see `sweep.stopping.doubling`.
    """

    learning_rate: float
    effective_learning_rate: float
    warmup_ratio: float
    batch_size: int
    data_format: str
    scale: float
    scheduler: Scheduler
    weight_decay: float = 0.0
    mixture: float | None = None
    seed: int | None = None
    length: int = 1

    def as_dict(self) -> dict[str, Any]:
        """The settings by name, as plain values that JSON can carry."""
        return asdict(self)

    @property
    def given(self) -> tuple[Dimension, ...]:
        """The dimensions that the trial has a value of its own for, in the order in which they are shown."""
        return tuple(dimension for dimension in SHOWN if getattr(self, dimension.name) is not None)


def add_older(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a study by name; dimensions that are newer than it have their value from before, if it matters."""
    newer = (each for each in DIMENSIONS if each.before is not None)
    return {each.name: each.before if each.matters(settings) else None for each in newer} | dict(settings)

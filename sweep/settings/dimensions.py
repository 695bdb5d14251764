"""The dimensions of the search space: a table, and beside it the typed lines that name each of them.

A dimension is an entry in `DIMENSIONS`, one line in each of `SpaceSettings`, `StartSpec` and `Params`, and a line for
the trainer that obeys it; everything else (Optuna's distributions, what is checked, printed, tabulated and drawn) goes
over the table. New entries go last: the sampler draws in the table's order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from sweep.settings.ranges import (
    FloatRange,
    OneOrMore,
    PowerRange,
    PowerSetting,
    RealSetting,
    SeedSetting,
    Setting,
    Table,
    ends,
)

RETRIEVAL_FORMAT = "query-document"
"""The data format of the task that models are evaluated on; every trial's validation loss is taken in it too."""

Scheduler = Literal["linear", "cosine", "constant", "cosine-with-floor"]

Value = float | int | str

MIXTURE = "+"
"""Sign between the data formats of a mixture: the name of a mixture is theirs."""

Kind = Literal["real", "power of two", "choice", "seed"]

SEEDS = 2**32
"""Number of seeds: NumPy's older generators, which the libraries set as well, take no larger one."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """When a dimension matters: with some values of another one, earlier in the table, which ``text`` says."""

    dimension: str
    is_met: Callable[[Any], bool]
    text: str


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """A setting that trials can differ in.

    Attributes:
        name: Its key in the study file, in a start point and in `Params`.
        kind: A real number; a power of two, searched as its base-2 logarithm; a choice among names; or a seed, in which
            nothing is searched: see `makes_replicates`.
        label: Its name where there is room.
        about: Its meaning, in a sentence.
        default: The setting of a study file that does not name it; None where no trial has a value of its own then.
        before: Its value in trials that are older than it; None for one that every study has had, and for a seed.
        heading: Its name in a table; by default its label.
        digits: How a number is written, as Python's format() takes it; not for a choice.
        log: Whether one fixed value counts as searched by its logarithm, so that it can become a range of one later.
        used_as: Field of `Params` that tables show in its place: the value that training uses after a rule.
        gt: Bound that values are above; ``ge``, ``lt``: at least, below.
        needs: When it matters; elsewhere it is neither searched nor given to the trainer.
        is_always_shown: Whether short tables show it even where all trials have the same value.
    """

    name: str
    kind: Kind
    label: str
    about: str
    default: Setting | None
    before: Value | None = None
    heading: str = ""
    digits: str = ""
    log: bool = False
    used_as: str = ""
    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    needs: Condition | None = None
    is_always_shown: bool = False

    @property
    def parameter(self) -> str:
        """Name of its parameter in the Optuna study."""
        return f"log2_{self.name}" if self.kind == "power of two" else self.name

    @property
    def shown(self) -> str:
        """Field of `Params` that tables show."""
        return self.used_as or self.name

    @property
    def column(self) -> str:
        """Heading of its column in a table."""
        return self.heading or self.label

    @property
    def makes_replicates(self) -> bool:
        """Whether runs that differ in it alone are replicates: it is drawn evenly, and nothing is learnt from it."""
        return self.kind == "seed"

    def matters(self, settings: Mapping[str, Any]) -> bool:
        """Whether it is searched and obeyed beside other settings, given by their names."""
        return self.needs is None or self.needs.is_met(settings.get(self.needs.dimension))

    def can_matter(self, space: SpaceSettings) -> bool:
        """Whether some trial of a search space has a value of its own for it, which is obeyed there."""
        if self.needs is None:
            return getattr(space, self.name) is not None
        setting = getattr(space, self.needs.dimension)
        return any(self.needs.is_met(value) for value in (setting if isinstance(setting, tuple) else ends(setting)))

    def to_parameter(self, value: Any) -> Any:
        """A value as its parameter in the Optuna study; a fraction, which no range holds, for no power of two."""
        if self.kind != "power of two":
            return value
        exponent = math.log2(value)
        return int(exponent) if exponent.is_integer() else exponent

    def from_parameter(self, parameter: Any) -> Value:
        """The value of a parameter in the Optuna study."""
        if self.kind == "power of two":
            return int(2 ** int(parameter))
        if self.kind == "seed":
            return int(parameter)
        return float(parameter) if self.kind == "real" else str(parameter)

    def write(self, value: Any) -> str:
        """A value for a person; ``-`` where a trial has none."""
        return "-" if value is None else format(value, self.digits)

    def say(self, params: Params) -> str:
        """A trial's value for a person, with the one that training uses after a rule where that is another."""
        value, used = getattr(params, self.name), getattr(params, self.shown)
        return self.write(value) + ("" if used == value else f" (effective {self.write(used)})")

    def clause(self, params: Params) -> str:
        """A trial's value in a line of several: a number after its label, a choice by itself."""
        return self.say(params) if self.kind == "choice" else f"{self.label} {self.say(params)}"

    def short(self, params: Params) -> str:
        """The same in fewer letters: the value that training uses, after the heading of its column."""
        value = self.write(getattr(params, self.shown))
        return value if self.kind == "choice" else f"{self.column} {value}"

    def describe(self, setting: Setting) -> str:
        """A setting of the study file for a person."""
        if isinstance(setting, tuple):
            return ", ".join(map(str, setting))
        if isinstance(setting, PowerRange):
            return ", ".join(map(str, setting.powers()))
        low, high = ends(setting)
        return f"{low:g}" if low == high else f"{low:g} to {high:g}"

    def varies(self, setting: Setting | None) -> bool:
        """Whether trials can differ in it under a setting of the study file."""
        if setting is None or isinstance(setting, tuple):
            return setting is not None and len(setting) > 1
        return len({*ends(setting)}) > 1

    def lowest(self, setting: Setting) -> Value:
        """The smallest value of a setting, or its first choice."""
        return setting[0] if isinstance(setting, tuple) else ends(setting)[0]

    def check(self, setting: Setting) -> None:
        """Refuses a setting of the study file that lies outside the bounds.

        Raises:
            ValueError: If a value lies outside, is no power of two where it must be one, or is a choice named twice.
        """
        if isinstance(setting, tuple) and len(set(setting)) < len(setting):
            raise ValueError(f"names a {self.kind} twice, got {list(setting)}")
        if self.kind == "choice":
            return
        low, high = ends(setting)
        if self.kind == "power of two" and isinstance(setting, int) and (setting < 2 or setting & (setting - 1)):
            raise ValueError(f"must be a power of two from 2, got {setting}")
        if self.gt is not None and low <= self.gt:
            raise ValueError(f"must be above {self.gt:g}, got {low}")
        if self.ge is not None and low < self.ge:
            raise ValueError(f"must be at least {self.ge:g}, got {low}")
        if self.lt is not None and high >= self.lt:
            raise ValueError(f"must be below {self.lt:g}, got {high}")


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
    ``effective_learning_rate`` is the one that training uses, after the rule. A ``seed`` of None is the study's.
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

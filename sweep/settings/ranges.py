"""Tables of a study file, and the three forms of a setting in them: a range, a list of choices, one fixed value."""

from __future__ import annotations

import math
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

FORMS = ("range", "choices", "off", "fixed")


class Table(BaseModel):
    """A table of the study file: frozen, strict, no unknown keys, no infinity and no NaN."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


def as_tuple(value: object) -> object:
    """A list of the study file as a tuple."""
    return tuple(value) if isinstance(value, list) else value


def as_seeds(value: object) -> object:
    """A seed or a list of seeds of the study file as a tuple."""
    if isinstance(value, dict):
        raise ValueError(f"must be a seed or a list of seeds, got {value}")
    return (value,) if isinstance(value, int) else as_tuple(value)


def form_of(value: object) -> str:
    """Tag of a setting that is a range, a list of choices, switched off, or one fixed value."""
    if isinstance(value, (dict, BaseModel)):
        return "range"
    if isinstance(value, (list, tuple)):
        return "choices"
    return "off" if value is False else "fixed"


RANGE_OR_FIXED = Discriminator(lambda value: "range" if form_of(value) == "range" else "fixed")


class FloatRange(Table):
    """A range of real numbers to search."""

    low: float = Field(description="Smallest value.")
    high: float = Field(description="Largest value.")
    log: bool = Field(default=False, description="Whether to search the logarithm.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low must not be above high, got low = {self.low} and high = {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"low must be above 0 where log = true, got {self.low}")
        return self


class PowerRange(Table):
    """A range of integers to search: the powers of two in it."""

    low: int = Field(ge=2, description="Smallest value.")
    high: int = Field(ge=2, description="Largest value.")

    @model_validator(mode="after")
    def _has_powers_of_two(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low must not be above high, got low = {self.low} and high = {self.high}")
        if not self.powers():
            raise ValueError(f"must hold a power of two, got {self.low} to {self.high}")
        return self

    def powers(self) -> tuple[int, ...]:
        """The powers of two in the range, ascending."""
        exponents = range(math.ceil(math.log2(self.low)), math.floor(math.log2(self.high)) + 1)
        return tuple(2**exponent for exponent in exponents)


RealSetting = Annotated[Annotated[FloatRange, Tag("range")] | Annotated[float, Tag("fixed")], RANGE_OR_FIXED]
PowerSetting = Annotated[Annotated[PowerRange, Tag("range")] | Annotated[int, Tag("fixed")], RANGE_OR_FIXED]
OneOrMore = BeforeValidator(lambda value: (value,) if isinstance(value, str) else as_tuple(value))
SeedSetting = Annotated[tuple[int, ...], BeforeValidator(as_seeds), Field(min_length=1)]

Setting = FloatRange | PowerRange | tuple[str, ...] | tuple[int, ...] | float | int
"""A setting of the search space as the study file has it."""


def ends(setting: Setting) -> tuple[float, float]:
    """Lowest and highest value of a number's setting."""
    if isinstance(setting, PowerRange):
        return setting.powers()[0], setting.powers()[-1]
    if isinstance(setting, FloatRange):
        return setting.low, setting.high
    if isinstance(setting, tuple):
        numbers = [value for value in setting if not isinstance(value, str)]
        if len(numbers) < len(setting):
            raise ValueError(f"setting must be of a number, got the choices {', '.join(map(str, setting))}")
        return min(numbers), max(numbers)
    return setting, setting

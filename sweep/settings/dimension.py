"""Dimension: a setting that trials can differ in, and when it matters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sweep.settings.ranges import PowerRange, Setting, ends

if TYPE_CHECKING:
    from sweep.settings.dimensions import Params, SpaceSettings

Value = float | int | str
Kind = Literal["real", "power of two", "choice", "seed"]


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

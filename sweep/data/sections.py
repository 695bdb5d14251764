"""Sections: the rows of a training by where they come from, and the share of each in the examples of a trial."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sweep.data.order import Section


@dataclass(frozen=True)
class RowSection:
    """Rows of one source in one part of a data format.

    Attributes:
        rows: Their number.
        part: Place of their format in a mixture; 0 where it is none.
        parts: Formats of the mixture.
        weight: Weight of their source among those that are trained on.
    """

    rows: int
    part: int = 0
    parts: int = 1
    weight: float = 1.0


def share_out(sections: Sequence[RowSection], mixture: float | None) -> tuple[Section, ...]:
    """The share of each section in the examples of a trial: by the weight of its source and its place in a mixture.

    Args:
        sections: Sections of the rows of a data format.
        mixture: Share of the first format of a mixture; its others share the rest equally.
    """
    shares = [section.weight * _part_share(section, mixture) for section in sections]
    return tuple(Section(section.rows, share / sum(shares)) for section, share in zip(sections, shares, strict=True))


def _part_share(section: RowSection, mixture: float | None) -> float:
    if section.parts == 1 or mixture is None:
        return 1.0
    return mixture if section.part == 0 else (1.0 - mixture) / (section.parts - 1)

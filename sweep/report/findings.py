"""Finding: what the report shows of a verdict on a suspected cause, whoever came to it."""

from __future__ import annotations

from typing import Protocol


class Finding(Protocol):
    """What the page shows of a verdict on a suspected cause."""

    @property
    def cause(self) -> str: ...  # noqa: D102 - as in sweep.report.diagnosis
    @property
    def scope(self) -> str: ...  # noqa: D102
    @property
    def verdict(self) -> str: ...  # noqa: D102
    @property
    def effect(self) -> float | None: ...  # noqa: D102
    @property
    def interval(self) -> tuple[float, float] | None: ...  # noqa: D102
    @property
    def trials(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def sentence(self) -> str: ...  # noqa: D102
    @property
    def next_steps(self) -> str: ...  # noqa: D102

"""Stop: why a run ended before its budget was spent, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

StopKind = Literal["drop-off", "forecast", "outclassed", "diverged", "not promoted", "study ended"]
"""The rule behind a stop. ``drop-off``: the run fell from its peak; ``forecast``: it is past its peak and will not beat
it again; ``outclassed``: it would not beat the best run, in studies that are older than rungs; ``diverged``: its
embeddings were not finite; ``not promoted``: it paused at a rung, and others were better there; ``study ended``: the
study's budget was spent, and nothing of its own curve was the cause."""


@dataclass(frozen=True)
class Stop:
    """Why a run ended early.

    Attributes:
        kind: The rule behind it.
        text: The reason as a person reads it, beginning with the kind.
        numbers: The numbers behind it, by name.
    """

    kind: StopKind
    text: str
    numbers: Mapping[str, Any] = field(default_factory=dict)

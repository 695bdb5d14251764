"""RunningTrial: what the coordinator keeps in mind of a trial while it runs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sweep.coordinator.slots import Slot
from sweep.messages import Report
from sweep.params import Params
from sweep.progress import PlannedEvaluation, warmup_end
from sweep.storage.records import Peak


@dataclass
class RunningTrial:
    """A trial between its start and its end, over all its processes.

    Attributes:
        number: Its number.
        params: Its settings.
        steps: Its optimizer steps.
        evaluations: When it is evaluated.
        progress: Progress of each committed measurement in thousandths, the untrained point first.
        per_query: NDCG per query of each.
        slot: Where it runs now, or None while it waits for a place.
        micro_batch: What its micro-batch is held to.
        seconds_before: Seconds that earlier processes spent on it up to its last committed measurement.
        evaluation_seconds_before: Seconds of those that went into evaluations.
        interruptions: Processes of it that died.
        without_progress: How many of them, in a row, got no further than the one before.
        verdict: What was decided at its last measurement, in words.
        stop_reason: Why it is being stopped.
    """

    number: int
    params: Params
    steps: int
    evaluations: tuple[PlannedEvaluation, ...]
    progress: list[int]
    per_query: list[NDArray[np.float32]]
    slot: Slot | None = None
    micro_batch: int | None = None
    seconds_before: float = 0.0
    evaluation_seconds_before: float = 0.0
    interruptions: int = 0
    without_progress: int = 0
    verdict: str = "starting"
    stop_reason: str | None = None
    mark: tuple[int, int] = field(default=(-1, -1))

    @property
    def job(self) -> str:
        """Name of its job."""
        return f"trial-{self.number}"

    @property
    def curve(self) -> list[tuple[int, float]]:
        """(progress, NDCG@10) of each committed measurement."""
        return [
            (point, float(np.mean(values, dtype=np.float64)))
            for point, values in zip(self.progress, self.per_query, strict=True)
        ]

    @property
    def peak(self) -> Peak | None:
        """Its best finite measurement after at least one optimizer step."""
        finite = [(ndcg, -point) for point, ndcg in self.curve[1:] if math.isfinite(ndcg)]
        return Peak(-max(finite)[1], max(finite)[0]) if finite else None

    @property
    def warmup_end(self) -> float:
        """Progress in [0, 1] at which its warm-up ends."""
        return warmup_end(self.params.warmup_ratio, self.steps)

    @property
    def is_measured_whole(self) -> bool:
        """Whether its last planned measurement is committed."""
        return self.progress[-1] >= self.evaluations[-1].progress

    def add(self, report: Report) -> None:
        """Takes a committed measurement in."""
        self.progress.append(report.progress)
        self.per_query.append(report.evaluation.per_query)
        self.micro_batch = report.micro_batch

    def interrupt(self, checkpoint_step: int) -> None:
        """Counts the death of its process; one that got further than the one before starts the count anew."""
        mark = (checkpoint_step, len(self.progress))
        self.without_progress = self.without_progress + 1 if mark <= self.mark else 1
        self.mark = mark
        self.interruptions += 1
        self.slot = None

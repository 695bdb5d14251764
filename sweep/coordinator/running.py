"""RunningTrial: what the coordinator keeps in mind of a trial while it runs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sweep.launch import Slot
from sweep.measures.score import Score
from sweep.messages import Assignment, Report
from sweep.plan import StudyPlan
from sweep.progress import PlannedEvaluation, warmup_end
from sweep.settings.dimensions import Params
from sweep.stopping.stop import Stop
from sweep.storage.records import Peak, TrialRecord


@dataclass
class RunningTrial:
    """A trial between its start and its end, over all its processes.

    Attributes:
        number: Its number.
        params: Its settings.
        steps: Its optimizer steps.
        evaluations: When it is evaluated.
        progress: Progress of each committed measurement in thousandths, the untrained point first.
        per_query: (Q,) value of each query at each.
        slot: Where it runs now, or None while it waits for a place.
        micro_batch: What its micro-batch is held to.
        seconds_before: Seconds that earlier processes spent on it up to its last committed measurement.
        evaluation_seconds_before: Seconds of those that went into evaluations.
        interruptions: Processes of it that died.
        without_progress: How many of them, in a row, got no further than the one before.
        counted: The attempt of its last interruption, so that none is counted twice.
        attempt: Which of its processes the last one was, from 1; 0 before the first.
        heard: When something was last heard of its process, on the coordinator's own clock.
        killed_for: Why its process was killed by the coordinator, where it was.
        verdict: What was decided at its last measurement, in words.
        stop: Why it is being stopped.
        curve: (progress, value) of each committed measurement.
        peak: Its best finite measurement after at least one optimizer step, the earliest of equals.
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
    counted: int = 0
    attempt: int = 0
    heard: float = 0.0
    killed_for: str | None = None
    verdict: str = "starting"
    stop: Stop | None = None
    mark: tuple[int, int] = field(default=(-1, -1))
    curve: list[tuple[int, float]] = field(init=False, default_factory=list)
    peak: Peak | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        """Takes in the measurements that it begins with."""
        for point, per_query in zip(self.progress, self.per_query, strict=True):
            self._note_point(point, per_query)

    @property
    def job(self) -> str:
        """Name of its job."""
        return f"trial-{self.number}"

    @property
    def warmup_end(self) -> float:
        """Progress in [0, 1] at which its warm-up ends."""
        return warmup_end(self.params.warmup_ratio, self.steps)

    @property
    def is_measured_to_the_end(self) -> bool:
        """Whether its last planned measurement is committed."""
        return self.progress[-1] >= self.evaluations[-1].progress

    def add(self, report: Report) -> None:
        """Takes a committed report in."""
        self.add_point(report.progress, report.evaluation.per_query)
        self.micro_batch = report.micro_batch

    def add_point(self, progress: int, per_query: NDArray[np.float32]) -> None:
        """Takes a committed measurement in: its progress in thousandths and (Q,) value of each query."""
        self.progress.append(progress)
        self.per_query.append(per_query)
        self._note_point(progress, per_query)

    def _note_point(self, progress: int, per_query: NDArray[np.float32]) -> None:
        value = Score(per_query).mean
        self.curve.append((progress, value))
        if progress and math.isfinite(value) and (self.peak is None or value > self.peak.ndcg):
            self.peak = Peak(progress, value)

    def interrupt(self, checkpoint_step: int) -> None:
        """Counts the death of its process; one that got further than the one before starts the count anew."""
        mark = (checkpoint_step, len(self.progress))
        self.without_progress = self.without_progress + 1 if mark <= self.mark else 1
        self.mark = mark
        self.counted = self.attempt
        self.interruptions += 1
        self.slot = None


def begin_trial(plan: StudyPlan, number: int, *, params: Params, baseline: NDArray[np.float32]) -> RunningTrial:
    """A trial before its first step.

    Args:
        plan: The study.
        number: The trial's number.
        params: Its settings.
        baseline: (Q,) value of each query of the untrained model, its first point.
    """
    return RunningTrial(
        number=number,
        params=params,
        steps=plan.steps(params.batch_size),
        evaluations=plan.evaluations(params.batch_size),
        progress=[0],
        per_query=[baseline],
    )


def revive_trial(
    plan: StudyPlan,
    record: TrialRecord,
    *,
    params: Params,
    baseline: NDArray[np.float32],
    measured: tuple[list[int], NDArray[np.float32]],
) -> RunningTrial:
    """A trial as an earlier run left it.

    Args:
        plan: The study.
        record: What is known of the trial.
        params: Its settings.
        baseline: (Q,) value of each query of the untrained model.
        measured: Its committed progress points (T,) and values of each query (T, Q).
    """
    trial = begin_trial(plan, record.number, params=params, baseline=baseline)
    points, per_query = measured
    for point, values in zip(points, per_query, strict=True):
        trial.add_point(point, values)
    if record.rows:
        trial.seconds_before = record.rows[-1].seconds
        trial.evaluation_seconds_before = record.rows[-1].evaluation_seconds
    trial.micro_batch = record.attributes.get("micro_batch")
    trial.interruptions = record.attributes.get("interruptions", 0)
    trial.without_progress = record.attributes.get("without_progress", 0)
    trial.counted = record.attributes.get("counted", 0)
    trial.attempt = record.attributes.get("attempt", 0)
    trial.mark = tuple(record.attributes.get("mark", (-1, -1)))
    return trial


def make_assignment(plan: StudyPlan, trial: RunningTrial, *, slot: Slot, micro_batch: int | None) -> Assignment:
    """What a trial's process is told."""
    return Assignment(
        spec=plan.spec,
        folder=plan.folder,
        run_folder=plan.run_folder.path,
        device=slot.device,
        trial=trial.number,
        params=trial.params,
        steps=trial.steps,
        evaluations=trial.evaluations,
        micro_batch=micro_batch,
        peak=trial.peak.ndcg if trial.peak else None,
        attempt=trial.attempt,
        threads=slot.threads,
        memory_share=slot.share,
    )

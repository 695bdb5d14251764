"""RunningTrial: the state of a trial between its start and its end, and its jobs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweep.coordinator.ledger import Ledger
from sweep.coordinator.proposals import Proposal
from sweep.launch import Slot
from sweep.measures.score import Score
from sweep.messages import Assignment, Job, Report
from sweep.plan import StudyPlan
from sweep.progress import PlannedEvaluation, warmup_end
from sweep.settings.dimensions import Params
from sweep.stopping.stop import Stop
from sweep.storage.records import CONFIRMS, LONGER_THAN, RUNGS, Peak, StudyRecord, TrialRecord


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
        slot: Slot that it runs on now, or None while it waits for one.
        node: Machine of its last process, where that may be another one than the coordinator's.
        micro_batch: Largest micro-batch that it may take.
        seconds_before: Seconds that earlier processes spent on it up to its last committed measurement.
        evaluation_seconds_before: Seconds of those that went into evaluations.
        interruptions: Processes of it that died.
        without_progress: How many of them, in a row, got no further than the one before.
        suspected: Deaths of the coordinator, in a row, that may be its fault: it ran alone, and got no further.
        counted: The attempt of its last interruption, so that none is counted twice.
        attempt: Number of its last process, from 1; 0 before the first.
        was_paused: Whether an earlier run paused it.
        heard: Time of its process's last message, on the coordinator's own clock.
        allowance_s: Seconds that it may be silent now, where the study's limit is shorter: it is in one long call.
        killed_for: Reason for which the coordinator killed its process, or None.
        verdict: The decision at its last measurement, in words.
        stop: Reason for which it is being stopped, or None.
        mark: Step of the checkpoint and number of measurements at its last interruption.
        rungs: Progress in thousandths at which it pauses, one a rung.
        promoted: Number of rungs that it was promoted from.
        confirms: Number of the trial whose configuration it trains with another seed, or None.
        longer_than: Number of the trial whose configuration it trains for twice as long, or None.
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
    node: str | None = None
    micro_batch: int | None = None
    seconds_before: float = 0.0
    evaluation_seconds_before: float = 0.0
    interruptions: int = 0
    without_progress: int = 0
    suspected: int = 0
    counted: int = 0
    attempt: int = 0
    was_paused: bool = False
    heard: float = 0.0
    allowance_s: float = 0.0
    killed_for: str | None = None
    verdict: str = "starting"
    stop: Stop | None = None
    mark: tuple[int, int] = (-1, -1)
    rungs: tuple[int, ...] = ()
    promoted: int = 0
    confirms: int | None = None
    longer_than: int | None = None
    collapsed_at: int | None = None
    weights: NDArray[np.float64] | None = None
    curve: list[tuple[int, float]] = field(init=False, default_factory=list)
    peak: Peak | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        """Fills the curve with the first measurements."""
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
    def is_searched(self) -> bool:
        """Whether the search proposed it; see `TrialRecord.is_searched`."""
        return self.confirms is None and self.longer_than is None

    @property
    def is_untouched(self) -> bool:
        """Whether no process of it has begun."""
        return self.attempt == 0 and len(self.progress) == 1

    @property
    def examples(self) -> int:
        """Training pairs it had seen at its last measurement."""
        steps = (planned.step for planned in self.evaluations if planned.progress == self.progress[-1])
        return next(steps, 0) * self.params.batch_size

    @property
    def planned_examples(self) -> int:
        """Training pairs of the complete trial, in full batches."""
        return self.steps * self.params.batch_size

    @property
    def pauses_at(self) -> int | None:
        """Progress in thousandths of the rung at which it pauses next; None where it goes to its end."""
        due = self.rungs[self.promoted :]
        return due[0] if due and due[0] < self.evaluations[-1].progress else None

    @property
    def is_at_rung(self) -> bool:
        """Whether it has reached the rung at which it pauses next, and is not being stopped."""
        return self.stop is None and self.pauses_at is not None and self.progress[-1] >= self.pauses_at

    @property
    def is_measured_to_the_end(self) -> bool:
        """Whether its last planned measurement is committed."""
        return self.progress[-1] >= self.evaluations[-1].progress

    def add(self, report: Report) -> None:
        """Adds a committed report."""
        self.add_point(report.progress, report.evaluation.per_query)
        self.micro_batch = report.micro_batch
        if report.evaluation.has_collapsed and self.collapsed_at is None:
            self.collapsed_at = report.progress

    def add_point(self, progress: int, per_query: NDArray[np.float32]) -> None:
        """Adds a committed measurement: its progress in thousandths and (Q,) value of each query."""
        self.progress.append(progress)
        self.per_query.append(per_query)
        self._note_point(progress, per_query)

    def _note_point(self, progress: int, per_query: NDArray[np.float32]) -> None:
        value = Score(per_query, self.weights).mean
        self.curve.append((progress, value))
        if progress and math.isfinite(value) and (self.peak is None or value > self.peak.value):
            self.peak = Peak(progress, value)

    def interrupt(self, checkpoint_step: int) -> None:
        """Counts the death of its process; one that got further than the one before starts the count anew."""
        has_progressed = self._note_interruption(checkpoint_step)
        self.without_progress = 1 if has_progressed else self.without_progress + 1

    def cut_off(self, checkpoint_step: int, *, is_suspect: bool) -> None:
        """Notes the death of its coordinator, which counts against it only where it is suspect, and in a row."""
        has_progressed = self._note_interruption(checkpoint_step)
        before = 0 if has_progressed else self.suspected
        self.suspected = before + 1 if is_suspect else 0

    def _note_interruption(self, checkpoint_step: int) -> bool:
        """Whether it got further than at the interruption before."""
        mark = (checkpoint_step, len(self.progress))
        has_progressed = mark > self.mark
        self.mark = mark
        self.counted = self.attempt
        self.interruptions += 1
        self.slot = None
        return has_progressed


def begin_trial(plan: StudyPlan, ledger: Ledger, proposal: Proposal, *, baseline: NDArray[np.float32]) -> RunningTrial:
    """A new trial, written down as running.

    Args:
        plan: The study.
        ledger: Its writer.
        proposal: What the trial is to try.
        baseline: (Q,) value of each query of the untrained model, its first point.
    """
    params, number = proposal.params, ledger.next_number()
    trial = make_trial(plan, number, params=params, baseline=baseline, origin=proposal.origin)
    attributes = {
        **proposal.origin,
        "params": params.as_dict(),
        "batch_size": params.batch_size,
        "effective_learning_rate": params.effective_learning_rate,
        "steps": trial.steps,
        "seed": plan.spec.seed_of(params),
        RUNGS: list(trial.rungs),
    }
    ledger.begin_trial(proposal.values, distributions=plan.space.distributions, attributes=attributes)
    return trial


def make_trial(
    plan: StudyPlan, number: int, *, params: Params, baseline: NDArray[np.float32], origin: Mapping[str, Any]
) -> RunningTrial:
    """A trial before its first step, with what its attributes say of where it comes from.

    Its first point is (Q,) value of each query of the untrained model.
    """
    confirms, longer_than = origin.get(CONFIRMS), origin.get(LONGER_THAN)
    return RunningTrial(
        number=number,
        params=params,
        steps=plan.steps(params.batch_size, length=params.length),
        evaluations=plan.evaluations(params.batch_size, length=params.length),
        progress=[0],
        per_query=[baseline],
        weights=plan.query_weights("dev"),
        rungs=plan.rungs(params) if confirms is None and longer_than is None else (),
        confirms=confirms,
        longer_than=longer_than,
    )


def revive_trials(
    plan: StudyPlan, ledger: Ledger, record: StudyRecord, *, baseline: NDArray[np.float32]
) -> Iterator[RunningTrial]:
    """The trials that an earlier run left running, as it left them.

    Args:
        plan: The study.
        ledger: Its writer.
        record: The study as it stands.
        baseline: (Q,) value of each query of the untrained model.
    """
    values = ledger.values()
    for left in record.trials:
        if left.state == "running":
            yield revive_trial(plan, ledger, left, values=values[left.number], baseline=baseline)


def revive_trial(
    plan: StudyPlan, ledger: Ledger, left: TrialRecord, *, values: Mapping[str, Any], baseline: NDArray[np.float32]
) -> RunningTrial:
    """A trial as its record has it, by its values under their names in the Optuna study; see `revive_trials`."""
    params = replace(plan.space.params(values), length=left.length)
    if left.confirms is not None:
        params = replace(params, seed=left.attributes["seed"])
    trial = make_trial(plan, left.number, params=params, baseline=baseline, origin=left.attributes)
    for point, per_query in zip(*ledger.table.per_query(left.number), strict=True):
        trial.add_point(point, per_query)
    _restore(trial, left)
    return trial


def _restore(trial: RunningTrial, record: TrialRecord) -> None:
    """Sets what the attributes of a trial and its last measurement say of its earlier processes."""
    if record.rows:
        trial.seconds_before = record.rows[-1].seconds
        trial.evaluation_seconds_before = record.rows[-1].evaluation_seconds
    trial.micro_batch = record.attributes.get("micro_batch")
    trial.collapsed_at = record.attributes.get("collapsed_at")
    for name in ("interruptions", "without_progress", "suspected", "counted", "attempt"):
        setattr(trial, name, record.attributes.get(name, 0))
    trial.mark = tuple(record.attributes.get("mark", (-1, -1)))
    trial.promoted = record.promoted
    trial.node = record.attributes.get("node")
    trial.was_paused = bool(record.attributes.get("paused"))


def make_job(plan: StudyPlan, trial: RunningTrial, *, body: str, slot: Slot, micro_batch: int | None) -> Job:
    """A trial's next job: a body for its process, on a slot."""
    return Job(
        name=trial.job,
        body=body,
        task=make_assignment(plan, trial, slot=slot, micro_batch=micro_batch),
        log=plan.run_folder.log(trial.number),
        environment=slot.environment,
        attempt=trial.attempt,
        lock=plan.run_folder.attempt_lock(trial.number),
        slot=slot.name,
        processes=slot.processes,
    )


def make_assignment(plan: StudyPlan, trial: RunningTrial, *, slot: Slot, micro_batch: int | None) -> Assignment:
    """The task of a trial's process."""
    peak = trial.peak
    has_model = peak is None or plan.run_folder.peak_model(trial.number, peak.progress).is_dir()
    return Assignment(
        spec=plan.spec,
        folder=plan.folder,
        run_folder=plan.run_folder.path,
        device=slot.device,
        content=plan.collection.content_hash,
        trial=trial.number,
        params=trial.params,
        steps=trial.steps,
        evaluations=trial.evaluations,
        micro_batch=micro_batch,
        peak=peak.value if peak else None,
        measured=trial.progress[-1],
        missing_peak=None if peak is None or has_model else peak.progress,
        attempt=trial.attempt,
        threads=slot.threads,
        memory_share=slot.share,
    )

"""Messages between a coordinator and its workers: jobs and their tasks, reports and results, and the answers.

All are frozen and made of plain values and NumPy arrays, so that they cross a pipe between two processes unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from sweep.measures.geometry import has_collapsed
from sweep.measures.score import Score
from sweep.progress import PlannedEvaluation
from sweep.settings.dimensions import Params
from sweep.settings.study_file import StudySpec

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class StudyTask:
    """The task of every job of a study.

    Attributes:
        spec: The study.
        folder: Folder of the study file, against which relative paths in it are resolved.
        run_folder: The study's run folder.
        device: Device as torch names it, such as ``cpu`` or ``cuda``.
        content: Hash of the collection's content, which must be the same on every machine; None where any will do.
    """

    spec: StudySpec
    folder: Path
    run_folder: Path
    device: str = "cpu"
    content: str | None = None


@dataclass(frozen=True, kw_only=True)
class Assignment(StudyTask):
    """A trial that a worker is to train.

    Attributes:
        trial: The trial's number in the study.
        params: Settings to train with.
        steps: Optimizer steps of the whole trial.
        evaluations: When the trial is evaluated.
        micro_batch: Pairs that go through the model at once; None lets the worker choose by its memory.
        peak: Best value that is committed for this trial after at least one optimizer step.
        measured: Progress in thousandths up to which measurements are committed: what is measured again is no new peak.
        missing_peak: Progress in thousandths of that peak where its model is not on disk, so that it is saved anew.
        attempt: Number of this process of the trial, from 1.
        threads: Threads that the trial may compute with on a CPU; None lets torch choose.
        memory_share: Share of the device's memory that the trial may plan with.
    """

    trial: int
    params: Params
    steps: int
    evaluations: tuple[PlannedEvaluation, ...]
    micro_batch: int | None = None
    peak: float | None = None
    measured: int = 0
    missing_peak: int | None = None
    attempt: int = 1
    threads: int | None = None
    memory_share: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Device:
    """A CUDA device that torch can use.

    Attributes:
        name: Its name, such as ``NVIDIA H200``.
        memory_gib: Its memory.
        uuid: The driver's name for it, or None where torch does not say.
    """

    name: str
    memory_gib: float
    uuid: str | None = None

    @property
    def label(self) -> str:
        """Its name and memory, for a person."""
        return f"{self.name}, {self.memory_gib:.0f} GiB"


@dataclass(frozen=True, kw_only=True)
class EvaluationTask(StudyTask):
    """Model folders to be evaluated as whoever loads them would use them, by the names of the results."""

    models: Mapping[str, Path]
    split: Literal["dev", "test"] = "test"


@dataclass(frozen=True, kw_only=True)
class CompilationTask(StudyTask):
    """A study's collection that is to be compiled; ``identity`` is that of what it is compiled from."""

    identity: str


@dataclass(frozen=True, kw_only=True)
class AnswerTask(StudyTask):
    """Documents that a generator of queries is to answer for.

    Attributes:
        data_format: Name of the data format of the generator.
        generator: Its place among the generators of the format.
        documents: Id, content hash, title and text of each document.
        answers: File that the answers are appended to, each batch as it comes.
    """

    data_format: str
    generator: int
    documents: tuple[tuple[str, str, str, str], ...]
    answers: Path


@dataclass(frozen=True, kw_only=True)
class RoundTripTask(StudyTask):
    """Generated queries whose documents the untrained model is to find.

    Attributes:
        documents: Texts of all documents.
        queries: Texts of the queries.
        own: (Q,) column of the document of each query.
        within: Rank at which it must stand at the latest.
    """

    documents: tuple[str, ...]
    queries: tuple[str, ...]
    own: NDArray[np.int64]
    within: int


@dataclass(frozen=True, kw_only=True)
class RehearsalTask(StudyTask):
    """A study's way in small.

    Attributes:
        points: Settings of a trial in each data format, in which some steps are made.
        timed: The settings with which training is timed, too; None where it is not.
    """

    points: tuple[Params, ...]
    timed: Params | None = None


@dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """A base model as a study uses it.

    Attributes:
        modules: Its modules in order, each with what matters of it.
        parameters: Their number, after layers were cut.
        precision: Precision in which its numbers are stored, such as ``float16``.
        similarity: Function that compares its embeddings.
        dimensions: Dimensions of an embedding, and how many of them are used.
        tokens: Tokens that are read of a text at most; None where there is no limit.
        positions: Tokens that it has positions for; None where it has no limit.
        prompts: The prompts of queries and of documents, by task, without empty ones.
        unused_prompts: Names of prompts that apply to neither.
        changes: What a study changes of it, in a sentence each.
    """

    modules: tuple[str, ...]
    parameters: int
    precision: str
    similarity: str
    dimensions: tuple[int | None, int | None]
    tokens: int | None
    positions: int | None
    prompts: Mapping[str, str]
    unused_prompts: tuple[str, ...]
    changes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TokenCounts:
    """Tokens of texts that a model is evaluated on.

    Attributes:
        documents: Documents that were counted.
        median: Median of their tokens.
        limit: Tokens that are read of a text at most; None where there is no limit.
        cut: Share of the documents that have more.
        unknown: Share of the tokens of documents and queries that the tokenizer does not know; None where it has no
            such token.
    """

    documents: int
    median: int
    limit: int | None
    cut: float
    unknown: float | None


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """The outcome of a rehearsal.

    Attributes:
        model: The base model.
        evaluation: Evaluation of the untrained model on the dev split.
        texts_per_s: Texts encoded a second.
        pairs_per_s: Pairs trained a second; None where that was not timed.
        look_s: Seconds of an evaluation as trials make it; None where training was not timed.
        silence_s: Longest time between two signs of life.
        tokens: Tokens of the dev split's texts; None where they cannot be counted.
    """

    model: ModelDescription
    evaluation: Evaluation
    texts_per_s: float
    pairs_per_s: float | None
    silence_s: float
    look_s: float | None = None
    tokens: TokenCounts | None = None


@dataclass(frozen=True, kw_only=True)
class Cosines:
    """Cosine similarities of one kind of pair: their mean, and their 5th and 95th percentiles.

    Attributes:
        histogram: (40,) count of each bin of `sweep.measures.geometry.COSINE_BINS`; None where not counted.
    """

    mean: float
    p5: float
    p95: float
    histogram: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One measurement of a model.

    Attributes:
        per_query: (Q,) value of each judged query by the study's metric, in the order of the judged set; NaN where
            embeddings were not finite.
        positives: Cosines of queries with their relevant documents.
        negatives: Cosines of queries with all other documents.
        seconds: Wall-clock seconds that the evaluation took.
        ndcg_10: Mean NDCG of the first 10 documents, whatever the metric is; so are the other three.
        recall_10: Mean recall of the first 10.
        recall_100: Mean recall of the first 100.
        mrr_10: Mean reciprocal rank of the first relevant document among the first 10.
        alignment: Mean squared distance of queries to their relevant documents.
        uniformity: Logarithm of the mean Gaussian potential of the documents.
        validation_losses: Loss on held-out pairs, where there are any: ``own`` in the trial's data format,
            ``retrieval`` in that of the evaluation.
        shuffled: (Q,) value of each query by the judgements of another one; None where it was not asked for.
        weights: (Q,) weight of each query, where they come of several benchmarks; None where all count the same.
    """

    per_query: FloatArray
    positives: Cosines
    negatives: Cosines
    seconds: float
    ndcg_10: float = math.nan
    recall_10: float = math.nan
    recall_100: float = math.nan
    mrr_10: float = math.nan
    alignment: float = math.nan
    uniformity: float = math.nan
    validation_losses: Mapping[str, float] = field(default_factory=dict)
    shuffled: FloatArray | None = None
    weights: NDArray[np.float64] | None = None

    @property
    def value(self) -> float:
        """Mean of the study's metric over queries by their weights; NaN if any is NaN."""
        return Score(self.per_query, self.weights).mean

    @property
    def has_collapsed(self) -> bool:
        """Whether the cosines of relevant pairs and of all others are equal to rounding."""
        return has_collapsed(self.positives.p5, self.positives.p95, self.negatives.p5, self.negatives.p95)


@dataclass(frozen=True, kw_only=True)
class Report:
    """An evaluation of a trial, on its way to the coordinator.

    Attributes:
        progress: Grid point under which it is stored, in thousandths.
        step: Optimizer step after which it was made.
        examples: Training pairs seen so far.
        evaluation: The measurement.
        seconds: Seconds that this process has spent on the trial so far, evaluations included.
        evaluation_seconds: Seconds of those that went into evaluations.
        micro_batch: Pairs that go through the model at once.
        loss: Mean training loss since the report before; None where it is not finite.
        learning_rate: Rate of the optimizer step before the evaluation.
        gradient_norm: Norm of the gradient at that step, before it was clipped; None where it is not finite.
        memory_gib: Most memory of the device that the process has held so far; of the machine, on a CPU.
        false_negatives: Share of the trial's anchors whose batch holds a near-equal of their own positive.
    """

    progress: int
    step: int
    examples: int
    evaluation: Evaluation
    seconds: float
    evaluation_seconds: float
    micro_batch: int
    loss: float | None
    learning_rate: float | None = None
    gradient_norm: float | None = None
    memory_gib: float | None = None
    false_negatives: float | None = None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The coordinator's answer to a report: go on, stop and the reason in words, or pause at a rung."""

    stop: bool = False
    pause: bool = False
    reason: str | None = None


@dataclass(frozen=True)
class Pause:
    """The coordinator's request that a job stop at its next step, to go on later."""


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """The result of a trial's process that ended by itself.

    Attributes:
        status: ``finished`` at its last step, ``stopped`` by a verdict, or ``paused`` to go on later.
        step: Last optimizer step that was made.
        resumed_from: Step of the checkpoint that the process went on from; 0 if it began anew.
        micro_batch: Pairs that went through the model at once.
    """

    status: Literal["finished", "stopped", "paused"]
    step: int
    resumed_from: int
    micro_batch: int


@dataclass(frozen=True, kw_only=True)
class PreparedStudy:
    """The result of a study's first job.

    Attributes:
        revision: Identifier of the base model: a hash of its files, or the hub's revision.
        parameters: Number of parameters of the base model, after layers were cut.
        baseline: Evaluation of the untrained model on the dev split.
        collection_hash: Hash of the collection's content.
        changes: What the study changes of the base model, in a sentence each.
    """

    revision: str
    parameters: int
    baseline: Evaluation
    collection_hash: str
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An exception that ended a job, with its traceback.

    Attributes:
        cause: Type and first line of the message; trials with equal ones failed for one cause.
        traceback: The traceback as text.
        actionable: Whether a user can act on the cause alone (it was a SweepError).
        exhausted_micro_batch: The micro-batch that ran out of the device's memory, where that was the cause.
        disk_failed: Whether a disk was full or could not be written, which is no fault of the trial.
    """

    cause: str
    traceback: str
    actionable: bool = False
    exhausted_micro_batch: int | None = None
    disk_failed: bool = False


MEETING = "SWEEP_MEETING"
"""Variable of the environment that names the file through which the processes of one job find each other."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A function that a launcher is to run.

    Attributes:
        name: Its name, unique among those that run now.
        body: ``module:function`` of ``function(task, channel)``, which returns the job's result.
        task: The body's first argument.
        log: File of the process's output.
        environment: Variables set before the body starts, such as the devices it may see.
        attempt: Number of this process of its trial; every message of it carries this.
        lock: File that its process locks while it lives, so that no two of one trial are alive.
        slot: Name of the slot that it is to run on; None where any will do.
        processes: Processes that run the body together, each a rank; the first alone talks to the coordinator.
    """

    name: str
    body: str
    task: Any
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    attempt: int = 1
    lock: Path | None = None
    slot: str | None = None
    processes: int = 1


@dataclass(frozen=True)
class Started:
    """A job's process has started; ``warm`` if its heavy imports had been made before."""

    warm: bool


@dataclass(frozen=True)
class Done:
    """A job returned."""

    result: Any


@dataclass(frozen=True)
class Alive:
    """A job goes on: its work has got further. Its next message may take ``allowance_s`` seconds at least."""

    allowance_s: float = 0.0


JobMessage = Started | Alive | Report | Done | Failure
"""Messages from a job to its coordinator."""


LONG_CALL_S = 600.0
"""Seconds that a job may be silent in one call of a library, which can give no sign before it returns.

Such a call loads or saves a model, reads a collection or flushes a file; nobody can tell one that is slow from one that
hangs, so it has a limit of its own, where that of the study is shorter. In ten minutes a slow disk of 100 MB/s hands
over 60 GB: more than the weights of any model that one device trains.
"""


class Sign(Protocol):
    """A sign of life, given by the work itself each time that it has got further: after a batch, a file, a chunk.

    No thread beside the work gives it, so a job that hangs gives none. It may be given as often as is convenient, for
    few are sent.
    """

    def __call__(self, *, long_call: bool = False) -> None:
        """Gives the sign; ``long_call`` announces one call of a library that gives none until it returns."""


def give_no_sign(*, long_call: bool = False) -> None:
    """The sign of work that nobody waits for."""


class Channel(Protocol):
    """A job's connection to the coordinator."""

    def sign(self, *, long_call: bool = False) -> None:
        """Gives a sign of life; see `Sign`."""

    def report(self, report: Report) -> Verdict:
        """Sends a report and waits until it is committed and answered."""

    def is_pausing(self) -> bool:
        """Whether the coordinator has asked the job to stop at the next step, to go on later."""

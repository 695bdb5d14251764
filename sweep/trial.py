"""run_trial: an assignment in, reports out, a result; and the study's other jobs that need a model.

This is the body of a worker's process. It trains and evaluates, and knows nothing of the search or of stopping rules:
it reports each evaluation and obeys the answer.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from sweep.data import choose_format, plan_order
from sweep.data.collection import Collection, Split
from sweep.data.compiled import identify_compiled
from sweep.data.hard_sample import HardDocuments, identify_hard
from sweep.data.negatives import measure_false_negatives
from sweep.data.sections import share_out
from sweep.data.study_collection import load_study_collection
from sweep.errors import CheckpointError
from sweep.messages import (
    Assignment,
    Channel,
    CompilationTask,
    Device,
    Evaluation,
    EvaluationTask,
    PreparedStudy,
    Report,
    Sign,
    StudyTask,
    TrialResult,
    give_no_sign,
)
from sweep.run_folder import RunFolder
from sweep.settings.dimensions import RETRIEVAL_FORMAT, Params
from sweep.training.checkpoint import MANIFEST, newest_complete, remove
from sweep.training.checkpoint_schedule import CheckpointSchedule, expect_cost
from sweep.training.compilation import Compiled, compile_study, open_compiled, write_compiled
from sweep.training.devices import (
    choose_micro_batch,
    limit_threads,
    list_cuda_devices,
    peak_memory_gib,
    translate_oom,
)
from sweep.training.evaluator import Evaluator
from sweep.training.fit import FitPlan, StepAction, TrainingStats, fit
from sweep.training.hard_search import find_hard_documents
from sweep.training.losses import choose_loss
from sweep.training.models import (
    Model,
    load_model,
    prepare_base_model,
    save_model,
    stored_precision,
)
from sweep.training.ranks import ALONE, Ranks, join_ranks

_log = logging.getLogger(__name__)

UNTRAINED = "untrained"
"""Name of the base model among those that are evaluated."""

# The libraries draw progress bars with tqdm, whose default lock is a semaphore between processes that a worker would
# leave behind with a complaint at exit; here one process draws.
tqdm.set_lock(threading.RLock())


def list_devices(task: None, channel: Channel) -> tuple[str, list[Device]]:  # noqa: ARG001 - every job has both
    """torch's build, and the CUDA devices that it can use; starts CUDA, so only in a process of its own."""
    return list_cuda_devices()


def prepare_study(task: StudyTask, channel: Channel) -> PreparedStudy:
    """Loads the base model, makes it fit for the study, and saves it and the compiled collection for the trials.

    The untrained model is evaluated.
    """
    folder = RunFolder(task.run_folder)
    base = prepare_base_model(task.spec.model, task.folder, into=folder.base_model)
    collection = load_study_collection(task.spec, folder=task.folder, content=task.content)
    identity = identify_compiled(task.spec, base=base.identity, content=collection.content_hash)
    compiled = publish_compiled(task, collection, base.model, identity=identity, sign=channel.sign)
    untrained = {UNTRAINED: folder.base_model}
    return PreparedStudy(
        revision=base.identity,
        parameters=sum(parameter.numel() for parameter in base.model.parameters()),
        baseline=evaluate_saved(task, lambda _: compiled, "dev", untrained)[UNTRAINED],
        collection_hash=collection.content_hash,
        changes=base.changes,
    )


def compile_again(task: CompilationTask, channel: Channel) -> None:
    """Compiles the collection of a study whose base model is saved."""
    model = load_model(RunFolder(task.run_folder).base_model, device="cpu", precision=None)
    collection = load_study_collection(task.spec, folder=task.folder, content=task.content)
    publish_compiled(task, collection, model, identity=task.identity, sign=channel.sign)


def publish_compiled(
    task: StudyTask, collection: Collection, model: Model, *, identity: str, sign: Sign = give_no_sign
) -> Compiled:
    """Compiles a collection for all trials of a study, and maps what was written."""
    folder = RunFolder(task.run_folder).compiled
    hard = find_hard(task, collection, sign=sign)
    formats = task.spec.space.data_format
    compiled = compile_study(task.spec, collection, model, data_formats=formats, hard=hard, sign=sign)
    write_compiled(compiled, folder, identity=identity, sign=sign)
    return open_compiled(folder, sign=sign)


def evaluate_models(task: EvaluationTask, channel: Channel) -> dict[str, Evaluation]:
    """Evaluates models as they were saved, each once."""
    return evaluate_saved(
        task, lambda model: open_or_compile(task, model, sign=channel.sign), task.split, task.models, sign=channel.sign
    )


def evaluate_saved(
    task: StudyTask,
    find_compiled: Callable[[Model], Compiled],
    split: Split,
    models: Mapping[str, Path],
    *,
    shuffled: bool = False,
    sign: Sign = give_no_sign,
) -> dict[str, Evaluation]:
    """Evaluations of saved models, in the precision that each was saved in and nothing else: as it will be used."""
    evaluator: Evaluator | None = None
    evaluations = {}
    for name, folder in models.items():
        model = load_model(folder, device=task.device, precision=None)
        evaluator = evaluator or make_evaluator(task, find_compiled(model), split, shuffled=shuffled, sign=sign)
        evaluations[name] = evaluator.evaluate(model, as_trained=False)
    return evaluations


def open_or_compile(
    task: StudyTask, model: Model, *, data_format: str | None = None, sign: Sign = give_no_sign
) -> Compiled:
    """What the study has compiled; where it is damaged, or lacks a data format, it is compiled in memory.

    The next run of the study writes it anew.
    """
    try:
        compiled = open_compiled(RunFolder(task.run_folder).compiled, sign=sign)
        if data_format is None or compiled.collection.formats[data_format].columns:
            return compiled
    except (CheckpointError, KeyError) as error:
        _log.warning("the collection is read and tokenized again: %s", error)
    sign(long_call=True)
    collection = load_study_collection(task.spec, folder=task.folder, content=task.content)
    hard = find_hard(task, collection, sign=sign)
    formats = [data_format] if data_format else []
    return compile_study(task.spec, collection, model, data_formats=formats, hard=hard, sign=sign)


def find_hard(task: StudyTask, collection: Collection, *, sign: Sign = give_no_sign) -> HardDocuments | None:
    """The hard documents of a study whose sample is of these, by its saved base model, once in its life.

    Where the study has found them, they are those that lie with its compiled collection.
    """
    if task.spec.evaluation.sample != "hard":
        return None
    folder = RunFolder(task.run_folder)
    base = (folder.base_model / MANIFEST).read_text(encoding="utf-8")
    identity = identify_hard(task.spec, base=base, content=collection.content_hash)
    with contextlib.suppress(CheckpointError):
        known = open_compiled(folder.compiled, sign=sign).hard
        if known is not None and known.identity == identity:
            return known
    model = load_model(folder.base_model, device=task.device, precision=None)
    return HardDocuments(identity, find_hard_documents(task.spec, collection, model, sign=sign))


def run_trial(task: Assignment, channel: Channel) -> TrialResult:
    """Trains one trial, from its last complete checkpoint if there is one.

    The order at an evaluation: the peak's model is on disk, the report is sent, committed and answered, then a
    checkpoint may be written. So an answered report is never lost, and a checkpoint is never ahead of the reports. It
    may lie behind them: what is measured again on the way is compared with the first measurement, which stands.
    """
    with join_ranks(task.device) as ranks:
        return _TrialRun(task, channel, ranks).run()


@dataclass
class _TrialRun:
    """One process's share of a trial: of its steps, and where several ranks train it, of its batches."""

    task: Assignment
    channel: Channel
    ranks: Ranks
    status: str = "finished"
    evaluation_seconds: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    def run(self) -> TrialResult:
        task, params, ranks = self.task, self.task.params, self.ranks
        limit_threads(task.threads)
        folder = RunFolder(task.run_folder)
        folder.trial(task.trial).mkdir(parents=True, exist_ok=True)
        checkpoint, sign = self._find_checkpoint(), self.channel.sign
        self.resumed_from = int(checkpoint.name.removeprefix("step-")) if checkpoint else 0
        rows, device = ranks.share(params.batch_size), ranks.device(task.device)
        with translate_oom(device, task.micro_batch or rows):
            sign(long_call=True)
            self.model = load_model(folder.base_model, device=device)
            micro_batch = choose_micro_batch(
                self.model,
                rows,
                wanted=task.micro_batch,
                columns=len(choose_format(task.spec, params.data_format).roles),
                memory_share=task.memory_share,
            )
            self.micro_batch = ranks.least(micro_batch)
        is_cast = task.spec.checkpoints.precision == "base"
        self.precision = stored_precision(folder.base_model) if is_cast else None
        compiled = open_or_compile(task, self.model, data_format=params.data_format, sign=sign)
        self.evaluator = make_evaluator(task, compiled, "dev", params=params, sign=sign, ranks=ranks)
        self.peak = task.peak
        self.due = {planned.step: planned.progress for planned in task.evaluations if planned.step > self.resumed_from}
        plan = self._plan(compiled)
        self.schedule = self._plan_checkpoints()
        on_saved = self.schedule.note_saved
        step = fit(self.model, plan, on_step=self._on_step, on_saved=on_saved, resume_from=checkpoint)
        return TrialResult(
            status=self.status,  # type: ignore[arg-type]
            step=step,
            resumed_from=self.resumed_from,
            micro_batch=self.micro_batch,
        )

    def _find_checkpoint(self) -> Path | None:
        """The newest complete checkpoint; the trial's log names later ones, which are broken."""
        folders = RunFolder(self.task.run_folder).checkpoint_folders(self.task.trial)
        newest = newest_complete(folders, sign=self.channel.sign)
        for broken in folders[folders.index(newest) + 1 if newest else 0 :]:
            _log.warning("%s: is incomplete, so the trial goes on from %s", broken, newest or "its beginning")
        return newest

    def _plan(self, compiled: Compiled) -> FitPlan:
        folder = RunFolder(self.task.run_folder)
        plan = plan_fit(
            self.task,
            self.task.params,
            compiled,
            steps=self.task.steps,
            micro_batch=self.micro_batch,
            work_folder=folder.trial(self.task.trial) / "work",
            checkpoint=lambda step: folder.checkpoint(self.task.trial, step),
            sign=self.channel.sign,
            ranks=self.ranks,
        )
        words = compiled.collection.words
        self.false_negatives = measure_false_negatives(plan.columns, plan.order, roles=plan.roles, words=words)
        return plan

    def _plan_checkpoints(self) -> CheckpointSchedule:
        model_bytes = sum(numbers.numel() * numbers.element_size() for numbers in self.model.parameters())
        return CheckpointSchedule(every_s=self.task.spec.checkpoints.every_s, cost_s=expect_cost(model_bytes))

    def _on_step(self, step: int, take_stats: Callable[[], TrainingStats]) -> StepAction:
        """What the first rank decides, in each."""
        decision = StepAction.GO_ON
        if self.ranks.is_first:
            decision = self._decide(step, take_stats)
        elif step in self.due:
            self.evaluator.assist(self.model)
        return StepAction(self.ranks.decide(decision.value))

    def _decide(self, step: int, take_stats: Callable[[], TrainingStats]) -> StepAction:
        decision = StepAction.GO_ON
        if step in self.due:
            decision = self._evaluate(step, self.due[step], take_stats())
        if StepAction.STOP not in decision and step < self.task.steps and self.channel.is_pausing():
            self.status = "paused"
            decision = StepAction.SAVE | StepAction.STOP
        elif decision is StepAction.GO_ON and step < self.task.steps and self.schedule.is_due:
            decision = StepAction.SAVE
        if StepAction.SAVE in decision:
            self._delete_checkpoints(before=step)
        return decision

    def _evaluate(self, step: int, progress: int, stats: TrainingStats) -> StepAction:
        task, folder = self.task, RunFolder(self.task.run_folder)
        evaluation = self.evaluator.evaluate(self.model)
        self.evaluation_seconds += evaluation.seconds
        is_higher = evaluation.value > (-np.inf if self.peak is None else self.peak)  # never for NaN
        is_new_peak = is_higher and progress > task.measured
        if is_new_peak or progress == task.missing_peak:
            self.peak = evaluation.value if is_new_peak else self.peak
            model = folder.peak_model(task.trial, progress)
            save_model(self.model, model, precision=self.precision, sign=self.channel.sign)
        verdict = self.channel.report(
            Report(
                progress=progress,
                step=step,
                examples=step * task.params.batch_size,
                evaluation=evaluation,
                seconds=time.perf_counter() - self.started,
                evaluation_seconds=self.evaluation_seconds,
                micro_batch=self.micro_batch,
                loss=stats.loss,
                learning_rate=stats.learning_rate,
                gradient_norm=stats.gradient_norm,
                memory_gib=peak_memory_gib(task.device),
                false_negatives=self.false_negatives,
            )
        )
        if verdict.stop:
            self.status = "stopped"
            return StepAction.STOP
        if verdict.pause:
            self.status = "paused"
            return StepAction.SAVE | StepAction.STOP
        return StepAction.GO_ON

    def _delete_checkpoints(self, before: int) -> None:
        """Deletes all checkpoints but the newest: the one about to be written may turn out broken."""
        older = RunFolder(self.task.run_folder).checkpoint_folders(self.task.trial)
        for folder in [saved for saved in older if int(saved.name.removeprefix("step-")) < before][:-1]:
            remove(folder)


def plan_fit(
    task: StudyTask,
    params: Params,
    compiled: Compiled,
    *,
    steps: int,
    micro_batch: int,
    work_folder: Path,
    checkpoint: Callable[[int], Path],
    sign: Sign,
    ranks: Ranks = ALONE,
) -> FitPlan:
    """The inputs of a training run with some settings; see `FitPlan`."""
    seed = task.spec.seed_of(params)
    sign(long_call=True)  # the order of all examples is planned at once
    rows = compiled.collection.formats[params.data_format]
    return FitPlan(
        params=params,
        columns=rows.columns,
        tokens=compiled.tokens,
        roles=rows.roles,
        loss=choose_loss(task.spec.loss, params),
        order=plan_order(
            rows.columns,
            batch_size=params.batch_size,
            steps=steps,
            seed=seed,
            sections=share_out(rows.sections, params.mixture),
        ),
        micro_batch=micro_batch,
        seed=seed,
        work_folder=work_folder,
        checkpoint=checkpoint,
        sign=sign,
        ranks=ranks,
    )


def make_evaluator(
    task: StudyTask,
    compiled: Compiled,
    split: Split,
    *,
    params: Params | None = None,
    shuffled: bool = False,
    sign: Sign = give_no_sign,
    ranks: Ranks = ALONE,
) -> Evaluator:
    """The evaluator of a split; a trial's also takes its loss on held-out pairs, its own and the retrieval task's."""
    loss = choose_loss(task.spec.loss, params) if params else None
    names = {"own": params.data_format, "retrieval": RETRIEVAL_FORMAT} if params else {}
    formats = {place: compiled.collection.formats[name] for place, name in names.items()}
    return Evaluator(
        compiled.collection.judged[split],
        compiled.tokens,
        held_out={
            place: known.held_out
            for place, known in formats.items()
            if known.held_out is not None and loss is not None and loss.find_mismatch(known.roles) is None
        },
        loss=loss,
        measure=task.spec.evaluation.measure,
        shuffled=shuffled,
        sign=sign,
        ranks=ranks,
    )

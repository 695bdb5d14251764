"""fit: one training run by SentenceTransformerTrainer over a planned order of examples, resumable at any step."""

from __future__ import annotations

import enum
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from datasets.table import InMemoryTable
from safetensors.torch import load_model as load_weights
from safetensors.torch import save_model as save_weights
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.sampler import DefaultBatchSampler
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator
from transformers import PrinterCallback, TrainerCallback

from sweep.data import IntArray
from sweep.data.formats.format import PROMPTS, Prompt, Roles, columns_of
from sweep.messages import Sign, give_no_sign
from sweep.progress import count_warmup_steps
from sweep.settings.dimensions import Params
from sweep.training.checkpoint import publish
from sweep.training.devices import computes_bf16, translate_oom
from sweep.training.losses.loss import Loss
from sweep.training.ranks import ALONE, Ranks
from sweep.training.tokens import Features, Tokens

SCHEDULES: dict[str, tuple[str, dict[str, float]]] = {
    "linear": ("linear", {}),
    "cosine": ("cosine", {}),
    "constant": ("constant_with_warmup", {}),
    "cosine-with-floor": ("cosine_with_min_lr", {"min_lr_rate": 0.1}),
}
"""The trainer's name and settings of each scheduler; the floor is a tenth of the peak rate."""

_WEIGHTS = "model.safetensors"
_STATS = "course.json"


class StepAction(enum.Flag):
    """Actions of a training run after a step."""

    GO_ON = 0
    SAVE = enum.auto()
    STOP = enum.auto()


@dataclass(frozen=True, kw_only=True)
class FitPlan:
    """The inputs of one training run.

    Attributes:
        columns: (N,) numbers of the texts of each training column, in the order in which the loss takes them.
        tokens: The texts by task, as the model takes them.
        order: (steps, batch) rows of each optimizer step.
        micro_batch: Rows that go through the model at once.
        seed: Seed of dropout.
        work_folder: Folder in which checkpoints are written before they are complete.
        checkpoint: Final path of the checkpoint after a step.
        sign: Given with every pass through the model: a step of a large batch is many of them.
        ranks: The processes that train together, each a part of every batch.
    """

    params: Params
    columns: Mapping[str, IntArray]
    tokens: Mapping[Prompt, Tokens]
    roles: Roles
    loss: Loss
    order: IntArray
    micro_batch: int
    seed: int
    work_folder: Path
    checkpoint: Callable[[int], Path]
    sign: Sign = give_no_sign
    ranks: Ranks = ALONE

    @property
    def rows(self) -> int:
        """Rows of a batch that this process takes."""
        return self.ranks.share(self.params.batch_size)

    @property
    def is_cut(self) -> bool:
        """Whether these go through the model in parts."""
        return self.micro_batch < self.rows


@dataclass(frozen=True, kw_only=True)
class TrainingStats:
    """Figures of a training; None where there is none or it is not finite.

    ``loss`` is the mean training loss since the figures were last taken, the others are the rate of the last optimizer
    step and the norm of its gradient before it was clipped.
    """

    loss: float | None
    learning_rate: float | None
    gradient_norm: float | None


OnStep = Callable[[int, Callable[[], TrainingStats]], StepAction]
"""Called after each optimizer step with its number and a function that takes the figures of the training."""


OnSaved = Callable[[float], None]
"""Called after each checkpoint with the seconds that it took."""


def fit(
    model: SentenceTransformer,
    plan: FitPlan,
    *,
    on_step: OnStep,
    on_saved: OnSaved = lambda _: None,
    resume_from: Path | None = None,
) -> int:
    """Trains a model in place, on its device, and returns the last optimizer step that was made.

    Args:
        model: The untrained model.
        plan: The inputs of the run.
        on_step: Decides after each step whether to save a checkpoint, and whether to stop.
        on_saved: Told of each checkpoint once it counts.
        resume_from: A checkpoint that an earlier run of the same plan saved; training goes on after it, on the CPU bit
            for bit as if it had not been interrupted. It may have been saved by any number of ranks.

    Raises:
        DeviceMemoryError: If the device's memory is exhausted.
    """
    _clear(plan)
    plan.sign(long_call=True)  # the trainer is made, and a checkpoint loaded, before the first pass
    trainer = _PlannedTrainer(
        model=model,
        args=_training_arguments(model, plan),
        train_dataset=Dataset(InMemoryTable(pa.table(dict(plan.columns))), fingerprint="planned"),
        data_collator=SentenceTransformerDataCollator(
            preprocess_fn=partial(_make_batch, model, plan.tokens), router_mapping=_tasks(plan.roles)
        ),
        loss=plan.loss.build(model, micro_batch=plan.micro_batch if plan.is_cut else None, gather=plan.ranks.count > 1),
        plan=plan,
    )
    trainer.add_callback(_StepCallback(trainer, plan, on_step, on_saved))
    trainer.remove_callback(PrinterCallback)
    passes = model.register_forward_hook(lambda *_: plan.sign(long_call=not trainer.has_stepped))
    try:
        with translate_oom(str(model.device), plan.micro_batch):
            trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
    finally:
        passes.remove()
        _clear(plan)
    return int(trainer.state.global_step)


def _clear(plan: FitPlan) -> None:
    """Removes what is left in the work folder; of several ranks only the first writes there, and may still be at it."""
    if plan.ranks.is_first:
        shutil.rmtree(plan.work_folder, ignore_errors=True)


def _training_arguments(model: SentenceTransformer, plan: FitPlan) -> SentenceTransformerTrainingArguments:
    """The settings by the trainer's names."""
    params = plan.params
    scheduler, scheduler_settings = SCHEDULES[params.scheduler]
    return SentenceTransformerTrainingArguments(
        output_dir=str(plan.work_folder),
        max_steps=len(plan.order),
        per_device_train_batch_size=plan.rows,
        accelerator_config={"split_batches": plan.ranks.count > 1},
        learning_rate=params.effective_learning_rate,
        warmup_steps=count_warmup_steps(params.warmup_ratio, len(plan.order)),
        weight_decay=params.weight_decay,
        lr_scheduler_type=scheduler,
        lr_scheduler_kwargs=scheduler_settings,
        router_mapping=_tasks(plan.roles),
        bf16=computes_bf16(model.device.type),
        use_cpu=model.device.type == "cpu",
        seed=plan.seed,
        eval_strategy="no",
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=model.device.type == "cuda",
    )


def _tasks(roles: Roles) -> dict[str, str]:
    """The task of each column."""
    return {column: str(PROMPTS[role]) for column, role in roles.items()}


def _make_batch(
    model: SentenceTransformer,
    tokens: Mapping[Prompt, Tokens],
    texts: Sequence[int],
    *,
    prompt: str | None,  # noqa: ARG001 - it is in the tokens
    task: Prompt,
) -> Features:
    """The library's preprocessing, of texts by number."""
    return tokens[task].batch(np.array(texts, dtype=np.int64), model)


class _PlannedBatches(DefaultBatchSampler):
    """The planned order as the trainer's batch sampler.

    Where a batch is cut into micro-batches, its rows are sorted by the length of their longest document, so that
    a micro-batch carries little padding; the loss of a batch does not depend on the order of its rows. Each rank is
    given a run of a batch by the library; sorted rows are dealt out, so that none has all of the long ones.
    """

    def __init__(self, dataset: Dataset, plan: FitPlan) -> None:
        super().__init__(dataset, batch_size=plan.params.batch_size, drop_last=True)
        self._order = plan.order
        if plan.is_cut:
            documents = [plan.columns[column] for column in columns_of(plan.roles, "positive", "negative")]
            characters = plan.tokens["document"].collection.characters
            lengths = np.max([characters[texts] for texts in documents], axis=0)
            by_length = np.argsort(-lengths[plan.order], axis=1, kind="stable")
            dealt = np.arange(by_length.shape[1]).reshape(plan.rows, plan.ranks.count).T.reshape(-1)
            by_length = by_length[:, dealt]
            self._order = np.take_along_axis(plan.order, by_length, axis=1)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._order.tolist())

    def __len__(self) -> int:
        return len(self._order)


class _PlannedTrainer(SentenceTransformerTrainer):
    """The library's trainer with a planned order, light checkpoints, and the loss kept where it is needed."""

    def __init__(self, *, plan: FitPlan, **trainer_settings: Any) -> None:
        self._plan = plan
        self._loss_sum: torch.Tensor | None = None
        self._loss_steps = 0
        self._gradient_norm: float | torch.Tensor | None = None
        self._learning_rate: float | None = None
        self.has_stepped = (
            False  # the first step of a process imports and compiles, which can take longer than the rest
        )
        super().__init__(**trainer_settings)

    def get_batch_sampler(self, dataset: Dataset, *_: Any, **__: Any) -> _PlannedBatches:
        return _PlannedBatches(dataset, self._plan)

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Writes no model card: it would read all training rows for every trial."""

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        ranks = self._plan.ranks
        if ranks.count > 1:  # no two have the same dropout, and a checkpoint may be gone on with by another number
            torch.manual_seed(_mix(self._plan.seed, ranks.rank, self.state.global_step))
        loss: torch.Tensor = super().training_step(*args, **kwargs)
        loss = ranks.mean(loss)
        self._loss_sum = loss if self._loss_sum is None else self._loss_sum + loss
        self._loss_steps += 1
        return loss

    def _get_grad_norm(self, *args: Any, **kwargs: Any) -> Any:
        """Keeps the norm that the library finds for its log, and the rate that the coming step is made with."""
        self._gradient_norm = super()._get_grad_norm(*args, **kwargs)  # type: ignore[no-untyped-call]
        self._learning_rate = self._get_learning_rate()
        return self._gradient_norm

    def take_stats(self) -> TrainingStats:
        """The figures of the training since they were last taken."""
        loss = None if self._loss_sum is None else float(self._loss_sum) / self._loss_steps
        self._loss_sum, self._loss_steps = None, 0
        norm = None if self._gradient_norm is None else float(self._gradient_norm)
        return TrainingStats(loss=_finite(loss), learning_rate=self._learning_rate, gradient_norm=_finite(norm))

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """One process saves for all."""
        if self._plan.ranks.is_first:
            super()._save_checkpoint(*args, **kwargs)

    def store_flos(self) -> None:
        """Counts no operations: all processes would have to meet for it, and nobody asks."""

    def _save_rng_state(self, output_dir: str) -> None:
        """Saves the random state of a process alone; that of several follows from the step."""
        if self._plan.ranks.count == 1:
            super()._save_rng_state(output_dir)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if self._plan.ranks.count == 1:
            super()._load_rng_state(checkpoint)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:  # noqa: ARG002 - the library's name
        """Saves the weights alone; the library would pickle its arguments and write the tokenizer beside them."""
        folder = Path(output_dir or self._plan.work_folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._plan.sign(long_call=True)  # the library saves the optimizer's state after this
        save_weights(self.model, str(folder / _WEIGHTS))
        loss_sum = None if self._loss_sum is None else float(self._loss_sum)
        (folder / _STATS).write_text(json.dumps({"loss_sum": loss_sum, "loss_steps": self._loss_steps}))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:  # noqa: ARG002
        folder = Path(resume_from_checkpoint)
        load_weights(self.model, str(folder / _WEIGHTS), device=str(self.model.device))
        stats = json.loads((folder / _STATS).read_text())
        self._loss_steps = stats["loss_steps"]
        if stats["loss_sum"] is not None:
            self._loss_sum = torch.tensor(stats["loss_sum"], device=self.model.device)


def _mix(*numbers: int) -> int:
    """A seed that follows from some numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


class _StepCallback(TrainerCallback):
    """Obeys ``on_step`` after each step, and gives a saved checkpoint its final name."""

    def __init__(self, trainer: _PlannedTrainer, plan: FitPlan, on_step: OnStep, on_saved: OnSaved) -> None:
        self._trainer = trainer
        self._plan = plan
        self._on_step = on_step
        self._on_saved = on_saved
        self._decided = 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:  # noqa: ARG002 - the library's names
        self._trainer.has_stepped = True
        decision = self._on_step(state.global_step, self._trainer.take_stats)
        control.should_save = StepAction.SAVE in decision
        control.should_training_stop = StepAction.STOP in decision or state.global_step >= state.max_steps
        self._decided = time.perf_counter()
        return control

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002 - the library's names
        if not self._plan.ranks.is_first:
            return
        written = self._plan.work_folder / f"checkpoint-{state.global_step}"
        publish(written, self._plan.checkpoint(state.global_step), sign=self._plan.sign)
        self._on_saved(time.perf_counter() - self._decided)

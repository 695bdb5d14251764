"""Bodies of jobs that train with several ranks; importable by a worker's process."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer
from torch.optim.optimizer import register_optimizer_step_pre_hook

from sweep.data import plan_order
from sweep.data.formats.format import PAIR
from sweep.messages import Channel, Sign, give_no_sign
from sweep.settings.dimensions import Params
from sweep.training.checkpoint import verify
from sweep.training.fit import FitPlan, StepAction, fit
from sweep.training.losses.multiple_negatives_ranking import MultipleNegativesRanking
from sweep.training.models import load_model
from sweep.training.ranks import ALONE, Ranks, join_ranks
from tests.compiled import compile_columns, encode_texts

BATCH = 8

PARAMS = Params(
    learning_rate=1e-3,
    effective_learning_rate=1e-3,
    warmup_ratio=0.25,
    batch_size=BATCH,
    data_format="query-document",
    scale=20.0,
    scheduler="linear",
)


def make_plan(
    task: dict[str, Any],
    model: SentenceTransformer,
    ranks: Ranks,
    *,
    micro_batch: int = BATCH,
    sign: Sign = give_no_sign,
) -> FitPlan:
    """Four steps of a task's columns; the ranks share a work folder, as those of a trial do."""
    known, _, tokens = compile_columns(model, task["columns"])
    return FitPlan(
        params=PARAMS,
        columns=known.columns,
        tokens=tokens,
        roles=PAIR,
        loss=MultipleNegativesRanking(scale=PARAMS.scale),
        order=plan_order(task["columns"], batch_size=BATCH, steps=4, seed=0),
        micro_batch=micro_batch,
        seed=0,
        work_folder=Path(task["folder"]) / "work",
        checkpoint=lambda step: Path(task["folder"]) / f"step-{step:08d}",
        sign=sign,
        ranks=ranks,
    )


def train(task: dict[str, Any], ranks: Ranks, *, micro_batch: int) -> dict[str, Any]:
    """Trains; the gradients of the first step, the loss of each, and the weights."""
    model = load_model(Path(task["base"]), device="cpu")
    gradients: dict[str, Any] = {}
    losses: list[float | None] = []

    def keep_first(*_: Any) -> None:
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                gradients.setdefault(name, parameter.grad.clone().numpy())

    def on_step(step: int, take_stats: Any) -> StepAction:  # noqa: ARG001
        losses.append(take_stats().loss)
        return StepAction.GO_ON

    hook = register_optimizer_step_pre_hook(keep_first)
    fit(model, make_plan(task, model, ranks, micro_batch=micro_batch), on_step=on_step)
    hook.remove()
    weights = {name: weight.numpy() for name, weight in model.state_dict().items()}
    return {"gradients": gradients, "losses": losses, "weights": weights}


def train_both(task: dict[str, Any], channel: Channel) -> dict[str, Any]:  # noqa: ARG001
    """With whole shares of a batch, and with shares that are cut; the embeddings that ranks make together."""
    with join_ranks("cpu") as ranks:
        found: dict[str, Any] = {
            kind: train(task, ranks, micro_batch=size) for kind, size in (("whole", BATCH), ("cut", 2))
        }
        model = load_model(Path(task["base"]), device="cpu")
        found["embeddings"] = encode_texts(model, task["columns"]["positive"], ranks=ranks)
    return found


def train_alone(task: dict[str, Any]) -> dict[str, Any]:
    """The same by one process, of which nothing is cut."""
    return train(task, ALONE, micro_batch=BATCH)


def largest(gradients: dict[str, Any]) -> float:
    return max(float(np.abs(gradient).max()) for gradient in gradients.values())


def save_slowly(task: dict[str, Any], channel: Channel) -> str:  # noqa: ARG001
    """Stops after a step and saves, for which the first rank takes so long that the second has ended."""
    with join_ranks("cpu") as ranks:
        model = load_model(Path(task["base"]), device="cpu")
        is_saving = False

        def sign(*, long_call: bool = False) -> None:
            if is_saving and long_call:
                time.sleep(1.0)

        def on_step(step: int, take_stats: Any) -> StepAction:  # noqa: ARG001
            nonlocal is_saving
            is_saving = True
            return StepAction.SAVE | StepAction.STOP

        fit(model, make_plan(task, model, ranks, sign=sign), on_step=on_step)
        if not ranks.is_first:
            return "ended first"
    verify(Path(task["folder"]) / "step-00000001")
    return ",".join(sorted(path.name for path in Path(task["folder"]).iterdir()))

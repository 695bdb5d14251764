from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from sweep.data import plan_order
from sweep.data.formats.format import PAIR
from sweep.settings.dimensions import Params
from sweep.testing import write_tiny_model
from sweep.training.fit import FitPlan, StepAction, fit
from sweep.training.losses.multiple_negatives_ranking import MultipleNegativesRanking
from sweep.training.models import load_model
from tests.compiled import compile_columns


@dataclass
class Trained:
    """A training run of the tests: its model, its plan, and what was noted after its steps."""

    model: SentenceTransformer
    plan: FitPlan
    last_step: int = 0
    notes: dict[int, Any] = field(default_factory=dict)


Train = Callable[..., Trained]


def words(count: int, *, longest: int, seed: int) -> list[str]:
    """Distinct words; the tiny model's tokenizer cuts them into letters."""
    random = np.random.default_rng(seed)
    found: set[str] = set()
    while len(found) < count:
        found.add("".join(random.choice(list("abcdefghijklmnopqrstuvwxyz"), size=random.integers(2, longest))))
    return sorted(found)


@pytest.fixture(scope="session")
def still_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model without dropout."""
    folder = tmp_path_factory.mktemp("still") / "model"
    write_tiny_model(folder, dropout=0.0)
    return folder


@pytest.fixture(scope="session")
def columns() -> dict[str, list[str]]:
    """64 training pairs of one word each, too short to be cut off; a positive begins with its anchor."""
    anchors, rest = words(64, longest=8, seed=0), words(64, longest=20, seed=1)
    return {"anchor": anchors, "positive": [anchor + end for anchor, end in zip(anchors, rest, strict=True)]}


@pytest.fixture(scope="session")
def train_in(tiny_model: Path, columns: dict[str, list[str]]) -> Train:
    """Trains a tiny model in a folder: by default with dropout, whole batches, and 8 steps of 8 pairs."""

    def run(
        folder: Path,
        *,
        base: Path = tiny_model,
        model: SentenceTransformer | None = None,
        steps: int = 8,
        micro_batch: int = 8,
        seed: int = 0,
        on_step: Callable[..., StepAction] = lambda *_: StepAction.GO_ON,
        on_saved: Callable[[float], None] = lambda _: None,
        resume_from: Path | None = None,
        **params: Any,
    ) -> Trained:
        usual = {
            "learning_rate": 1e-3,
            "effective_learning_rate": 1e-3,
            "warmup_ratio": 0.25,
            "batch_size": 8,
            "data_format": "query-document",
            "scale": 20.0,
            "scheduler": "linear",
        }
        chosen = Params(**{**usual, **params})
        trained_model = model or load_model(base, device="cpu")
        known, _, tokens = compile_columns(trained_model, columns)
        plan = FitPlan(
            params=chosen,
            columns=known.columns,
            tokens=tokens,
            roles=PAIR,
            loss=MultipleNegativesRanking(scale=chosen.scale),
            order=plan_order(columns, batch_size=chosen.batch_size, steps=steps, seed=0),
            micro_batch=micro_batch,
            seed=seed,
            work_folder=folder / "work",
            checkpoint=lambda step: folder / f"step-{step:08d}",
        )
        trained = Trained(trained_model, plan)
        trained.last_step = fit(
            trained.model,
            plan,
            on_step=lambda step, loss: on_step(trained, step, loss),
            on_saved=on_saved,
            resume_from=resume_from,
        )
        return trained

    return run


@pytest.fixture
def train(train_in: Train, tmp_path: Path) -> Train:
    """Trains a tiny model, leaving its checkpoints in ``tmp_path / "run"``."""
    return partial(train_in, tmp_path / "run")

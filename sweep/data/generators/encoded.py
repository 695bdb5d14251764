"""Encoded: generators that make queries with the study's own encoder, its untrained base model."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sweep.data.collection import Document
from sweep.data.generators.generator import Generator
from sweep.data.locate import locate_base_model
from sweep.settings.study_file import ModelSpec

Encode = Callable[[Sequence[str], Literal["query", "document"]], NDArray[np.float32]]
"""Gives the (N, H) embeddings of N texts, as queries or as documents."""


class Encoded(Generator):
    """A generator that needs embeddings; one without a name, so that no study file finds it.

    The encoder is a torch model, so it runs in a job, one on each device of the study.
    """

    job = "sweep.training.encoded_answers:answer_documents"

    batch: int = Field(default=32, ge=1, le=4096, exclude=True, description="Documents that are encoded at once.")

    def identify_model(self, base: ModelSpec, folder: Path) -> str:
        """Identity of the base model, with what the study changes of it."""
        _, identity = locate_base_model(base.base, folder)
        changes = base.model_dump(mode="json", exclude={"base"}, exclude_defaults=True)
        return f"{identity} {json.dumps(changes, sort_keys=True)}" if changes else identity

    def answer_all(self, documents: Sequence[Document], encode: Encode) -> list[list[str]]:
        """The queries of each of some documents.

        Raises:
            SweepError: If it cannot go on.
        """
        raise NotImplementedError

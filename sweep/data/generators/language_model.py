"""language-model: a causal or sequence-to-sequence model of transformers, on the devices that the study has."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from sweep.data.generators.prompted import Prompted
from sweep.data.model_folder import locate_language_model
from sweep.settings.study_file import ModelSpec


class LanguageModel(Prompted):
    """A model in a folder, on the hub, or in a package; it generates in a job, one on each device."""

    name = "language-model"
    job = "sweep.training.text_generation:answer_documents"

    model: str = Field(min_length=1, description="A folder (relative to the study file), a hub id, or package:NAME.")
    chat: bool = Field(default=False, description="Whether the prompt is put as a message, by the model's template.")
    top_p: float = Field(
        default=1.0, gt=0.0, le=1.0, description="Share of the likeliest tokens that are sampled from."
    )
    precision: Literal["float32", "bfloat16"] = Field(default="float32", description="Precision of its weights.")
    batch: int = Field(default=16, ge=1, le=4096, exclude=True, description="Documents that it is asked for at once.")

    def identify_model(self, base: ModelSpec, folder: Path) -> str:  # noqa: ARG002 - it has a model of its own
        """Hash of the files that decide what the model computes, or the hub's revision."""
        return locate_language_model(self.model, folder).identity

    def describe(self) -> str:
        """The last part of the model's name."""
        return f"{self.name} {Path(self.model).name}"

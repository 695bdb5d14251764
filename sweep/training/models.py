"""Models: loaded, adapted and saved; safetensors only, no remote code, no pickle."""

from __future__ import annotations

import copy
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from sentence_transformers import SentenceTransformer

from sweep.data.locate import list_weights, locate_base_model
from sweep.errors import ModelError, reason_of
from sweep.messages import Sign, give_no_sign
from sweep.settings.study_file import ModelSpec
from sweep.training.adaptation import PROBE, adapt, deviation, embed
from sweep.training.checkpoint import PARTIAL_SUFFIX, publish
from sweep.training.model_config import read_model_config

Model = SentenceTransformer
"""A model, for those who pass it on."""

LOADING_ERRORS = (
    *(OSError, ValueError, LookupError, ImportError, RuntimeError, SafetensorError),
    *(TypeError, AttributeError),  # JSON of another shape than the library expects
)
"""Errors of the libraries on a folder that is no model, or a damaged one."""

PRECISIONS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Precision of numbers by its name in a safetensors file."""

MAX_RELOADED_DEVIATION = 1e-3


@dataclass(frozen=True)
class UntrainedModel:
    """The untrained model of a study: adapted to it, on the CPU, in the precision that it was saved in.

    Attributes:
        identity: Its identity before it was adapted.
        changes: What was changed, in a sentence each.
    """

    model: SentenceTransformer
    identity: str
    changes: tuple[str, ...]


def load_base_model(spec: ModelSpec, folder: Path) -> UntrainedModel:
    """The untrained model of a study.

    Raises:
        ModelError: If the model cannot be found, loaded, cut, or used as its files say.
    """
    path, identity = locate_base_model(spec.base, folder)
    read_model_config(path)
    model = load_model(path, device="cpu", precision=None)
    return UntrainedModel(model, identity, tuple(adapt(model, spec)))


def prepare_base_model(spec: ModelSpec, folder: Path, *, into: Path) -> UntrainedModel:
    """The untrained model of a study, saved in a folder, from which all trials will load it.

    Raises:
        ModelError: If it cannot be found, loaded, cut or used, or is another model once it is saved and loaded again.
    """
    base = load_base_model(spec, folder)
    try:
        save_model(base.model, into)
    except LOADING_ERRORS as error:
        raise ModelError(f"model.base: it cannot be saved: {reason_of(error)}") from error
    check_saved(base.model, into, advice=" (keep its first layer)" if spec.keep_layers else "")
    return base


def check_saved(model: SentenceTransformer, folder: Path, *, advice: str = "") -> None:
    """Refuses a model that has other weights or gives other embeddings once it is loaded from where it was saved.

    Raises:
        ModelError: If it does.
    """
    again = load_model(folder, device=model.device.type, precision=None)
    has_same_weights = again.state_dict().keys() == model.state_dict().keys()
    if not has_same_weights or deviation(embed(model, list(PROBE)), embed(again, list(PROBE))) > MAX_RELOADED_DEVIATION:
        key = "model.keep_layers" if advice else "model.base"
        raise ModelError(f"{key}: this is another model once it is saved and loaded again{advice}")


def load_model(folder: Path, *, device: str, precision: torch.dtype | None = torch.float32) -> SentenceTransformer:
    """A Sentence Transformers folder as a model on ``device``, its numbers read up to float32 for training.

    Without a ``precision`` it is loaded in that it was saved in, as whoever uses it would.

    Raises:
        ModelError: If the folder is no model, holds no safetensors weights, or asks for code of its own.
    """
    list_weights(folder)
    settings: dict[str, Any] = {"use_safetensors": True} | ({"dtype": precision} if precision else {})
    try:
        model = SentenceTransformer(
            str(folder), device=device, local_files_only=True, trust_remote_code=False, model_kwargs=settings
        )
    except LOADING_ERRORS as error:
        raise ModelError(f"{folder}: cannot be loaded as a Sentence Transformers model: {reason_of(error)}") from error
    return model.to(precision) if precision else model


def save_model(
    model: SentenceTransformer, folder: Path, *, precision: torch.dtype | None = None, sign: Sign = give_no_sign
) -> None:
    """Writes a model as a Sentence Transformers folder, atomically, in its precision or in another one."""
    partial = folder.with_name(folder.name + PARTIAL_SUFFIX)
    shutil.rmtree(partial, ignore_errors=True)
    sign(long_call=True)
    if precision is not None and precision != model.dtype:
        model = copy.deepcopy(model).to(precision)
    model.save_pretrained(str(partial), create_model_card=False, safe_serialization=True)
    publish(partial, folder, sign=sign)


def stored_precision(folder: Path) -> torch.dtype:
    """The precision in which most of a saved model's numbers are stored; float32 for one that is not of floats."""
    counts: Counter[str] = Counter()
    for file in list_weights(folder):
        with safe_open(file, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118 - no mapping
                tensor = weights.get_slice(name)
                counts[tensor.get_dtype()] += torch.Size(tensor.get_shape()).numel()
    found = [PRECISIONS[name] for name, _ in counts.most_common() if name in PRECISIONS]
    return found[0] if found else torch.float32

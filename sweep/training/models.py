"""Models: loaded, cut and saved; safetensors only, no remote code, no pickle."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer

from sweep.errors import ModelError
from sweep.messages import Sign, give_no_sign
from sweep.settings.study_file import ModelSpec
from sweep.training.checkpoint import PARTIAL_SUFFIX, publish
from sweep.training.locate import first_line, list_weights, locate_base_model

LOADING_ERRORS = (
    *(OSError, ValueError, LookupError, ImportError, RuntimeError, SafetensorError),
    *(TypeError, AttributeError),  # JSON of another shape than the library expects
)
"""Errors of the libraries on a folder that is no model, or a damaged one."""


def load_base_model(spec: ModelSpec, folder: Path) -> tuple[SentenceTransformer, str]:
    """The untrained model of a study, on the CPU, with its layers cut, and its identity.

    Raises:
        ModelError: If the model cannot be found, loaded or cut.
    """
    path, identity = locate_base_model(spec.base, folder)
    model = load_model(path, device="cpu")
    if spec.max_seq_length is not None:
        _limit_length(model, spec.max_seq_length)
    if spec.keep_layers is not None:
        _cut_layers(model, spec.keep_layers)
    return model, identity


def load_model(folder: Path, *, device: str) -> SentenceTransformer:
    """A Sentence Transformers folder as a model on ``device``.

    Raises:
        ModelError: If the folder is no model, holds no safetensors weights, or asks for code of its own.
    """
    list_weights(folder)
    try:
        return SentenceTransformer(
            str(folder),
            device=device,
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        )
    except LOADING_ERRORS as error:
        raise ModelError(f"{folder}: cannot be loaded as a Sentence Transformers model: {first_line(error)}") from error


def save_model(model: SentenceTransformer, folder: Path, *, sign: Sign = give_no_sign) -> None:
    """Writes a model as a Sentence Transformers folder, atomically."""
    partial = folder.with_name(folder.name + PARTIAL_SUFFIX)
    shutil.rmtree(partial, ignore_errors=True)
    sign(long_call=True)
    model.save_pretrained(str(partial), create_model_card=False, safe_serialization=True)
    publish(partial, folder, sign=sign)


def _limit_length(model: SentenceTransformer, max_seq_length: int) -> None:
    longest = model.max_seq_length
    if longest is not None and max_seq_length > longest:
        raise ModelError(f"model.max_seq_length: {max_seq_length} is above the base model's {longest}")
    model.max_seq_length = max_seq_length


def _cut_layers(model: SentenceTransformer, keep: tuple[int, ...]) -> None:
    """Keeps the encoder layers at the given places and drops the rest."""
    encoder = model.transformers_model
    depth = getattr(getattr(encoder, "config", None), "num_hidden_layers", None)
    stacks = [
        (parent, name, child)
        for parent in (encoder.modules() if encoder is not None else ())
        for name, child in parent.named_children()
        if isinstance(child, torch.nn.ModuleList) and len(child) == depth
    ]
    if encoder is None or len(stacks) != 1:
        raise ModelError("model.keep_layers: this base model has no single stack of layers to cut; leave the key out")
    if keep[-1] >= len(stacks[0][2]):
        raise ModelError(f"model.keep_layers: names layer {keep[-1]}, but the base model has {depth}, from 0")
    parent, name, stack = stacks[0]
    setattr(parent, name, torch.nn.ModuleList([stack[layer] for layer in keep]))
    encoder.config.num_hidden_layers = len(keep)

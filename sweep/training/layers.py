"""cut_layers: an encoder with some of its layers, and a config that agrees with them."""

from __future__ import annotations

from typing import Any

import torch
from sentence_transformers import SentenceTransformer

from sweep.errors import ModelError


def cut_layers(model: SentenceTransformer, keep: tuple[int, ...]) -> None:
    """Keeps the encoder layers at the given places and drops the rest.

    A list of the config with an entry for each layer is cut as well, so that each kept layer has its own type
    (ModernBERT, Qwen3, Gemma 3).

    Raises:
        ModelError: If the model has no single stack of layers, or not the layers that are named.
    """
    encoder = model.transformers_model
    config: Any = getattr(encoder, "config", None)
    depth: int = getattr(config, "num_hidden_layers", -1)
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
    _cut_config(config, depth, keep)


def _cut_config(config: Any, depth: int, keep: tuple[int, ...]) -> None:
    """Makes a config agree with the kept layers, all at once: it refuses lists of another length than its depth."""
    settings = vars(config)
    lists = {key: [value[layer] for layer in keep] for key, value in settings.items() if _has_length(value, depth)}
    depth_key = type(config).attribute_map.get("num_hidden_layers", "num_hidden_layers")
    settings.update({**lists, depth_key: len(keep)})


def _has_length(value: object, length: int) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == length

"""describe_model: a base model for a person, as a study uses it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Pooling, Router, Transformer

from sweep.messages import ModelDescription
from sweep.training.adaptation import unused_prompts, usable_positions
from sweep.training.models import UntrainedModel, stored_precision
from sweep.training.tokens import role_prompts


def describe_model(base: UntrainedModel, folder: Path) -> ModelDescription:
    """A base model that was prepared in a folder."""
    model, limit = base.model, base.model.max_seq_length
    positions = [usable_positions(module) for module in model.modules() if isinstance(module, Transformer)]
    return ModelDescription(
        modules=tuple(_describe(model.children())),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        precision=str(stored_precision(folder)).removeprefix("torch."),
        similarity=model.similarity_fn_name,
        dimensions=(_count_dimensions(model), model.get_embedding_dimension()),
        tokens=int(limit) if limit is not None and limit < float("inf") else None,
        positions=min((found for found in positions if found is not None), default=None),
        prompts=role_prompts(model),
        unused_prompts=tuple(unused_prompts(model)),
        changes=base.changes,
    )


def _count_dimensions(model: SentenceTransformer) -> int | None:
    with model.truncate_embeddings(None):
        return model.get_embedding_dimension()


def _describe(modules: Iterable[torch.nn.Module]) -> Iterator[str]:
    for module in modules:
        name = type(module).__name__
        if isinstance(module, Router):
            inner = {route: ", ".join(_describe(each.children())) for route, each in module.sub_modules.items()}
            yield f"{name} ({'; '.join(f'{route}: {modules}' for route, modules in inner.items())})"
        elif isinstance(module, Transformer):
            layers = getattr(module.model.config, "num_hidden_layers", None)
            yield f"{name} ({type(module.model).__name__}" + (f", {layers} layers)" if layers else ")")
        elif isinstance(module, Pooling):
            mode = module.pooling_mode if isinstance(module.pooling_mode, str) else "+".join(module.pooling_mode)
            yield f"{name} ({mode}{'' if module.include_prompt else ', without the prompt'})"
        elif isinstance(module, Dense):
            yield f"{name} ({module.in_features} to {module.out_features})"
        else:
            yield name

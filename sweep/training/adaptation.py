"""adapt: a base model made fit for a study, by the study file and by what the model's own files say.

What is changed is said, and what cannot be followed is refused by its name. A changed model carries the changes in its
own files, so that whoever loads it later uses it as it was trained and evaluated.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Router, Transformer

from sweep.data.formats.format import TASKS
from sweep.errors import ModelError, reason_of
from sweep.settings.study_file import ModelSpec, PromptsSpec
from sweep.training.layers import cut_layers

OTHER_PROMPTS = {
    "query": ("search_query", "retrieval.query", "Retrieval-query", "web_search_query"),
    "document": ("passage", "corpus", "search_document", "retrieval.passage", "Retrieval-document"),
}
"""Names under which models keep the prompt of a task that the library does not look under."""

NO_LIMIT = 10**9
"""Tokens from which a tokenizer's limit is none; transformers writes 1e30."""

PROBE = ("A short text.", "A longer text, so that the short one is filled up to its length when both share a batch.")
MAX_DEVIATION = 0.02
"""Relative difference of two embeddings of one text that is rounding, also where a model computes in 16 bits."""


def adapt(model: SentenceTransformer, spec: ModelSpec) -> list[str]:
    """Makes a base model fit for a study, in place, and returns what was changed, in a sentence each.

    Raises:
        ModelError: If the study file asks for what the model does not have, or the model cannot be used as it is.
    """
    changes = [*_set_pad_token(model, spec.pad_token), *_limit_length(model, spec.max_seq_length)]
    changes += _name_prompts(model, spec.prompts)
    if spec.keep_layers is not None:
        cut_layers(model, spec.keep_layers)
        changes.append(f"keeps only the layers {', '.join(map(str, spec.keep_layers))}")
    _check_routes(model)
    _check_batches(model)
    return changes


def unused_prompts(model: SentenceTransformer) -> list[str]:
    """Names of the model's prompts that apply neither to queries nor to documents."""
    used = {model.prompts.get(task) for task in TASKS}
    return [name for name, prompt in model.prompts.items() if prompt and name not in TASKS and prompt not in used]


def usable_positions(transformer: Transformer) -> int | None:
    """Tokens that a transformer has positions for; None where it learned none and has no limit.

    RoBERTa's table of 514 serves 512 tokens: positions begin behind that of the padding token.
    """
    found = [
        table.num_embeddings - _first_position(table)
        for name, table in transformer.model.named_modules()
        if isinstance(table, torch.nn.Embedding)
        and name.rpartition(".")[2] in ("position_embeddings", "wpe", "embed_positions")
    ]
    return min(found, default=None)


def _first_position(table: torch.nn.Embedding) -> int:
    return int(getattr(table, "offset", 0)) if table.padding_idx is None else table.padding_idx + 1


def _transformers(model: SentenceTransformer) -> Iterator[Transformer]:
    """Its transformers: one, but for a model with routes."""
    return (module for module in model.modules() if isinstance(module, Transformer))


def _set_pad_token(model: SentenceTransformer, token: str | None) -> Iterator[str]:
    for transformer in _transformers(model):
        tokenizer: Any = transformer.tokenizer
        if tokenizer is None or (token is None and tokenizer.pad_token is not None):
            continue
        if token is None:
            end = f", such as its end-of-text token {tokenizer.eos_token!r}" if tokenizer.eos_token else ""
            raise ModelError(
                f"model.pad_token: the base model's tokenizer has no padding token; name one of its tokens{end}"
            )
        if token not in tokenizer.get_vocab():
            raise ModelError(f"model.pad_token: the base model's tokenizer has no token {token!r}")
        if tokenizer.pad_token != token:
            tokenizer.pad_token = token
            transformer.model.config.pad_token_id = tokenizer.pad_token_id
            yield f"pads with {token!r}"


def _limit_length(model: SentenceTransformer, wanted: int | None) -> Iterator[str]:
    transformers = list(_transformers(model))
    if not transformers and wanted is not None:
        raise ModelError("model.max_seq_length: this base model reads texts of any length; leave the key out")
    for transformer in transformers:
        config: Any = transformer.model.config
        own, usable = transformer.max_seq_length, usable_positions(transformer)
        if own is not None and own > (trained := getattr(config, "max_position_embeddings", own)):
            own = trained  # the tokenizer's limit is none
        longest = own if usable is None or (own is not None and own <= usable) else usable
        if wanted is not None and longest is not None and wanted > longest:
            raise ModelError(f"model.max_seq_length: {wanted} is above the base model's {longest}")
        length = wanted or longest
        if length is not None and length != transformer.max_seq_length:
            before = transformer.max_seq_length
            transformer.max_seq_length = length
            told = before if before is not None and before < NO_LIMIT else "any number"
            why = "" if wanted is not None else ": it has no more positions"
            yield f"reads {length} tokens of a text instead of {told}{why}"


def _name_prompts(model: SentenceTransformer, given: PromptsSpec) -> Iterator[str]:
    """Puts the prompts of queries and of documents where the library looks for them."""
    for task, wanted in zip(TASKS, (given.query, given.document), strict=True):
        own = model.prompts.get(task)
        if wanted is not None:
            if wanted != (own or ""):
                yield f"reads each {task} after {wanted!r} instead of {own or ''!r}"
            model.prompts[task] = wanted
        elif not own and (name := next((name for name in OTHER_PROMPTS[task] if model.prompts.get(name)), None)):
            model.prompts[task] = model.prompts[name]
            yield f"keeps its prompt {name!r} under the name {task!r}, where the library looks for it"


def _check_routes(model: SentenceTransformer) -> None:
    """Refuses a model that has routes, but none for queries or for documents."""
    for router in (module for module in model.modules() if isinstance(module, Router)):
        for task in TASKS:
            try:
                router.preprocess([PROBE[0]], task=task)
            except ValueError as error:
                routes = ", ".join(router.sub_modules)
                raise ModelError(
                    f"model.base: its Router has no route for the task {task!r}, only {routes}; save it with one"
                ) from error


def _check_batches(model: SentenceTransformer) -> None:
    """Refuses a model whose embedding of a text hangs on the texts beside it: on how it is filled up to their length.

    Its figures would differ with every batch size.
    """
    short, long = PROBE
    try:
        alone = embed(model, [short])
        beside = embed(model, [short, long])[:1]
    except (ValueError, LookupError, RuntimeError, TypeError, AttributeError) as error:
        raise ModelError(f"model.base: it cannot embed a text: {reason_of(error)}") from error
    if deviation(alone, beside) > MAX_DEVIATION:
        sides = {transformer.tokenizer.padding_side for transformer in _transformers(model) if transformer.tokenizer}
        raise ModelError(
            "model.base: its embedding of a text depends on the longer texts beside it (its tokenizer pads on the"
            f" {' and '.join(sorted(sides)) or 'unknown'} side); save it with tokenizer.padding_side ="
            f" {'right' if sides == {'left'} else 'left'!r}"
        )


def embed(model: SentenceTransformer, texts: list[str]) -> torch.Tensor:
    """(N, H) embeddings of documents as the library makes them, on the CPU in float32."""
    found: torch.Tensor = model.encode_document(texts, convert_to_tensor=True, show_progress_bar=False)
    return found.float().cpu()


def deviation(first: torch.Tensor, second: torch.Tensor) -> float:
    """The largest relative difference of the (N, H) embeddings of two models, as a share of their lengths."""
    lengths = first.norm(dim=1).clamp(min=torch.finfo(first.dtype).tiny)
    return float(((first - second).norm(dim=1) / lengths).max())

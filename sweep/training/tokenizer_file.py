"""The tokenizer of a model's folder, and how much of a text the model reads; without torch, for a look at texts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweep.data.locate import list_modules

TokenCounter = Callable[[Sequence[str]], list[int]]
"""Counts the tokens of each of N texts, special ones among them."""

BEHIND_PADDING = ("bert-generation", "camembert", "data2vec-text", "longformer", "mpnet", "roberta", "xlm-roberta")
"""Types of models whose positions begin behind that of the padding token, so that a table of 514 serves 512 tokens."""

_MANY = 10**9
"""Tokens from which a tokenizer's limit is none; transformers writes 1e30."""


@dataclass(frozen=True, kw_only=True)
class TextLimits:
    """The tokens of a text that a model reads, by its own files.

    Attributes:
        tokens: Those that it reads as it is; None for a model that reads texts of any length.
        positions: Those that it could read at most; None where it has no limit.
        is_settable: Whether another limit can be set: not where it has no transformer.
    """

    tokens: int | None
    positions: int | None
    is_settable: bool = True


def load_token_counter(folder: Path) -> TokenCounter | None:
    """The counter of a model's tokenizer, or None where there is no ``tokenizer.json``.

    Prompts are not counted. Of a model with routes it is the tokenizer of the first route that has one.
    """
    from tokenizers import Tokenizer

    file = next((file for module in list_modules(folder) if (file := module / "tokenizer.json").is_file()), None)
    if file is None:
        return None
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception:  # noqa: BLE001 - the library raises this very class; the model's own loading names the reason
        return None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda texts: [len(encoding.ids) for encoding in tokenizer.encode_batch(list(texts))]


def read_text_limits(folder: Path) -> TextLimits:
    """How much of a text a model reads, by the settings of its transformers: the least of several."""
    found = list(_read_transformers(folder))
    return TextLimits(
        tokens=_least(one.tokens for one in found),
        positions=_least(one.positions for one in found),
        is_settable=bool(found),
    )


def _read_transformers(folder: Path) -> Iterator[TextLimits]:
    for module in list_modules(folder):
        config, tokenizer = _read(module / "config.json"), _read(module / "tokenizer_config.json")
        if "model_type" not in config:
            continue
        positions = _count(config.get("max_position_embeddings") or config.get("n_positions"))
        if positions is not None and config["model_type"] in BEHIND_PADDING:
            positions -= int(config.get("pad_token_id") or 0) + 1
        own = _count(_read(module / "sentence_bert_config.json").get("max_seq_length"))
        tokens = own or _least([_count(tokenizer.get("model_max_length")), positions])
        yield TextLimits(tokens=_least([tokens, positions]), positions=positions)


def _read(file: Path) -> dict[str, Any]:
    """The content of a JSON file; nothing where it is missing or another, which the library names when it loads it."""
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _count(value: Any) -> int | None:
    return int(value) if isinstance(value, (int, float)) and 0 < value < _MANY else None


def _least(values: Any) -> int | None:
    return min((value for value in values if value is not None), default=None)

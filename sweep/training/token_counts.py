"""Tokens of texts as a model's tokenizer makes them, before any is cut."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from sweep.messages import TokenCounts
from sweep.training.bare_tokenizer import find_tokenizer
from sweep.training.tokens import role_prompts

MAX_TEXTS = 2000
"""Documents, and queries, that are counted: as many evenly spread ones."""


def count_tokens(model: SentenceTransformer, *, documents: Sequence[str], queries: Sequence[str]) -> TokenCounts | None:
    """Counts tokens with a model's prompts and special tokens; None where its tokenizer is of an unknown kind."""
    limit = model.max_seq_length if (model.max_seq_length or math.inf) < math.inf else None
    counted = {
        "document": list(_tokenize(model, documents, "document")),
        "query": list(_tokenize(model, queries, "query")),
    }
    lengths = np.array([length for length, _, _ in counted["document"]])
    if not len(lengths):
        return None
    every = [tokens for texts in counted.values() for tokens in texts]
    unknown = [count for _, _, count in every if count is not None]
    return TokenCounts(
        documents=len(lengths),
        median=int(np.median(lengths)),
        limit=None if limit is None else int(limit),
        cut=0.0 if limit is None else float(np.mean(lengths > limit)),
        unknown=sum(unknown) / max(1, sum(own for _, own, _ in every)) if unknown else None,
    )


def _tokenize(model: SentenceTransformer, texts: Sequence[str], task: str) -> Iterator[tuple[int, int, int | None]]:
    """For each text its tokens with the prompt and special ones, its own, and those of them that are unknown."""
    tokenizer, prompt = find_tokenizer(model, task), role_prompts(model).get(task, "")
    chosen = list(texts[:: -(-len(texts) // MAX_TEXTS)]) if texts else []
    prompted = [prompt + text for text in chosen]
    if isinstance(tokenizer, Tokenizer):
        unknown = tokenizer.token_to_id("[UNK]")
        for encoding in tokenizer.encode_batch(prompted, add_special_tokens=False):
            yield len(encoding.ids), len(encoding.ids), None if unknown is None else encoding.ids.count(unknown)
    elif isinstance(tokenizer, PreTrainedTokenizerBase):
        unknown = tokenizer.unk_token_id
        special = tokenizer.num_special_tokens_to_add()
        encoded = tokenizer(prompted, add_special_tokens=False, truncation=False, verbose=False) if prompted else {}
        for ids in encoded.get("input_ids", ()):
            yield len(ids) + special, len(ids), None if unknown is None else ids.count(unknown)

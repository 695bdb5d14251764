"""Texts of tests as a study compiles them: numbered and tokenized, in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer

from sweep.data import Collection, EvaluationSet, HeldOutRows
from sweep.data.compiled import CompiledCollection, CompiledFormat, JudgedTexts, TextNumbers
from sweep.data.formats.format import PAIR, Roles
from sweep.data.near_texts import TextWords
from sweep.training.evaluator import Evaluator, encode
from sweep.training.tokens import Tokens, tokenize


def make_evaluator(
    model: SentenceTransformer,
    collection: Collection,
    *,
    judged: EvaluationSet,
    document: Any = "text",
    held_out: Mapping[str, HeldOutRows[str]] | None = None,
    **settings: Any,
) -> Evaluator:
    """An evaluator of an evaluation set; ``settings`` are those of `Evaluator`."""
    numbers = TextNumbers()
    chosen = numbers.number_judged(judged, collection, document=document)
    formats = {name: numbers.number_format(rows.roles, {}, rows) for name, rows in (held_out or {}).items()}
    compiled = numbers.compile(formats=formats, judged={"dev": chosen})
    rows = {name: known.held_out for name, known in formats.items() if known.held_out is not None}
    return Evaluator(chosen, tokenize(model, compiled), held_out=rows, **settings)


def compile_texts(texts: Sequence[str], *, task: str = "document") -> tuple[CompiledCollection, np.ndarray]:
    """Texts of a task compiled alone, and their numbers."""
    numbers = TextNumbers()
    found = np.array(numbers.number(texts), dtype=np.int64)
    empty = np.empty(0, dtype=np.int64)
    documents, queries = (found, empty) if task == "document" else (empty, found)
    own = np.full(len(queries), -1, dtype=np.int64)
    judged = JudgedTexts(documents=documents, queries=queries, grades=[{} for _ in queries], own=own)
    return numbers.compile(formats={}, judged={"dev": [judged]}), found


def encode_texts(model: SentenceTransformer, texts: Sequence[str], *, task: str = "document", **settings: Any) -> Any:
    """(N, H) embeddings of texts; ``settings`` are those of `encode`."""
    compiled, found = compile_texts(texts, task=task)
    return encode(model, tokenize(model, compiled)[task], found, **settings)


def number_columns(columns: Mapping[str, Sequence[str]], roles: Roles) -> tuple[Mapping[str, Any], TextWords]:
    """Training columns by numbers of texts, and the words of the documents among these."""
    numbers = TextNumbers()
    known = numbers.number_format(roles, {name: list(texts) for name, texts in columns.items()})
    return known.columns, numbers.compile(formats={"own": known}, judged={}).words


def compile_columns(
    model: SentenceTransformer, columns: Mapping[str, Sequence[str]], *, roles: Roles = PAIR
) -> tuple[CompiledFormat, CompiledCollection, dict[Any, Tokens]]:
    """Training columns as a trial has them: by numbers of texts, the texts themselves, and their tokens by task."""
    numbers = TextNumbers()
    known = numbers.number_format(roles, {name: list(texts) for name, texts in columns.items()})
    compiled = numbers.compile(formats={"own": known}, judged={})
    return known, compiled, tokenize(model, compiled)

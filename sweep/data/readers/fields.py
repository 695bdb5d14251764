"""Fields of records under the names that public collections give them: ids, texts, grades."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sweep.data.collection import Document
from sweep.errors import CollectionError

DOCUMENT_IDS = (
    "_id", "docid", "doc_id", "doc-id", "docno", "document_id", "document-id", "corpus_id", "corpus-id", "corpusid",
    "pid", "passage_id", "did", "id",
)  # fmt: skip
QUERY_IDS = (
    "_id", "query_id", "query-id", "queryid", "qid", "q_id", "topic_id", "topic-id", "question_id", "id",
)  # fmt: skip
DOCUMENT_TEXTS = ("text", "contents", "content", "context", "body", "passage", "segment", "document", "document_text")
QUERY_TEXTS = ("text", "query", "question", "query_text", "contents", "content", "body")
TITLES = ("title",)
GRADES = (
    "score",
    "relevance",
    "rel",
    "relevant",
    "grade",
    "label",
    "rating",
    "relevance_score",
    "judgment",
    "judgement",
)

_SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test", "dev": "dev", "valid": "dev",
           "validation": "dev", "val": "dev", "development": "dev"}  # fmt: skip
"""Words of a file's name that say which split it is of."""


def split_named(name: str) -> str | None:
    """The split that the name of a file, or of a split elsewhere, is of; None where it names none of the three.

    Where it names several, as ``train-dev`` does, the last one counts.
    """
    found = [_SPLITS[word] for word in re.split(r"[^a-z]+", name.lower()) if word in _SPLITS]
    return found[-1] if found else None


def find_key(keys: Collection[str], spellings: Sequence[str]) -> str | None:
    """The first of the spellings that is among the keys, or that differs from one of them in case alone."""
    for spelling in spellings:
        if spelling in keys:
            return spelling
    folded = {key.strip().casefold(): key for key in keys}
    return next((folded[spelling] for spelling in spellings if spelling in folded), None)


def read_identifier(record: Mapping[str, Any], spellings: Sequence[str], *, where: str) -> str:
    """The id of a record; a number is read as it is written."""
    key = _need_key(record, spellings, what="id", where=where)
    return as_identifier(record[key], name=key, where=where)


def as_identifier(value: Any, *, name: str, where: str) -> str:
    """An id as a text that is not empty."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value:
        raise CollectionError(f"{where}: {name} must be a text that is not empty, got {value!r:.60}")
    return as_text(value, name=name, where=where)


def read_text(record: Mapping[str, Any], spellings: Sequence[str], *, where: str) -> str:
    """The text of a record."""
    key = _need_key(record, spellings, what="text", where=where)
    return as_text(record[key], name=key, where=where)


def as_text(value: Any, *, name: str, where: str) -> str:
    """A value that must be a text without half a character."""
    if not isinstance(value, str):
        raise CollectionError(f"{where}: {name} must be a text, got {value!r:.60}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        # JSON can spell half of a surrogate pair; no tokenizer takes it, hours later.
        raise CollectionError(f"{where}: {name} holds half a character (a lone surrogate)") from error
    return value


def read_document(record: Mapping[str, Any], *, where: str) -> Document:
    """The title, which may be missing or null, and the text of a document."""
    key = find_key(record, TITLES)
    title = record[key] if key is not None else None
    return Document(
        title="" if title is None else as_text(title, name="title", where=where),
        text=read_text(record, DOCUMENT_TEXTS, where=where),
    )


def as_grade(value: Any, *, where: str) -> float:
    """A grade: a whole number as an integer, however it is written, so that 1 and 1.0 are one."""
    try:
        grade = float(value)
    except (TypeError, ValueError):
        grade = math.nan
    if not math.isfinite(grade):
        raise CollectionError(f"{where}: the grade must be a number, got {value!r:.60}")
    return int(grade) if grade.is_integer() else grade


def _need_key(record: Mapping[str, Any], spellings: Sequence[str], *, what: str, where: str) -> str:
    key = find_key(record, spellings)
    if key is None:
        keys = ", ".join(record) or "none"
        raise CollectionError(f"{where}: has no {what} under any of {', '.join(spellings)}; its keys are {keys:.200}")
    return key

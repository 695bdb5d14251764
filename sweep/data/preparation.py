"""Preparation of a collection by the rules of its study: texts that are missing, and texts that leak."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from sweep.data.cache import fill_cached
from sweep.data.collection import Collection, Document, RawCollection
from sweep.data.leaks import Leaks, find_document_leaks, find_groups, find_query_leaks, normalize
from sweep.errors import CollectionError
from sweep.settings.data_spec import SplitSpec

CACHED_FROM = 2000
"""Documents from which leaks are kept in the cache: every trial loads the collection, and they take seconds to find."""

_VERSION = 3
"""Version of what is found, and part of its name in the cache."""

_FILE = "leaks.json"


def fill_in(contents: RawCollection) -> RawCollection:
    """A collection whose documents without a text have their title for one, and whose queries all have a text."""
    documents = {
        name: Document("", document.title) if document.title.strip() and not document.text.strip() else document
        for name, document in contents.documents.items()
    }
    queries = {name: text for name, text in contents.queries.items() if text.strip()}
    return dataclasses.replace(contents, documents=documents, queries=queries)


def group_documents(documents: Mapping[str, Document], split: SplitSpec) -> dict[str, str]:
    """The group of each document that a study keeps together with others."""
    return find_groups({name: document.title for name, document in documents.items()}, split.group)


def guard(collection: Collection, split: SplitSpec, *, source: RawCollection) -> Collection:
    """A collection that trains on nothing that leaks, unless its study keeps that, and in which no query finds itself.

    Args:
        collection: The collection, filled in and split.
        split: The table of the study file about that.
        source: The collection before it was filled in.
    """
    leaks = _find_leaks(collection, split)
    is_kept = split.leaks == "keep"
    return dataclasses.replace(
        collection,
        held_out=collection.held_out if is_kept else collection.held_out | leaks.all_documents,
        left_out=frozenset() if is_kept else leaks.all_queries,
        leaks=leaks,
        own_documents=_find_own_documents(collection),
        titles_as_texts=sum(
            name in source.documents and source.documents[name] != document
            for name, document in collection.documents.items()
        ),
        empty_queries=len(source.queries) - len(collection.queries),
    )


def _find_own_documents(collection: Collection) -> frozenset[str]:
    """Ids of queries that are a document: equal ids mean nothing without equal texts."""
    both = collection.queries.keys() & collection.documents.keys()
    return frozenset(name for name in both if _is_document(collection.queries[name], collection.documents[name]))


def _is_document(query: str, document: Document) -> bool:
    text = normalize(query)
    return text in (normalize(document.text), normalize(f"{document.title} {document.text}"))


def _find_leaks(collection: Collection, split: SplitSpec) -> Leaks:
    """The leaks of a collection, from the cache where it is large."""
    if len(collection.documents) >= CACHED_FROM:
        with contextlib.suppress(CollectionError):  # without a cache they are found again
            folder = fill_cached(
                Path("leaks", f"{_VERSION}-{_hash(collection, split)}"),
                lambda made: _write_leaks(made / _FILE, _compute_leaks(collection, split)),
            )
            return _read_leaks(folder / _FILE)
    return _compute_leaks(collection, split)


def _compute_leaks(collection: Collection, split: SplitSpec) -> Leaks:
    """The leaks of a collection; documents that are judged not relevant are none where most of training is so."""
    trainable = {document for _, document in collection.training_judgements()} | set(collection.training_documents())
    answers = collection.evaluated_documents(relevant=True)
    others = collection.evaluated_documents() - answers
    return Leaks(
        documents=find_document_leaks(
            {name: document.text for name, document in collection.documents.items()},
            {name: document.title for name, document in collection.documents.items()},
            answers=answers,
            others=set() if 2 * len(others & trainable) > len(trainable) else others,
            trainable=trainable,
            groups=group_documents(collection.documents, split),
        ),
        queries=find_query_leaks(
            collection.queries, train=set(collection.qrels["train"]), held=collection.evaluated_queries
        ),
    )


def _hash(collection: Collection, split: SplitSpec) -> str:
    """SHA-256 (hex) of all that leaks follow from."""
    digest = hashlib.sha256(repr((split.group, collection.relevant)).encode())
    for name, document in collection.documents.items():
        digest.update(repr((name, document.title, document.text)).encode("utf-8", "backslashreplace"))
    for facts in (collection.queries.items(), collection.qrels.items(), sorted(collection.held_out)):
        digest.update(repr(list(facts)).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def _read_leaks(file: Path) -> Leaks:
    stored = json.loads(file.read_bytes())
    documents, queries = (
        {reason: frozenset(names) for reason, names in stored[kind].items()} for kind in ("documents", "queries")
    )
    return Leaks(documents, queries)


def _write_leaks(file: Path, leaks: Leaks) -> None:
    stored = {
        kind: {reason: sorted(names) for reason, names in found.items()}
        for kind, found in (("documents", leaks.documents), ("queries", leaks.queries))
    }
    file.write_text(json.dumps(stored), encoding="utf-8")

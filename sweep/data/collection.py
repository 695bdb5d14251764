"""A collection: documents, queries, graded judgements in three splits, and what of it a study judges on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeVar, get_args

import numpy as np

from sweep.errors import CollectionError

Split = Literal["train", "dev", "test"]
"""Train trains, dev selects, test is read once, when the budget is spent."""

DocumentView = Literal["text", "title-and-text"]
"""What of a document is embedded."""

Qrels = Mapping[str, Mapping[str, int]]
"""Query id -> document id -> grade; a document is relevant where its grade is above 0."""

SPLITS: tuple[Split, ...] = get_args(Split)

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Document:
    """One document of the corpus.

    Attributes:
        title: Its title; empty where it has none.
        text: Its content.
    """

    title: str
    text: str

    def embedded(self, document: DocumentView) -> str:
        """The text that a model is given: the content, or title and content on two lines."""
        if document == "text" or not self.title:
            return self.text
        return f"{self.title}\n{self.text}".strip()


@dataclass(frozen=True)
class RawCollection:
    """A collection as its source has it, before it is split.

    Attributes:
        documents: Document by document id.
        queries: Text by query id.
        qrels: Judgements by the name that the source gives them, such as that of their file.
    """

    documents: Mapping[str, Document]
    queries: Mapping[str, str]
    qrels: Mapping[str, Qrels]


@dataclass(frozen=True)
class Collection:
    """Documents, queries and judgements, as every room of the house sees them.

    Attributes:
        name: The name under which a study file asks for it.
        documents: Document by document id.
        queries: Text by query id.
        qrels: Judgements of each split; a split that the collection does not have is empty.
        held_out: Ids of documents that no format may train on. The split by document fills it; it is empty where the
            authors of the collection made the splits, since they decided what may be shared.
    """

    name: str
    documents: Mapping[str, Document]
    queries: Mapping[str, str]
    qrels: Mapping[Split, Qrels]
    held_out: frozenset[str]

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 (hex) of everything that training or judging can see: a fingerprint that no order changes.

        The name is not part of it.
        """
        digest = hashlib.sha256()
        for record in self._records():
            digest.update(json.dumps(record).encode("ascii") + b"\n")
        return digest.hexdigest()

    def _records(self) -> Iterator[list[object]]:
        """Every fact of the collection, in canonical order."""
        for identifier, document in sorted(self.documents.items(), key=lambda item: item[0]):
            yield ["document", identifier, document.title, document.text]
        for identifier, text in sorted(self.queries.items()):
            yield ["query", identifier, text]
        for split in SPLITS:
            for query, judged in sorted(self.qrels.get(split, {}).items(), key=lambda item: item[0]):
                yield ["judgements", split, query, sorted(judged.items())]
        yield ["held out", sorted(self.held_out)]

    def training_documents(self) -> Iterator[str]:
        """Ids, ascending, of the documents whose title and content may be trained on: both are there, not held out."""
        for identifier in sorted(self.documents):
            document = self.documents[identifier]
            if document.title.strip() and document.text.strip() and identifier not in self.held_out:
                yield identifier

    def training_judgements(self) -> Iterator[tuple[str, str]]:
        """(query id, document id), ascending, of the relevant judgements of the train split that may be trained on."""
        judgements = self.qrels.get("train", {})
        for query in sorted(judgements):
            for document, grade in sorted(judgements[query].items()):
                known = query in self.queries and document in self.documents
                if grade > 0 and known and document not in self.held_out:
                    yield query, document


def open_for_pairs(collection: Collection, judgements: Qrels) -> Collection:
    """A collection whose judgements to train on are ``judgements``, with the documents judged there alone.

    What a data format makes of it are held-out pairs, where the judgements are those of another split than train and
    the collection was split by document.
    """
    judged = {document for grades in judgements.values() for document in grades}
    return Collection(
        name=collection.name,
        documents={name: document for name, document in collection.documents.items() if name in judged},
        queries=collection.queries,
        qrels={"train": judgements, "dev": {}, "test": {}},
        held_out=frozenset(),
    )


def count_shared_documents(collection: Collection) -> int:
    """Documents judged for a dev or test query, at any grade, that some format could also train on.

    0 after the split by document. Where the authors made the splits it can be anything: in most public collections
    the whole corpus is open to title-content training, so `check` says the number.
    """
    judged = {
        document
        for split in ("dev", "test")
        for judgements in collection.qrels.get(split, {}).values()
        for document in judgements
    }
    trained = {document for _, document in collection.training_judgements()}
    return len(judged & (trained | set(collection.training_documents())))


@dataclass(frozen=True)
class EvaluationSet:
    """What a model is judged on: part of a collection's queries and documents.

    Attributes:
        document_ids: (D,) ids, descending, so that a stable ranking by score breaks ties as trec_eval does.
        query_ids: (Q,) ids, ascending.
        qrels: Judgements of those queries on those documents.
        judged_documents: How many of the documents are judged for one of the queries.
    """

    document_ids: tuple[str, ...]
    query_ids: tuple[str, ...]
    qrels: Qrels
    judged_documents: int


def plan_evaluation_set(
    collection: Collection, split: Split, *, max_documents: int | None, max_queries: int | None, seed: int
) -> EvaluationSet:
    """Which queries and documents of a split a model is judged on.

    Queries without a relevant document in the corpus are left out, as trec_eval leaves them out. All documents judged
    for the chosen queries are kept, even where they alone are more than ``max_documents``; a seeded sample of the
    others fills up to it. Samples of one seed are nested: a larger one holds the smaller. Document ids descend because
    trec_eval breaks ties of the score in favour of the later id, in byte order, which is Python's order of strings.

    Args:
        collection: The collection.
        split: The split whose queries are judged; each has samples of its own.
        max_documents: Most documents to rank; None for the whole corpus.
        max_queries: Most queries to judge; None for all.
        seed: Seed of the samples, not negative.

    Returns:
        The chosen set. A grade below 0 counts as 0, as in trec_eval, and a judgement on a document that is not in
        the corpus is left out.

    Raises:
        CollectionError: If no query of the split has a relevant document.
    """
    judgements: dict[str, dict[str, int]] = {}
    for query, grades in collection.qrels.get(split, {}).items():
        known = {document: max(grade, 0) for document, grade in grades.items() if document in collection.documents}
        if query in collection.queries and any(known.values()):
            judgements[query] = known
    if not judgements:
        raise CollectionError(f"{collection.name}: no query of the {split} split has a relevant document")

    part = SPLITS.index(split)
    query_ids = sorted(_sample(sorted(judgements), max_queries, rng=np.random.default_rng([seed, part, 0])))
    judged = {document for query in query_ids for document in judgements[query]}
    room = None if max_documents is None else max(0, max_documents - len(judged))
    others = sorted(document for document in collection.documents if document not in judged)
    filling = _sample(others, room, rng=np.random.default_rng([seed, part, 1]))
    return EvaluationSet(
        document_ids=tuple(sorted([*judged, *filling], reverse=True)),
        query_ids=tuple(query_ids),
        qrels={query: judgements[query] for query in query_ids},
        judged_documents=len(judged),
    )


def _sample(items: list[Item], most: int | None, *, rng: np.random.Generator) -> list[Item]:
    """At most ``most`` of the items, drawn without replacement; the first of one long shuffle, so samples nest."""
    if most is None or most >= len(items):
        return items
    return [items[index] for index in rng.permutation(len(items))[:most]]

"""A collection: documents, queries, graded judgements in three splits, and the part that a study evaluates on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeVar, get_args

import numpy as np

from sweep.data.generated import Generated, GeneratedQuery
from sweep.data.leaks import Leaks
from sweep.errors import CollectionError
from sweep.settings.data_spec import SOURCE

Split = Literal["train", "dev", "test"]
"""Train trains, dev selects, test is read once, when the budget is spent."""

DocumentView = Literal["text", "title-and-text"]
"""The part of a document that is embedded."""

Qrels = Mapping[str, Mapping[str, float]]
"""Query id -> document id -> grade; see `is_relevant`. A whole grade is an integer."""

SPLITS: tuple[Split, ...] = get_args(Split)

EVALUATED: tuple[Split, ...] = ("dev", "test")
"""The splits that models are evaluated on."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Document:
    """One document of the corpus; the title is empty where it has none."""

    title: str
    text: str

    def embedded(self, document: DocumentView) -> str:
        """The text that a model is given: the content, or title and content on two lines."""
        if document == "text" or not self.title:
            return self.text
        return f"{self.title}\n{self.text}".strip()


def is_relevant(grade: float, threshold: float | None = None) -> bool:
    """Whether a grade makes a document relevant: it is above 0, and at least a threshold where there is one."""
    return grade > 0 and (threshold is None or grade >= threshold)


@dataclass(frozen=True)
class RawCollection:
    """A collection as its source has it, before it is split.

    Documents and queries are by id, judgements by the name that the source gives them, such as that of their file;
    notes are sentences on how the source was read.
    """

    documents: Mapping[str, Document]
    queries: Mapping[str, str]
    qrels: Mapping[str, Qrels]
    notes: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, kw_only=True)
class Part:
    """One of the collections that several are made of.

    Attributes:
        name: Its name, which stands with a ``/`` before all of its ids.
        trains: Weight of its training pairs; None where none is trained on.
        evaluates: Weight of its queries in the objective; None where it is no benchmark.
    """

    name: str
    trains: float | None
    evaluates: float | None

    def holds(self, identifier: str) -> bool:
        """Whether a document or query is of this collection."""
        return identifier.startswith(f"{self.name}{SOURCE}")


@dataclass(frozen=True)
class Collection:
    """Documents and queries by id, and the judgements of each split; a split that the collection lacks is empty.

    Attributes:
        name: Its name in a study file.
        held_out: Ids of documents that no format may train on: those of dev and test in a split by document, and those
            that leak.
        left_out: Ids of train queries that no format may train on, since they leak.
        leaks: What of the train split is also in dev or test; left out of training, unless the study keeps it.
        own_documents: Ids of queries that are documents of the corpus under the same id: none is to find itself.
        titles_as_texts: Documents without a text, whose title has its place.
        empty_queries: Queries without a text, which were left out.
        relevant: Grade from which a document is relevant; None for every grade above 0.
        parts: The collections that it is made of, where these are several.
        generated: Generated queries by the name of the data format that trains on them.
        notes: Sentences on how it was read: its layout, the files, and all that was left out.
    """

    name: str
    documents: Mapping[str, Document]
    queries: Mapping[str, str]
    qrels: Mapping[Split, Qrels]
    held_out: frozenset[str]
    left_out: frozenset[str] = frozenset()
    leaks: Leaks = field(default_factory=Leaks)
    own_documents: frozenset[str] = frozenset()
    titles_as_texts: int = 0
    empty_queries: int = 0
    relevant: float | None = None
    parts: tuple[Part, ...] = ()
    generated: Mapping[str, Generated] = field(default_factory=dict)
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def benchmarks(self) -> tuple[Part, ...]:
        """The parts that models are evaluated on."""
        return tuple(part for part in self.parts if part.evaluates is not None)

    def take(self, part: Part) -> Collection:
        """One of its parts alone, with the same ids."""

        def own(facts: Mapping[str, Item]) -> dict[str, Item]:
            return {name: fact for name, fact in facts.items() if part.holds(name)}

        def own_queries(made: Generated) -> Generated:
            return dataclasses.replace(
                made, queries=tuple(query for query in made.queries if part.holds(query.document))
            )

        return dataclasses.replace(
            self,
            name=part.name,
            documents=own(self.documents),
            queries=own(self.queries),
            qrels={split: own(judged) for split, judged in self.qrels.items()},
            generated={name: own_queries(made) for name, made in self.generated.items()},
            parts=(),
        )

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 (hex) of everything that training or evaluation can see, independent of any order.

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
        for name, identifiers in (("left out", self.left_out), ("own documents", self.own_documents)):
            if identifiers:
                yield [name, sorted(identifiers)]
        if self.relevant is not None:
            yield ["relevant", self.relevant]
        for part in self.parts:
            yield ["part", part.name, part.trains, part.evaluates]
        for name, made in sorted(self.generated.items()):
            yield ["generated", name, [[query.document, query.text, query.generator] for query in made.queries]]

    def is_relevant(self, grade: float) -> bool:
        """Whether a grade makes a document a positive."""
        return is_relevant(grade, self.relevant)

    @property
    def evaluated_queries(self) -> set[str]:
        """Ids of the queries of dev and test."""
        return {query for split in EVALUATED for query in self.qrels.get(split, {})}

    def evaluated_documents(self, *, relevant: bool = False) -> set[str]:
        """Ids of the documents of the corpus that are judged for dev or test, at any grade or only as relevant."""
        judged = (grades for split in EVALUATED for grades in self.qrels.get(split, {}).values())
        found = {name for grades in judged for name, grade in grades.items() if not relevant or self.is_relevant(grade)}
        return found & self.documents.keys()

    def open_documents(self) -> Iterator[str]:
        """Ids, ascending, of the documents with a text that may be trained on: not held out, of no benchmark alone."""
        closed = [part for part in self.parts if part.trains is None]
        for identifier in sorted(self.documents.keys() - self.held_out):
            is_open = not any(part.holds(identifier) for part in closed)
            if is_open and self.documents[identifier].text.strip():
                yield identifier

    def training_documents(self) -> Iterator[str]:
        """Ids, ascending, of the documents whose title and content may be trained on: both are there, not held out."""
        return (name for name in self.open_documents() if self.documents[name].title.strip())

    def training_generated(self, data_format: str) -> Iterator[GeneratedQuery]:
        """The generated queries of a data format; none of a document that is held out or judged for dev or test."""
        made = self.generated.get(data_format)
        closed = self.held_out | self.evaluated_documents() if made else frozenset()
        for query in made.queries if made else ():
            if query.document in self.documents and query.document not in closed:
                yield query

    def training_judgements(self) -> Iterator[tuple[str, str]]:
        """(query id, document id), ascending, of the relevant judgements of the train split that may be trained on."""
        judgements = self.qrels.get("train", {})
        for query in sorted(judgements.keys() & self.queries.keys() - self.left_out):
            for document, grade in sorted(judgements[query].items()):
                is_own = document == query and query in self.own_documents
                is_open = document in self.documents and document not in self.held_out and not is_own
                if self.is_relevant(grade) and is_open:
                    yield query, document

    def training_negatives(self, query: str) -> list[str]:
        """Ids, ascending, of the documents that the train split judges not relevant for a query and may train on."""
        if query in self.left_out or query not in self.queries:
            return []
        judged = self.qrels.get("train", {}).get(query, {})
        return sorted(
            name
            for name, grade in judged.items()
            if not self.is_relevant(grade) and name in self.documents and name not in self.held_out
        )


def open_for_pairs(collection: Collection, judgements: Qrels) -> Collection:
    """A collection whose train split is ``judgements``, and whose corpus is the documents judged there.

    With the judgements of another split than train, a data format makes held-out pairs of it where the collection was
    split by document.
    """
    judged = {document for grades in judgements.values() for document in grades}
    return Collection(
        name=collection.name,
        documents={name: document for name, document in collection.documents.items() if name in judged},
        queries=collection.queries,
        qrels={"train": judgements, "dev": {}, "test": {}},
        held_out=frozenset(),
        relevant=collection.relevant,
    )


@dataclass(frozen=True)
class Block:
    """A benchmark's part of an evaluation set: its queries are ranked over its documents alone.

    Attributes:
        name: Its name.
        weight: Weight of its mean in the objective.
        queries: Number of its queries.
        documents: Number of its documents.
    """

    name: str
    weight: float
    queries: int
    documents: int


@dataclass(frozen=True)
class EvaluationSet:
    """The queries and documents of a collection that models are evaluated on.

    Attributes:
        document_ids: (D,) ids, descending, so that a stable ranking by score breaks ties as trec_eval does.
        query_ids: (Q,) ids, ascending.
        qrels: Judgements of those queries on those documents.
        judged_documents: How many of the documents are judged for one of the queries.
        own_documents: Ids of those queries that are one of the documents, under the same id: each is left out of its
            own ranking.
        relevant: Grade from which a document is relevant; None for every grade above 0.
        blocks: The benchmarks that it is made of, one behind the other; empty where it is of one collection.
    """

    document_ids: tuple[str, ...]
    query_ids: tuple[str, ...]
    qrels: Qrels
    judged_documents: int
    own_documents: frozenset[str] = frozenset()
    relevant: float | None = None
    blocks: tuple[Block, ...] = ()

    def by_benchmark(self) -> list[EvaluationSet]:
        """The evaluation set of each benchmark alone; itself where it is of one collection."""
        if not self.blocks:
            return [self]
        ends = {
            "query": np.cumsum([block.queries for block in self.blocks]).tolist(),
            "document": np.cumsum([block.documents for block in self.blocks]).tolist(),
        }
        found = []
        for block, query, document in zip(self.blocks, ends["query"], ends["document"], strict=True):
            queries = self.query_ids[query - block.queries : query]
            documents = self.document_ids[document - block.documents : document]
            found.append(
                EvaluationSet(
                    document_ids=documents,
                    query_ids=queries,
                    qrels={name: self.qrels[name] for name in queries},
                    judged_documents=len({judged for name in queries for judged in self.qrels[name]}),
                    own_documents=self.own_documents & {*queries},
                    relevant=self.relevant,
                    blocks=(block,),
                )
            )
        return found


def plan_evaluation_set(
    collection: Collection,
    split: Split,
    *,
    max_documents: int | None,
    max_queries: int | None,
    seed: int,
    hard: Sequence[str] = (),
) -> EvaluationSet:
    """The queries and documents of a split that models are evaluated on.

    Queries without a relevant document in the corpus are left out, as trec_eval leaves them out. All documents judged
    for the chosen queries are kept, even where they alone are more than ``max_documents``; up to it come the ``hard``
    documents that are given, hardest first, and then a seeded sample of the others. Samples of one seed are nested: a
    larger one holds the smaller. Document ids descend because trec_eval breaks ties of the score in favour of the later
    id, in byte order, which is Python's order of strings.

    A grade below 0 counts as 0, as in trec_eval, and a judgement on a document that is not in the corpus is left out,
    as is that of a query which is a document on itself.
    Each split has samples of its own; a maximum of None keeps all, and the seed must not be negative.

    Of several benchmarks each has its own queries and documents, with these limits; one without a judged query for test
    is not evaluated there.

    Raises:
        CollectionError: If no query of the split has a relevant document; of dev, if one of the benchmarks has none.
    """
    if collection.benchmarks:
        limits = {"max_documents": max_documents, "max_queries": max_queries, "seed": seed}
        return _join_benchmarks(collection, split, hard=hard, **limits)
    judgements = find_judged(collection, split)
    if not judgements:
        raise CollectionError(f"{collection.name}: no query of the {split} split has a relevant document")

    part = SPLITS.index(split)
    query_ids = sorted(_sample(sorted(judgements), max_queries, rng=np.random.default_rng([seed, part, 0])))
    judged = {document for query in query_ids for document in judgements[query]}
    room = None if max_documents is None else max(0, max_documents - len(judged))
    others = sorted(document for document in collection.documents if document not in judged)
    chosen = [name for name in hard if name in collection.documents and name not in judged][:room]
    drawn = _sample(others, room, rng=np.random.default_rng([seed, part, 1]))
    filling = [*dict.fromkeys([*chosen, *drawn])][:room]
    return EvaluationSet(
        document_ids=tuple(sorted([*judged, *filling], reverse=True)),
        query_ids=tuple(query_ids),
        qrels={query: judgements[query] for query in query_ids},
        judged_documents=len(judged),
        own_documents=collection.own_documents & set(query_ids) & {*judged, *filling},
        relevant=collection.relevant,
    )


def _join_benchmarks(collection: Collection, split: Split, *, hard: Sequence[str], **limits: Any) -> EvaluationSet:
    """The evaluation sets of several benchmarks, one behind the other."""
    taken = {part: collection.take(part) for part in collection.benchmarks}
    if split != "dev" and any(find_judged(known, split) for known in taken.values()):
        taken = {part: known for part, known in taken.items() if find_judged(known, split)}
    sets = {part: plan_evaluation_set(known, split, hard=hard, **limits) for part, known in taken.items()}
    return EvaluationSet(
        document_ids=tuple(name for one in sets.values() for name in one.document_ids),
        query_ids=tuple(name for one in sets.values() for name in one.query_ids),
        qrels={query: grades for one in sets.values() for query, grades in one.qrels.items()},
        judged_documents=sum(one.judged_documents for one in sets.values()),
        own_documents=frozenset().union(*(one.own_documents for one in sets.values())),
        relevant=collection.relevant,
        blocks=tuple(
            Block(part.name, part.evaluates or 1.0, len(one.query_ids), len(one.document_ids))
            for part, one in sets.items()
        ),
    )


def find_judged(collection: Collection, split: Split) -> dict[str, dict[str, float]]:
    """The queries of a split that a model can be evaluated on, with their grades on documents of the corpus."""
    judgements: dict[str, dict[str, float]] = {}
    for query, grades in collection.qrels.get(split, {}).items():
        own = query if query in collection.own_documents else None
        known = {name: max(grade, 0) for name, grade in grades.items() if name in collection.documents and name != own}
        if query in collection.queries and any(map(collection.is_relevant, known.values())):
            judgements[query] = known
    return judgements


def _sample(items: list[Item], size: int | None, *, rng: np.random.Generator) -> list[Item]:
    """At most ``size`` of the items, drawn without replacement; the first of one long shuffle, so samples nest."""
    if size is None or size >= len(items):
        return items
    return [items[index] for index in rng.permutation(len(items))[:size]]

"""Survey: counts of a collection as a study uses it, of what a person would notice in its texts and judgements."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from sweep.data.collection import Collection, DocumentView, Split, find_judged
from sweep.data.formats.format import JUDGEMENTS, NEGATIVES, TITLES, Format
from sweep.data.leaks import DocumentLeak, QueryLeak, normalize


@dataclass(frozen=True, kw_only=True)
class TextCounts:
    """Documents of a collection by what of them is embedded.

    Attributes:
        titles: Documents that have a title beside a text.
        empty: Documents of which nothing is embedded.
    """

    titles: int
    empty: int


def count_texts(collection: Collection, document: DocumentView) -> TextCounts:
    """What of the documents is embedded."""
    documents = collection.documents.values()
    return TextCounts(
        titles=sum(bool(one.title.strip() and one.text.strip()) for one in documents),
        empty=sum(not one.embedded(document).strip() for one in documents),
    )


def count_queries(collection: Collection, split: Split) -> tuple[int, int]:
    """Queries of a split that a model can be evaluated on, and all that the split judges."""
    return len(find_judged(collection, split)), len(collection.qrels.get(split, {}))


def count_titled_alike(collection: Collection) -> int:
    """Documents that are trained on under a title that one which is judged for dev or test has as well."""
    judged = collection.evaluated_documents(relevant=True)
    titles = {normalize(collection.documents[name].title) for name in judged} - {""}
    trained = {name for _, name in collection.training_judgements()} | set(collection.training_documents())
    return sum(normalize(collection.documents[name].title) in titles for name in trained - judged)


@dataclass(frozen=True, kw_only=True)
class LeakCounts:
    """What of the texts that the formats of a study could train on is also in dev or test.

    Attributes:
        documents: Documents by the reason.
        queries: Queries by the reason.
        pairs: Training pairs that hold one of them, by the name of the format.
    """

    documents: Mapping[DocumentLeak, int]
    queries: Mapping[QueryLeak, int]
    pairs: Mapping[str, int]


def count_leaks(collection: Collection, formats: Mapping[str, Format], *, document: DocumentView) -> LeakCounts:
    """The leaks of a collection, whether they are left out of training or kept, as far as its formats concern them."""
    leaks = collection.leaks
    kept = dataclasses.replace(collection, held_out=collection.held_out - leaks.all_documents, left_out=frozenset())
    guarded = dataclasses.replace(
        collection, held_out=collection.held_out | leaks.all_documents, left_out=leaks.all_queries
    )
    parts = [part for each in formats.values() for part in each.parts]
    used = {name for part in parts for name in _list_documents(kept, part)}
    asks = any(JUDGEMENTS in part.needs for part in parts)
    documents = {reason: len(names & used) for reason, names in leaks.documents.items()}
    queries = {reason: len(names) for reason, names in leaks.queries.items()} if asks else {}
    pairs = {
        name: _count_rows(each, kept, document) - _count_rows(each, guarded, document) for name, each in formats.items()
    }
    return LeakCounts(documents=documents, queries=queries, pairs=pairs)


def _list_documents(collection: Collection, data_format: Format) -> set[str]:
    """Documents that a format can train on, by what it needs: judged ones, those with a title, or all."""
    names = {name for _, name in collection.training_judgements()} if JUDGEMENTS in data_format.needs else set()
    if NEGATIVES in data_format.needs:
        names |= {name for query in collection.qrels.get("train", {}) for name in collection.training_negatives(query)}
    if TITLES in data_format.needs or JUDGEMENTS not in data_format.needs:
        names |= set(collection.training_documents())
    return names


def _count_rows(data_format: Format, collection: Collection, document: DocumentView) -> int:
    return len(next(iter(data_format.make(collection, document).values()), []))

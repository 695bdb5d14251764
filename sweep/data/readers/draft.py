"""Draft: a collection while it is read, loose where that is harmless, and with a count of all that it let pass."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping

from sweep.data.collection import Document, RawCollection
from sweep.data.readers.judgements import Judged
from sweep.errors import CollectionError

WHOLE = "all"
"""Name of the judgements of a source that names no split."""

_SHOWN = 3


class Draft:
    """Documents, queries and judgements as a reader finds them.

    Equal records under one id are merged; unequal ones are refused. Judgements about a document or query that is not
    there are left out, and counted by side; where more than half of a set are, it is refused.

    Args:
        source: Its name in messages, such as a path.
    """

    def __init__(self, source: object) -> None:
        self.source = source
        self.documents: dict[str, Document] = {}
        self.queries: dict[str, str] = {}
        self.qrels: dict[str, dict[str, dict[str, float]]] = {}
        self.merged: Counter[str] = Counter()
        self._by_text: dict[str, dict[object, str]] = {"document": {}, "query": {}}
        self._sets: dict[str, str] = {}  # a set of judgements -> the file where it begins

    def add_document(self, identifier: str, document: Document, *, where: str) -> None:
        """Adds a document; an equal one under the same id is merged with it."""
        if (known := self.documents.setdefault(identifier, document)) is not document:
            self._merge("document", identifier, is_equal=known == document, where=where)

    def add_query(self, identifier: str, text: str, *, where: str) -> None:
        """Adds a query; an equal one under the same id is merged with it."""
        if identifier not in self.queries:
            self.queries[identifier] = text
        else:
            self._merge("query", identifier, is_equal=self.queries[identifier] == text, where=where)

    def document_of(self, document: Document) -> str:
        """Id of a document that has none in its source: one document a title and text."""
        identifier = self._by_text["document"].setdefault(document, f"d{len(self._by_text['document'])}")
        self.documents.setdefault(identifier, document)
        return identifier

    def query_of(self, text: str) -> str:
        """Id of a query that has none in its source: one query a text."""
        identifier = self._by_text["query"].setdefault(text, f"q{len(self._by_text['query'])}")
        self.queries.setdefault(identifier, text)
        return identifier

    def judge(self, name: str, judged: Judged) -> None:
        """Adds a judgement to a set by its name; the same one again is merged.

        Raises:
            CollectionError: If the set has another grade for it.
        """
        self._sets.setdefault(name, judged.where)
        grades = self.qrels.setdefault(name, {}).setdefault(judged.query, {})
        if grades.setdefault(judged.document, judged.grade) != judged.grade:
            raise CollectionError(
                f"{judged.where}: judges document {judged.document!r} twice for query {judged.query!r}, unequally"
            )

    def label(self, name: str, query: str, *, positives: Iterable[str], negatives: Iterable[str], where: str) -> None:
        """Adds what a training example says: its positives with grade 1, its negatives with grade 0.

        A document that is a positive of the query anywhere in the set is none of its negatives.
        """
        self._sets.setdefault(name, where)
        grades = self.qrels.setdefault(name, {}).setdefault(query, {})
        grades.update(dict.fromkeys(positives, 1))
        for document in negatives:
            grades.setdefault(document, 0)

    def finish(self, notes: Iterable[str] = ()) -> RawCollection:
        """The collection, with the sentences on how it was read.

        Raises:
            CollectionError: If nothing is judged, or most of a set of judgements is about what is not there.
        """
        counts = [
            f"{count:,} times a {kind} stands again with equal text: merged" for kind, count in self.merged.items()
        ]
        absent = [note for name in self.qrels for note in self._leave_out_absent(name)]
        judged = {name: {query: each for query, each in qrels.items() if each} for name, qrels in self.qrels.items()}
        if not any(judged.values()):
            raise CollectionError(f"{self.source}: holds no judgement, so that no query can be evaluated")
        return RawCollection(self.documents, self.queries, judged, (*notes, *counts, *absent))

    def _merge(self, kind: str, identifier: str, *, is_equal: bool, where: str) -> None:
        if not is_equal:
            raise CollectionError(f"{where}: {kind} id {identifier!r} occurs twice, with different texts")
        self.merged[kind] += 1

    def _leave_out_absent(self, name: str) -> list[str]:
        """Leaves the judgements of a set out that are about what is not there, and says how many, by side."""
        qrels, absent = self.qrels[name], Counter[str]()
        pairs = [(query, document) for query, judged in qrels.items() for document in judged]
        dropped = [pair for pair in pairs if pair[0] not in self.queries or pair[1] not in self.documents]
        if not dropped:
            return []
        for query, document in dropped:
            absent["query"] += query not in self.queries
            absent["document"] += document not in self.documents
            del qrels[query][document]
        sides = " and ".join(f"{count} about a {side} that is not there" for side, count in absent.items() if count)
        found = f"{len(dropped)} of {len(pairs)} judgements of {name}"
        shown = "; ".join(self._describe_absent(dropped))
        if 2 * len(dropped) > len(pairs):
            raise CollectionError(
                f"{self._sets[name]}: {found} cannot be used, {sides} ({shown}): do its ids belong to this collection?"
            )
        return [f"{found} left out: {sides} ({shown})"]

    def _describe_absent(self, pairs: list[tuple[str, str]]) -> list[str]:
        """The first of the ids that are not there, each with the spelling in which it is there after all."""
        missing = {"query": [query for query, _ in pairs if query not in self.queries]}
        missing["document"] = [document for _, document in pairs if document not in self.documents]
        there: dict[str, Mapping[str, object]] = {"query": self.queries, "document": self.documents}
        described = []
        for side, identifiers in missing.items():
            distinct = list(dict.fromkeys(identifiers))
            spelt = {_plain(known): known for known in there[side]} if distinct else {}
            near = [each for each in distinct if _plain(each) in spelt]
            shown = [*near, *(each for each in distinct if _plain(each) not in spelt)][:_SHOWN]
            named = [_describe_spelling(each, spelt.get(_plain(each))) for each in shown]
            described += [f"{side} {', '.join(named)}{', ...' if len(distinct) > _SHOWN else ''}"] if shown else []
        return described


def _plain(identifier: str) -> str:
    """An id without what differs between two spellings of it: Unicode form, spaces, a point and zero."""
    return "".join(unicodedata.normalize("NFKC", identifier).split()).removesuffix(".0")


def _describe_spelling(identifier: str, known: str | None) -> str:
    if known is None:
        return repr(identifier)
    if unicodedata.normalize("NFC", identifier) == unicodedata.normalize("NFC", known):
        return f"{identifier!a}, which is there in another Unicode form, {known!a}"
    return f"{identifier!r}, which is there as {known!r}"

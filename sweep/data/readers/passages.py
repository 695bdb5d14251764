"""Rows of a query with its passages, as Tevatron, MIRACL and MLDR have them, with or without a corpus beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sweep.data.collection import RawCollection
from sweep.data.readers.draft import WHOLE, Draft
from sweep.data.readers.fields import (
    DOCUMENT_IDS,
    QUERY_IDS,
    QUERY_TEXTS,
    find_key,
    read_document,
    read_identifier,
    read_text,
)
from sweep.data.readers.listing import Listing
from sweep.data.readers.reader import LayoutReader
from sweep.data.readers.record_files import read_records
from sweep.data.readers.roles import add_documents, find_roles, name_split
from sweep.errors import CollectionError

_POSITIVES = ("positive_passages", "positive_document_ids")
_NEGATIVES = ("negative_passages", "negative_document_ids")


class Passages(LayoutReader):
    """``passages:FOLDER`` (or a file): rows with ``positive_passages`` and ``negative_passages``."""

    name = "passages"
    usage = "passages:FOLDER"
    place = 40
    shape = "rows of query, positive_passages and negative_passages (Tevatron, MIRACL, MLDR)"

    def takes(self, listing: Listing) -> bool:
        """Whether the first record of a file has passages."""
        return any(_has_passages(listing, file) for file in listing.with_records)

    def read_files(self, listing: Listing) -> RawCollection:
        """Reads the rows, and the corpus where there is one; negatives are judgements of grade 0."""
        rows = [file for file in listing.with_records if _has_passages(listing, file)]
        corpus = [file for file in find_roles(listing).documents if file not in rows]
        draft = Draft(listing.path)
        for file in corpus:
            add_documents(draft, file)
        sets: dict[str, list[Path]] = {}
        unlabelled = 0
        for file in rows:
            name = name_split(listing, file) or WHOLE
            sets.setdefault(name, []).append(file)
            for record, where in read_records(file):
                unlabelled += not _read_row(draft, name, record, where=where, has_corpus=bool(corpus))
        notes = listing.describe_use("rows of a query and passages", {"documents": corpus, **sets})
        return draft.finish([*notes, *([f"{unlabelled:,} queries have no positive passage"] if unlabelled else [])])


def _has_passages(listing: Listing, file: Path) -> bool:
    return find_key(listing.keys(file), _POSITIVES) is not None


def _read_row(draft: Draft, name: str, record: Mapping[str, Any], *, where: str, has_corpus: bool) -> bool:
    """Reads a row, and returns whether it has a positive."""
    query = read_identifier(record, QUERY_IDS, where=where)
    draft.add_query(query, read_text(record, QUERY_TEXTS, where=where), where=where)
    positives = list(_read_passages(draft, record, _POSITIVES, where=where, has_corpus=has_corpus))
    negatives = list(_read_passages(draft, record, _NEGATIVES, where=where, has_corpus=has_corpus))
    draft.label(name, query, positives=positives, negatives=negatives, where=where)
    return bool(positives)


def _read_passages(
    draft: Draft, record: Mapping[str, Any], spellings: tuple[str, ...], *, where: str, has_corpus: bool
) -> Iterator[str]:
    """Ids of the passages under a key; where a corpus has one, it has its text, too."""
    key = find_key(record, spellings)
    passages = record[key] if key is not None else None
    if passages is not None and not isinstance(passages, list):
        raise CollectionError(f"{where}: {key} must be a list, got {passages!r:.60}")
    for passage in passages or ():
        if isinstance(passage, str):
            yield passage
            continue
        if not isinstance(passage, dict):
            raise CollectionError(f"{where}: {key} must hold passages with docid and text, got {passage!r:.60}")
        identifier = read_identifier(passage, DOCUMENT_IDS, where=f"{where}: {key}")
        if not (has_corpus and identifier in draft.documents):
            draft.add_document(identifier, read_document(passage, where=f"{where}: {key}"), where=where)
        yield identifier

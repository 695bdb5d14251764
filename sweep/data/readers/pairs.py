"""Pairs, triplets and lists of negatives: rows of a query, what answers it, and what does not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweep.data.collection import Document, RawCollection
from sweep.data.readers.draft import WHOLE, Draft
from sweep.data.readers.fields import TITLES, as_text, find_key
from sweep.data.readers.listing import Listing
from sweep.data.readers.reader import LayoutReader
from sweep.data.readers.record_files import Record, format_of, read_records, read_rows
from sweep.data.readers.roles import name_split
from sweep.errors import CollectionError

QUERIES = ("query", "anchor", "question", "query_text", "queries")
POSITIVES = (
    "pos", "positive", "positives", "positive_passage", "positive_text", "context", "passage", "document", "answer",
    "answers", "response",
)  # fmt: skip
NEGATIVES = ("neg", "negative", "hard_neg", "hard_negative")

_TRIPLES = ("query", "positive", "negative")
"""Columns of a table without a header, such as MS MARCO's triples."""


@dataclass(frozen=True)
class Columns:
    """Keys of a row: its query, its positives, their title where there is one, and its negatives."""

    query: str
    positives: str
    title: str | None
    negatives: tuple[str, ...]

    @property
    def used(self) -> frozenset[str]:
        """The keys that are read."""
        return frozenset({self.query, self.positives, self.title or self.query, *self.negatives})


class Pairs(LayoutReader):
    """``pairs:FILE`` (or a folder of them): JSON lines, CSV, TSV or Parquet."""

    name = "pairs"
    usage = "pairs:FILE"
    place = 70
    shape = (
        "rows of query pos neg, anchor positive negative, or question answer|context (JSON lines, CSV, TSV, Parquet)"
    )

    def takes(self, listing: Listing) -> bool:
        """Whether the first record of a file has a query and a positive."""
        return any(_has_pairs(listing, file) for file in listing.with_records)

    def read_files(self, listing: Listing) -> RawCollection:
        """Reads the rows: a text is one query or document however often it stands; negatives have grade 0."""
        files = [file for file in listing.with_records if _has_pairs(listing, file)]
        files = listing.files if listing.is_file else files
        if not files:
            raise CollectionError(f"{listing.path}: there are no pairs ({self.shape}): there lie {listing.contents}")
        draft, counts, unused = Draft(listing.path), Counter[str](), dict[str, None]()
        sets: dict[str, list[Path]] = {}
        for file in files:
            name = name_split(listing, file) or WHOLE
            sets.setdefault(name, []).append(file)
            for record, where in _read_rows(file):
                columns = _find_columns(record, where=where)
                unused.update(dict.fromkeys(key for key in record if key not in columns.used))
                counts["rows"] += 1
                counts["empty"] += not _read_row(draft, name, record, columns, where=where)
        if 2 * counts["empty"] > counts["rows"]:
            raise CollectionError(
                f"{listing.path}: {counts['empty']} of {counts['rows']} rows have no query or no answer"
            )
        return draft.finish([*listing.describe_use("pairs", sets), *_describe(counts, draft, list(unused))])


def _describe(counts: Mapping[str, int], draft: Draft, unused: list[str]) -> Iterator[str]:
    yield f"{counts['rows']:,} rows make {len(draft.queries):,} queries and {len(draft.documents):,} documents"
    if counts["empty"]:
        yield f"{counts['empty']:,} rows without a query or an answer are left out"
    if unused:
        yield f"columns that are not used: {', '.join(unused)}"


def _has_pairs(listing: Listing, file: Path) -> bool:
    if _is_bare(file):
        return True
    keys = listing.keys(file)
    return find_key(keys, QUERIES) is not None and find_key(keys, POSITIVES) is not None


def _is_bare(file: Path) -> bool:
    """Whether a table has no header: two or three columns of texts, none of them a name or an id."""
    if format_of(file) != ".tsv":
        return False
    try:
        first, _ = next(read_rows(file, delimiter="\t", is_quoted=False), ([], ""))
    except CollectionError:
        return False
    return len(first) in (2, 3) and all(" " in field.strip() for field in first)


def _read_rows(file: Path) -> Iterator[Record]:
    if not _is_bare(file):
        yield from read_records(file)
        return
    columns = 0
    for fields, where in read_rows(file, delimiter="\t", is_quoted=False):
        columns = columns or len(fields)
        if len(fields) != columns:
            raise CollectionError(f"{where}: must have {columns} columns as the first line has, got {len(fields)}")
        yield dict(zip(_TRIPLES, fields, strict=False)), where


def _find_columns(record: Mapping[str, Any], *, where: str) -> Columns:
    query, positives = find_key(record, QUERIES), find_key(record, POSITIVES)
    if query is None or positives is None:
        raise CollectionError(
            f"{where}: must have a query ({', '.join(QUERIES)}) and what answers it ({', '.join(POSITIVES)}); its keys"
            f" are {', '.join(record) or 'none':.200}"
        )
    return Columns(query, positives, find_key(record, TITLES), tuple(filter(_is_negative, record)))


def _is_negative(key: str) -> bool:
    """Whether a key is of negatives: ``neg``, ``negatives``, ``negative_1`` but not their scores or ids."""
    word = key.strip().casefold().rstrip("0123456789").rstrip("_-").removesuffix("s")
    return word in NEGATIVES


def _read_row(draft: Draft, name: str, record: Mapping[str, Any], columns: Columns, *, where: str) -> bool:
    """Reads a row, and returns whether it has a query and a positive."""
    query = next(_read_texts(record, columns.query, where=where), "")
    positives = list(_read_texts(record, columns.positives, where=where))
    if not (query and positives):
        return False
    title = next(_read_texts(record, columns.title, where=where), "") if columns.title else ""
    negatives = [text for key in columns.negatives for text in _read_texts(record, key, where=where)]
    draft.label(
        name,
        draft.query_of(query),
        positives=[draft.document_of(Document(title, text)) for text in positives],
        negatives=[draft.document_of(Document("", text)) for text in negatives],
        where=where,
    )
    return True


def _read_texts(record: Mapping[str, Any], key: str, *, where: str) -> Iterator[str]:
    """The texts under a key that are not blank: one, or a list of them."""
    value = record.get(key)
    for text in value if isinstance(value, list) else [value]:
        if text is not None and as_text(text, name=key, where=where).strip():
            yield text

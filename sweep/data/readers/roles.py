"""Roles of files: which hold the documents, which the queries and which the judgements of a collection."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sweep.data.collection import RawCollection
from sweep.data.readers.draft import Draft
from sweep.data.readers.fields import (
    DOCUMENT_IDS,
    DOCUMENT_TEXTS,
    QUERY_IDS,
    QUERY_TEXTS,
    find_key,
    read_document,
    read_identifier,
    read_text,
    split_named,
)
from sweep.data.readers.judgements import has_judgements, read_judgements
from sweep.data.readers.listing import Listing, role_of, split_words
from sweep.data.readers.record_files import FORMATS, TABLES, Record, format_of, read_records, read_rows, stem_of
from sweep.errors import CollectionError

BEIR_DOCUMENTS = ("corpus.jsonl", "corpus.jsonl.gz")
BEIR_QUERIES = ("queries.jsonl", "queries.jsonl.gz")

_NO_RECORDS = re.compile(r"(readme|license)\b.*|.*(\.(md|py|ya?ml|sh|pdf|html|bak|orig|old|swp|tmp)|~)", re.IGNORECASE)
"""Names of files in a folder of judgements that hold none."""

_COLUMNS = {2: ("_id", "text"), 3: ("_id", "title", "text"), 4: ("_id", "url", "title", "text")}
"""Columns of a table without a header, by their number: those of MS MARCO's passages and documents."""


@dataclass
class Roles:
    """Files by their role in a collection, those of judgements by the set that they are of."""

    documents: list[Path] = field(default_factory=list)
    queries: list[Path] = field(default_factory=list)
    qrels: dict[str, list[Path]] = field(default_factory=dict)


def find_roles(listing: Listing) -> Roles:
    """The roles of files by their names, or those of their folders.

    Where BEIR's own names are there, nothing else is taken: the folders of older studies stay what they were. Of
    others the uppermost are taken. Where no name speaks of judgements, they are told by their first record.
    """
    by_role: dict[str | None, list[Path]] = {}
    for file in listing.files:
        role = next(filter(None, (role_of(split_words(part)) for part in listing.parts(file))), None)
        if role is None or format_of(file) in FORMATS or (role == "qrels" and not _NO_RECORDS.fullmatch(file.name)):
            by_role.setdefault(role, []).append(file)
    documents = _preferred(listing, by_role.get("documents", []), BEIR_DOCUMENTS)
    queries = _preferred(listing, by_role.get("queries", []), BEIR_QUERIES)
    qrels = _uppermost(listing, by_role.get("qrels", []))
    if inside := [file for file in by_role.get("qrels", []) if file.parent == listing.path / "qrels"]:
        qrels = inside
    elif not qrels and documents and queries:
        qrels = [file for file in by_role.get(None, []) if _holds_judgements(listing, file)]
    sets: dict[str, list[Path]] = {}
    for file in qrels:
        sets.setdefault(_name_set(listing, file), []).append(file)
    return Roles(documents, queries, sets)


def _preferred(listing: Listing, files: list[Path], names: tuple[str, ...]) -> list[Path]:
    """The first of the names that lies in the source itself; else the uppermost files."""
    known = (listing.path / name for name in names)
    first = next((file for file in known if file in files), None)
    return _uppermost(listing, files) if first is None else [first]


def _uppermost(listing: Listing, files: list[Path]) -> list[Path]:
    depths = [len(listing.parts(file)) for file in files]
    return [file for file, depth in zip(files, depths, strict=True) if depth == min(depths)]


def name_split(listing: Listing, file: Path) -> str | None:
    """The split that the name of a file speaks of, or else that of a folder above it in the source."""
    return next(filter(None, map(split_named, map(stem_of, map(Path, listing.parts(file))))), None)


def _name_set(listing: Listing, file: Path) -> str:
    """Name of a set of judgements: its split, or else that of its file."""
    return name_split(listing, file) or stem_of(file)


def read_roles(listing: Listing, roles: Roles, *, layout: str) -> RawCollection:
    """Reads the files of each role.

    Raises:
        CollectionError: If a role has no file, or a file cannot be read.
    """
    for files, what in (
        (roles.documents, "documents (such as corpus.jsonl)"),
        (roles.queries, "queries (such as queries.jsonl)"),
        (roles.qrels, "judgements (such as qrels/test.tsv)"),
    ):
        if not files:
            raise CollectionError(
                f"{listing.path}: there is no file of {what} in it: there lie {listing.contents}{_advise(roles)}"
            )
    if len(folders := sorted({"/".join(listing.parts(file)[:0:-1]) for file in roles.documents})) > 1:
        raise CollectionError(f"{listing.path}: holds several collections, in {', '.join(folders)}: name one of them")
    draft = Draft(listing.path)
    for file in roles.documents:
        add_documents(draft, file)
    for file in roles.queries:
        _add_queries(draft, file)
    for name, files in roles.qrels.items():
        for file in files:
            _read_set(draft, name, file)
    uses = {"documents": roles.documents, "queries": roles.queries, **roles.qrels}
    return draft.finish(listing.describe_use(layout, uses))


def _advise(roles: Roles) -> str:
    """What to do with documents alone."""
    alone = roles.documents and not roles.qrels
    return "; evaluation.generated_queries evaluates on generated queries, where nothing is judged" if alone else ""


def read_documents(listing: Listing) -> RawCollection:
    """Reads the documents of a source in which nothing is judged; queries in it, which nobody answered, are left out.

    Raises:
        CollectionError: If there is no document, one cannot be read, or there are judgements.
    """
    roles = find_roles(listing)
    if roles.qrels:
        named = ", ".join(file.name for files in roles.qrels.values() for file in files)
        raise CollectionError(f"{listing.path}: holds judgements ({named}): leave evaluation.generated_queries out")
    files = roles.documents or (listing.with_records if listing.is_file else [])
    if not files:
        raise CollectionError(
            f"{listing.path}: there is no file of documents (such as corpus.jsonl) in it: there lie {listing.contents}"
        )
    draft = Draft(listing.path)
    for file in files:
        add_documents(draft, file)
    listing.check_unchanged()
    unused = [f"{', '.join(file.name for file in roles.queries)} left out: no judgement says what answers its queries"]
    return RawCollection(draft.documents, {}, {}, tuple(unused if roles.queries else ()))


def add_documents(draft: Draft, file: Path) -> None:
    """Adds every document of a corpus.

    Raises:
        CollectionError: If there is none, or one cannot be read.
    """
    where = ""
    for record, where in _read_side(file, DOCUMENT_IDS):
        identifier = read_identifier(record, DOCUMENT_IDS, where=where)
        draft.add_document(identifier, read_document(record, where=where), where=where)
    if not where:
        raise CollectionError(f"{file}: holds no document")


def _add_queries(draft: Draft, file: Path) -> None:
    where = ""
    for record, where in _read_side(file, DOCUMENT_IDS + QUERY_IDS):
        identifier = read_identifier(record, QUERY_IDS, where=where)
        draft.add_query(identifier, read_text(record, QUERY_TEXTS, where=where), where=where)
    if not where:
        raise CollectionError(f"{file}: holds no query")


def _read_set(draft: Draft, name: str, file: Path) -> None:
    is_empty = True
    for judged in read_judgements(file):
        draft.judge(name, judged)
        is_empty = False
    if is_empty:
        raise CollectionError(f"{file}: holds no judgement")


def _read_side(file: Path, ids: tuple[str, ...]) -> Iterator[Record]:
    """Records of documents or queries; a table with tabs may have no header."""
    if has_header(file, ids):
        yield from read_records(file)
        return
    columns = 0
    for fields, where in read_rows(file, delimiter="\t", is_quoted=False):
        columns = columns or len(fields)
        if len(fields) != columns or columns not in _COLUMNS:
            raise CollectionError(
                f"{where}: must have 2 (id, text), 3 (id, title, text) or 4 columns (id, address, title, text) with"
                f" tabs between them, as many in every line, got {len(fields)}"
            )
        yield dict(zip(_COLUMNS[columns], fields, strict=True)), where


def has_header(file: Path, ids: tuple[str, ...] = DOCUMENT_IDS + QUERY_IDS) -> bool:
    """Whether records name their fields: anything but a table with tabs whose first line names no id and text."""
    if format_of(file) != ".tsv":
        return True
    first, _ = next(read_rows(file, delimiter="\t", is_quoted=False), ([], ""))
    return find_key(first, ids) is not None and find_key(first, (*DOCUMENT_TEXTS, *QUERY_TEXTS)) is not None


def _holds_judgements(listing: Listing, file: Path) -> bool:
    """Whether a file whose name says nothing holds judgements, by its first record."""
    if has_judgements(listing.keys(file)):
        return True
    if format_of(file) not in (*TABLES, ".txt"):
        return False
    try:
        first = next(read_judgements(file), None)
    except CollectionError:
        return False
    return first is not None and not any(" " in text for text in (first.query, first.document))

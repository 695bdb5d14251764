"""Judgements of a qrels file, whatever its spelling: BEIR, TREC, two columns, JSON lines, JSON, CSV or Parquet."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sweep.data.readers.fields import GRADES, as_grade, as_identifier, find_key
from sweep.data.readers.record_files import (
    JSON_LINES,
    Row,
    find_delimiter,
    format_of,
    read_json,
    read_lines,
    read_records,
    read_rows,
)
from sweep.errors import CollectionError

QUERIES = ("query-id", "query_id", "queryid", "qid", "q_id", "topic_id", "topic-id", "topic", "query")
DOCUMENTS = (
    "corpus-id", "corpus_id", "corpusid", "docid", "doc_id", "doc-id", "docno", "document_id", "document-id", "did",
    "pid", "passage_id", "doc", "document",
)  # fmt: skip

_PLACES = {2: (0, 1, None), 3: (0, 1, 2), 4: (0, 2, 3)}
"""Columns of query, document and grade by the number of columns: 4 are TREC's, whose second is not used."""

_SHAPES = "2 (query, document), 3 (query, document, grade) or 4 (TREC: query, iteration, document, grade)"
_RUN = 6


class Judged(NamedTuple):
    """One judgement and its place."""

    query: str
    document: str
    grade: float
    where: str


def has_judgements(keys: Collection[str]) -> bool:
    """Whether records with these keys are judgements: they name a query and a document by their ids."""
    document = find_key(keys, DOCUMENTS[:-2])
    return document is not None and find_key(keys, QUERIES[:-1]) is not None and find_key(keys, ("text",)) is None


def read_judgements(file: Path) -> Iterator[Judged]:
    """Every judgement of a file, in its order; one without a grade has grade 1.

    A table may have a header of any names: known ones say which column is which, and unknown ones are passed over.

    Raises:
        CollectionError: If a judgement cannot be read; one line with the file, and the line or row in it.
    """
    suffix = format_of(file)
    if suffix == ".json":
        return _read_nested(file)
    if suffix == ".parquet" or suffix in JSON_LINES:
        return (_read_record(record, where=where) for record, where in read_records(file))
    return _read_table(_rows(file))


def _read_record(record: Mapping[str, Any], *, where: str) -> Judged:
    query, document, grade = (find_key(record, names) for names in (QUERIES, DOCUMENTS, GRADES))
    if query is None or document is None:
        raise CollectionError(
            f"{where}: is no judgement: it needs a query (such as {QUERIES[0]}) and a document (such as"
            f" {DOCUMENTS[0]}); its keys are {', '.join(record) or 'none':.200}"
        )
    return Judged(
        as_identifier(record[query], name=query, where=where),
        as_identifier(record[document], name=document, where=where),
        1 if grade is None else as_grade(record[grade], where=where),
        where,
    )


def _read_nested(file: Path) -> Iterator[Judged]:
    """Judgements as JSON: an object of queries, each an object of documents with their grades."""
    queries = read_json(file)
    if not isinstance(queries, dict):
        raise CollectionError(f"{file}: must be an object of queries, got {type(queries).__name__}")
    for query, judged in queries.items():
        where = f"{file}: query {query!r}"
        if not isinstance(judged, dict):
            raise CollectionError(f"{where}: must be an object of documents and grades, got {judged!r:.60}")
        for document, grade in judged.items():
            yield Judged(
                as_identifier(query, name="query", where=where),
                as_identifier(document, name="document", where=where),
                as_grade(grade, where=where),
                where,
            )


def _rows(file: Path) -> Iterator[Row]:
    """The rows of a table of judgements: quoted where it is CSV, else by tabs, or by spaces where it has no tab."""
    delimiter = find_delimiter(file)
    if format_of(file) == ".csv":
        return read_rows(file, delimiter=delimiter, is_quoted=True)
    if delimiter == "\t":
        return read_rows(file, delimiter="\t", is_quoted=False)
    return ((line.split(), f"{file}:{number}") for number, line in read_lines(file))


def _read_table(rows: Iterator[Row]) -> Iterator[Judged]:
    places: tuple[int, int, int | None] | None = None
    columns = 0
    for fields, where in rows:
        row = [field.strip() for field in fields]
        if places is None:
            columns, places = len(row), _find_places(row, where=where)
            if _is_header(row, places):
                continue
        if len(row) != columns:
            raise CollectionError(f"{where}: must have {columns} columns as the first line has, got {len(row)}")
        query, document, grade = places
        yield Judged(
            as_identifier(row[query], name="the query's id", where=where),
            as_identifier(row[document], name="the document's id", where=where),
            1 if grade is None else as_grade(row[grade], where=where),
            where,
        )


def _find_places(row: list[str], *, where: str) -> tuple[int, int, int | None]:
    """The columns of query, document and grade: by the names of a header where it has them, else by their number."""
    query, document, grade = (find_key(row, names) for names in (QUERIES, DOCUMENTS, GRADES))
    if query is not None and document is not None:
        return row.index(query), row.index(document), None if grade is None else row.index(grade)
    if len(row) == _RUN:
        raise CollectionError(f"{where}: has the 6 columns of a run, a ranking that was made, and not those of qrels")
    if len(row) not in _PLACES:
        raise CollectionError(f"{where}: must have {_SHAPES} columns with tabs or spaces between them, got {len(row)}")
    return _PLACES[len(row)]


def _is_header(row: list[str], places: tuple[int, int, int | None]) -> bool:
    """Whether the first row names its columns, by names that are known or, where a grade should stand, by any."""
    if find_key([row[places[0]]], QUERIES) and find_key([row[places[1]]], DOCUMENTS):
        return True
    if places[2] is None:
        return False
    try:
        float(row[places[2]])
    except ValueError:
        return True
    return False

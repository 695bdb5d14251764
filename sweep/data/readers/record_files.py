"""Records of a file, each with its place: lines, JSON lines, JSON, tables and Parquet, plain or compressed."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, TypeVar

from sweep.errors import CollectionError

Record = tuple[Mapping[str, Any], str]
"""Values by key, and the place that messages name, such as ``FILE:LINE``."""

Row = tuple[list[str], str]
"""Fields of one row of a table, and its place."""

COMPRESSED = (".gz", ".zst")
JSON_LINES = (".jsonl", ".ndjson")
TABLES = (".tsv", ".csv")
FORMATS = (*JSON_LINES, ".json", *TABLES, ".parquet")
"""Suffixes of the files that are read as records."""

HEAD = 1 << 20
"""Characters of a file that a look at it reads."""

_PLAIN = (".txt", ".trec", ".qrels", ".qrel")
_BATCH = 1_000

Item = TypeVar("Item")


def format_of(file: Path) -> str:
    """Suffix, in lower case, that says how a file is read: that of ``corpus.jsonl.gz`` is ``.jsonl``."""
    return Path(_uncompressed(file)).suffix.lower()


def stem_of(file: Path) -> str:
    """Name of a file without the suffixes of its format and compression."""
    name = _uncompressed(file)
    suffix = Path(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in (*FORMATS, *_PLAIN) else name


def _uncompressed(file: Path) -> str:
    return file.stem if file.suffix.lower() in COMPRESSED else file.name


def read_records(file: Path) -> Iterator[Record]:
    """Every record of a file, as its suffix says: JSON lines, JSON, a table with a header, or Parquet.

    Raises:
        CollectionError: If the file or a record cannot be read; one line with the file, and the line or row in it.
    """
    suffix = format_of(file)
    if suffix == ".parquet":
        return _read_parquet(file)
    if suffix in TABLES:
        return _read_table(file)
    if suffix == ".json":
        return _read_json_records(file)
    if suffix in JSON_LINES:
        return _read_json_lines(file)
    known = ", ".join(FORMATS)
    raise CollectionError(f"{file}: has no suffix of a file with records: {known}, or one of them with .gz or .zst")


def read_lines(file: Path) -> Iterator[tuple[int, str]]:
    """Line number, from 1, and text of every line that is not blank."""
    number = 0

    def lines() -> Iterator[tuple[int, str]]:
        nonlocal number
        with _open_text(file) as opened:
            for number, line in enumerate(opened, start=1):
                if line.strip():
                    yield number, line.rstrip("\n")

    return _named(file, lines(), after=lambda: f"line {number}")


def read_json(file: Path) -> Any:
    """The value of a JSON file."""
    text = "".join(_named(file, _read_chunks(file), after=lambda: "its beginning"))
    return _parse_json(text, where=str(file))


def read_head(file: Path) -> str:
    """The first MiB of a text file, and less of one whose lines end there."""
    return next(_named(file, _read_chunks(file, HEAD), after=lambda: "its beginning"), "")


def read_keys(file: Path) -> tuple[str, ...]:
    """Keys of the first record of a file; none where it has none, or is an array of something else."""
    if format_of(file) != ".json":
        return next((tuple(record) for record, _ in read_records(file)), ())
    head = read_head(file).lstrip().removeprefix("[").lstrip()
    try:
        first, _ = json.JSONDecoder().raw_decode(head)
    except (ValueError, RecursionError):  # or it is longer than what was read
        return ()
    return tuple(first) if isinstance(first, dict) else ()


def read_rows(file: Path, *, delimiter: str, is_quoted: bool) -> Iterator[Row]:
    """Every row of a table that is not blank, and its place as ``FILE:LINE``, its first line's.

    Nothing in it is converted: NA, 001 and an empty field stay as they are written. Where fields are quoted, a quote
    that is not closed is refused: it would swallow the rest of the file.
    """
    if not is_quoted:
        return ((line.split(delimiter), f"{file}:{number}") for number, line in read_lines(file))
    csv.field_size_limit(sys.maxsize)
    line = 0

    def rows() -> Iterator[Row]:
        nonlocal line
        with _open_text(file, newline="") as opened:
            reader = csv.reader(opened, delimiter=delimiter, strict=True)
            for fields in reader:
                if any(field.strip() for field in fields):
                    yield fields, f"{file}:{line + 1}"
                line = reader.line_num

    return _named(file, rows(), after=lambda: f"line {line}")


def find_delimiter(file: Path) -> str:
    """The delimiter of a table: a tab where its first line holds one, else the more frequent of comma and semicolon."""
    _, first = next(read_lines(file), (0, ""))
    return "\t" if "\t" in first else max(",;", key=first.count)


def _read_table(file: Path) -> Iterator[Record]:
    """The records of a table with a header, whose fields are quoted as in CSV."""
    if format_of(file) == ".tsv":
        rows = read_rows(file, delimiter="\t", is_quoted=_has_quotes(file))
    else:
        rows = read_rows(file, delimiter=find_delimiter(file), is_quoted=True)
    header, _ = next(rows, ([], ""))
    keys = [key.strip() for key in header]
    for fields, where in rows:
        if len(fields) != len(keys):
            named = ", ".join(keys)
            raise CollectionError(
                f"{where}: must have {len(keys)} columns as the header has ({named}), got {len(fields)}"
            )
        yield dict(zip(keys, fields, strict=True)), where


def _has_quotes(file: Path) -> bool:
    """Whether the quotes of a table with tabs enclose fields: a line has other columns than the first, or they pair.

    Passages of public collections are full of quotes that enclose nothing.
    """
    columns, enclosed = 0, False
    for _, line in read_lines(file):
        fields = line.split("\t")
        columns = columns or len(fields)
        if len(fields) != columns:
            return True
        for field in fields:
            if field.startswith('"'):
                if len(field) < 2 or not field.endswith('"') or '"' in field[1:-1].replace('""', ""):
                    return False
                enclosed = True
    return enclosed


def _read_json_lines(file: Path) -> Iterator[Record]:
    for number, line in read_lines(file):
        where = f"{file}:{number}"
        yield _as_object(_parse_json(line, where=where), where=where), where


def _read_json_records(file: Path) -> Iterator[Record]:
    """The objects of a JSON array, or JSON lines under the suffix of JSON."""
    _, first = next(read_lines(file), (0, ""))
    if not first.lstrip().startswith("["):
        yield from _read_json_lines(file)
        return
    for place, value in enumerate(read_json(file), start=1):
        where = f"{file}: element {place}"
        yield _as_object(value, where=where), where


def _read_parquet(file: Path) -> Iterator[Record]:
    """The rows of a Parquet file, and their places by number from 1."""
    import pyarrow.parquet as pq  # not for the collections that need it not

    number = 0

    def rows() -> Iterator[Record]:
        nonlocal number
        with pq.ParquetFile(file) as opened:
            for batch in opened.iter_batches(batch_size=_BATCH):
                for record in batch.to_pylist():
                    number += 1
                    yield record, f"{file}: row {number}"

    return _named(file, rows(), after=lambda: f"row {number}")


def _named(file: Path, items: Iterator[Item], *, after: Callable[[], str]) -> Iterator[Item]:
    """The items of a file, with what goes wrong in reading them told by the file and the place."""
    try:
        yield from items
    except UnicodeDecodeError as error:
        raise CollectionError(f"{file}: is not text (UTF-8) after {after()}: save it as UTF-8") from error
    except csv.Error as error:
        raise CollectionError(f"{file}: is no table after {after()}: {error} (a quote that is not closed?)") from error
    except (OSError, EOFError, zlib.error, ValueError, NotImplementedError) as error:  # the last two are Arrow's
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise CollectionError(f"{file}: cannot be read after {after()}: {reason}") from error


def _open_text(file: Path, *, newline: str | None = None) -> IO[str]:
    suffix = file.suffix.lower()
    if suffix == ".gz":
        return gzip.open(file, "rt", encoding="utf-8-sig", newline=newline)
    if suffix == ".zst":
        import pyarrow as pa

        return io.TextIOWrapper(pa.input_stream(str(file), compression="zstd"), encoding="utf-8-sig", newline=newline)
    return file.open(encoding="utf-8-sig", newline=newline)


def _read_chunks(file: Path, size: int = -1) -> Iterator[str]:
    """The text of a file in one piece, or its first characters."""
    with _open_text(file) as opened:
        yield opened.read(size)


def _parse_json(text: str, *, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CollectionError(f"{where}: is not JSON: {error}") from error


def _as_object(value: Any, *, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise CollectionError(f"{where}: is not a JSON object, got {type(value).__name__}")
    return value

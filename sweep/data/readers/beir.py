"""The BEIR folder format: corpus.jsonl, queries.jsonl and qrels/*.tsv, read strictly and written completely."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from sweep.data.collection import Document, Qrels, RawCollection
from sweep.data.readers.reader import Reader
from sweep.errors import CollectionError

_HEADER = ("query-id", "corpus-id", "score")


class Beir(Reader):
    """``beir:FOLDER``: a folder in the BEIR format."""

    name = "beir"
    usage = "beir:FOLDER"

    def read(self, source: str, *, folder: Path) -> RawCollection:
        """Reads the folder; judgements carry the names of their files."""
        if not source:
            raise CollectionError(f"collection 'beir:' names no folder; write {self.usage}")
        return read_beir(folder / Path(source).expanduser())


def read_beir(folder: Path) -> RawCollection:
    """Reads a folder with ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/*.tsv``.

    The two JSON-lines files may be compressed (``.jsonl.gz``). Qrels files may lack their header line; a grade may be
    written as a real number if it is an integer.

    Raises:
        CollectionError: If the folder or one of its files is missing, a line cannot be read or repeats an id, or a
            judgement is about a document or query that is not there. The message is one line with file and line.
    """
    if not folder.is_dir():
        raise CollectionError(f"{folder}: there is no such folder")
    documents: dict[str, Document] = {}
    for identifier, record, where in _read_records(_find(folder, "corpus")):
        if identifier in documents:
            raise CollectionError(f"{where}: document id {identifier!r} occurs twice")
        documents[identifier] = Document(
            title=_text(record, "title", where=where), text=_text(record, "text", where=where)
        )
    queries: dict[str, str] = {}
    for identifier, record, where in _read_records(_find(folder, "queries")):
        if identifier in queries:
            raise CollectionError(f"{where}: query id {identifier!r} occurs twice")
        queries[identifier] = _text(record, "text", where=where)
    files = sorted((folder / "qrels").glob("*.tsv"))
    if not files:
        raise CollectionError(f"{folder / 'qrels'}: there is no qrels file (such as test.tsv) in it")
    qrels = {file.stem: _read_qrels(file) for file in files}
    for file in files:
        _check_known(file, qrels[file.stem], documents=documents, queries=queries)
    return RawCollection(documents, queries, qrels)


def write_beir(folder: Path, contents: RawCollection) -> None:
    """Writes a BEIR folder that `read_beir` reads back equal; the same contents give the same bytes.

    The folder is made if it is not there. Ids must not hold tabs or line breaks.
    """
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    corpus = [{"_id": key, "title": doc.title, "text": doc.text} for key, doc in contents.documents.items()]
    queries = [{"_id": key, "text": text} for key, text in contents.queries.items()]
    for name, records in (("corpus", corpus), ("queries", queries)):
        lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        # A time stamp in the archive would make equal contents differ.
        (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(lines.encode("utf-8"), 6, mtime=0))
    for name, judgements in contents.qrels.items():
        rows = [f"{q}\t{d}\t{grade}\n" for q, judged in judgements.items() for d, grade in judged.items()]
        text = "\t".join(_HEADER) + "\n" + "".join(rows)
        (folder / "qrels" / f"{name}.tsv").write_bytes(text.encode("utf-8"))


def _find(folder: Path, name: str) -> Path:
    """The plain or compressed JSON-lines file of that name."""
    for file in (folder / f"{name}.jsonl", folder / f"{name}.jsonl.gz"):
        if file.is_file():
            return file
    raise CollectionError(f"{folder}: there is no {name}.jsonl (or {name}.jsonl.gz) in it")


def _open(file: Path) -> IO[str]:
    if file.suffix == ".gz":
        return gzip.open(file, "rt", encoding="utf-8-sig")
    return file.open(encoding="utf-8-sig")


def _read_lines(file: Path) -> Iterator[tuple[int, str]]:
    """Line number, from 1, and text of every line that is not blank."""
    number = 0
    try:
        with _open(file) as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, line.rstrip("\n")
    except UnicodeDecodeError as error:
        raise CollectionError(f"{file}: is not text (UTF-8) after line {number}") from error
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise CollectionError(f"{file}: cannot be read after line {number}: {reason}") from error


def _read_records(file: Path) -> Iterator[tuple[str, dict[str, object], str]]:
    """Id, object and place (``FILE:LINE``) of every line of a JSON-lines file."""
    for number, line in _read_lines(file):
        where = f"{file}:{number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CollectionError(f"{where}: is not JSON: {error}") from error
        if not isinstance(record, dict):
            raise CollectionError(f"{where}: is not a JSON object, got {type(record).__name__}")
        identifier = record.get("_id")
        if isinstance(identifier, int) and not isinstance(identifier, bool):
            identifier = str(identifier)
        if not isinstance(identifier, str) or not identifier:
            raise CollectionError(f"{where}: _id must be a text that is not empty, got {identifier!r}")
        yield identifier, record, where


def _text(record: Mapping[str, object], key: str, *, where: str) -> str:
    """The text under a key; only a title may be missing."""
    value = record.get(key)
    if value is None and key == "title":
        return ""
    if not isinstance(value, str):
        raise CollectionError(f"{where}: {key} must be a text, got {value!r:.60}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        # JSON can spell half of a surrogate pair; no tokenizer takes it, hours later.
        raise CollectionError(f"{where}: {key} holds half a character (a lone surrogate)") from error
    return value


def _read_qrels(file: Path) -> dict[str, dict[str, int]]:
    """The judgements of one qrels file."""
    qrels: dict[str, dict[str, int]] = {}
    for number, line in _read_lines(file):
        fields = [field.strip() for field in line.split("\t")]
        if number == 1 and tuple(fields) == _HEADER:
            continue
        if len(fields) != len(_HEADER):
            raise CollectionError(f"{file}:{number}: must have 3 columns with tabs between them, got {len(fields)}")
        query, document, written = fields
        grade = _grade(written, where=f"{file}:{number}")
        if qrels.setdefault(query, {}).setdefault(document, grade) != grade:
            raise CollectionError(f"{file}:{number}: judges document {document!r} twice for query {query!r}, unequally")
    if not qrels:
        raise CollectionError(f"{file}: holds no judgement")
    return qrels


def _grade(written: str, *, where: str) -> int:
    try:
        value = float(written)
    except ValueError:
        value = float("nan")
    if not value.is_integer():
        raise CollectionError(f"{where}: the grade must be a whole number, got {written!r}")
    return int(value)


def _check_known(file: Path, qrels: Qrels, *, documents: Mapping[str, Document], queries: Mapping[str, str]) -> None:
    """Raises CollectionError where a judgement's query or document is not there."""
    missing = [
        f"{query!r} -> {document!r}"
        for query, judged in qrels.items()
        for document in judged
        if query not in queries or document not in documents
    ]
    if missing:
        raise CollectionError(
            f"{file}: {len(missing)} judgements are about a query or document that is not there:"
            f" {', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}"
        )

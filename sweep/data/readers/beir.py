"""The BEIR format and its spellings: documents, queries and judgements in files of their own, under any usual name."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

from sweep.data.collection import RawCollection
from sweep.data.readers.listing import Listing
from sweep.data.readers.reader import LayoutReader
from sweep.data.readers.roles import BEIR_DOCUMENTS, BEIR_QUERIES, find_roles, read_roles

_HEADER = ("query-id", "corpus-id", "score")


class Beir(LayoutReader):
    """``beir:FOLDER``: corpus, queries and qrels, each in JSON lines, a table or Parquet."""

    name = "beir"
    usage = "beir:FOLDER"
    place = 20
    shape = "corpus, queries and qrels (BEIR, as JSON lines, tables or Parquet)"

    def takes(self, listing: Listing) -> bool:
        """Whether there are files of all three roles."""
        roles = find_roles(listing)
        return bool(roles.documents and roles.queries and roles.qrels)

    def resembles(self, listing: Listing) -> bool:
        """Whether there is a file of one of the roles."""
        roles = find_roles(listing)
        return not listing.is_file and bool(roles.documents or roles.queries or roles.qrels)

    def read_files(self, listing: Listing) -> RawCollection:
        """Reads the folder; judgements carry the names of their splits, or else of their files."""
        return read_roles(listing, find_roles(listing), layout="BEIR")


def is_canonical(listing: Listing) -> bool:
    """Whether a folder has BEIR's own names, so that it is BEIR whatever else lies there."""
    names = {listing.name(file) for file in listing.files}
    return bool(
        names & {*BEIR_DOCUMENTS}
        and names & {*BEIR_QUERIES}
        and any(re.fullmatch(r"qrels/[^/]+\.tsv", name) for name in names)
    )


def read_beir(folder: Path) -> RawCollection:
    """Reads a folder in the BEIR format.

    Raises:
        CollectionError: If the folder or one of its roles is missing, a line cannot be read or repeats an id with
            another text, or most judgements are about a document or query that is not there. The message is one line
            with file and line.
    """
    return Beir().read(".", folder=folder)


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

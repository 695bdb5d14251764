"""SQuAD's JSON, which KorQuAD and others share: a context is a document, a question about it a query."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sweep.data.collection import Document, RawCollection
from sweep.data.readers.draft import WHOLE, Draft
from sweep.data.readers.fields import as_identifier, as_text
from sweep.data.readers.listing import Listing
from sweep.data.readers.reader import LayoutReader
from sweep.data.readers.record_files import format_of, read_head, read_json
from sweep.data.readers.roles import name_split
from sweep.errors import CollectionError

_KEYS = re.compile(r'"(paragraphs|context|qas)"\s*:')


class Squad(LayoutReader):
    """``squad:FILE`` (or a folder of them): data, paragraphs, context and qas."""

    name = "squad"
    usage = "squad:FILE"
    place = 60
    shape = "JSON of data, paragraphs, context and qas (SQuAD)"

    def takes(self, listing: Listing) -> bool:
        """Whether a JSON file begins with SQuAD's keys."""
        return any(_is_squad(file) for file in listing.files)

    def read_files(self, listing: Listing) -> RawCollection:
        """Reads the files; a question that its context does not answer is a judgement of grade 0."""
        files = [file for file in listing.files if format_of(file) == ".json" and (listing.is_file or _is_squad(file))]
        if not files:
            raise CollectionError(f"{listing.path}: there is no JSON file of SQuAD's in it: {listing.contents}")
        draft = Draft(listing.path)
        sets: dict[str, list[Path]] = {}
        for file in files:
            name = name_split(listing, file) or WHOLE
            sets.setdefault(name, []).append(file)
            for document, question, where in _read_questions(file):
                _add_question(draft, name, document, question, where=where)
        return draft.finish(listing.describe_use("SQuAD", sets))


def _is_squad(file: Path) -> bool:
    if format_of(file) != ".json":
        return False
    try:
        return len({*_KEYS.findall(read_head(file))}) >= 2
    except CollectionError:
        return False


def _add_question(draft: Draft, name: str, document: Document, question: Mapping[str, Any], *, where: str) -> None:
    text = as_text(question.get("question"), name="question", where=where)
    if question.get("id") is None:
        query = draft.query_of(text)
    else:
        query = as_identifier(question["id"], name="id", where=where)
        draft.add_query(query, text, where=where)
    found = [draft.document_of(document)]
    is_answered = not question.get("is_impossible", False)
    draft.label(name, query, positives=found * is_answered, negatives=found * (not is_answered), where=where)


def _read_questions(file: Path) -> Iterator[tuple[Document, Mapping[str, Any], str]]:
    """The context, question and place of every question."""
    value = read_json(file)
    for article, at in _objects(value.get("data") if isinstance(value, dict) else value, where=f"{file}: data"):
        title = as_text(article.get("title") or "", name="title", where=at)
        for paragraph, place in _objects(article.get("paragraphs"), where=f"{at}.paragraphs"):
            document = Document(title, as_text(paragraph.get("context"), name="context", where=place))
            for question, where in _objects(paragraph.get("qas"), where=f"{place}.qas"):
                yield document, question, where


def _objects(values: Any, *, where: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The objects of a list, and the place of each, such as ``FILE: data[3].paragraphs[0]``."""
    if not isinstance(values, list):
        raise CollectionError(f"{where} must be a list, got {values!r:.60}")
    for number, value in enumerate(values):
        place = f"{where}[{number}]"
        if not isinstance(value, dict):
            raise CollectionError(f"{place}: is not a JSON object, got {type(value).__name__}")
        yield value, place

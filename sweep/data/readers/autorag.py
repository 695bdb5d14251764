"""AutoRAG's two Parquet files: a corpus, and questions with the ids of the passages that answer them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sweep.data.collection import RawCollection
from sweep.data.readers.draft import WHOLE, Draft
from sweep.data.readers.fields import QUERY_IDS, QUERY_TEXTS, as_identifier, find_key, read_identifier, read_text
from sweep.data.readers.listing import Listing
from sweep.data.readers.reader import LayoutReader
from sweep.data.readers.record_files import read_records
from sweep.data.readers.roles import add_documents, find_roles, name_split
from sweep.errors import CollectionError

_ANSWERS = ("retrieval_gt",)


class AutoRag(LayoutReader):
    """``autorag:FOLDER``: corpus.parquet and qa.parquet, or qa_train.parquet and so on."""

    name = "autorag"
    usage = "autorag:FOLDER"
    place = 50
    shape = "corpus.parquet and qa.parquet with retrieval_gt (AutoRAG)"

    def takes(self, listing: Listing) -> bool:
        """Whether the first record of a file has ``retrieval_gt``."""
        return not listing.is_file and any(_has_answers(listing, file) for file in listing.with_records)

    def read_files(self, listing: Listing) -> RawCollection:
        """Reads the folder; every passage of ``retrieval_gt``, however it is nested, is relevant."""
        questions = [file for file in listing.with_records if _has_answers(listing, file)]
        corpus = [file for file in find_roles(listing).documents if file not in questions]
        if not (questions and corpus):
            raise CollectionError(
                f"{listing.path}: must hold a corpus and questions with {_ANSWERS[0]}: there lie {listing.contents}"
            )
        draft = Draft(listing.path)
        for file in corpus:
            add_documents(draft, file)
        sets: dict[str, list[Path]] = {}
        for file in questions:
            name = name_split(listing, file) or WHOLE
            sets.setdefault(name, []).append(file)
            _read_questions(draft, name, file)
        return draft.finish(listing.describe_use("AutoRAG", {"documents": corpus, **sets}))


def _has_answers(listing: Listing, file: Path) -> bool:
    return find_key(listing.keys(file), _ANSWERS) is not None


def _read_questions(draft: Draft, name: str, file: Path) -> None:
    for record, where in read_records(file):
        query = read_identifier(record, QUERY_IDS, where=where)
        draft.add_query(query, read_text(record, QUERY_TEXTS, where=where), where=where)
        answers = _flatten(record.get(_ANSWERS[0]))
        positives = [as_identifier(value, name=_ANSWERS[0], where=where) for value in answers]
        draft.label(name, query, positives=positives, negatives=(), where=where)


def _flatten(value: Any) -> Iterator[Any]:
    """The ids in lists of lists; what stands for no passage is left out."""
    if isinstance(value, list):
        for each in value:
            yield from _flatten(each)
    elif value not in (None, ""):
        yield value

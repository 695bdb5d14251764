"""The data formats: how a collection becomes training columns.

A format is a function from a collection to columns. To add one, write the function and give it a line in `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from sweep.data.collection import Collection, DocumentView
from sweep.errors import CollectionError

Columns = dict[str, list[str]]
"""Equally long columns by name, ``anchor`` first and ``positive`` second; a row is one training example."""

Format = Callable[[Collection, DocumentView], Columns]
"""What a data format is: it takes what may be trained on and returns at least ``anchor`` and ``positive``."""


def title_content(collection: Collection, _document: DocumentView) -> Columns:
    """Title -> content, of every document that has both and may be trained on, in the order of ids.

    The content is the text alone, whatever view of documents is judged: with the title in it the pair is trivial.
    """
    chosen = (collection.documents[identifier] for identifier in collection.training_documents())
    return _columns((one.title, one.text) for one in chosen)


def query_document(collection: Collection, document: DocumentView) -> Columns:
    """Query -> document as it is embedded, of every relevant judgement of the train split, in the order of ids."""
    pairs = (
        (collection.queries[query], collection.documents[identifier].embedded(document))
        for query, identifier in collection.training_judgements()
    )
    return _columns(pair for pair in pairs if pair[0].strip() and pair[1].strip())


FORMATS: Mapping[str, Format] = {
    "title-content": title_content,
    "query-document": query_document,
}
"""Every data format by its name in study files."""


def make_columns(collection: Collection, data_format: str, *, document: DocumentView) -> Columns:
    """The training columns of a collection in a data format.

    Args:
        collection: The collection.
        data_format: A name in `FORMATS`.
        document: What of a document is embedded.

    Returns:
        Columns with at least one row.

    Raises:
        CollectionError: If there is no such format, or the collection has no pair for it.
    """
    if data_format not in FORMATS:
        raise CollectionError(f"there is no data format {data_format!r}; known are {', '.join(FORMATS)}")
    columns = FORMATS[data_format](collection, document)
    if not columns["anchor"]:
        raise CollectionError(f"{collection.name}: the train split yields no pair for format {data_format!r}")
    return columns


def _columns(pairs: Iterable[tuple[str, str]]) -> Columns:
    rows = list(pairs)
    return {"anchor": [anchor for anchor, _ in rows], "positive": [positive for _, positive in rows]}

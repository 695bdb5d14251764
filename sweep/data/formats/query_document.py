"""query-document: a query -> a document that answers it."""

from __future__ import annotations

from pydantic import Field

from sweep.data.collection import Collection, DocumentView
from sweep.data.formats.format import JUDGEMENTS, Columns, Format


class QueryDocument(Format):
    """Query -> document of every relevant judgement of the train split, in the order of ids."""

    name = "query-document"
    needs = (JUDGEMENTS,)

    document: DocumentView | None = Field(
        default=None, description="The part of documents that is trained on; left out: the one that is evaluated."
    )

    def make(self, collection: Collection, document: DocumentView) -> Columns:
        """Queries as anchors, documents as positives; a pair with an empty text is left out."""
        view = self.document or document
        pairs = [
            (collection.queries[query], collection.documents[identifier].embedded(view))
            for query, identifier in collection.training_judgements()
        ]
        kept = [(query, text) for query, text in pairs if query.strip() and text.strip()]
        return {"anchor": [query for query, _ in kept], "positive": [text for _, text in kept]}

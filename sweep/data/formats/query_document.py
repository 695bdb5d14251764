"""query-document: a query -> a document that answers it."""

from __future__ import annotations

from sweep.data.collection import Collection, DocumentView
from sweep.data.formats.format import JUDGEMENTS, Columns, Format


class QueryDocument(Format):
    """Query -> document as it is embedded, of every relevant judgement of the train split, in the order of ids."""

    name = "query-document"
    needs = (JUDGEMENTS,)

    def make(self, collection: Collection, document: DocumentView) -> Columns:
        """Queries as anchors, documents as positives; a pair with an empty text is left out."""
        pairs = [
            (collection.queries[query], collection.documents[identifier].embedded(document))
            for query, identifier in collection.training_judgements()
        ]
        kept = [(query, text) for query, text in pairs if query.strip() and text.strip()]
        return {"anchor": [query for query, _ in kept], "positive": [text for _, text in kept]}

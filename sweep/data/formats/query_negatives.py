"""query-negatives: a query -> a document that answers it, beside documents that are judged not to."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from sweep.data.collection import Collection, DocumentView
from sweep.data.formats.format import JUDGEMENTS, NEGATIVES, Columns, Format, Roles


class QueryNegatives(Format):
    """Query -> document of every relevant judgement, beside some that are judged for the query and are not relevant.

    A query with fewer negatives than a row takes is left out; one with more gives each of its rows the next of them.
    """

    name = "query-negatives"
    needs = (JUDGEMENTS, NEGATIVES)

    negatives: int = Field(default=1, ge=1, description="Documents beside each pair that do not answer its query.")
    document: DocumentView | None = Field(
        default=None, description="The part of documents that is trained on; left out: the one that is evaluated."
    )

    @property
    def roles(self) -> Roles:
        """A column for each negative."""
        negatives = dict.fromkeys(self._columns(), "negative")
        return {"anchor": "anchor", "positive": "positive", **negatives}  # type: ignore[dict-item]

    def make(self, collection: Collection, document: DocumentView) -> Columns:
        """Queries as anchors, relevant documents as positives, the others in a column for each."""
        rows = list(self._rows(collection, self.document or document))
        return {column: [row[place] for row in rows] for place, column in enumerate(self.roles)}

    def _columns(self) -> list[str]:
        return [f"negative_{place}" for place in range(1, self.negatives + 1)]

    def _rows(self, collection: Collection, view: DocumentView) -> Iterator[list[str]]:
        """Each row's texts, in the order of the columns; no text twice in a row."""
        used: dict[str, int] = {}  # query -> its negatives that rows have taken
        for query, identifier in collection.training_judgements():
            anchor, positive = collection.queries[query], collection.documents[identifier].embedded(view)
            others = [collection.documents[name].embedded(view) for name in collection.training_negatives(query)]
            fitting = [text for text in dict.fromkeys(others) if text.strip() and text not in (anchor, positive)]
            if not anchor.strip() or not positive.strip() or len(fitting) < self.negatives:
                continue
            first = used.setdefault(query, 0)
            used[query] += self.negatives
            yield [anchor, positive, *(fitting[(first + place) % len(fitting)] for place in range(self.negatives))]

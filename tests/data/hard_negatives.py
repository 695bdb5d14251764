"""A data format with columns of hard negatives, as a test may add one: none is shipped yet."""

from __future__ import annotations

from pydantic import Field

from sweep.data import Collection, DocumentView
from sweep.data.formats.format import JUDGEMENTS, Columns, Format, Roles
from sweep.data.formats.query_document import QueryDocument


class HardNegatives(Format):
    """Query -> relevant document, with texts that are made of the words of other documents."""

    name = "hard-negatives"
    needs = (JUDGEMENTS,)

    count: int = Field(default=1, ge=1)

    @property
    def roles(self) -> Roles:
        """The negatives before all else: whoever goes by the order in which they stand here is wrong."""
        return {
            **{f"negative_{place}": "negative" for place in range(1, self.count + 1)},
            "positive": "positive",
            "anchor": "anchor",
        }

    def make(self, collection: Collection, document: DocumentView) -> Columns:
        """The pairs of query-document, and the words of the next documents backwards."""
        pairs = QueryDocument().make(collection, document)
        backwards = [" ".join(reversed(text.split())) for text in pairs["positive"]]
        negatives = {
            f"negative_{place}": ["x" * place + text for text in backwards[place:] + backwards[:place]]
            for place in range(1, self.count + 1)
        }
        return {**negatives, **pairs}

"""title-content: the title of a page -> its content."""

from __future__ import annotations

from sweep.data.collection import Collection, DocumentView
from sweep.data.formats.format import TITLES, Columns, Format


class TitleContent(Format):
    """Title -> content, of every document that has both and may be trained on, in the order of ids.

    The content is the text alone, whatever view of documents is evaluated: with the title in it the pair is trivial.
    """

    name = "title-content"
    needs = (TITLES,)

    def make(self, collection: Collection, document: DocumentView) -> Columns:  # noqa: ARG002 - see the class
        """Titles as anchors, texts as positives."""
        pages = [collection.documents[identifier] for identifier in collection.training_documents()]
        return {"anchor": [page.title for page in pages], "positive": [page.text for page in pages]}

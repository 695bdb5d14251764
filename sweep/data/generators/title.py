"""title: the title of a document, to find its text."""

from __future__ import annotations

from sweep.data.collection import Document, DocumentView
from sweep.data.generators.generator import Generator


class Title(Generator):
    """The title of a document that has one beside its text."""

    name = "title"

    def answer(self, document: Document) -> list[str]:
        """The title, where there is one."""
        return [document.title] if document.title.strip() else []

    def positive(self, document: Document, view: DocumentView) -> str:  # noqa: ARG002 - see below
        """The text alone, whatever is embedded: with the title in it the pair is trivial."""
        return document.text

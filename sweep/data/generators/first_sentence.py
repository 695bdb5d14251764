"""first-sentence: the first sentence of a document, to find the rest of it (inverse cloze)."""

from __future__ import annotations

import re

from sweep.data.collection import Document, DocumentView
from sweep.data.generators.generator import Generator

_SENTENCE = re.compile(r"\s*(.+?(?:[.!?](?=\s|$)|[。！？]|\n\s*\n|$))", re.DOTALL)  # noqa: RUF001 - of other scripts


class FirstSentence(Generator):
    """The first sentence, which is taken out of the text that it is to find: left in, it would be found by itself."""

    name = "first-sentence"

    def answer(self, document: Document) -> list[str]:
        """The sentence, where the text has one and more behind it."""
        match = _SENTENCE.match(document.text)
        return [match[1]] if match and document.text[match.end() :].strip() else []

    def positive(self, document: Document, view: DocumentView) -> str:
        """The document without the sentence; empty where its text is that sentence alone."""
        match = _SENTENCE.match(document.text)
        rest = document.text[match.end() :].strip() if match else ""
        return Document(document.title, rest).embedded(view) if rest else ""

"""Generator: what makes queries for documents, and what its answers follow from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from sweep.data.collection import Document, DocumentView
from sweep.settings.entries import Entry
from sweep.settings.study_file import ModelSpec

Keep = Callable[[int, Sequence[str]], None]
"""Keeps the answers for the document at a place, as they came."""


class Generator(Entry):
    """A generator of queries; its fields are its options, as tables of a data format set them.

    An option that does not change answers, such as how many are asked for at once, is excluded from dumps.
    """

    job: ClassVar[str] = ""
    """``module:function`` of the job that generates on a device; empty where `generate` does so in this process."""

    @property
    def prompt(self) -> str:
        """What a model is asked, with ``{document}`` where the document stands; empty without a model."""
        return ""

    @property
    def examples(self) -> Sequence[str]:
        """Queries that the prompt gives as examples, which must not come back as answers."""
        return ()

    def identify_model(self, base: ModelSpec, folder: Path) -> str:  # noqa: ARG002 - of those that have a model
        """Hash of the model, or its name where it is elsewhere.

        Args:
            base: The study's base model.
            folder: Folder of the study file, against which paths are resolved.

        Raises:
            SweepError: If the model is not there.
        """
        return ""

    def describe(self) -> str:
        """The generator, for a person."""
        return self.name

    def estimate(self, documents: Sequence[Document]) -> str:  # noqa: ARG002 - of those that cost something
        """What documents will cost, about; empty where they cost nothing but time."""
        return ""

    def generate(self, documents: Sequence[Document], *, keep: Keep) -> None:
        """Makes the queries of documents, and keeps those of each as they come; of a document there may be none.

        Raises:
            SweepError: If it cannot go on; what was kept stays.
        """
        for place, document in enumerate(documents):
            keep(place, self.answer(document))

    def answer(self, document: Document) -> list[str]:
        """The queries of one document, where it takes no model."""
        raise NotImplementedError

    def clean(self, answer: str) -> str:
        """The query in an answer."""
        return " ".join(answer.split())

    def positive(self, document: Document, view: DocumentView) -> str:
        """The text that its queries are to find; empty where nothing is left of it."""
        return document.embedded(view)


def identify_generator(generator: Generator, base: ModelSpec, *, folder: Path) -> dict[str, object]:
    """All that a generator's answers for a document follow from, as plain values; see `Generator.identify_model`."""
    return {
        "generator": generator.name,
        "settings": generator.model_dump(mode="json"),
        "model": generator.identify_model(base, folder),
        "prompt": generator.prompt,
    }


def hash_facts(facts: object) -> str:
    """SHA-256 (hex) of plain values."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def hash_document(document: Document) -> str:
    """Hash (32 hex digits) of a document's title and text."""
    return hash_facts([document.title, document.text])[:32]

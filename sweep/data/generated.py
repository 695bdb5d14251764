"""Queries that were generated for documents, as a collection holds them beside those that people asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class GeneratedQuery:
    """A query that was generated for a document.

    Attributes:
        document: The document's id.
        text: The query.
        generator: Place of its generator among those of its data format.
    """

    document: str
    text: str
    generator: int = 0


@dataclass(frozen=True, kw_only=True)
class Generated:
    """The generated queries of a data format that passed its gates.

    Attributes:
        queries: Them, by document and then in the order in which they were made.
        documents: Documents that queries were generated for.
        answers: Queries before the gates.
        rejected: Queries that each gate rejected, in the order of the gates.
        made_by: Each generator, for a person.
    """

    queries: tuple[GeneratedQuery, ...]
    documents: int = field(default=0, compare=False)
    answers: int = field(default=0, compare=False)
    rejected: Mapping[str, int] = field(default_factory=dict, compare=False)
    made_by: tuple[str, ...] = field(default=(), compare=False)

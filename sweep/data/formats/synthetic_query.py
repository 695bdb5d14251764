"""synthetic-query: a query that was generated for a document -> the document."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from sweep.data.collection import Collection, DocumentView
from sweep.data.formats.format import Columns, Format, Need
from sweep.data.gates import GateSpec
from sweep.data.generators import AnyGenerator
from sweep.data.generators.sampled_span import SampledSpan
from sweep.data.recipes import Recipe

GENERATED = Need(
    "generated queries, as `sweep generate` makes them",
    lambda collection: (
        len({query.document for made in collection.generated.values() for query in made.queries}),
        len(collection.documents),
    ),
)


def _as_list(value: object) -> object:
    """One generator as a list of one."""
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


class SyntheticQuery(Format):
    """Generated query -> document, of each query that passed the gates, by document.

    Its queries are made by `sweep generate`; a collection holds them by the label of the format.
    """

    name = "synthetic-query"
    needs = (GENERATED,)

    generators: Annotated[tuple[AnyGenerator, ...], BeforeValidator(_as_list), Field(min_length=1)] = Field(
        default=(SampledSpan(),), description="Generators of its queries: a name, or a table of name and options."
    )
    gates: GateSpec = Field(default=GateSpec(), description="What a query must be to be trained on.")
    documents: int | None = Field(default=None, ge=1, description="Documents to generate for; left out: all.")
    document: DocumentView | None = Field(
        default=None, description="The part of documents that is trained on; left out: the one that is evaluated."
    )

    @property
    def recipe(self) -> Recipe:
        """Its generators and gates."""
        return Recipe(self.label, self.generators, self.gates, self.documents)

    def make(self, collection: Collection, document: DocumentView) -> Columns:
        """Queries as anchors, what their generator leaves of the document as positives."""
        view = self.document or document
        pairs = [
            (query.text, self.generators[query.generator].positive(collection.documents[query.document], view))
            for query in collection.training_generated(self.label)
        ]
        kept = [(query, text) for query, text in pairs if query.strip() and text.strip()]
        return {"anchor": [query for query, _ in kept], "positive": [text for _, text in kept]}

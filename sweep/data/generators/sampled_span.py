"""sampled-span: a span of a document's words, drawn by chance (cropping, as in Contriever)."""

from __future__ import annotations

import random
from typing import Self

from pydantic import Field, model_validator

from sweep.data.collection import Document
from sweep.data.generators.generator import Generator, hash_document


class SampledSpan(Generator):
    """Spans of a text, of random place and length; equal ones for equal documents."""

    name = "sampled-span"

    queries: int = Field(default=1, ge=1, le=100, description="Spans of a document.")
    shortest: int = Field(default=4, ge=1, description="Words of a span at least; a shorter text gives none.")
    longest: int = Field(default=16, ge=1, description="Words of a span at most.")
    seed: int = Field(default=0, ge=0, description="Seed of the draws.")

    @model_validator(mode="after")
    def _lengths_ascend(self) -> Self:
        if self.shortest > self.longest:
            raise ValueError(f"shortest must not be above longest, got {self.shortest} and {self.longest}")
        return self

    def answer(self, document: Document) -> list[str]:
        """The spans, with the words as they stand in the text."""
        words = document.text.split()
        if len(words) < self.shortest:
            return []
        draw = random.Random(f"{self.seed} {hash_document(document)}")
        spans = []
        for _ in range(self.queries):
            length = draw.randint(self.shortest, min(self.longest, len(words)))
            start = draw.randint(0, len(words) - length)
            spans.append(" ".join(words[start : start + length]))
        return spans

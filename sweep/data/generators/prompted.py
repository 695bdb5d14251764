"""Prompted: the options of generators that ask a model, and the prompt that they make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from sweep.data.collection import Document
from sweep.data.generators.generator import Generator
from sweep.settings.ranges import Table, as_tuple

DOCUMENT = "{document}"
"""The place of the document in a prompt."""

INSTRUCTION = "Write the search query of a person who looks for the document."


class ExampleSpec(Table):
    """An example of a prompt: a document, and the query that somebody would ask to find it."""

    document: str = Field(min_length=1, description="The document.")
    query: str = Field(min_length=1, description="The query.")


class Prompted(Generator):
    """The options of a generator that asks a model; one without a name, so that no study file finds it."""

    prompt_text: str = Field(
        default=f"{INSTRUCTION}\n\nDocument: {DOCUMENT}\nQuery:",
        alias="prompt",
        description="What the model is asked, with {document} where the document stands.",
    )
    example_specs: Annotated[tuple[ExampleSpec, ...], BeforeValidator(as_tuple)] = Field(
        default=(), alias="examples", description="Examples, each put before the document in the words of the prompt."
    )
    queries: int = Field(default=1, ge=1, le=100, description="Queries of a document; several need a temperature.")
    max_tokens: int = Field(default=32, ge=1, le=4096, description="Tokens of an answer at most.")
    max_words: int = Field(default=100, ge=1, description="Words of a document that the model is shown at most.")
    temperature: float = Field(default=0.0, ge=0.0, le=10.0, description="0 takes the likeliest answer; else sampled.")
    seed: int = Field(default=0, ge=0, lt=2**32, description="Seed of the sampling.")

    @field_validator("prompt_text")
    @classmethod
    def _has_its_place(cls, prompt: str) -> str:
        if prompt.count(DOCUMENT) != 1:
            raise ValueError(f"must hold {DOCUMENT} once, where the document stands, got {prompt!r}")
        return prompt

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if self.queries > 1 and self.temperature == 0.0:
            raise ValueError(f"queries = {self.queries} needs a temperature above 0: the likeliest answer is one")
        return self

    @property
    def prompt(self) -> str:
        """The prompt, with the examples before the document."""
        before, behind = self.prompt_text.split(DOCUMENT)
        heading, _, line = before.rpartition("\n\n")
        shown = "".join(f"{line}{one.document}{behind} {one.query}\n\n" for one in self.example_specs)
        above = f"{heading}\n\n" if heading else ""
        return f"{above}{shown}{line}{DOCUMENT}{behind}" if shown else self.prompt_text

    @property
    def examples(self) -> Sequence[str]:
        """The queries of the examples."""
        return [example.query for example in self.example_specs]

    def show(self, document: Document) -> str:
        """What the model is shown of a document: its title and text on a line, cut where it is long."""
        words = f"{document.title}\n{document.text}".split()
        return " ".join(words[: self.max_words])

    def clean(self, answer: str) -> str:
        """The first line of an answer that has words, without quotation marks around it."""
        lines = [line.strip() for line in answer.splitlines() if line.strip()]
        line = " ".join(lines[0].split()) if lines else ""
        return line[1:-1].strip() if len(line) > 1 and line[0] == line[-1] and line[0] in "\"'" else line

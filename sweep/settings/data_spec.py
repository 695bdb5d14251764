"""The tables of a study file about its data: the collection or the sources, and how they are split."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from sweep.settings.ranges import Table, as_tuple

SOURCE = "/"
"""Sign between the name of a source and the ids of its documents and queries, where there are several."""


class SplitSpec(Table):
    """The split, by document, of a collection that brings none."""

    dev: float = Field(default=0.2, gt=0.0, lt=1.0, description="Share of the judged documents that selects.")
    test: float = Field(default=0.2, ge=0.0, lt=1.0, description="Share that is read once, when the budget is spent.")
    seed: int = Field(default=0, ge=0, description="Seed of the split.")
    group: str | None = Field(
        default=None,
        min_length=1,
        description='Documents that stay together: "title", or a pattern of ids whose first group (or match) is equal.',
    )
    leaks: Literal["leave-out", "keep"] = Field(
        default="leave-out", description="What training does with texts that give dev or test away."
    )

    @field_validator("group")
    @classmethod
    def _group_is_a_pattern(cls, group: str | None) -> str | None:
        try:
            re.compile(group or "")
        except re.error as error:
            raise ValueError(f'must be "title" or a regular expression of document ids: {error}') from error
        return group

    @model_validator(mode="after")
    def _leaves_training(self) -> Self:
        if self.dev + self.test >= 1.0:
            raise ValueError(f"dev + test must be below 1, got {self.dev} + {self.test}")
        return self


class SourceSpec(Table):
    """One of several collections to train or to evaluate on."""

    collection: str = Field(min_length=1, description="As data.collection.")
    name: str = Field(default="", description="Its name; left out: the last part of the collection's.")
    weight: float = Field(default=1.0, gt=0.0, description="Its share of the training pairs, or of the objective.")

    @property
    def label(self) -> str:
        """Its name, for a person and in front of its ids."""
        return self.name or re.split(r"[/:@#]", self.collection.rstrip("/"))[-1]

    @model_validator(mode="after")
    def _is_nameable(self) -> Self:
        if SOURCE in self.name or not self.label.strip():
            raise ValueError(f"name must be given, without {SOURCE!r}, got {self.label!r}")
        return self


@dataclass(frozen=True, kw_only=True)
class Source:
    """A collection among several, with its weights in training and in the objective; None where it has no part."""

    name: str
    collection: str
    trains: float | None
    evaluates: float | None


class DataSpec(Table):
    """The collection to train and to evaluate on, or several."""

    collection: str = Field(
        default="", description="A FOLDER or FILE of any known layout, hub:NAME@REVISION, package:aws-cli."
    )
    train: Annotated[tuple[SourceSpec, ...], BeforeValidator(as_tuple)] = Field(
        default=(), description="Sources of training pairs, in place of the collection."
    )
    evaluate: Annotated[tuple[SourceSpec, ...], BeforeValidator(as_tuple)] = Field(
        default=(), description="Benchmarks to evaluate on, in place of the collection."
    )
    relevant: float | None = Field(
        default=None, gt=0.0, description="Grade from which a document is a positive; left out: any above 0."
    )
    split: SplitSpec = Field(
        default=SplitSpec(), description="Shares are used only where the collection has no splits; the rest always."
    )
    document: Literal["text", "title-and-text"] = Field(
        default="title-and-text",
        description="The part of a document that is embedded, in evaluation and query-document pairs.",
    )
    rules: Literal[1, 2] = Field(
        default=2, description="Rules that prepare texts and judgements; 1 is what studies had that know no 2."
    )

    @model_validator(mode="after")
    def _names_what_is_used(self) -> Self:
        if not self.collection and not (self.train and self.evaluate):
            raise ValueError("collection is missing: name one, or sources under both data.train and data.evaluate")
        if self.collection and self.train and self.evaluate:
            raise ValueError("collection is used for nothing beside both data.train and data.evaluate: leave it out")
        for sources in (self.train, self.evaluate):
            labels = [source.label for source in sources]
            if len({*labels}) < len(labels) or len({source.collection for source in sources}) < len(labels):
                raise ValueError(f"names a source twice, got {', '.join(labels)}")
        names: dict[str, str] = {}
        for source in (*self.train, *self.evaluate):
            if names.setdefault(source.label, source.collection) != source.collection:
                raise ValueError(f"gives the name {source.label!r} to two collections: set the name of one")
        return self

    @property
    def title(self) -> str:
        """What is trained and evaluated on, for a person."""
        if not self.sources:
            return f"collection {self.collection}"
        evaluated = ", ".join(source.name for source in self.sources if source.evaluates is not None)
        return f"benchmarks {evaluated}"

    @property
    def sources(self) -> tuple[Source, ...]:
        """Every collection once, benchmarks first; none where one collection is all."""
        if not (self.train or self.evaluate):
            return ()
        alone = (SourceSpec(collection=self.collection),) if self.collection else ()
        trains = {source.collection: source for source in self.train or alone}
        evaluates = {source.collection: source for source in self.evaluate or alone}
        return tuple(
            Source(
                name=(evaluates.get(collection) or trains[collection]).label,
                collection=collection,
                trains=trains[collection].weight if collection in trains else None,
                evaluates=evaluates[collection].weight if collection in evaluates else None,
            )
            for collection in evaluates | trains
        )

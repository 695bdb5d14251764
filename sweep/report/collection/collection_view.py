"""CollectionView: the texts of a study as it uses them, for whoever shows them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sweep.data import choose_format
from sweep.data.lengths import WORDS, Counter
from sweep.data.overview import FormatOverview, Look, SplitOverview, TextOverview, view_format, view_splits
from sweep.plan import StudyPlan
from sweep.report.collection.sentences import (
    count_plan_leaks,
    describe_generated,
    describe_held_out,
    describe_leaks,
    describe_sources,
    describe_texts,
    describe_unanswered,
)
from sweep.training.tokenizer_file import load_token_counter, read_text_limits

EXAMPLES = 3
"""Rows of each format, and queries of each split, that are shown where nobody says how many."""


@dataclass(frozen=True, kw_only=True)
class CollectionView:
    """The texts of a study.

    Attributes:
        plan: The study.
        unit: Unit of lengths besides characters: tokens of its base model, or words where its tokenizer is not known.
        limit: Tokens of a text that its models read; None where there is no limit or tokens are not counted.
        splits: What models are evaluated on; without test where there is none.
        formats: What they are trained on in each data format.
        reading: Sentences on how the collection was read, and what its reader left out.
        left_out: Sentences on what the study leaves out, and why.
    """

    plan: StudyPlan
    unit: str
    limit: int | None
    splits: Sequence[SplitOverview]
    formats: Sequence[FormatOverview]
    reading: Sequence[str]
    left_out: Sequence[str]

    @property
    def has_test_split(self) -> bool:
        """Whether models are evaluated on test, once, at the end."""
        return "test" in self.plan.splits

    @property
    def texts(self) -> Iterator[tuple[str, TextOverview]]:
        """Every kind of text with its name."""
        for one in self.splits:
            yield f"{one.name} queries", one.queries
            yield f"{one.name} documents", one.documents
        for known in self.formats:
            for column, (_, texts) in known.columns.items():
                yield f"{known.name} {column}", texts

    @property
    def examples(self) -> Iterator[tuple[str, Sequence[str], Sequence[Sequence[str]]]]:
        """The examples: of what they are, the names of their texts, and the texts of each; none of the test split."""
        for one in (one for one in self.splits if one.split == "dev"):
            title = f"{one.name}: queries, each with a document that is relevant to it"
            yield title, ("query", "document"), one.examples
        for known in self.formats:
            rows = [tuple(row.values()) for row in known.examples]
            yield f"{known.name}: training pairs" if len(known.columns) == 2 else known.name, [*known.columns], rows

    def sees(self, known: FormatOverview) -> float:
        """How often a trial sees each pair of a data format, on average."""
        return self.plan.spec.budget.examples / known.pairs


def view_collection(plan: StudyPlan, *, examples: int = EXAMPLES) -> CollectionView:
    """The texts of a study, with so many examples of each kind."""
    look, leaks, document = look_at_texts(plan, examples=examples), count_plan_leaks(plan), plan.spec.data.document
    return CollectionView(
        plan=plan,
        unit=look.counter.unit,
        limit=look.limit,
        splits=[
            one
            for split in plan.splits
            for one in view_splits(
                plan.collection, plan.evaluation_set(split), split=split, document=document, look=look
            )
        ],
        formats=[
            view_format(name, columns, roles=choose_format(plan.spec, name).roles, leaking=leaks.pairs[name], look=look)
            for name, columns in plan.columns.items()
        ],
        reading=[*plan.collection.notes, *describe_sources(plan)],
        left_out=[
            *describe_texts(plan),
            *(line for split in plan.splits for line in describe_unanswered(plan, split)),
            *describe_held_out(plan),
            *describe_leaks(plan, leaks),
            *describe_generated(plan),
        ],
    )


def look_at_texts(plan: StudyPlan, *, examples: int) -> Look:
    """By the tokens of a study's base model, or by words where its tokenizer is not known."""
    count_tokens = load_token_counter(plan.base_model)
    if count_tokens is None:
        return Look(WORDS, None, examples)
    limit = plan.spec.model.max_seq_length or read_text_limits(plan.base_model).tokens
    return Look(Counter("tokens", count_tokens), limit, examples)

"""Held-out rows: the examples that the validation loss of a data format is measured on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Generic, TypeVar

from sweep.data.collection import Collection, DocumentView, Qrels, open_for_pairs
from sweep.data.formats import make_columns
from sweep.data.formats.format import PROMPTS, Columns, Format, Prompt, Roles, columns_of
from sweep.data.order import count_distinct, plan_order
from sweep.errors import CollectionError

BATCH_SIZE = 64
"""Rows that a validation loss is taken over at once: the same for every trial, since the loss rises with it."""

BATCHES = 8


Text = TypeVar("Text")
Other = TypeVar("Other")


@dataclass(frozen=True)
class HeldOutRows(Generic[Text]):
    """Rows of one data format whose pairs no trial trains on.

    Attributes:
        texts: (S, B) texts of each column, or their numbers, in the order in which a loss takes the columns; no text
            twice in a batch.
        roles: Role of each column.
    """

    texts: Mapping[str, tuple[tuple[Text, ...], ...]]
    roles: Roles

    def texts_with(self, prompt: Prompt) -> Iterator[Text]:
        """The texts of the columns that have the prompt of queries, or of documents."""
        for column, batches in self.texts.items():
            if PROMPTS[self.roles[column]] == prompt:
                yield from chain.from_iterable(batches)

    def replace(self, change: Callable[[Sequence[Text]], Sequence[Other]]) -> HeldOutRows[Other]:
        """The same rows of other texts, batch by batch."""
        texts = {column: tuple(tuple(change(batch)) for batch in batches) for column, batches in self.texts.items()}
        return HeldOutRows(texts, self.roles)


def plan_held_out(
    collection: Collection, data_format: Format, *, judgements: Qrels, document: DocumentView
) -> HeldOutRows[str] | None:
    """The rows that a data format makes of held-out judgements, without the pairs that it also trains on.

    The same rows in the same batches for every trial: eight batches of 64, smaller ones where there are fewer distinct
    texts; None where there is not even a batch of two. The judgements are those of the dev split; where they are the
    ones that models are evaluated on, an evaluation encodes hardly a text more.
    """
    try:
        columns = make_columns(open_for_pairs(collection, judgements), data_format, document=document)
    except CollectionError:  # they make no pair of this format
        return None
    pair = columns_of(data_format.roles, "anchor", "positive")
    trained = set(_rows(data_format.make(collection, document), *pair))
    kept = [row for row, texts in enumerate(_rows(columns, *pair)) if texts not in trained]
    held_out = {column: [texts[row] for row in kept] for column, texts in columns.items()}
    batch_size = min(BATCH_SIZE, count_distinct(held_out))
    if batch_size < 2:
        return None
    try:
        order = plan_order(held_out, batch_size=batch_size, steps=BATCHES, seed=0).tolist()
    except CollectionError:  # its texts cross so that no full batch can be cut
        return None
    texts = {column: tuple(tuple(texts[row] for row in batch) for batch in order) for column, texts in held_out.items()}
    return HeldOutRows(texts, data_format.roles)


def _rows(columns: Columns, *names: str) -> Iterator[tuple[str, ...]]:
    return zip(*(columns[name] for name in names), strict=True)

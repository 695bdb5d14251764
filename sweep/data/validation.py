"""Held-out pairs: what the validation loss of a data format is measured on."""

from __future__ import annotations

from dataclasses import dataclass

from sweep.data.collection import Collection, DocumentView, Qrels, open_for_pairs
from sweep.data.formats import FORMATS, make_columns
from sweep.data.order import count_distinct, plan_order
from sweep.errors import CollectionError

BATCH_SIZE = 64
"""Pairs that a validation loss is taken over at once: the same for every trial, since the loss rises with it."""

BATCHES = 8


@dataclass(frozen=True)
class HeldOutPairs:
    """Pairs of one data format that no trial trains on.

    Attributes:
        anchors: (S, B) texts, in S batches of B, no text twice in a batch.
        positives: (S, B) their positives.
    """

    anchors: tuple[tuple[str, ...], ...]
    positives: tuple[tuple[str, ...], ...]


def plan_held_out(
    collection: Collection, data_format: str, *, judgements: Qrels, document: DocumentView
) -> HeldOutPairs | None:
    """What a data format makes of judgements that are held out, without the pairs that it also trains on.

    The same pairs in the same batches for every trial: eight batches of 64, smaller ones where there are fewer distinct
    texts. Where the judgements are those that models are judged on, an evaluation encodes hardly a text more.

    Args:
        collection: The collection.
        data_format: The format.
        judgements: Of the dev split, or of the part of it that is judged.
        document: What of a document is embedded.

    Returns:
        The pairs; None where there is not even a batch of two.
    """
    try:
        columns = make_columns(open_for_pairs(collection, judgements), data_format, document=document)
    except CollectionError:  # they make no pair of this format
        return None
    training = FORMATS[data_format](collection, document)
    trained = set(zip(training["anchor"], training["positive"], strict=True))
    pairs = [pair for pair in zip(columns["anchor"], columns["positive"], strict=True) if pair not in trained]
    held_out = {"anchor": [anchor for anchor, _ in pairs], "positive": [positive for _, positive in pairs]}
    batch_size = min(BATCH_SIZE, count_distinct(held_out))
    if batch_size < 2:
        return None
    try:
        order = plan_order(held_out, batch_size=batch_size, steps=BATCHES, seed=0).tolist()
    except CollectionError:  # its texts cross so that no full batch can be cut
        return None
    return HeldOutPairs(
        anchors=tuple(tuple(held_out["anchor"][row] for row in batch) for batch in order),
        positives=tuple(tuple(held_out["positive"][row] for row in batch) for batch in order),
    )

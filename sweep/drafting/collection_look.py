"""CollectionLook: what of a collection the settings of a study follow from, in counts."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweep.data import FORMATS, Collection, DocumentView, Split, count_distinct, make_columns, plan_evaluation_set
from sweep.data.collection import find_judged
from sweep.data.lengths import WORDS, Counter, spread_evenly
from sweep.data.locate import locate_base_model
from sweep.data.survey import LeakCounts, count_leaks, count_texts, count_titled_alike
from sweep.errors import CollectionError
from sweep.settings.study_file import LossSpec
from sweep.training.losses import LOSSES
from sweep.training.tokenizer_file import TextLimits, load_token_counter, read_text_limits

FEW = 64
"""Distinct texts of a format that is left out where another has more: it would hold the batches down."""

TOKENS_A_WORD = 1.5
"""Tokens of a word, roughly, where a model's tokenizer is not known."""


@dataclass(frozen=True, kw_only=True)
class FormatLook:
    """A data format of a collection.

    Attributes:
        pairs: Its training examples.
        distinct: The largest batch that they could give.
    """

    pairs: int
    distinct: int


@dataclass(frozen=True, kw_only=True)
class CollectionLook:
    """A collection, and a base model's view of its texts.

    Attributes:
        collection: The collection, split.
        titled: Documents that have a title beside a text.
        formats: The data formats that it can make.
        missing: Reasons for which it cannot make the others, by name.
        evaluable: Queries of each split that have a relevant document.
        documents: Lengths in tokens of evenly spread documents.
        queries: Lengths of evenly spread queries.
        is_estimated: Whether these were estimated from words, since the tokenizer is not known.
        limits: How much of a text the model reads.
        leaks: What training leaves out.
        alike: Documents that are trained on under the title of one that is judged for dev or test.
    """

    collection: Collection
    titled: int
    formats: Mapping[str, FormatLook]
    missing: Mapping[str, str]
    evaluable: Mapping[Split, int]
    documents: Sequence[int]
    queries: Sequence[int]
    is_estimated: bool
    limits: TextLimits
    leaks: LeakCounts
    alike: int

    @functools.cached_property
    def grades(self) -> list[float]:
        """The grades that are given, ascending."""
        judged = (each for split in self.collection.qrels.values() for each in split.values())
        return sorted({grade for each in judged for grade in each.values()})

    @property
    def held_out(self) -> int:
        """Documents that the split by document keeps for dev and test; 0 where the splits are the authors'."""
        return len(self.collection.held_out - self.collection.leaks.all_documents)

    def count_judged(self, queries: int) -> int:
        """Documents that are judged for so many queries of dev, as a study would sample them."""
        return plan_evaluation_set(
            self.collection, "dev", max_documents=1, max_queries=queries, seed=0
        ).judged_documents


def look_at(collection: Collection, *, base: str, folder: Path, document: DocumentView) -> CollectionLook:
    """A look at a collection for a base model, which is named as in a study file in a folder.

    Raises:
        CollectionError: If no query of dev can be evaluated on, or no data format can be made.
        ModelError: If the base model is not there.
    """
    model, _ = locate_base_model(base, folder)
    plan_evaluation_set(collection, "dev", max_documents=1, max_queries=1, seed=0)  # refuses what has no query
    formats, missing = _look_at_formats(collection, document)
    if not formats:
        raise CollectionError(next(iter(missing.values())))
    counter, is_estimated = _choose_counter(model)
    documents = spread_evenly([*collection.documents])
    queries = spread_evenly([*collection.queries])
    return CollectionLook(
        collection=collection,
        titled=count_texts(collection, document).titles,
        formats=formats,
        missing=missing,
        evaluable={split: len(find_judged(collection, split)) for split in collection.qrels},
        documents=counter.count([collection.documents[name].embedded(document) for name in documents]),
        queries=counter.count([collection.queries[name] for name in queries]),
        is_estimated=is_estimated,
        limits=read_text_limits(model),
        leaks=count_leaks(collection, {name: FORMATS[name]() for name in formats}, document=document),
        alike=count_titled_alike(collection),
    )


def _look_at_formats(collection: Collection, document: DocumentView) -> tuple[dict[str, FormatLook], dict[str, str]]:
    """The formats that a collection and the usual loss can take, and why not the others, by name."""
    formats, missing = {}, {}
    loss = LOSSES[LossSpec().name]()
    for name, kind in FORMATS.items():
        data_format = kind()
        if loss.find_mismatch(data_format.roles) is not None:
            continue
        try:
            columns = make_columns(collection, data_format, document=document)
        except CollectionError as error:
            missing[name] = str(error)
            continue
        formats[name] = FormatLook(pairs=len(next(iter(columns.values()))), distinct=count_distinct(columns))
    smallest = min(FEW, max((one.distinct for one in formats.values()), default=0))
    for name, one in formats.items():
        if one.distinct < max(2, smallest):
            missing[name] = (
                f"{collection.name}: {one.distinct} distinct texts of format {name!r} are too few for batches"
            )
    return {name: one for name, one in formats.items() if name not in missing}, missing


def _choose_counter(model: Path) -> tuple[Counter, bool]:
    """A counter of a model's tokens, and whether it estimates them."""
    count_tokens = load_token_counter(model)
    if count_tokens is not None:
        return Counter("tokens", count_tokens), False
    return Counter("tokens", lambda texts: [math.ceil(TOKENS_A_WORD * words) for words in WORDS.count(texts)]), True

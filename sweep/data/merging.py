"""Several collections as one: each has its name before its ids, so that leaks are found across all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from sweep.data.collection import SPLITS, Collection, Part, Qrels, RawCollection, Split
from sweep.data.leaks import normalize
from sweep.errors import CollectionError
from sweep.settings.data_spec import SOURCE

Fact = TypeVar("Fact")


@dataclass(frozen=True)
class SplitSource:
    """A source whose judgements are split; its ids begin with its name."""

    contents: RawCollection
    qrels: Mapping[Split, Qrels]
    held_out: frozenset[str]


def prefix_raw(contents: RawCollection, name: str) -> RawCollection:
    """The contents of a source with its name before every id and every note."""
    return RawCollection(
        documents=_prefix(contents.documents, name),
        queries=_prefix(contents.queries, name),
        qrels={split: _prefix_qrels(qrels, name) for split, qrels in contents.qrels.items()},
        notes=tuple(f"{name}: {note}" for note in contents.notes),
    )


def prefix_split(
    contents: RawCollection, name: str, qrels: Mapping[Split, Qrels], held_out: Iterable[str]
) -> SplitSource:
    """A source that was split, with its name before every id."""
    return SplitSource(
        prefix_raw(contents, name),
        {split: _prefix_qrels(judged, name) for split, judged in qrels.items()},
        frozenset(f"{name}{SOURCE}{identifier}" for identifier in held_out),
    )


def merge_raw(contents: Sequence[RawCollection]) -> RawCollection:
    """Sources as one, without judgements."""
    return RawCollection(
        documents={name: document for one in contents for name, document in one.documents.items()},
        queries={name: text for one in contents for name, text in one.queries.items()},
        qrels={},
        notes=tuple(note for one in contents for note in one.notes),
    )


def merge(sources: Sequence[SplitSource], parts: tuple[Part, ...], *, relevant: float | None) -> Collection:
    """Sources that were split as one collection."""
    merged = merge_raw([source.contents for source in sources])
    return Collection(
        name=" + ".join(part.name for part in parts),
        documents=merged.documents,
        queries=merged.queries,
        qrels={
            split: {query: judged for one in sources for query, judged in one.qrels.get(split, {}).items()}
            for split in SPLITS
        },
        held_out=frozenset().union(*(source.held_out for source in sources)),
        relevant=relevant,
        parts=parts,
        notes=merged.notes,
    )


def divide_queries(
    qrels: Qrels, queries: Mapping[str, str], shares: Mapping[Split, float], *, seed: int
) -> dict[Split, Qrels]:
    """Judgements of a source that is not trained on, divided by query; queries of one text stay together.

    Args:
        qrels: Its judgements.
        queries: Texts by query id.
        shares: Share of each split; they sum to 1.
        seed: Seed of the shuffle.

    Raises:
        CollectionError: If there are fewer texts of queries than splits.
    """
    texts = sorted({normalize(queries.get(query, "")) for query in qrels})
    order = np.random.default_rng(seed).permutation(len(texts))
    ends = np.rint(np.cumsum([shares[split] for split in shares]) * len(texts)).astype(int)
    split_of: dict[str, Split] = {}
    for split, start, end in zip(shares, [0, *ends[:-1]], ends, strict=True):
        if shares[split] > 0 and start == end:
            raise CollectionError(f"has {len(texts)} queries, too few to divide them among {', '.join(shares)}")
        split_of |= dict.fromkeys((texts[place] for place in order[start:end]), split)
    return {
        split: {
            query: judged for query, judged in qrels.items() if split_of[normalize(queries.get(query, ""))] == split
        }
        for split in shares
    }


def _prefix(facts: Mapping[str, Fact], name: str) -> dict[str, Fact]:
    return {f"{name}{SOURCE}{identifier}": fact for identifier, fact in facts.items()}


def _prefix_qrels(qrels: Qrels, name: str) -> dict[str, dict[str, float]]:
    return {query: _prefix(judged, name) for query, judged in _prefix(qrels, name).items()}

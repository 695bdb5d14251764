"""The split by document, for collections that bring none."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sweep.data.collection import SPLITS, Document, Qrels, Split
from sweep.errors import CollectionError


def split_by_document(
    documents: Mapping[str, Document],
    queries: Mapping[str, str],
    qrels: Qrels,
    *,
    dev: float,
    test: float,
    seed: int,
    groups: Mapping[str, str] | None = None,
) -> tuple[dict[Split, Qrels], frozenset[str]]:
    """Splits judgements so that no document of a dev or test query is in a judgement of a train query.

    Queries and documents that judgements tie together stay together, and so do documents of equal content and queries
    of equal text: twins under two ids would carry the answer over. A group goes where it still fits, so that the
    shares are upper bounds, met as closely as groups allow. The result depends on no order of a mapping.

    Args:
        documents: Documents by id.
        queries: Texts by query id.
        qrels: Judgements without splits; those about an unknown document or query are left out.
        dev: Share of the judged documents for dev, in (0, 1).
        test: Share for test, in [0, 1); dev + test is below 1.
        seed: Seed of the split, not negative.
        groups: Groups of documents that stay together, too, by document id.

    Returns:
        Judgements by split, all three present, and the ids of all documents, judged or not, that are judged for a dev
        or test query or are of equal content with one that is.

    Raises:
        CollectionError: If the groups are so large, or so few, that a split which must not be empty would be.
    """
    known = {
        query: {document: grade for document, grade in sorted(qrels[query].items()) if document in documents}
        for query in sorted(qrels)
        if query in queries
    }
    tied = _tied_queries(documents, queries, known, groups or {})
    sizes = [len({document for query in group for document in known[query]}) for group in tied]
    split_of = _assign(sizes, {"dev": dev, "test": test}, seed=seed)
    parts: dict[Split, dict[str, dict[str, int]]] = {split: {} for split in SPLITS}
    for group, split in zip(tied, split_of, strict=True):
        parts[split].update({query: known[query] for query in group})
    for split in SPLITS:
        parts[split] = dict(sorted(parts[split].items()))
        if not parts[split] and (split != "test" or test > 0):
            raise CollectionError(
                f"cannot be split by document: {sum(sizes)} judged documents hang together in {len(tied)} groups,"
                f" the largest of {max(sizes, default=0)}, which leaves nothing for {split}"
            )
    judged = {document for split in ("dev", "test") for grades in parts[split].values() for document in grades}
    contents = {documents[document].text for document in judged}
    twins = {key for key, document in documents.items() if document.text.strip() and document.text in contents}
    return {split: parts[split] for split in SPLITS}, frozenset(judged | twins)


def _tied_queries(
    documents: Mapping[str, Document],
    queries: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
    groups: Mapping[str, str],
) -> list[list[str]]:
    """Queries in groups: two are in one where judgements, equal contents or texts, or groups of documents tie them."""
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def find(node: tuple[str, str]) -> tuple[str, str]:
        while (above := parent.setdefault(node, node)) != node:
            parent[node] = parent[above]
            node = above
        return node

    for query, judged in qrels.items():
        ties = [("query text", queries[query])] if queries[query].strip() else []
        for document in judged:
            ties.append(("document", document))
            if documents[document].text.strip():
                ties.append(("document text", documents[document].text))
            if document in groups:
                ties.append(("group", groups[document]))
        for tie in ties:
            parent[find(tie)] = find(("query", query))
    tied: dict[tuple[str, str], list[str]] = {}
    for query in qrels:
        if qrels[query]:
            tied.setdefault(find(("query", query)), []).append(query)
    return list(tied.values())


def _assign(sizes: list[int], shares: Mapping[Split, float], *, seed: int) -> list[Split]:
    """The split of each group: in shuffled order, the first of the shares that still has room, or else train."""
    total = sum(sizes)
    room = {split: max(1, round(share * total)) if share > 0 else 0 for split, share in shares.items()}
    split_of: list[Split] = ["train"] * len(sizes)
    for index in np.random.default_rng(seed).permutation(len(sizes)):
        for split in room:
            if sizes[index] <= room[split]:
                room[split] -= sizes[index]
                split_of[index] = split
                break
    return split_of

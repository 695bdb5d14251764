"""The split by document, for collections that bring none."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sweep.data.collection import SPLITS, Document, Qrels, Split, is_relevant
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
    relevant: float | None = None,
    any_grade_ties: bool = False,
) -> tuple[dict[Split, Qrels], frozenset[str]]:
    """Splits judgements so that no document that is relevant to a dev or test query is relevant to a train query.

    Queries and documents that judgements tie together stay together, and so do documents of equal content and queries
    of equal text: twins under two ids would carry the answer over. A group goes where it still fits, so that the
    shares are upper bounds, met as closely as groups allow. The result depends on no order of a mapping.

    Only relevant judgements tie: in a pool that is judged for every query, and among mined negatives, those of grade 0
    would tie everything.

    Args:
        documents: Documents by id.
        queries: Texts by query id.
        qrels: Judgements without splits; those about an unknown document or query are left out.
        dev: Share of the judged documents for dev, in (0, 1).
        test: Share for test, in [0, 1); dev + test is below 1.
        seed: Seed of the split, not negative.
        groups: Groups of documents that stay together, too, by document id.
        relevant: Grade from which a document is relevant; None for every grade above 0.
        any_grade_ties: Whether judgements of every grade tie, as in older studies.

    Returns:
        Judgements by split, all three present, and the ids of all documents, judged or not, that tie for a dev or test
        query or are of equal content with one that does.

    Raises:
        CollectionError: If the groups are so large, or so few, that a split which must not be empty would be; the
            message has the shares that work, if any do.
    """
    known = {
        query: {document: grade for document, grade in sorted(qrels[query].items()) if document in documents}
        for query in sorted(qrels)
        if query in queries
    }
    positive = {
        query: {document: grade for document, grade in judged.items() if is_relevant(grade, relevant)}
        for query, judged in known.items()
    }
    if not any(positive.values()):
        raise CollectionError(f"no query has a relevant document{f' (grade {relevant:g} or more)' if relevant else ''}")
    ties: Qrels = known if any_grade_ties else positive
    tied = _tied_queries(documents, queries, ties, groups or {})
    sizes = [len({document for query in group for document in ties[query]}) for group in tied]
    shares: Mapping[Split, float] = {"dev": dev, "test": test}
    split_of = _assign(sizes, shares, seed=seed)
    for split, share in (("train", 1.0), *shares.items()):
        if share > 0 and split not in split_of:
            raise CollectionError(_describe_failure(sizes, split, shares, seed=seed))
    of_query = {query: split for group, split in zip(tied, split_of, strict=True) for query in group}
    parts: dict[Split, Qrels] = {
        split: {query: known[query] for query in known if known[query] and of_query.get(query, "train") == split}
        for split in SPLITS
    }
    judged = {document for query, split in of_query.items() if split != "train" for document in ties[query]}
    contents = {documents[document].text for document in judged}
    twins = {key for key, document in documents.items() if document.text.strip() and document.text in contents}
    return parts, frozenset(judged | twins)


def _describe_failure(sizes: list[int], split: str, shares: Mapping[Split, float], *, seed: int) -> str:
    """The groups that leave a split empty, and the nearest shares that leave none empty."""
    working = _find_shares(sizes, shares, seed=seed)
    if working is None:
        advice = "no share works, so bring judgements of your own for dev (and test)"
    else:
        named = ", ".join(f"{name} = {share:g}" for name, share in working.items())
        advice = f"split = {{ {named} }} works"
    return (
        f"cannot be split by document: {sum(sizes)} judged documents hang together in {len(sizes)} groups, the largest"
        f" of {max(sizes, default=0)}, which leaves nothing for {split}: {advice}"
    )


def _find_shares(sizes: list[int], shares: Mapping[Split, float], *, seed: int) -> dict[Split, float] | None:
    """The nearest shares, in hundredths and dev first, that leave no split empty; a test share may have to be 0."""
    candidates = [
        {"dev": dev / 100, "test": test / 100}
        for dev in range(1, 100)
        for test in (range(1, 100 - dev) if shares["test"] else [0])
    ]
    candidates.sort(key=lambda each: max(abs(each[split] - share) for split, share in shares.items()))
    for each in [*candidates, *({"dev": dev / 100, "test": 0.0} for dev in range(1, 100) if shares["test"])]:
        wanted: dict[Split, float] = {"dev": each["dev"], "test": each["test"]}
        needed = {"train", *(split for split, share in wanted.items() if share > 0)}
        if needed <= {*_assign(sizes, wanted, seed=seed)}:
            return wanted
    return None


def _tied_queries(
    documents: Mapping[str, Document],
    queries: Mapping[str, str],
    qrels: Qrels,
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

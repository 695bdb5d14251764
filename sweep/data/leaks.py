"""Leaks: training texts that give the answers of dev or test away, by what they have in common with texts there."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Literal

from sweep.data.near_texts import NEAR, group_near, is_near, sign_words, split_words
from sweep.data.overlaps import MAX_TEXTS, find_overlaps

NEAR_QUERIES = 0.9
"""Share of words that near-equal queries have in common: one word of five makes another question of most queries."""

DocumentLeak = Literal["judged", "copy", "group", "near", "overlap"]
QueryLeak = Literal["equal", "near"]


@dataclass(frozen=True)
class Leaks:
    """What of a train split is also in dev or test.

    Attributes:
        documents: Ids of documents by the first reason that holds of them: *judged* for dev or test themselves, a
            *copy* of one that is (but for case, spaces and Unicode's composition), of its *group*, *near*-equal to it,
            or a chunk whose text *overlap*s with it.
        queries: Ids of train queries that are *equal* to one of dev or test, likewise, or *near*-equal.
    """

    documents: Mapping[DocumentLeak, frozenset[str]] = field(default_factory=dict)
    queries: Mapping[QueryLeak, frozenset[str]] = field(default_factory=dict)

    @property
    def all_documents(self) -> frozenset[str]:
        """The documents of every reason."""
        return frozenset().union(*self.documents.values())

    @property
    def all_queries(self) -> frozenset[str]:
        """The queries of every reason."""
        return frozenset().union(*self.queries.values())


def normalize(text: str) -> str:
    """A text without what copies differ in: case, spaces, and the composition of its letters (Unicode's NFC)."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def find_groups(titles: Mapping[str, str], group: str | None) -> dict[str, str]:
    """The group of each document that has one: its title, or what a pattern finds in its id (its first group, if any).

    Args:
        titles: Titles of all documents, by id.
        group: ``title`` or a regular expression; None groups nothing.
    """
    if group is None:
        return {}
    if group == "title":
        return {name: normalize(title) for name, title in titles.items() if title.strip()}
    matches = ((name, re.search(group, name)) for name in titles)
    return {name: (match[1] or "") if match.re.groups else match[0] for name, match in matches if match}


def find_document_leaks(
    texts: Mapping[str, str],
    titles: Mapping[str, str],
    *,
    judged: Set[str],
    trainable: Set[str],
    groups: Mapping[str, str],
) -> dict[DocumentLeak, frozenset[str]]:
    """The documents that could be trained on and give one away that is judged for dev or test, by reason.

    13,000 documents of which 1,700 are judged took 5 s on a busy core.

    Args:
        texts: Texts of all documents, by id.
        titles: Their titles, by which near-equal texts must be near-equal too.
        judged: Ids of documents that are judged for dev or test, at any grade.
        trainable: Ids of documents that some data format could train on.
        groups: The group of each document that has one.
    """
    judged = judged & texts.keys()
    found: dict[DocumentLeak, frozenset[str]] = {}
    left = set(trainable & texts.keys())
    for reason, names in _find_by_reason(texts, titles, judged, left, groups):
        found[reason] = frozenset(names & left)
        left -= names
    return {reason: names for reason, names in found.items() if names}


def _find_by_reason(
    texts: Mapping[str, str],
    titles: Mapping[str, str],
    judged: Set[str],
    left: Set[str],
    groups: Mapping[str, str],
) -> Iterator[tuple[DocumentLeak, Set[str]]]:
    """The documents of each reason, among those that are left when it is asked for."""
    yield "judged", judged
    normal = {name: normalize(texts[name]) for name in judged | left}
    contents = {normal[name] for name in judged} - {""}
    yield "copy", {name for name in left if normal[name] in contents}
    held = {groups[name] for name in judged if name in groups}
    yield "group", {name for name in left if groups.get(name) in held}
    words = {name: split_words(normal[name]) for name in sorted(judged | left)}
    titled = {name: split_words(normalize(titles[name])) + text for name, text in words.items()}
    yield "near", find_near(*_part(titled, judged, left), share=NEAR)
    yield "overlap", find_overlaps(*_part(words, judged, left))


def _part(
    words: Mapping[str, list[str]], judged: Set[str], left: Set[str]
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The words of judged documents, and of those that are left."""
    return (
        {name: text for name, text in words.items() if name in judged},
        {name: text for name, text in words.items() if name in left},
    )


def find_query_leaks(queries: Mapping[str, str], *, train: Set[str], held: Set[str]) -> dict[QueryLeak, frozenset[str]]:
    """The train queries that are those of dev or test, or equal or near-equal to one, by reason.

    Args:
        queries: Texts of all queries, by id.
        train: Ids of the queries of the train split.
        held: Ids of the queries of dev and test.
    """
    normal = {name: normalize(queries[name]) for name in (train | held) & queries.keys()}
    theirs = {name: text for name, text in normal.items() if name in held}
    ours = {name: text for name, text in normal.items() if name in train}
    texts = set(theirs.values()) - {""}
    equal = frozenset(name for name, text in ours.items() if text in texts or name in theirs)
    words = {name: split_words(text) for name, text in sorted(ours.items()) if name not in equal}
    sources = {name: split_words(text) for name, text in sorted(theirs.items())}
    near = frozenset(find_near(sources, words, share=NEAR_QUERIES))
    found: dict[QueryLeak, frozenset[str]] = {"equal": equal, "near": near}
    return {reason: names for reason, names in found.items() if names}


def find_near(sources: Mapping[str, list[str]], others: Mapping[str, list[str]], *, share: float) -> set[str]:
    """Ids among ``others`` of texts that are near-equal to one of the ``sources``, by their sets of words.

    A text that is near-equal to more than ten of them is made of a pattern that they share, and a copy of none.
    """
    names = [*sources, *others]
    words = [frozenset(text) for text in (*sources.values(), *others.values())]
    near: dict[int, set[int]] = defaultdict(set)
    for group in group_near(sign_words(words)):
        theirs = [place for place in group.tolist() if place < len(sources)]
        for place in group[group >= len(sources)].tolist():
            for other in theirs:
                if words[place] and len(near[place]) <= MAX_TEXTS and is_near(words[place], words[other], share=share):
                    near[place].add(other)
    return {names[place] for place, found in near.items() if 0 < len(found) <= MAX_TEXTS}

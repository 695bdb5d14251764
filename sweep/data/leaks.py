"""Leaks: training texts that give the answers of dev or test away, by what they have in common with texts there."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from sweep.data.near_search import NearSearch
from sweep.data.near_texts import NEAR, WordNumbers, chunked, split_words
from sweep.data.overlaps import MAX_TEXTS, OverlapSearch

NEAR_QUERIES = 0.9
"""Share of words that near-equal queries have in common: one word of five makes another question of most queries."""

_LOOKED_AT_ONCE = 4096

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
    answers: Set[str],
    trainable: Set[str],
    groups: Mapping[str, str],
    others: Set[str] = frozenset(),
) -> dict[DocumentLeak, frozenset[str]]:
    """The documents that could be trained on and give an answer to dev or test away, by reason.

    13,000 documents of which 1,700 are judged took 5 s on a busy core.

    Args:
        texts: Texts of all documents, by id.
        titles: Their titles, by which near-equal texts must be near-equal too.
        answers: Ids of documents that are relevant to a query of dev or test.
        trainable: Ids of documents that some data format could train on.
        groups: The group of each document that has one.
        others: Ids of documents that are judged there, and left out, though they are relevant to none.
    """
    answers = answers & texts.keys()
    left = trainable & texts.keys()
    judged = left & (answers | others)
    search = _LeakSearch(texts, titles, answers, groups)
    for names in chunked(sorted(left - judged), _LOOKED_AT_ONCE):
        search.look_at(names)
    found: dict[DocumentLeak, Set[str]] = {"judged": judged, **search.found, "overlap": search.find_overlaps()}
    return {reason: frozenset(names) for reason, names in found.items() if names}


class _LeakSearch:
    """The search for documents that leak, a part of them at a time, so that the words of few are held at once."""

    def __init__(
        self, texts: Mapping[str, str], titles: Mapping[str, str], answers: Set[str], groups: Mapping[str, str]
    ) -> None:
        self.found: dict[DocumentLeak, set[str]] = {"copy": set(), "group": set(), "near": set()}
        self._texts, self._titles, self._groups = texts, titles, groups
        normal = {name: normalize(texts[name]) for name in sorted(answers)}
        self._contents = {*normal.values()} - {""}
        self._held = {groups[name] for name in answers if name in groups}
        words = {name: split_words(text) for name, text in normal.items()}
        titled = [split_words(normalize(titles[name])) + text for name, text in words.items()]
        self._numbers = WordNumbers()
        self._near = NearSearch(titled, share=NEAR, numbers=self._numbers)
        self._overlaps = OverlapSearch(words, self._numbers)

    def look_at(self, names: Sequence[str]) -> None:
        """Looks at some documents, in the order of their ids."""
        normal = {name: normalize(self._texts[name]) for name in names}
        self.found["copy"] |= {name for name, text in normal.items() if text in self._contents}
        self.found["group"] |= {
            name for name in names if name not in self.found["copy"] and self._groups.get(name) in self._held
        }
        names = [name for name in names if name not in self.found["copy"] and name not in self.found["group"]]
        titles = [split_words(normalize(self._titles[name])) for name in names]
        words = self._numbers.number(
            title + split_words(normal[name]) for title, name in zip(titles, names, strict=True)
        )
        is_near = self._near.find(words)
        self.found["near"] |= {names[place] for place in np.flatnonzero(is_near)}
        kept = np.flatnonzero(~is_near)
        untitled = words.take(kept).skip(np.array([len(titles[place]) for place in kept], dtype=np.int64))
        self._overlaps.add([names[place] for place in kept], untitled)

    def find_overlaps(self) -> set[str]:
        """The documents that overlap with one that is judged."""
        return self._overlaps.find(lambda name: split_words(normalize(self._texts[name])))


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


def find_near(
    sources: Mapping[str, list[str]],
    others: Mapping[str, list[str]],
    *,
    share: float,
    most: int | None = MAX_TEXTS,
) -> set[str]:
    """Ids among ``others`` of texts that are near-equal to one of the ``sources``, by their sets of words.

    A text that is near-equal to more than ``most`` of them is made of a pattern that they share, and a copy of none.
    """
    numbers = WordNumbers()
    search = NearSearch([*sources.values()], share=share, numbers=numbers, most=most)
    is_near = search.find(numbers.number(others.values()))
    return {name for name, near in zip(others, is_near.tolist(), strict=True) if near}

"""Gates: what a generated query must be to be trained on, each with the queries that it rejects and why."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, Tag, model_validator

from sweep.data.collection import Document
from sweep.data.generated import GeneratedQuery
from sweep.data.leaks import NEAR_QUERIES, find_near, normalize
from sweep.data.near_texts import count_words, group_near, is_near, split_words
from sweep.settings.ranges import RANGE_OR_FIXED, Table, as_tuple

Reasons = Mapping[int, str]
"""Reason for which a query is rejected, by its place."""

_COMPARED = 64
"""Queries of one group of likely equals that each is compared with: thousands of one pattern need no more."""


class RoundTripSpec(Table):
    """The round trip: a ranking of all documents by the query must hold the one that it was generated for."""

    by: Literal["bm25", "model"] = Field(default="bm25", description="What ranks: BM25, or the untrained model.")
    within: int = Field(default=10, ge=1, description="Rank at which the document must stand at the latest.")


class GateSpec(Table):
    """The gates of a data format's generated queries; each can be false, which lets all pass."""

    text: bool = Field(default=True, description="Rejects what is no text alone: markup, instructions, control signs.")
    words: Annotated[tuple[int, int], BeforeValidator(as_tuple)] = Field(
        default=(1, 64), description="Fewest and most words of a query."
    )
    examples: bool = Field(default=True, description="Rejects copies of the prompt's examples.")
    title: bool = Field(default=False, description="Rejects copies of the document's title.")
    copied: float | Literal[False] = Field(
        default=False, description="Share of a query's word triples from which on it is a copy out of the document."
    )
    script: bool = Field(default=True, description="Rejects queries in no script of their document.")
    near_equal: bool = Field(default=True, description="Rejects all but the first of near-equal queries.")
    round_trip: Annotated[
        Annotated[RoundTripSpec, Tag("range")] | Annotated[Literal[False], Tag("fixed")], RANGE_OR_FIXED
    ] = Field(default=False, description="The round trip, or false to train on what no ranking finds as well.")

    @model_validator(mode="after")
    def _stands(self) -> Self:
        if not 1 <= self.words[0] <= self.words[1]:
            raise ValueError(f"words must ascend from 1, got {list(self.words)}")
        if self.copied is not False and not 0.0 < self.copied <= 1.0:
            raise ValueError(f"copied must lie in (0, 1], or be false, got {self.copied}")
        return self


RoundTrip = Callable[[Sequence[GeneratedQuery], int], Reasons]
"""Finds the queries whose document stands below a rank."""


@dataclass(frozen=True, kw_only=True)
class GateContext:
    """What gates look at besides the queries.

    Attributes:
        spec: The gates' settings.
        documents: The documents of the collection.
        held: Texts of the queries of dev and test.
        examples: Queries that a generator's prompt gives as examples, by its place.
        round_trip: The round trip.
    """

    spec: GateSpec
    documents: Mapping[str, Document]
    held: Sequence[str]
    examples: Sequence[Sequence[str]]
    round_trip: RoundTrip


@dataclass(frozen=True)
class Gate:
    """A gate.

    Attributes:
        name: Its name.
        label: What it rejects, for a person.
        find: The queries that it rejects.
        is_on: Whether a study has it; None where every study does.
    """

    name: str
    label: str
    find: Callable[[Sequence[GeneratedQuery], GateContext], Reasons]
    is_on: Callable[[GateSpec], object] | None = None


@dataclass(frozen=True)
class Passage:
    """What came of some queries at one gate: those that it kept, and those that it rejected with the reason."""

    gate: Gate
    kept: Sequence[GeneratedQuery]
    rejected: Sequence[tuple[GeneratedQuery, str]]


def pass_gates(queries: Sequence[GeneratedQuery], context: GateContext) -> Iterator[Passage]:
    """Takes queries through each gate in turn; those that one rejects do not come to the next."""
    for gate in GATES:
        if gate.is_on is not None and not gate.is_on(context.spec):
            continue
        reasons = gate.find(queries, context)
        kept = [query for place, query in enumerate(queries) if place not in reasons]
        yield Passage(gate, kept, [(queries[place], reason) for place, reason in sorted(reasons.items())])
        queries = kept


_MARKUP = re.compile(
    r"</?(?:a|b|br?|body|code|div|em|h[1-6]|html|i|img|li|ol|p|pre|s|script|span|strong|table|td|tr|ul"
    r"|query|question|answer|document|passage|title|think)\b[^<>]*>|<\||\|>|```|^\s*(?:#{1,6}|[-*+>]|\d+[.)])\s|\*\*|\[[^\]]*\]\(|[{}]\s*\"|\"\s*:",
    re.MULTILINE,
)
_INSTRUCTION = re.compile(
    r"^\W*(?:(?:sure|certainly|of course|okay|ok|here(?:'s| is| are))\b[,!:]? |"
    r"(?:search |user )?(?:query|question|answer|title|document|passage|keywords?|example)s?(?: \d+)?\s*:|as an ai\b|"
    r"i(?:'m| am) (?:sorry|unable)|(?:system|user|assistant)\b\s*[:\n])",
    re.IGNORECASE,
)


def _find_markup(queries: Sequence[GeneratedQuery], _: GateContext) -> Reasons:
    found = {}
    for place, query in enumerate(queries):
        if any(unicodedata.category(sign) in ("Cc", "Cs", "Co", "Cn") for sign in query.text):
            found[place] = "holds control characters"
        elif _MARKUP.search(query.text):
            found[place] = "holds markup"
        elif _INSTRUCTION.search(query.text):
            found[place] = "speaks to the reader, or names what it is"
    return found


def _find_too_long(queries: Sequence[GeneratedQuery], context: GateContext) -> Reasons:
    low, high = context.spec.words
    counts = [len(split_words(query.text)) for query in queries]
    return {place: f"{count:,} words" for place, count in enumerate(counts) if not low <= count <= high}


def _find_leaks(queries: Sequence[GeneratedQuery], context: GateContext) -> Reasons:
    normal = [normalize(query.text) for query in queries]
    held = {normalize(text) for text in context.held} - {""}
    equal = {place: "equal to a query of dev or test" for place, text in enumerate(normal) if text in held}
    words = {str(place): split_words(text) for place, text in enumerate(normal) if place not in equal}
    near = find_near({text: split_words(text) for text in sorted(held)}, words, share=NEAR_QUERIES, most=None)
    return equal | {int(place): "nearly equal to a query of dev or test" for place in near}


def _find_examples(queries: Sequence[GeneratedQuery], context: GateContext) -> Reasons:
    examples = [[frozenset(split_words(normalize(text))) for text in texts] for texts in context.examples]
    found = {}
    for place, query in enumerate(queries):
        words = frozenset(split_words(normalize(query.text)))
        if any(is_near(words, example) for example in examples[query.generator]):
            found[place] = "copies an example of the prompt"
    return found


def _find_titles(queries: Sequence[GeneratedQuery], context: GateContext) -> Reasons:
    found = {}
    for place, query in enumerate(queries):
        title = frozenset(split_words(normalize(context.documents[query.document].title)))
        if title and is_near(frozenset(split_words(normalize(query.text))), title):
            found[place] = "copies the title"
    return found


def _find_copies(queries: Sequence[GeneratedQuery], context: GateContext) -> Reasons:
    found = {}
    for place, query in enumerate(queries):
        share = share_copied(query.text, context.documents[query.document].text)
        if share >= context.spec.copied:
            found[place] = f"{share:.0%} of its word triples stand in the document"
    return found


def share_copied(query: str, text: str, *, length: int = 3) -> float:
    """Share of a query's runs of some words that stand in a text; of a shorter query, whether all of it does."""
    words, others = split_words(normalize(query)), split_words(normalize(text))
    if not words:
        return 0.0
    length = min(length, len(words))
    theirs = {tuple(others[start : start + length]) for start in range(len(others) - length + 1)}
    runs = [tuple(words[start : start + length]) for start in range(len(words) - length + 1)]
    return sum(run in theirs for run in runs) / len(runs)


def _find_other_scripts(queries: Sequence[GeneratedQuery], context: GateContext) -> Reasons:
    found = {}
    for place, query in enumerate(queries):
        document = context.documents[query.document]
        ours, theirs = list_scripts(query.text), list_scripts(f"{document.title} {document.text}")
        if ours and theirs and not ours & theirs:
            found[place] = f"is written in {', '.join(sorted(ours))}, its document in {', '.join(sorted(theirs))}"
    return found


def list_scripts(text: str) -> set[str]:
    """The scripts that a text is written in, by the names of its letters: LATIN, CYRILLIC, HANGUL, CJK ..."""
    names = {unicodedata.name(letter, "").partition(" ")[0] for letter in set(text) if letter.isalpha()}
    return {"JAPANESE" if name in ("HIRAGANA", "KATAKANA") else name for name in names} - {""}


def _find_near_equal(queries: Sequence[GeneratedQuery], _: GateContext) -> Reasons:
    words = count_words((normalize(query.text) for query in queries), np.arange(len(queries)))
    found: dict[int, str] = {}
    for group in group_near(words.signatures):
        places = [place for place in sorted(group.tolist()) if place not in found]
        sets = [frozenset(words.words[place].tolist()) for place in places]
        kept: list[int] = []
        for number, place in enumerate(places):
            first = next((known for known in kept if is_near(sets[known], sets[number], share=NEAR_QUERIES)), None)
            if first is not None:
                found[place] = f"nearly equal to a query for {queries[places[first]].document}"
            elif len(kept) < _COMPARED:
                kept.append(number)
    return found


def _find_unfound(queries: Sequence[GeneratedQuery], context: GateContext) -> Reasons:
    assert context.spec.round_trip
    return context.round_trip(queries, context.spec.round_trip.within)


GATES = (
    Gate("text", "markup, instructions and control characters", _find_markup, lambda spec: spec.text),
    Gate("words", "too short or too long", _find_too_long),
    Gate("leak", "equal or nearly equal to a query of dev or test", _find_leaks),
    Gate("examples", "copies of the prompt's examples", _find_examples, lambda spec: spec.examples),
    Gate("title", "copies of the title", _find_titles, lambda spec: spec.title),
    Gate("copied", "copies of a span of the document", _find_copies, lambda spec: spec.copied),
    Gate("script", "in no script of the document", _find_other_scripts, lambda spec: spec.script),
    Gate("near-equal", "nearly equal to another query", _find_near_equal, lambda spec: spec.near_equal),
    Gate("round-trip", "no ranking finds the document by it", _find_unfound, lambda spec: spec.round_trip),
)
"""Every gate, in the order in which queries come to them."""

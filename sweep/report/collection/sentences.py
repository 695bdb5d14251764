"""Sentences on a study's texts: what is embedded, what is left out of evaluation and training, and why."""

from __future__ import annotations

from collections.abc import Iterator

from sweep.data import Split, choose_format
from sweep.data.survey import LeakCounts, count_leaks, count_queries, count_texts, count_titled_alike
from sweep.plan import StudyPlan
from sweep.stopping.doubling import expect_lengths

LEAKS = {
    "judged": "documents judged there",
    "copy": "copies of one judged there",
    "group": "documents of the group of one judged there",
    "near": "documents nearly equal to one judged there",
    "overlap": "chunks that overlap with one judged there",
}
QUERY_LEAKS = {"equal": "queries equal to one there", "near": "queries nearly equal to one there"}


def describe_texts(plan: StudyPlan) -> Iterator[str]:
    """What of the documents is embedded, and the texts that are missing."""
    collection, document = plan.collection, plan.spec.data.document
    counts = count_texts(collection, document)
    if not counts.titles:
        yield "embedded: the text (no document has a title beside it)"
    elif document == "title-and-text":
        yield f"embedded: title and text ({counts.titles:,} documents have both)"
    else:
        yield (
            f"embedded: the text; {counts.titles:,} documents have a title, which is not:"
            ' data.document = "title-and-text" embeds both, as BEIR and MTEB do'
        )
    if collection.titles_as_texts:
        yield f"{collection.titles_as_texts:,} documents have no text: their title is embedded in its place"
    if counts.empty:
        yield f"{counts.empty:,} documents are embedded as nothing, but found all the same: take them out"
    if collection.empty_queries:
        yield f"{collection.empty_queries:,} queries have no text and are left out"
    if collection.own_documents:
        own = len(collection.own_documents)
        yield f"{own:,} queries are documents (equal id and text), and are left out of their own ranking"


def count_plan_leaks(plan: StudyPlan) -> LeakCounts:
    """The leaks that the formats of a study could train on."""
    formats = {name: choose_format(plan.spec, name) for name in plan.columns}
    return count_leaks(plan.collection, formats, document=plan.spec.data.document)


def describe_pairs(plan: StudyPlan, leaks: LeakCounts) -> Iterator[str]:
    """The training pairs of each data format, and how often a trial sees each."""
    is_kept = plan.spec.data.split.leaks == "keep"
    for name, columns in plan.columns.items():
        pairs = len(next(iter(columns.values())))
        lost = f" ({leaks.pairs[name]:,} of which leak)" if is_kept else f" ({leaks.pairs[name]:,} left out)"
        examples = plan.spec.budget.examples
        seen = f"each seen {examples / pairs:.2f} times a trial"
        longer = [examples * length for length in expect_lengths(plan.spec)]
        seen += "".join(f", {number / pairs:.2f} times in one of {number:,}" for number in longer)
        yield f"{name}: {pairs:,} pairs{lost if leaks.pairs[name] else ''}, {seen}"
    yield from describe_generated(plan)
    yield from describe_sources(plan)


def describe_generated(plan: StudyPlan) -> Iterator[str]:
    """What the generated queries of each data format are made by, and what its gates rejected."""
    for name, made in plan.collection.generated.items():
        took = ", ".join(f"{gate} {count:,}" for gate, count in made.rejected.items() if count)
        gates = f"; its gates rejected: {took}" if took else "; its gates rejected none"
        counts = f"{len(made.queries):,} queries of {made.answers:,} for {made.documents:,} documents"
        yield f"{name}: {counts}, by {', '.join(made.made_by)}{gates}"


def describe_sources(plan: StudyPlan) -> Iterator[str]:
    """The share of each source in the examples of a trial, where there are several."""
    if shares := {part.name: part.trains for part in plan.collection.parts if part.trains is not None}:
        whole = sum(shares.values())
        parts = ", ".join(f"{weight / whole:.0%} from {name}" for name, weight in shares.items())
        yield f"of the examples of a trial come {parts}"


def describe_leaks(plan: StudyPlan, leaks: LeakCounts) -> Iterator[str]:
    """What of the training texts gives dev or test away, and what is done about it."""
    collection, split = plan.collection, plan.spec.data.split
    said = [f"{LEAKS[reason]}: {count:,}" for reason, count in leaks.documents.items() if count]
    said += [f"{QUERY_LEAKS[reason]}: {count:,}" for reason, count in leaks.queries.items() if count]
    if said and split.leaks == "keep":
        yield f'trained on, though they give dev or test away (data.split.leaks = "keep"): {"; ".join(said)}'
    elif said:
        yield f"left out of training, for they give dev or test away: {'; '.join(said)}"
    elif plan.spec.data.rules > 1:
        yield "training has no copy, near copy or overlapping chunk of a text that is judged for dev or test"
    if plan.spec.data.rules == 1:
        yield "what gives dev or test away is not looked for: the study is older than that (data.rules = 1)"
    alike = count_titled_alike(collection) if split.group is None else 0
    if alike:
        yield (
            f"{alike:,} training documents have the title of one judged for dev or test: where these are chunks of one"
            ' page, data.split.group = "title", or a pattern of ids, keeps a page together'
        )


def describe_unanswered(plan: StudyPlan, split: Split) -> Iterator[str]:
    """The queries of a split on which no model can be evaluated."""
    evaluable, every = count_queries(plan.collection, split)
    if evaluable < every:
        yield f"{every - evaluable:,} {split} queries have no relevant document and are left out"


def describe_held_out(plan: StudyPlan) -> Iterator[str]:
    """The documents that the split by document keeps for dev and test."""
    collection = plan.collection
    held = len(collection.held_out - collection.leaks.all_documents)
    if held:
        yield f"{held:,} documents are held out of training: those of dev and test in the split by document"

"""What ``check`` says of a collection: what is embedded, evaluated, trained on and left out, in counts and advice."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from sweep.data import EvaluationSet, choose_format
from sweep.data.collection import Split
from sweep.data.survey import count_leaks, count_queries, count_texts, count_titled_alike
from sweep.messages import TokenCounts
from sweep.plan import StudyPlan
from sweep.settings.study_file import DropOffSpec
from sweep.stopping.power import smallest_fall

WIDTH = 110

LEAKS = {
    "judged": "documents judged there",
    "copy": "copies of one judged there",
    "group": "documents of the group of one judged there",
    "near": "documents nearly equal to one judged there",
    "overlap": "chunks that overlap with one judged there",
}
QUERY_LEAKS = {"equal": "queries equal to one there", "near": "queries nearly equal to one there"}

UNKNOWN = 0.02
"""Share of unknown tokens from which a tokenizer is said to be of another language."""


def describe_data(plan: StudyPlan) -> Iterator[str]:
    """What a study embeds, evaluates on and trains on."""
    collection = plan.collection
    yield f"Data:     {collection.name}: {len(collection.documents):,} documents, {len(collection.queries):,} queries"
    for line in [*collection.notes, *_describe_texts(plan), *_describe_evaluation(plan), *_describe_training(plan)]:
        yield from indent(line)


def indent(text: str) -> list[str]:
    """A line below a heading, broken where it is long."""
    return textwrap.wrap(text, WIDTH, initial_indent=" " * 10, subsequent_indent=" " * 10)


def _describe_texts(plan: StudyPlan) -> Iterator[str]:
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


def _describe_evaluation(plan: StudyPlan) -> Iterator[str]:
    dev = plan.evaluation_set("dev")
    yield from _describe_split(plan, "dev", dev)
    rule, queries = plan.spec.stopping.drop_off, len(dev.query_ids)
    margin = rule.margin if isinstance(rule, DropOffSpec) else DropOffSpec().margin
    fall = smallest_fall(queries, margin=margin)
    yield f"{queries:,} dev queries can show a fall of {fall:.3f} ({_advise_queries(plan, queries)})"
    if plan.has_test_split:
        yield from _describe_split(plan, "test", plan.evaluation_set("test"))
    else:
        yield "no test split: the figure of the best model will be optimistic"
    collection = plan.collection
    ranked = [collection.take(part) for part in collection.benchmarks] or [collection]
    unranked = sum(len(one.documents) for one in ranked) - len(dev.document_ids)
    if len(dev.document_ids) == dev.judged_documents:
        among = f"the other {unranked:,} would make it harder" if unranked else "there are no others"
        advice = "; evaluation.max_documents adds some" if unranked else ""
        yield f"judged documents alone are ranked: {among}{advice}"


def _advise_queries(plan: StudyPlan, queries: int) -> str:
    evaluable, _ = count_queries(plan.collection, "dev")
    if evaluable > queries:
        return f"the more queries, the smaller: evaluation.max_queries leaves out {evaluable - queries:,}"
    return "the more queries, the smaller: judge more of them, or raise data.split.dev"


def _describe_split(plan: StudyPlan, split: Split, judged: EvaluationSet) -> Iterator[str]:
    evaluable, every = count_queries(plan.collection, split)
    others = len(judged.document_ids) - judged.judged_documents
    yield (
        f"{split}: {len(judged.query_ids):,} of {every:,} queries over {len(judged.document_ids):,} documents"
        f" ({judged.judged_documents:,} judged, {others:,} sampled)"
    )
    for block, one in zip(judged.blocks, judged.by_benchmark() if judged.blocks else (), strict=True):
        of = f"{block.queries:,} queries over {block.documents:,} documents ({one.judged_documents:,} judged)"
        yield f"{split} on {block.name} (weight {block.weight:g}): {of}"
    if evaluable < every:
        yield f"{every - evaluable:,} {split} queries have no relevant document and are left out"


def _describe_training(plan: StudyPlan) -> Iterator[str]:
    collection, split = plan.collection, plan.spec.data.split
    formats = {name: choose_format(plan.spec, name) for name in plan.columns}
    leaks = count_leaks(collection, formats, document=plan.spec.data.document)
    is_kept = split.leaks == "keep"
    for name, columns in plan.columns.items():
        pairs = len(next(iter(columns.values())))
        lost = f" ({leaks.pairs[name]:,} of which leak)" if is_kept else f" ({leaks.pairs[name]:,} left out)"
        seen = f"each seen {plan.spec.budget.examples / pairs:.2f} times a trial"
        yield f"{name}: {pairs:,} pairs{lost if leaks.pairs[name] else ''}, {seen}"
    if shares := {part.name: part.trains for part in collection.parts if part.trains is not None}:
        whole = sum(shares.values())
        parts = ", ".join(f"{weight / whole:.0%} from {name}" for name, weight in shares.items())
        yield f"of the examples of a trial come {parts}"
    said = [f"{LEAKS[reason]}: {count:,}" for reason, count in leaks.documents.items() if count]
    said += [f"{QUERY_LEAKS[reason]}: {count:,}" for reason, count in leaks.queries.items() if count]
    if said and is_kept:
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


def describe_tokens(counts: TokenCounts | None) -> Iterator[str]:
    """How much of the documents a model reads, and what its tokenizer does not know."""
    if counts is None:
        return
    cut = "" if counts.limit is None else f"; {counts.cut:.0%} are cut at {counts.limit:,}"
    advice = ": raise model.max_seq_length, or cut documents into chunks" if counts.cut >= 0.005 else ""
    yield f"Tokens:   {counts.median:,} of a document (median of {counts.documents:,}){cut}{advice}"
    if counts.unknown is not None:
        advice = ": a base model of their language reads more" if counts.unknown >= UNKNOWN else ""
        yield from indent(f"{counts.unknown:.1%} of all tokens are unknown to the tokenizer{advice}")

"""What ``check`` says of a collection: what is embedded, evaluated, trained on and left out, in counts and advice."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from sweep.data import EvaluationSet
from sweep.data.collection import Split
from sweep.data.survey import count_queries
from sweep.messages import TokenCounts
from sweep.plan import StudyPlan
from sweep.report.collection.sentences import (
    count_plan_leaks,
    describe_leaks,
    describe_pairs,
    describe_texts,
    describe_unanswered,
)
from sweep.settings.study_file import DropOffSpec
from sweep.stopping.power import expected_overstatement, smallest_fall

WIDTH = 110

UNKNOWN = 0.02
"""Share of unknown tokens from which a tokenizer is said to be of another language."""


def describe_data(plan: StudyPlan) -> Iterator[str]:
    """What a study embeds, evaluates on and trains on."""
    collection = plan.collection
    yield f"Data:     {collection.name}: {len(collection.documents):,} documents, {len(collection.queries):,} queries"
    for line in [*collection.notes, *describe_texts(plan), *_describe_evaluation(plan), *_describe_training(plan)]:
        yield from indent(line)


def indent(text: str) -> list[str]:
    """A line below a heading, broken where it is long."""
    return textwrap.wrap(text, WIDTH, initial_indent=" " * 10, subsequent_indent=" " * 10)


def find_margin(plan: StudyPlan) -> float:
    """The margin of the drop-off rule, or its default where the rule is off."""
    rule = plan.spec.stopping.drop_off
    return rule.margin if isinstance(rule, DropOffSpec) else DropOffSpec().margin


def _describe_evaluation(plan: StudyPlan) -> Iterator[str]:
    dev = plan.evaluation_set("dev")
    yield from _describe_split(plan, "dev", dev)
    queries = len(dev.query_ids)
    fall = smallest_fall(queries, margin=find_margin(plan))
    yield f"{queries:,} dev queries can show a fall of {fall:.3f} ({_advise_queries(plan, queries)})"
    trials = plan.spec.budget.trials
    overstated = expected_overstatement(queries, trials)
    yield f"the best of {trials} trials will look about {overstated:.3f} too good on them, as recorded runs did"
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
    elif plan.spec.evaluation.sample == "hard":
        yield (
            f"which documents are the hardest, a run finds at its beginning: BM25 and the untrained model rank all"
            f" {sum(len(one.documents) for one in ranked):,}, once; below, random ones stand in their place"
        )


def _advise_queries(plan: StudyPlan, queries: int) -> str:
    evaluable, _ = count_queries(plan.collection, "dev")
    if evaluable > queries:
        return f"the more queries, the smaller: evaluation.max_queries leaves out {evaluable - queries:,}"
    return "the more queries, the smaller: judge more of them, or raise data.split.dev"


def _describe_split(plan: StudyPlan, split: Split, judged: EvaluationSet) -> Iterator[str]:
    _, every = count_queries(plan.collection, split)
    others = len(judged.document_ids) - judged.judged_documents
    how = "of the hardest" if plan.spec.evaluation.sample == "hard" else "sampled"
    yield (
        f"{split}: {len(judged.query_ids):,} of {every:,} queries over {len(judged.document_ids):,} documents"
        f" ({judged.judged_documents:,} judged, {others:,} {how})"
    )
    for block, one in zip(judged.blocks, judged.by_benchmark() if judged.blocks else (), strict=True):
        of = f"{block.queries:,} queries over {block.documents:,} documents ({one.judged_documents:,} judged)"
        yield f"{split} on {block.name} (weight {block.weight:g}): {of}"
    yield from describe_unanswered(plan, split)


def _describe_training(plan: StudyPlan) -> Iterator[str]:
    leaks = count_plan_leaks(plan)
    yield from describe_pairs(plan, leaks)
    yield from describe_leaks(plan, leaks)


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

"""What ``check`` says of the untrained model: beside BM25, and beside judgements that were shuffled."""

from __future__ import annotations

from collections.abc import Iterator

from sweep.cli.check_data import indent
from sweep.data.lexical import evaluate_bm25
from sweep.measures.score import Score
from sweep.messages import Rehearsal
from sweep.plan import StudyPlan


def describe_baselines(plan: StudyPlan, rehearsal: Rehearsal) -> Iterator[str]:
    """The untrained model's metric beside that of BM25 and of shuffled judgements, and what to do about it."""
    if rehearsal.evaluation.shuffled is None:
        return
    measure, judged = plan.spec.evaluation.measure, plan.evaluation_set("dev")
    weights = plan.query_weights("dev")
    found = evaluate_bm25(plan.collection, judged, document=plan.spec.data.document, measure=measure)
    values = (found, rehearsal.evaluation.per_query, rehearsal.evaluation.shuffled)
    words, untrained, chance = (Score(each, weights) for each in values)
    by_chance = f"untrained by shuffled judgements {chance.mean:.4f}"
    yield f"Compare:  {measure.label}: untrained {untrained.mean:.4f}, BM25 {words.mean:.4f}, {by_chance}"
    for line in _advise(untrained, words, chance):
        yield from indent(line)


def _advise(untrained: Score, words: Score, chance: Score) -> Iterator[str]:
    if untrained.queries == 1:  # whose judgements cannot be shuffled
        return
    model_fits, words_fit = (score.minus(chance).interval()[0] > 0 for score in (untrained, words))
    if not (model_fits or words_fit):
        yield (
            "the judgements fit the texts no better than shuffled ones: see whether the ids of qrels are those of"
            " queries and documents"
        )
    elif not model_fits:
        yield (
            "the model ranks no better than by chance, BM25 does better: see whether it knows the language, reads"
            " enough of a text and has its prompts"
        )
    elif words.minus(untrained).interval()[0] > 0:
        yield "BM25 beats the untrained model here: a trained one has that to beat, too"

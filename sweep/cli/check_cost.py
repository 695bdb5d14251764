"""What ``check`` says of the cost of a study, and how much of a trial's time its looks take."""

from __future__ import annotations

from collections.abc import Iterator

from sweep.cli.check_data import find_margin, indent
from sweep.cli.watchers import format_time
from sweep.messages import Rehearsal
from sweep.plan import StudyPlan
from sweep.progress import DEFAULT_GRID, plan_evaluations
from sweep.stopping.doubling import expect_examples, expect_lengths, expect_search
from sweep.stopping.power import smallest_fall

LARGE_SHARE = 0.2
"""Share of a trial's time from which it is said what would make its looks cheaper."""


def describe_cost(plan: StudyPlan, rehearsal: Rehearsal, slots: int) -> Iterator[str]:
    """What is trained and encoded, and, by the speed measured here, how long that takes on a number of slots."""
    judged, budget = plan.evaluation_set("dev"), plan.spec.budget
    looks = len(plan.evaluations(plan.spec.space.batch_sizes[0]))
    pairs = expect_examples(plan.spec)
    longer = len(expect_lengths(plan.spec))
    share = expect_search(plan.spec) / budget.examples / budget.trials
    evaluations = (budget.trials * share + longer) * looks
    searched = len(plan.collection.documents) if plan.spec.evaluation.sample == "hard" else 0
    texts = evaluations * (len(judged.document_ids) + len(judged.query_ids)) + searched
    bound = "about" if plan.spec.rungs or longer else "at most"
    yield f"Cost:     {bound} {pairs:,.0f} pairs trained and {texts:,.0f} texts encoded, less what stopping saves"
    if rehearsal.pairs_per_s is None or rehearsal.look_s is None:
        return
    looks_s = evaluations * rehearsal.look_s + searched / rehearsal.texts_per_s
    yield (
        f"          about {format_time((pairs / rehearsal.pairs_per_s + looks_s) / slots)} here (measured:"
        f" {rehearsal.pairs_per_s:.0f} pairs/s trained, {rehearsal.texts_per_s:.0f} texts/s encoded)"
    )
    yield from _describe_looks(plan, look_s=rehearsal.look_s, training_s=budget.examples / rehearsal.pairs_per_s)


def _describe_looks(plan: StudyPlan, *, look_s: float, training_s: float) -> Iterator[str]:
    """The share of a trial that its looks take; where it is large, what fewer queries or looks would make of it."""
    judged, steps = plan.evaluation_set("dev"), plan.steps(plan.spec.space.batch_sizes[0])
    queries, documents = len(judged.query_ids), len(judged.document_ids)
    looks, usual = (len(plan_evaluations(grid, steps)) for grid in (plan.spec.evaluation.grid_points, DEFAULT_GRID))
    share = looks_share(looks, look_s=look_s, training_s=training_s)
    yield f"Looks:    {looks} evaluations a trial, {look_s:.1f} s each: {share:.0%} of its time"
    if share < LARGE_SHARE:
        return
    if queries > 1:
        half = queries // 2
        halved_s = look_s * (documents + half) / (documents + queries)
        falls = [smallest_fall(number, margin=find_margin(plan)) for number in (half, queries)]
        yield from indent(
            f"evaluation.max_queries = {half}: {looks_share(looks, look_s=halved_s, training_s=training_s):.0%}, and"
            f" they can show a fall of {falls[0]:.3f} instead of {falls[1]:.3f}"
        )
    if usual < looks:
        sparser = looks_share(usual, look_s=look_s, training_s=training_s)
        yield from indent(f"evaluation.grid left out: {usual} evaluations, {sparser:.0%}")


def looks_share(looks: int, *, look_s: float, training_s: float) -> float:
    """Share of a trial's time that its looks take, without its start and its saving."""
    return looks * look_s / (looks * look_s + training_s)

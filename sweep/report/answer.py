"""Answer: the recommended model, its figures, and whether to believe them."""

from __future__ import annotations

from dataclasses import dataclass

from sweep.progress import COMPLETE
from sweep.recommendation import Comparison, Recommendation, compare, compare_over_seeds, name_model, recommend
from sweep.storage.evaluations import UNTRAINED
from sweep.storage.records import TrialRecord, count_saved
from sweep.study import Study


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The outcome of a study.

    Attributes:
        headline: The answer in a sentence.
        number: The model of its figures: the one to use, or the best on dev where nothing was shown; `UNTRAINED` for
            the untrained model, None where there is none.
        name: That model in words; empty where there is none.
        trial: The trial of that number, or None.
        metric: Label of the measure of its figures.
        test: Its mean on the test split, or None where it has not been evaluated on that.
        queries: Queries of the test split.
        comparisons: Against the other models that were evaluated there: the untrained, the best on dev, the default.
        cautions: Reasons not to take the figures at face value.
        saved_examples: Training examples that stopping saved.
        saved_fraction: Their share of what the trials that ended would have seen.
    """

    headline: str
    number: int | None
    name: str
    trial: TrialRecord | None
    metric: str
    test: float | None
    queries: int
    comparisons: tuple[Comparison, ...]
    cautions: tuple[str, ...]
    saved_examples: int
    saved_fraction: float


def find_answer(study: Study) -> Answer:
    """The answer of a study so far."""
    advice = recommend(study)
    number = advice.number
    score = None if number is None else study.test_score(number)
    comparisons = _compare(study, number) if number is not None else ()
    saved, fraction = count_saved(study.record.trials)
    return Answer(
        headline=advice.sentence,
        number=number,
        name="" if number is None else name_model(study, number),
        trial=None if number in (None, UNTRAINED) else study.record.trials[number],
        metric=study.record.measure.label,
        test=None if score is None else score.mean,
        queries=0 if score is None else score.queries,
        comparisons=comparisons,
        cautions=tuple(_cautions(study, advice, comparisons)),
        saved_examples=saved,
        saved_fraction=fraction,
    )


def _compare(study: Study, number: int) -> tuple[Comparison, ...]:
    """A model against the untrained one, the best on dev and the default, as far as they are others."""
    best, default = study.record.best, study.record.default
    others = dict.fromkeys([UNTRAINED, *(trial.number for trial in (best, default) if trial is not None)])
    compared = [*(compare(study, number, other) for other in others), compare_over_seeds(study, UNTRAINED)]
    return tuple(comparison for comparison in compared if comparison is not None)


def _cautions(study: Study, advice: Recommendation, comparisons: tuple[Comparison, ...]) -> list[str]:
    best = study.record.best
    if best is None or best.peak is None:
        return []
    cautions = []
    if study.overstatement is not None:
        cautions.append(
            f"The best value on dev, {best.peak.value:.4f}, was chosen among all measurements: it is expected to be"
            f" {study.overstatement:.4f} too high (bootstrap over the queries)."
        )
    if study.state != "finished":
        done = f"{study.record.counted} of {study.budget} trials"
        cautions.append(f"The study is {study.state}, with {done}: this may change.")
    elif not comparisons:
        cautions.append("There is no figure on a test split: the one on dev is the highest of many, and is optimistic.")
    cautions += [
        f"The interval against {comparison.other} includes 0: on this test split the two cannot be told apart."
        for comparison in comparisons
        if not comparison.is_told_apart
    ]
    default = study.record.default
    if default is None:
        cautions.append("No start point names a default, so the gain over one is not known.")
    elif default.number == best.number:
        cautions.append("The default, the study's first start point, is itself the best: the search found none better.")
    elif best.number in study.tests and default.number not in study.tests:
        cautions.append("The default's model was not evaluated on the test split, so the gain over it is not known.")
    if best.stop and advice.number == best.number:
        how = "fell from its peak" if best.stop.kind in ("drop-off", "forecast") else "was stopped early"
        cautions.append(f"Trial {best.number} {how}; its model at {best.peak.progress / COMPLETE:.0%} is kept.")
    return cautions

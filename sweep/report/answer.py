"""Answer: which configuration to use, by which figures, and whether to believe them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from sweep.measures.score import Score
from sweep.progress import COMPLETE
from sweep.storage.evaluations import UNTRAINED
from sweep.storage.records import TrialRecord, count_saved
from sweep.study import Study


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The chosen model against another one, on the test split.

    Attributes:
        other: What the other one is.
        ndcg: Its mean.
        gain: By how much the chosen one is better, in the mean over queries.
        low: Lower end of the 95 % interval of the paired difference.
        high: Its upper end.
    """

    other: str
    ndcg: float
    gain: float
    low: float
    high: float

    @property
    def is_told_apart(self) -> bool:
        """Whether the interval leaves no doubt which of the two is better."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came out of a study.

    Attributes:
        headline: The answer in a sentence.
        trial: The trial to use, or None where there is none.
        metric: What its figures are, for a person.
        test: Its mean on the test split, or None where that has not been judged.
        queries: Queries of the test split.
        comparisons: Against the untrained model, and against the default where that is another trial.
        cautions: What keeps the figures from being taken at their face value.
        saved_examples: Training examples that stopping saved.
        saved_fraction: Their share of what the trials that ended would have seen.
    """

    headline: str
    trial: TrialRecord | None
    metric: str
    test: float | None
    queries: int
    comparisons: tuple[Comparison, ...]
    cautions: tuple[str, ...]
    saved_examples: int
    saved_fraction: float


def find_answer(study: Study) -> Answer:
    """What came out of a study, as far as it has come."""
    record, best = study.record, study.record.best
    chosen = study.tests.get(best.number) if best else None
    comparisons = _compare(study, best) if best else ()
    saved, fraction = count_saved(record.trials)
    return Answer(
        headline=_headline(study, best),
        trial=best,
        metric=study.record.measure.label,
        test=None if chosen is None else Score(chosen).mean,
        queries=0 if chosen is None else len(chosen),
        comparisons=comparisons,
        cautions=tuple(_cautions(study, best, comparisons)),
        saved_examples=saved,
        saved_fraction=fraction,
    )


def _headline(study: Study, best: TrialRecord | None) -> str:
    record = study.record
    if best is None or best.peak is None:
        return _without_best(study)
    if all(row.ndcg == 0 for trial in record.trials for row in trial.rows):
        return f"There is nothing to choose by: {record.measure.label} was 0 at every measurement of every trial."
    if record.baseline is not None and best.peak.ndcg <= record.baseline:
        return "Use the untrained model: no trial beats it."
    return f"Use trial {best.number}."


def _without_best(study: Study) -> str:
    record = study.record
    if not record.trials:
        return "There is no answer yet: no trial has begun."
    failed = [trial for trial in record.trials if trial.state == "fail"]
    if len(failed) == len(record.trials):
        cause, count = Counter(str(trial.attributes.get("error", "unknown")) for trial in failed).most_common(1)[0]
        return f"There is no answer: all {len(failed)} trials failed, {count} of them with: {cause}"
    return "There is no answer yet: no trial has come to its end with a model to keep."


def _compare(study: Study, best: TrialRecord) -> tuple[Comparison, ...]:
    others = {UNTRAINED: "the untrained model"}
    default = study.record.default
    if default is not None and default.number != best.number:
        others[default.number] = f"the default (trial {default.number}, the study's first start point)"
    chosen = study.tests.get(best.number)
    found = []
    for number, name in others.items():
        values = study.tests.get(number)
        if chosen is not None and values is not None:
            other = Score(values)
            gain = Score(chosen).minus(other)
            low, high = gain.interval()
            found.append(Comparison(other=name, ndcg=other.mean, gain=gain.mean, low=low, high=high))
    return tuple(found)


def _cautions(study: Study, best: TrialRecord | None, comparisons: tuple[Comparison, ...]) -> list[str]:
    if best is None or best.peak is None:
        return []
    found = []
    if study.state != "finished":
        done = f"{study.record.counted} of {study.budget} trials"
        found.append(f"The study is {study.state}, with {done}: this may change.")
    if not comparisons and study.state == "finished":
        found.append(
            "There is no figure on a test split: the one on dev was selected as the highest of many, and is optimistic."
        )
    found += [
        f"The interval against {one.other} holds 0: on this test split the two cannot be told apart."
        for one in comparisons
        if not one.is_told_apart
    ]
    default = study.record.default
    if default is not None and default.number == best.number:
        found.append("The default, which is the study's first start point, is itself the best: the search found none.")
    elif default is not None and best.number in study.tests and default.number not in study.tests:
        found.append("The default's model was not judged on the test split, so the gain over it is not known.")
    elif default is None:
        found.append("No start point names a default, so the gain over one is not known.")
    if best.stop:
        how = "fell from its peak" if best.stop.kind in ("drop-off", "forecast") else "was stopped early"
        found.append(f"Trial {best.number} {how}; what is kept is its model at {best.peak.progress / COMPLETE:.0%}.")
    return found

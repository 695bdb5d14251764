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
        other: The other one in words.
        mean: Its mean over queries.
        gain: The mean of the chosen one less that.
        low: Lower end of the 95 % interval of the paired difference.
        high: Its upper end.
    """

    other: str
    mean: float
    gain: float
    low: float
    high: float

    @property
    def is_told_apart(self) -> bool:
        """Whether the interval tells which of the two is better."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The outcome of a study.

    Attributes:
        headline: The answer in a sentence.
        trial: The trial to use, or None where there is none.
        metric: Label of the measure of its figures.
        test: Its mean on the test split, or None where it has not been evaluated on that.
        queries: Queries of the test split.
        comparisons: Against the untrained model, and against the default where that is another trial.
        cautions: Reasons not to take the figures at face value.
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
    """The answer of a study so far."""
    best = study.record.best
    chosen = study.tests.get(best.number) if best else None
    comparisons = _compare(study, best) if best else ()
    saved, fraction = count_saved(study.record.trials)
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
    if all(row.value == 0 for trial in record.trials for row in trial.rows):
        return f"There is nothing to choose by: {record.measure.label} was 0 at every measurement of every trial."
    if record.baseline is not None and best.peak.value <= record.baseline:
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
    return "There is no answer yet: no trial has ended with a model to keep."


def _compare(study: Study, best: TrialRecord) -> tuple[Comparison, ...]:
    others = {UNTRAINED: "the untrained model"}
    default = study.record.default
    if default is not None and default.number != best.number:
        others[default.number] = f"the default (trial {default.number}, the study's first start point)"
    chosen = study.tests.get(best.number)
    comparisons = []
    for number, name in others.items():
        values = study.tests.get(number)
        if chosen is not None and values is not None:
            other = Score(values)
            gain = Score(chosen).minus(other)
            low, high = gain.interval()
            comparisons.append(Comparison(other=name, mean=other.mean, gain=gain.mean, low=low, high=high))
    return tuple(comparisons)


def _cautions(study: Study, best: TrialRecord | None, comparisons: tuple[Comparison, ...]) -> list[str]:
    if best is None or best.peak is None:
        return []
    cautions = []
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
    if best.stop:
        how = "fell from its peak" if best.stop.kind in ("drop-off", "forecast") else "was stopped early"
        cautions.append(f"Trial {best.number} {how}; its model at {best.peak.progress / COMPLETE:.0%} is kept.")
    return cautions

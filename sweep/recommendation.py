"""Recommendation: which model of a study to use, decided in one place for the report, the commands and the dashboard.

Trials are chosen by dev; the answer obeys the test split, which is read once. Where that says that another model than
the best on dev is better, this other one is recommended; where it cannot tell, that is said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from sweep.storage.confirmations import Confirmed, find_confirmed, list_winning
from sweep.storage.evaluations import UNTRAINED
from sweep.storage.records import TrialRecord
from sweep.study import Study

Choice = Literal["trial", "untrained"]
"""The kind of model that is recommended."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One model against another one, on the test split.

    Attributes:
        other: The other one in words.
        mean: Its mean over queries.
        gain: The mean of the one less that.
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

    def __str__(self) -> str:
        """The gain with its interval."""
        return f"{self.gain:+.4f}, 95 % interval {self.low:+.4f} to {self.high:+.4f}"


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The model that a study says to use, and why.

    Attributes:
        use: The kind of model to use; None where there is nothing to use yet, or nothing was shown.
        number: The model whose figures stand beside it: that to use, or the best on dev; `UNTRAINED` for the untrained
            one, None where no trial has a model.
        sentence: The recommendation with its reason, for a person.
    """

    use: Choice | None
    number: int | None
    sentence: str

    @property
    def trial(self) -> int | None:
        """The number of the trial to use, or None."""
        return self.number if self.use == "trial" else None


def recommend(study: Study) -> Recommendation:
    """The model of a study to use so far; where nobody asked the queries that it was evaluated on, this is said.

    The best trial on dev, unless the test split tells the untrained model or the default, the trial of the first start
    point, apart from it as better. Where the test split does not tell the chosen one from the untrained model, nothing
    was shown.
    """
    advice, name = _recommend(study), study.record.generated_queries
    if name is None:
        return advice
    warning = (
        f"Nobody asked the queries of dev and test: they were generated ({name}), and so every figure is of these."
    )
    return replace(advice, sentence=f"{advice.sentence} {warning}")


def _recommend(study: Study) -> Recommendation:
    record, best = study.record, study.record.best
    if best is None or best.peak is None:
        return Recommendation(use=None, number=None, sentence=_say_missing(study))
    if all(row.value == 0 for trial in record.trials for row in trial.rows):
        zero = f"There is nothing to choose by: {record.measure.label} was 0 at every measurement of every trial."
        return Recommendation(use=None, number=best.number, sentence=zero)
    confirmed = find_confirmed(record)
    if confirmed:
        best = confirmed[0].best
    chosen = _choose(study, best)
    if chosen != best.number:
        return _recommend_other(study, chosen, best.number)
    if record.baseline is not None and best.peak is not None and best.peak.value <= record.baseline:
        return _recommend_below(study, best.number)
    against = compare(study, best.number, UNTRAINED)
    if against is not None and not against.is_told_apart:
        return Recommendation(use=None, number=best.number, sentence=_say_unshown(best.number, against))
    return Recommendation(
        use="trial", number=best.number, sentence=f"Use trial {best.number}{_say_confirmed(confirmed)}."
    )


def _say_confirmed(confirmed: Sequence[Confirmed]) -> str:
    """The reason for which a confirmed configuration won, after the name of its best training."""
    if not confirmed:
        return ""
    first, seeds = confirmed[0], len(confirmed[0].runs)
    of = f", a training of the configuration of trial {first.number}" if first.best.number != first.number else ""
    mean = f"{first.mean:.4f} on the mean of {seeds} training seeds (dev, spread {first.spread:.4f})"
    if len(confirmed) == 1:
        return f"{of}: {mean}"
    return f"{of}: {mean}, against {confirmed[1].mean:.4f} of the configuration of trial {confirmed[1].number}"


def compare_over_seeds(study: Study, other: int) -> Comparison | None:
    """The best confirmed configuration against a model on the test split, over its trainings and the queries.

    None where fewer than two of its trainings, or the other model, were evaluated there.
    """
    theirs = study.test_score(other)
    ours = [values for trial in list_winning(study.record) if (values := study.tests.get(trial.number)) is not None]
    if theirs is None or len(ours) < 2:
        return None
    from sweep.measures.over_seeds import mean_over_seeds  # loads scipy, which `sweep status` seldom needs

    gain = mean_over_seeds(np.stack(ours).astype(np.float64) - theirs.per_query, study.record.query_weights("test"))
    return Comparison(
        other=f"{name_model(study, other)} over {len(ours)} training seeds",
        mean=theirs.mean,
        gain=gain.mean,
        low=gain.low,
        high=gain.high,
    )


def _choose(study: Study, best: TrialRecord) -> int:
    """The best on dev, or the untrained model that the test split tells apart as better, or the default likewise.

    A default that is told apart from the untrained model is told apart from a best one that is worse than that as well:
    a standard error of a sum is at most the sum of the standard errors.
    """
    default, chosen = study.record.default, best.number
    for challenger in (UNTRAINED, best.number if default is None else default.number):
        against = compare(study, chosen, challenger)
        if against is not None and against.high < 0:
            chosen = challenger
    return chosen


def _recommend_other(study: Study, chosen: int, best: int) -> Recommendation:
    """The recommendation of a model that the test split tells apart as better."""
    over, against = compare(study, chosen, best), compare(study, chosen, UNTRAINED)
    on_test = f"on the test split it is better than {name_model(study, best)} ({over})."
    if chosen == UNTRAINED:
        return Recommendation(use="untrained", number=chosen, sentence=f"Use the untrained model: {on_test}")
    sentence = f"Use trial {chosen}, the study's first start point: {on_test}"
    if against is not None and not against.is_told_apart:
        sentence += f" {_say_unshown(chosen, against)}"
    return Recommendation(use="trial", number=chosen, sentence=sentence)


def _recommend_below(study: Study, number: int) -> Recommendation:
    """The recommendation where the best trial does not beat the untrained model on dev."""
    against = compare(study, number, UNTRAINED)
    if against is None:
        sentence = "Use the untrained model: no trial beats it."
    elif against.low <= 0:
        sentence = f"Use the untrained model: no trial beats it on dev, nor does trial {number} on the test split."
    else:
        on_test = f"on dev no trial beats the untrained model, but on the test split it does ({against})."
        return Recommendation(use="trial", number=number, sentence=f"Use trial {number}: {on_test}")
    return Recommendation(use="untrained", number=UNTRAINED, sentence=sentence)


def _say_unshown(number: int, against: Comparison) -> str:
    return f"Nothing was shown: on the test split trial {number} cannot be told from the untrained model ({against})."


def _say_missing(study: Study) -> str:
    record = study.record
    if not record.trials:
        return "There is no answer yet: no trial has begun."
    failed = [trial for trial in record.trials if trial.state == "fail"]
    if len(failed) == len(record.trials):
        cause, count = Counter(str(trial.attributes.get("error", "unknown")) for trial in failed).most_common(1)[0]
        return f"There is no answer: all {len(failed)} trials failed, {count} of them with: {cause}"
    return "There is no answer yet: no trial has ended with a model to keep."


def compare(study: Study, number: int, other: int) -> Comparison | None:
    """A model against another one on the test split, by their numbers; None where one was not evaluated there."""
    values, others = study.test_score(number), study.test_score(other)
    if number == other or values is None or others is None:
        return None
    gain = values.minus(others)
    low, high = gain.interval()
    return Comparison(other=name_model(study, other), mean=others.mean, gain=gain.mean, low=low, high=high)


def name_model(study: Study, number: int) -> str:
    """A model of a study in words."""
    default, best = study.record.default, study.record.best
    if number == UNTRAINED:
        return "the untrained model"
    if default is not None and number == default.number:
        return f"the default (trial {number}, the study's first start point)"
    is_best = best is not None and number == best.number
    return f"trial {number}, the best on dev" if is_best else f"trial {number}"

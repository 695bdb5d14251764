"""The words of a verdict: its sentence, what to do next, and further trials as tables of a study file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

from sweep.progress import WHOLE
from sweep.report.diagnosis.causes import (
    FORMAT,
    NEGATIVES,
    OVERALL,
    RETRIEVAL_FORMAT,
    SCALE,
    TOO_HIGH,
    TOO_LOW,
    WARMUP,
    Question,
    Surface,
)
from sweep.report.diagnosis.overfitting import Rise
from sweep.report.diagnosis.runs import COMMON, RunOutcome
from sweep.settings.dimensions import DIMENSIONS, Dimension, Value
from sweep.settings.ranges import Setting, ends
from sweep.settings.space import SearchSpace
from sweep.settings.study_file import SpaceSpec

SHORT = {
    TOO_HIGH: "The learning rate is too high",
    TOO_LOW: "The learning rate is too low",
    FORMAT: "The training format does not fit the retrieval task",
    WARMUP: "A short warm-up makes runs fall",
    SCALE: "The loss scale makes runs fall",
    NEGATIVES: "In-batch false negatives make runs fall",
}

Start = Mapping[str, float | int | str]


def say_unknown(question: Question) -> str:
    """The sentence of a verdict that nothing was measured for."""
    return f"{SHORT[question.cause]}{_for(question.scope)}? Cannot tell: {question.reason}."


def say_effect(
    question: Question,
    answer: str,
    effect: float,
    interval: tuple[float, float],
    runs: Sequence[RunOutcome],
    *,
    margin: float,
    surface: Surface,
) -> str:
    """The sentence of a verdict with an effect on an outcome."""
    name, place = surface
    verb = "loses" if name == "fall" else "ends lower by"
    early = "" if COMMON[place] == WHOLE else f" in the first {COMMON[place] / WHOLE:.0%} of the run"
    what = f"{_compared(question)} {verb} {_signed(effect)} NDCG@10{early} ({interval[0]:+.3f} to {interval[1]:+.3f})"
    stopped = sum(run.reached[place].is_stopped for run in runs)
    censored = f"; {stopped} of the {len(runs)} runs had been stopped before" if stopped else ""
    head = f"{SHORT[question.cause]}{_for(question.scope)}"
    if answer == "supported":
        if question.cause == SCALE and effect < 0:
            head = f"A low loss scale makes runs fall{_for(question.scope)}"
        return f"{head}: {what}{censored}.{_timing(question, runs, margin)}"
    if answer == "not supported":
        return f"{head}? Not supported: {what}, which excludes a loss of {margin:g}{censored}."
    return f"{head}? Cannot tell: {what}{censored}."


def say_interaction(answers: Mapping[str, str]) -> str:
    """What is added to the sentence of a cause overall where the formats differ; empty where they do not.

    Args:
        answers: The verdict within each format.
    """
    supported = [name for name, answer in answers.items() if answer == "supported"]
    others = [f"{answer} for {name}" for name, answer in answers.items() if answer != "supported"]
    if not supported or not others:
        return ""
    return f" An interaction: supported for {' and '.join(supported)}, {' and '.join(others)}."


def say_rise(rise: Rise, answer: str) -> str:
    """The sentence of the verdict on overfitting."""
    if rise.effect is None or rise.interval is None:
        return f"Runs overfit? Cannot tell: {rise.reason}."
    low, high = (math.expm1(bound) for bound in rise.interval)
    what = (
        f"in the {len(rise.trials)} runs that fell, the validation loss of their own format changed by"
        f" {math.expm1(rise.effect):+.1%} ({low:+.1%} to {high:+.1%}) from the peak to the end"
    )
    if answer == "supported":
        return f"Runs overfit: {what}."
    return f"Runs overfit? {answer.capitalize()}: {what}."


def advise(
    question: Question, answer: str, runs: Sequence[RunOutcome], *, space: SpaceSpec, effect: float = 0.0
) -> str:
    """What to do next."""
    if answer == "supported":
        return _remedy(question, effect)
    if answer == "not supported":
        return "Nothing: look for another cause."
    starts = plan_starts(question, runs, space)
    if not starts:
        return _widen(question)
    return "Run these trials (raise budget.trials by their number):\n\n" + write_starts(starts)


def advise_rise(rise: Rise, answer: str, runs: Sequence[RunOutcome], *, space: SpaceSpec) -> str:
    """What to do next about overfitting."""
    if answer == "supported":
        return "Train on more or other pairs, or on fewer examples: the peak's model is kept as it is."
    if answer == "not supported":
        return "Nothing: look for another cause."
    fallen = sorted((run for run in runs if run.trial in rise.trials), key=lambda run: -run.end.fall)
    like = fallen or sorted(runs, key=lambda run: -run.end.fall)
    base = _settings(like[0], space) if like else _middle(space)
    starts = _allowed([{**base, "warmup_ratio": warmup} for warmup in _apart(space.warmup_ratio, 3)], runs, space)
    return "Run more like the one that fell most (raise budget.trials by their number):\n\n" + write_starts(starts)


def plan_starts(question: Question, runs: Sequence[RunOutcome], space: SpaceSpec) -> list[Start]:
    """Trials that differ in what is asked about alone, in pairs; none where the space holds no such trials.

    The pairs differ from each other in another setting: a trial that repeats another with the same seed would repeat
    its noise as well. What was run before is left out, for a start point is tried once.
    """
    compared = _values(question, runs, space)
    if compared is None:
        return []
    name, values = compared
    like = [run for run in runs if question.scope in (OVERALL, run.params.data_format)]
    base = _settings(like[-1], space) if like else _middle(space)
    if question.scope != OVERALL:
        formats: Sequence[str] = [question.scope] if question.scope in space.data_format else []
    elif name == "data_format":
        formats = [str(base["data_format"])]
    else:
        formats = space.data_format
    other = "learning_rate" if name in ("warmup_ratio", "data_format") else "warmup_ratio"
    planned = [
        {**base, "data_format": one, other: apart, name: value}
        for one in formats
        for apart in dict.fromkeys(_apart(getattr(space, other), 2 if len(formats) == 1 else 1))
        for value in values
    ]
    return _allowed(planned, runs, space)


def _allowed(planned: Sequence[Start], runs: Sequence[RunOutcome], space: SpaceSpec) -> list[Start]:
    """The start points that `check` accepts and that were not run before."""
    known = [_settings(run, space) for run in runs]
    rates = SearchSpace(space)
    limit = math.inf if space.max_learning_rate is None else space.max_learning_rate
    return [
        start
        for start in planned
        if start not in known
        and rates.effective_learning_rate(float(start["learning_rate"]), int(start["batch_size"])) <= limit
    ]


def write_starts(starts: Sequence[Start]) -> str:
    """Tables of a study file."""
    return "\n\n".join(
        "\n".join(["[[space.start]]", *(f"{name} = {json.dumps(value)}" for name, value in start.items())])
        for start in starts
    )


def _values(
    question: Question, runs: Sequence[RunOutcome], space: SpaceSpec
) -> tuple[str, Sequence[float | int | str]] | None:
    """The setting that two new trials differ in, and its two values; None where the space has one value of it."""
    if question.cause == FORMAT:
        others = [name for name in space.data_format if name != RETRIEVAL_FORMAT]
        known = RETRIEVAL_FORMAT in space.data_format and others
        return ("data_format", [RETRIEVAL_FORMAT, others[0]]) if known else None
    if question.cause == NEGATIVES:
        sizes = space.batch_sizes
        return ("batch_size", [sizes[0], sizes[-1]]) if len(sizes) > 1 and runs and runs[0].share is not None else None
    if question.cause in (TOO_HIGH, TOO_LOW):
        low, high = ends(space.learning_rate)
        middle = _rounded(math.sqrt(low * high), low, high)
        return ("learning_rate", [middle, high if question.cause == TOO_HIGH else low]) if high > low else None
    name = "warmup_ratio" if question.cause == WARMUP else "scale"
    low, high = ends(getattr(space, name))
    return (name, [low, high]) if high > low else None


def _settings(run: RunOutcome, space: SpaceSpec) -> dict[str, float | int | str]:
    """A run's settings, held to the space, which may have been narrowed since."""
    given = run.params.as_dict()
    mattering = [one for one in DIMENSIONS if given[one.name] is not None]
    return {one.name: _held(given[one.name], one, getattr(space, one.name)) for one in mattering}


def _held(value: Value, one: Dimension, setting: Setting) -> Value:
    if isinstance(setting, tuple):
        return value if value in setting else setting[0]
    low, high = ends(setting)
    return max(low, min(high, value)) if one.kind == "power of two" else _rounded(float(value), low, high)


def _middle(space: SpaceSpec) -> dict[str, float | int | str]:
    found: dict[str, float | int | str] = {}
    for one in DIMENSIONS:
        if one.matters(found):
            found[one.name] = _middle_of(one, getattr(space, one.name))
    return found


def _middle_of(one: Dimension, setting: Setting) -> Value:
    """The first choice, the largest power of two, the middle of a range by its scale."""
    if isinstance(setting, tuple):
        return setting[0]
    low, high = ends(setting)
    if one.kind == "power of two":
        return high
    return _rounded(math.sqrt(low * high) if one.log else (low + high) / 2, low, high)


def _apart(setting: Setting, count: int) -> list[float]:
    """``count`` different values of a range within its middle; of a fixed setting its value."""
    low, high = ends(setting)
    if low == high:
        return [low]
    shares = [(index + 1) / (count + 1) for index in range(count)]
    if low > 0:
        return [_rounded(low * (high / low) ** share, low, high) for share in shares]
    return [_rounded(low + share * (high - low), low, high) for share in shares]


def _rounded(value: float, low: float, high: float) -> float:
    """The value to three digits, within the range."""
    return min(max(float(f"{value:.3g}"), low), high)


def _remedy(question: Question, effect: float) -> str:
    where = _for(question.scope)
    if question.cause == TOO_HIGH:
        return f"Lower space.learning_rate.high{where}: towards {question.better:.2g} (at batch 64) nothing was lost."
    if question.cause == TOO_LOW:
        return f"Raise space.learning_rate.low{where}: towards {question.better:.2g} (at batch 64) runs end higher."
    if question.cause == FORMAT:
        return f"Train on {RETRIEVAL_FORMAT} pairs; where there are none, make queries for the documents."
    if question.cause == WARMUP:
        return f"Raise space.warmup_ratio.low{where} towards {question.better:.2g}."
    if question.cause == SCALE:
        better = question.worse if effect < 0 else question.better
        return f"Keep space.scale{where} near {better:.3g}."
    return "Remove near-equal positives from the collection, or lower space.batch_size: a smaller batch holds fewer."


def _widen(question: Question) -> str:
    """What to do where the space holds no trials that would settle a question."""
    key = {FORMAT: "data_format", NEGATIVES: "batch_size", WARMUP: "warmup_ratio", SCALE: "scale"}.get(question.cause)
    if question.cause == NEGATIVES and "not recorded" in question.reason:
        return "Run further trials: their share of false negatives is recorded."
    if question.cause == FORMAT:
        return f"Make space.data_format a list with {RETRIEVAL_FORMAT} and another format."
    return f"Make space.{key or 'learning_rate'} a range, so that trials can differ in it."


def _compared(question: Question) -> str:
    better, worse = question.better, question.worse
    if question.cause in (TOO_HIGH, TOO_LOW):
        return f"a rate of {worse:.2g} against {better:.2g} (at batch 64)"
    if question.cause == FORMAT:
        return f"{worse} against {better}, at a rate of {question.rate:.2g} (at batch 64),"
    if question.cause == WARMUP:
        return f"a warm-up of {worse:.0%} against {better:.0%}"
    if question.cause == SCALE:
        return f"a scale of {worse:.3g} against {better:.3g}"
    return f"a share of {worse:.2%} against {f'{better:.2%}' if better else 'none'}"


def _timing(question: Question, runs: Sequence[RunOutcome], margin: float) -> str:
    """For the warm-up: where the peaks of the runs that fell lie, seen from its end."""
    fallen = [run for run in runs if run.end.fall >= margin]
    if question.cause != WARMUP or not fallen:
        return ""
    near = sum(abs(run.end.peak_progress / WHOLE - run.warmup_end) <= 0.05 for run in fallen)
    return f" Of {len(fallen)} runs that fell, {near} had their peak within 5 % of the budget from its end."


def _signed(effect: float) -> str:
    return f"{effect:.3f}" if effect >= 0 else f"{effect:+.3f}"


def _for(scope: str) -> str:
    return "" if scope == OVERALL else f" for {scope}"

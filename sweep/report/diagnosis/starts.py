"""Further trials that would settle a question, as start points of the study file."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from sweep.report.diagnosis.cause import OVERALL, Cause, Evidence, Question, Start
from sweep.report.diagnosis.run_outcomes import RunOutcome
from sweep.settings.dimension import Dimension, Value
from sweep.settings.dimensions import DIMENSIONS
from sweep.settings.ranges import Setting, ends
from sweep.settings.space import SearchSpace
from sweep.settings.study_file import SpaceSpec


def plan_pairs(cause: Cause, question: Question, evidence: Evidence) -> list[Start]:
    """Trials that differ in the setting in question alone, in pairs; none where the space holds no such trials.

    The pairs differ from each other in another setting: a trial that repeats another with the same seed would repeat
    its noise as well. Trials that were run before are left out: a start point is tried once. Where all of them were,
    they are planned with the seeds that the space lists, as replicates.
    """
    space, values = evidence.space, find_pair(cause, evidence)
    if values is None:
        return []
    like = [run for run in evidence.runs if question.scope in (OVERALL, run.params.data_format)]
    base = settings_of_run(like[-1], space) if like else settings_of_middle(space)
    if question.scope != OVERALL:
        formats: Sequence[str] = [question.scope] if question.scope in space.data_format else []
    elif cause.setting == "data_format":
        formats = [str(base["data_format"])]
    else:
        formats = space.data_format
    planned = [
        {**base, "data_format": name, cause.beside: apart, cause.setting: value}
        for name in formats
        for apart in spread_values(getattr(space, cause.beside), 2 if len(formats) == 1 else 1)
        for value in values
    ]
    replicates: list[Start] = [{**start, "seed": seed} for seed in space.seed or () for start in planned]
    return keep_new(planned, evidence) or keep_new(replicates, evidence)


def find_pair(cause: Cause, evidence: Evidence) -> tuple[Value, Value] | None:
    """The two values of a cause's setting that further trials would take; None where the space holds only one."""
    values = cause.pair(evidence) if cause.pair else ends(getattr(evidence.space, cause.setting))
    return None if values is None or values[0] == values[1] else values


def keep_new(planned: Sequence[Start], evidence: Evidence) -> list[Start]:
    """The start points that `check` accepts and that were not run before."""
    space = evidence.space
    known = [settings_of_run(run, space) for run in evidence.runs]
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


def settings_of_run(run: RunOutcome, space: SpaceSpec) -> Start:
    """A run's settings, held to the space, which may have been narrowed since."""
    given, settings = run.params.as_dict(), _list_settings(space)
    return {
        each.name: _hold(given[each.name], each, setting=setting)
        for each, setting in settings
        if given[each.name] is not None
    }


def _hold(value: Value, dimension: Dimension, *, setting: Setting) -> Value:
    if isinstance(setting, tuple):
        return value if value in setting else setting[0]
    low, high = ends(setting)
    if dimension.kind == "power of two":
        return max(low, min(high, value))
    return round_within(float(value), low, high)


def settings_of_middle(space: SpaceSpec) -> Start:
    """Settings in the middle of the space."""
    start: Start = {}
    for dimension, setting in _list_settings(space):
        if dimension.matters(start):
            start[dimension.name] = _middle_of(dimension, setting)
    return start


def _list_settings(space: SpaceSpec) -> list[tuple[Dimension, Setting]]:
    """The dimensions that a space sets, with their settings."""
    settings = ((dimension, getattr(space, dimension.name)) for dimension in DIMENSIONS)
    return [(dimension, setting) for dimension, setting in settings if setting is not None]


def _middle_of(dimension: Dimension, setting: Setting) -> Value:
    """The first choice, the largest power of two, the middle of a range by its scale."""
    if isinstance(setting, tuple):
        return setting[0]
    low, high = ends(setting)
    if dimension.kind == "power of two":
        return high
    return round_within(math.sqrt(low * high) if dimension.log else (low + high) / 2, low, high)


def spread_values(setting: Setting, count: int) -> list[float]:
    """``count`` different values of a range within its middle; of a fixed setting its value."""
    low, high = ends(setting)
    if low == high:
        return [low]
    shares = [(index + 1) / (count + 1) for index in range(count)]
    if low > 0:
        return [round_within(low * (high / low) ** share, low, high) for share in shares]
    return [round_within(low + share * (high - low), low, high) for share in shares]


def round_within(value: float, low: float, high: float) -> float:
    """The value to three digits, within the range."""
    return min(max(float(f"{value:.3g}"), low), high)

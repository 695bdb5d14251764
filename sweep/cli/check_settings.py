"""What ``check`` says of the settings of a study file alone."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from sweep.cli.check_data import WIDTH
from sweep.progress import count_steps, plan_evaluations
from sweep.settings.dimension import Dimension
from sweep.settings.dimensions import SHOWN
from sweep.settings.ranges import FloatRange, Setting, ends
from sweep.settings.space import SearchSpace
from sweep.settings.study_file import DropOffSpec, StoppingSpec, StudySpec
from sweep.stopping.doubling import expect_lengths


def describe_settings(spec: StudySpec, *, revision: str = "") -> Iterator[str]:
    """The study, its base model with its revision where that is known, and its search space."""
    space = spec.space
    smallest, largest = space.batch_sizes[0], space.batch_sizes[-1]
    yield f"Study:    {spec.name}, {spec.budget.trials} trials of {spec.budget.examples:,} examples"
    yield from _describe_lengths(spec)
    yield f"Base:     {spec.model.base}" + (f" ({revision[:12]})" if revision else "")
    mattering = [each for each in SHOWN if each.can_matter(space)]
    shown = [f"{each.label} {_describe_setting(each, getattr(space, each.name))}" for each in mattering]
    yield from textwrap.wrap("Space:    " + "; ".join(shown), WIDTH, subsequent_indent=" " * 10)
    yield f"          learning-rate rule {space.learning_rate_rule}; {len(space.start)} start points"
    for rate in sorted({*ends(space.learning_rate)}):
        low, high = (SearchSpace(space).effective_learning_rate(rate, size) for size in (smallest, largest))
        yield f"          {rate:.2e} is effectively {low:.2e} at batch {smallest} and {high:.2e} at batch {largest}"


def _describe_lengths(spec: StudySpec) -> Iterator[str]:
    """The longer trials, as far as the totals are expected to go."""
    budget = spec.budget
    if not budget.doublings_at_most:
        return
    longer = [f"{length * budget.examples:,}" for length in expect_lengths(spec)]
    total = "" if budget.total_examples is None else f" of {budget.total_examples:,} examples in all"
    if budget.total_examples is None:
        yield f"          then the best for longer, as the hours allow: {', '.join(longer)} examples"
    elif longer:
        yield f"          then the best for longer, as the rest{total} allows: {', '.join(longer)} examples"
    else:
        yield f"          no trial is longer: the search is expected to leave too little{total}"


def _describe_setting(dimension: Dimension, setting: Setting) -> str:
    is_log = isinstance(setting, FloatRange) and setting.log and dimension.varies(setting)
    return dimension.describe(setting) + (" (log)" if is_log else "")


def describe_trials(spec: StudySpec) -> Iterator[str]:
    """When a trial is evaluated, its steps at the ends of the batch sizes, and what stops it."""
    sizes, points = spec.space.batch_sizes, spec.evaluation.grid_points
    grid = ", ".join(f"{point / 10:g}" for point in points)
    yield f"Grid:     evaluated at {grid} % of the examples"
    for size in sorted({sizes[0], sizes[-1]}):
        steps = count_steps(spec.budget.examples, size)
        yield (
            f"Trial:    batch {size}: {steps} steps, {steps * size:,} examples in whole batches,"
            f" {len(plan_evaluations(points, steps))} evaluations"
        )
    yield f"Stopping: {_describe_stopping(spec.stopping)}"


def _describe_stopping(stopping: StoppingSpec) -> str:
    rule = stopping.drop_off
    if not isinstance(rule, DropOffSpec):
        return "none"
    forecast = " and forecast" if rule.forecast else ""
    return f"drop-off{forecast}, margin {rule.margin:g}, alpha {rule.alpha:g}, grace {rule.grace:g} after warm-up"

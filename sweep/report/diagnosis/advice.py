"""Advice on the search space that keeps the best runs of a study within it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from sweep.report.diagnosis.cause import OVERALL, Answer, Evidence, Question
from sweep.report.diagnosis.run_outcomes import RunOutcome

End = Literal["low", "high"]

SURE = 1.96
"""Standard errors below the best run at which a run is told from it."""


def find_best_runs(runs: Sequence[RunOutcome]) -> list[RunOutcome]:
    """The run of the highest peak and those that cannot be told from it, the best first.

    A run that never beat the untrained model is not among them. A run's noise is that of its distance from the
    untrained model, which overstates the noise of a difference between runs: rather too many runs are kept.
    """
    trained = sorted((run for run in runs if run.end.peak_progress > 0), key=lambda run: -run.end.peak)
    return [
        run
        for run in trained
        if trained[0].end.peak - run.end.peak <= SURE * math.hypot(trained[0].end.held_noise, run.end.held_noise)
    ]


def advise_end(
    question: Question,
    evidence: Evidence,
    *,
    setting: str,
    end: End,
    towards: float,
    read: Callable[[RunOutcome], float],
    unit: str = "",
) -> str:
    """Advice on an end of a setting's range that leaves none of the best runs outside.

    Args:
        question: The question that was supported.
        evidence: The study.
        setting: Key of the setting in the study file.
        end: The end of its range in question.
        towards: The value at which no harm was seen, in the setting's own unit.
        read: The value of a run that has to stay in the range.
        unit: Text after the value.
    """
    verb, limit, side = ("Lower", "or less", "above") if end == "high" else ("Raise", "or more", "below")
    sign = 1 if end == "high" else -1
    key, target = f"space.{setting}.{end}", f"{towards:.3g}{unit}"
    best = find_best_runs(evidence.runs)
    beyond = sorted((run for run in best if sign * (read(run) - towards) > 0), key=lambda run: -sign * read(run))
    if not beyond:
        return f"{verb} {key} towards {target}: all of the best runs lie within."
    own = [run for run in beyond if question.scope in (OVERALL, run.params.data_format)]
    kept = name_run((own or beyond)[0], best, read=read)
    if own:
        return f"Leave {key} where it is, or move it no further than {kept}; at {target} {limit} nothing was lost."
    return (
        f"With {question.scope} pairs keep {setting} at {target} {limit}. The study file has one range for all formats,"
        f" and {kept} lies {side}: leave {key}, or begin a study without {question.scope} (sweep fork)."
    )


def name_run(run: RunOutcome, best: Sequence[RunOutcome], *, read: Callable[[RunOutcome], float]) -> str:
    """One of the best runs in words, with its format and value."""
    rank = "the best" if run is best[0] else "one of the best"
    return f"trial {run.trial} ({rank}, {run.params.data_format}, {read(run):.3g})"


def refuse_overall(within: Mapping[str, Answer]) -> str:
    """The refusal of overall advice where the answers within formats differ; else nothing."""
    if len(set(within.values())) < 2:
        return ""
    answers = ", ".join(f"{answer} for {name}" for name, answer in within.items())
    return f"No overall advice, because formats differ ({answers}): see the findings within them."

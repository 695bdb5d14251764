"""The command ``diagnose``: which of the suspected causes made the runs of a study fall."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from sweep.by_benchmark import describe_falls
from sweep.cli.leaderboard import print_table
from sweep.report.diagnosis import Finding, diagnose
from sweep.study import Study

DIAGNOSIS_VERSION = 1
"""Version of the JSON; additions keep it."""

MAX_UNFINISHED = 4
"""Paused trials that are named as worth finishing, at most."""

HEADINGS = ("cause", "scope", "finding", "effect", "interval (ends at 95 %, all together)", "trials")


def print_diagnosis(study: Study, *, as_json: bool, with_next: bool) -> None:
    """Prints the finding on every suspected cause, as a table or as JSON.

    Raises:
        SweepError: If the study cannot be read.
    """
    findings = diagnose(study)
    if as_json:
        described = {
            "version": DIAGNOSIS_VERSION,
            "study": study.name,
            "metric": study.record.measure.key,
            "verdicts": [asdict(finding) for finding in findings],
            "by_benchmark": describe_falls(study),
        }
        print(json.dumps(described, allow_nan=False, indent=2))
        return
    if not findings:
        print(f"{study.name}: no run has ended yet, so there is nothing to diagnose.")
        return
    print(f"{study.name}: why runs fell\n")
    print_table(HEADINGS, [_row(finding) for finding in findings])
    print()
    for finding in findings:
        if finding.effect is not None or finding.verdict == "supported":
            print(f"- {finding.sentence}")
            if finding.verdict == "supported":
                print(f"  {finding.next_steps}")
    if falls := describe_falls(study):
        print("\nBenchmark by benchmark, from a trial's peak to its end:\n")
        print("\n".join(f"- {line}" for line in falls))
    metric = study.record.measure.label
    print(f"\nAn effect is {metric} that is lost; for overfitting, the rise of the validation loss (its logarithm).")
    if with_next:
        _print_next(findings)
        _print_unfinished(study, findings)
    elif any(finding.verdict == "cannot tell" for finding in findings):
        print("What cannot be told: --next prints the trials that would settle it.")


def _row(finding: Finding) -> list[str]:
    interval = finding.interval
    return [
        finding.cause,
        finding.scope,
        finding.verdict,
        "-" if finding.effect is None else f"{finding.effect:+.3f}",
        "-" if interval is None else f"{interval[0]:+.3f} to {interval[1]:+.3f}",
        _numbers(finding.trials),
    ]


def _print_next(findings: Sequence[Finding]) -> None:
    for finding in findings:
        print(f"\n# {finding.cause} ({finding.scope}): {finding.verdict}")
        print(finding.next_steps)


def rank_unfinished(study: Study, findings: Sequence[Finding]) -> list[tuple[int, int]]:
    """The paused trials that more questions would be settled by, each with the number of these, the most first.

    A question that cannot be told rests on how its trials end, and of one that is paused that is not known. Of trials
    that as many questions rest on, the one with the highest peak comes first.
    """
    undecided = [set(finding.trials) for finding in findings if finding.verdict == "cannot tell"]
    paused = [trial for trial in study.record.leaderboard() if trial.may_be_promoted]
    counts = [(trial.number, sum(trial.number in trials for trials in undecided)) for trial in paused]
    return sorted((pair for pair in counts if pair[1]), key=lambda pair: -pair[1])


def _print_unfinished(study: Study, findings: Sequence[Finding]) -> None:
    ranked = rank_unfinished(study, findings)[:MAX_UNFINISHED]
    if ranked:
        numbers = " ".join(str(number) for number, _ in ranked)
        print("\n# Paused trials that are worth finishing first")
        print(f"sweep run {study.location.arguments} --finish {numbers}")
        for number, questions in ranked:
            print(f"trial {number}: {questions} of the questions that cannot be told rest on how it would end")


def _numbers(trials: Sequence[int]) -> str:
    """Numbers of trials, neighbours drawn together: `0-3, 7`."""
    parts: list[list[int]] = []
    for number in sorted(trials):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in parts) or "-"

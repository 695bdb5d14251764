"""The leaderboard of a study, which ``run`` prints at its end and ``status`` at any time."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from sweep.by_benchmark import compare_on_test, curves_by_benchmark, describe_fall
from sweep.columns import OUTCOME, choose_settings, rank_trials, write_rows
from sweep.recommendation import compare, compare_over_seeds, recommend
from sweep.run_folder import seen_from_here
from sweep.storage.confirmations import find_confirmed
from sweep.storage.evaluations import UNTRAINED
from sweep.storage.records import ENDED_BY, count_saved
from sweep.study import Study

SHOWN_LAST = ("seconds", "ending")


def print_leaderboard(study: Study) -> None:
    """Prints the results of a study: the figures of the test split, then every trial, then commands to go on with."""
    record = study.record
    print("", *_headline(study), sep="\n")
    keys = [*OUTCOME, *choose_settings(record, study.spec.space), *SHOWN_LAST]
    headings, *rows = write_rows(record, rank_trials(record), keys)
    print()
    print_table(headings, rows)
    _print_benchmarks(study)
    _print_confirmed(study)
    saved, fraction = count_saved(record.trials)
    seconds = sum(trial.rows[-1].seconds for trial in record.trials if trial.rows)
    evaluating = sum(trial.rows[-1].evaluation_seconds for trial in record.trials if trial.rows)
    print()
    peaks = f"Peaks are {record.measure.label} on dev (selected)"
    print(f"{peaks}; at is the share of the trial's examples; * is the best of them.")
    if seconds:
        print(
            f"Stopping saved {saved:,} training examples ({fraction:.0%})."
            f" Evaluation took {evaluating / seconds:.0%} of the trials' time."
        )
    if study.run_folder.report.is_file():
        print(f"Report:     {seen_from_here(study.run_folder.report)}")
    if study.best_model is not None:
        is_other = record.best is not None and recommend(study).number != record.best.number
        print(f"{'Best on dev:' if is_other else 'Best model:'} {seen_from_here(study.best_model)}")
    print(*_suggest_commands(study), sep="\n")


def _print_benchmarks(study: Study) -> None:
    """Prints the value of each trial on each benchmark at its peak, and where it fell afterwards."""
    record = study.record
    curves = {trial.number: curves_by_benchmark(study, trial.number) for trial in rank_trials(record)}
    known = {number: found for number, found in curves.items() if found}
    if not known:
        return
    names = [f"{one.name} (weight {one.weight:g})" for one in record.benchmarks]
    print(f"\nOn each benchmark ({record.measure.label} on dev, at the trial's peak):\n")
    print_table(
        ["trial", *names, "from there to its end"],
        [
            [str(number), *(f"{curve.peak:.4f}" for curve in found), describe_fall(found) or "fell on none"]
            for number, found in known.items()
        ],
    )


def _print_confirmed(study: Study) -> None:
    """Prints the confirmed configurations with their means over training seeds, the best first."""
    confirmed = find_confirmed(study.record)
    if not confirmed:
        return
    print(f"\nConfirmed with other training seeds ({study.record.measure.label} on dev, selected):\n")
    rows = [
        [str(group.number), f"{group.mean:.4f}", f"{group.spread:.4f}", " ".join(f"{peak:.4f}" for peak in group.peaks)]
        for group in confirmed
    ]
    print_table(["configuration of trial", "mean", "spread", "peak of each training"], rows)
    gain = compare_over_seeds(study, UNTRAINED)
    if gain is not None:
        print(f"On the test split against {gain.other}: {gain} (queries and seeds)")


def _headline(study: Study) -> list[str]:
    """The state of the study, which model to use and why, and the figures of its best trial."""
    record, best = study.record, study.record.best
    ended_by = record.attributes.get(ENDED_BY)
    why = f" (ended by {ended_by})" if study.state == "finished" and ended_by not in (None, "trials") else ""
    lines = [f"{record.name}: {record.counted} of {study.budget} trials, {study.state}{why}"]
    if best is None or best.peak is None:
        return [*lines, recommend(study).sentence]
    lines.append(recommend(study).sentence)
    gain, chosen = compare(study, best.number, UNTRAINED), study.test_score(best.number)
    if gain is not None and chosen is not None:
        lines.append(
            f"Test {record.measure.label}, evaluated once: untrained {gain.mean:.4f},"
            f" best (trial {best.number}) {chosen.mean:.4f}; {gain} ({chosen.queries} queries)"
        )
        lines += [f"  {line}" for line in compare_on_test(study, best.number)]
    elif study.state == "finished":
        lines.append("There is no figure on a test split: the dev figures were selected and are optimistic.")
    dev = f"Dev (selected): best {best.peak.value:.4f}"
    if study.as_saved is not None:
        dev += f" ({study.as_saved:.4f} as it was saved)"
    if study.overstatement is not None:
        dev += f", expected to be {study.overstatement:.4f} too high for having been chosen"
    lines.append(dev if record.baseline is None else f"{dev}, untrained {record.baseline:.4f}")
    return lines


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints rows of text in columns as wide as they need."""
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    for row in (headings, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _suggest_commands(study: Study) -> list[str]:
    """Commands to go on with, as they work from here."""
    command = Path(sys.argv[0]) if Path(sys.argv[0]).name == "sweep" else Path("sweep")
    name = shlex.quote(str(seen_from_here(command)))
    commands = [
        f"Look closer:   {name} dashboard {study.location.arguments}",
        f"More trials:   raise budget.trials in {shlex.quote(str(study.file))} and run it again",
    ]
    paused = [trial.number for trial in rank_trials(study.record) if trial.is_unpromoted]
    if paused:
        commands.append(f"Finish one:    {name} run {study.location.arguments} --finish {paused[0]}")
    model = study.find_model(recommend(study).number)
    if model is not None:
        commands.append(f'Load it:       SentenceTransformer("{seen_from_here(model)}")')
    return commands

"""The leaderboard of a study, which ``run`` prints at its end and ``status`` at any time."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from sweep.columns import OUTCOME, choose_settings, rank_trials, write_rows
from sweep.measures.score import Score
from sweep.recommendation import compare, recommend
from sweep.run_folder import seen_from_here
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


def _headline(study: Study) -> list[str]:
    """The state of the study, which model to use and why, and the figures of its best trial."""
    record, best = study.record, study.record.best
    ended_by = record.attributes.get(ENDED_BY)
    why = f" (ended by {ended_by})" if study.state == "finished" and ended_by not in (None, "trials") else ""
    lines = [f"{record.name}: {record.counted} of {study.budget} trials, {study.state}{why}"]
    if best is None or best.peak is None:
        return [*lines, recommend(study).sentence]
    lines.append(recommend(study).sentence)
    gain = compare(study, best.number, UNTRAINED)
    if gain is not None:
        chosen = study.tests[best.number]
        lines.append(
            f"Test {record.measure.label}, evaluated once: untrained {gain.mean:.4f},"
            f" best (trial {best.number}) {Score(chosen).mean:.4f}; {gain} ({len(chosen)} queries)"
        )
    elif study.state == "finished":
        lines.append("There is no figure on a test split: the dev figures were selected and are optimistic.")
    dev = f"Dev (selected): best {best.peak.value:.4f}"
    if study.as_saved is not None:
        dev += f" ({study.as_saved:.4f} as it was saved)"
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
    model = study.find_model(recommend(study).number)
    if model is not None:
        commands.append(f'Load it:       SentenceTransformer("{seen_from_here(model)}")')
    return commands

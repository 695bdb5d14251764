"""The command ``data``: what a study evaluates on and trains on, in counts, lengths and examples."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.cells import cell_len, set_cell_size

from sweep.cli.leaderboard import print_table
from sweep.data.lengths import MOST, Lengths
from sweep.errors import SweepError
from sweep.output_files import write_output
from sweep.plan import plan_study
from sweep.printable import make_printable
from sweep.report.collection.collection_page import render_collection
from sweep.report.collection.collection_view import CollectionView, view_collection
from sweep.storage.location import StudyLocation

WIDTH = 110
"""Columns of a line that goes to no terminal."""

MAX_EXAMPLES = 1000


def print_data(location: StudyLocation, *, examples: int) -> None:
    """Prints what a study evaluates on and trains on.

    Raises:
        SweepError: If the study file, its collection or its model cannot be used.
    """
    view, width = _view(location, examples), shutil.get_terminal_size((WIDTH, 24)).columns
    print(*_describe_sources(view, width), sep="\n")
    print("\nEvaluated on")
    print_table(*_tabulate_splits(view))
    print("\nTrained on")
    print_table(*_tabulate_formats(view))
    print("\nLengths")
    print_table(*_tabulate_lengths(view))
    for title, names, rows in view.examples:
        print(f"\n{title}")
        print(*_cut_examples(names, rows, width), sep="\n")
    print("\nEmbedded, and left out")
    print(*(line for text in view.left_out for line in _wrap(text, width)), sep="\n")


def write_data_page(location: StudyLocation, *, examples: int, output: str) -> Path:
    """Writes the same as one HTML file to a path, which may be a link, a pipe or a device, and returns the path.

    Raises:
        SweepError: If the study cannot be used, or the file cannot be written.
    """
    file, page = Path(output), render_collection(_view(location, examples))
    try:
        write_output(file, page)
    except OSError as error:
        raise SweepError(f"{file}: the page cannot be written: {error.strerror}; name another place") from error
    return file


def _view(location: StudyLocation, examples: int) -> CollectionView:
    if not 1 <= examples <= MAX_EXAMPLES:
        raise SweepError(f"--examples must be from 1 to {MAX_EXAMPLES}, got {examples}")
    return view_collection(plan_study(location), examples=examples)


def _describe_sources(view: CollectionView, width: int) -> Iterator[str]:
    collection = view.plan.collection
    yield (
        f"{view.plan.spec.name}: {collection.name}, {len(collection.documents):,} documents,"
        f" {len(collection.queries):,} queries"
    )
    for note in view.reading:
        yield from _wrap(note, width)


def _tabulate_splits(view: CollectionView) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    headings = ("split", "queries", "of", "documents", "judged", "grades", "judged a query", "relevant a query")
    rows = [
        (
            one.name,
            f"{one.queries.count:,}",
            f"{one.judged_queries:,}",
            f"{one.documents.count:,}",
            f"{one.judged_documents:,}",
            ", ".join(f"{grade:g}: {count:,}" for grade, count in one.grades.items()),
            _say_spread(one.judged),
            _say_spread(one.relevant),
        )
        for one in view.splits
    ]
    return headings, rows if view.has_test_split else [*rows, ("test", "none", *[""] * (len(headings) - 2))]


def _tabulate_formats(view: CollectionView) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    is_kept = view.plan.spec.data.split.leaks == "keep"
    headings = ("format", "pairs", "which leak" if is_kept else "left out as leaks", "seen a trial", "distinct texts")
    rows = [
        (
            one.name,
            f"{one.pairs:,}",
            f"{one.leaking:,}",
            f"{view.sees(one):.2f} times",
            ", ".join(f"{column} {texts.distinct:,}" for column, (_, texts) in one.columns.items()),
        )
        for one in view.formats
    ]
    return headings, rows


def _tabulate_lengths(view: CollectionView) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    cut = () if view.limit is None else (f"cut at {view.limit}",)
    most = f"{MOST} %"
    units = [heading for unit in ("characters", view.unit) for heading in (f"{unit}: median", most, "longest")]
    headings = ("texts", "number", *units, *cut)
    rows = [
        (
            name,
            f"{texts.count:,}",
            *(f"{length:,}" for known in (texts.characters, texts.lengths) for length in _list_lengths(known)),
            *(() if texts.cut is None else (f"{texts.cut:.0%}",)),
        )
        for name, texts in view.texts
    ]
    return headings, rows


def _list_lengths(lengths: Lengths) -> tuple[int, int, int]:
    return lengths.median, lengths.most, lengths.longest


def _say_spread(lengths: Lengths) -> str:
    return (
        f"{lengths.median:,}" if lengths.median == lengths.longest else f"{lengths.median:,}, up to {lengths.longest:,}"
    )


def _cut_examples(names: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """A line for each text of each example, no wider than the terminal."""
    room = max(map(len, names))
    for number, row in enumerate(rows, start=1):
        for place, (name, text) in enumerate(zip(names, row, strict=True)):
            head = f"{number if place == 0 else '':>3}  {name:<{room}}  "
            yield head + cut(make_printable(text), max(10, width - len(head)))


def cut(text: str, width: int) -> str:
    """A text in so many cells of a terminal, of which some letters take two."""
    return text if cell_len(text) <= width else set_cell_size(text, width - 3).rstrip() + "..."


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(make_printable(text), max(40, width), initial_indent="  ", subsequent_indent="  ")

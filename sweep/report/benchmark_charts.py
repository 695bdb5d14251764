"""The figure of a study with several benchmarks: each one's curves beside the others'."""

from __future__ import annotations

import pandas as pd

from sweep.report.charts import Chart, Panel, Trace, colour_of, list_format_entries, make_layout, make_line, plain


def draw_benchmarks(values: pd.DataFrame, formats: dict[int, str], *, metric: str) -> Chart:
    """Values over progress on each benchmark, a panel for each.

    Args:
        values: One row for each measurement on each benchmark; see `Study.benchmarks`.
        formats: Data format of each trial.
        metric: Label of the metric.
    """
    names = sorted({*formats.values()})
    panels = []
    for benchmark, rows in values.groupby("benchmark", sort=False):
        traces: list[Trace] = []
        for number, curve in rows.groupby("trial"):
            of = formats.get(int(number), "")
            text = f"trial {number}, {plain(of)}"
            line = make_line(
                curve["progress"] / 10, curve["value"], colour_of(of, names), name=text, hoverinfo="name+y"
            )
            traces.append(line)
        layout = make_layout("share of the trial's examples, %", f"{metric} on dev")
        panels.append(Panel(title=str(benchmark), traces=traces, layout=layout))
    return Chart(
        key="benchmarks",
        title="The same runs, benchmark by benchmark",
        sentence=(
            "Each line is a run on one benchmark. Look for runs that fall in one panel and hold in another: they learn"
            " what one benchmark asks for at the other's cost."
        ),
        panels=panels,
        legend=list_format_entries(names, "line"),
        missing="No trial has been measured yet.",
    )

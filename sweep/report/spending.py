"""Figures of a study's spending: each slot over time, and the budget of examples."""

from __future__ import annotations

import pandas as pd

from sweep.report.charts import (
    INK,
    PAPER,
    Chart,
    LegendEntry,
    Panel,
    colour_of,
    list_format_entries,
    listed,
    make_bars,
    make_layout,
    plain,
)


def draw_slots(slots: pd.DataFrame) -> Chart:
    """The processes of each slot over time, a bar each."""
    formats = sorted(slots["data_format"].dropna().unique())
    layout = make_layout("minutes since the study began", "")
    layout["height"] = 120 + 44 * slots["slot"].nunique()
    layout["barmode"] = "overlay"
    layout["yaxis"] |= {"type": "category", "autorange": "reversed"}
    traces = []
    for name in formats:
        rows = slots[slots["data_format"] == name]
        bars = make_bars(
            rows["slot"],
            (rows["ended"] - rows["began"]) / 60,
            name=name,
            base=listed(rows["began"] / 60),
            text=[str(number) for number in rows["trial"]],
            hovertext=[_describe(row) for row in rows.to_dict("records")],
            marker={"color": colour_of(name, formats), "line": {"width": 1, "color": PAPER}},
        )
        traces.append({**bars, "textposition": "inside", "insidetextanchor": "middle", "textangle": 0})
    return Chart(
        key="slots",
        title="What each device did",
        sentence=(
            "A bar is a trial's process, with the trial's number; a number that comes twice was interrupted and went"
            " on. Look for gaps: there the device had nothing to do, or the study was not running."
        ),
        panels=[Panel(title="", traces=traces, layout=layout)] if len(slots) else (),
        legend=list_format_entries(formats, "block"),
        missing="No process of a trial was recorded.",
    )


def draw_budget(budget: pd.DataFrame) -> Chart:
    """Training examples that were seen by runs that held and by runs that fell, and those that stopping saved."""
    formats = sorted(budget["data_format"].unique())
    layout = make_layout("training examples", "")
    layout["height"] = 130 + 44 * len(formats)
    layout["barmode"] = "stack"
    layout["yaxis"] |= {"type": "category", "automargin": True}
    looks = {"held": ("", 1.0), "fell": ("/", 0.8), "saved": (".", 0.25)}
    words = {"held": "seen by runs that held", "fell": "seen by runs that fell", "saved": "saved by stopping"}
    names, colours = budget["data_format"], [colour_of(name, formats) for name in budget["data_format"]]
    traces = []
    for column, (shape, opacity) in looks.items():
        pattern = {"shape": shape, "fgcolor": PAPER if shape == "/" else INK, "fgopacity": 0.8, "size": 7}
        marker = {"color": colours, "opacity": opacity, "pattern": pattern}
        counts = zip(names, budget[column], strict=True)
        text = [f"{plain(name)}<br>{count:,} {words[column]}" for name, count in counts]
        traces.append(make_bars(names, budget[column], name=words[column], hovertext=text, marker=marker))
    return Chart(
        key="budget",
        title="Examples spent and saved",
        sentence=(
            "Where the training went, in examples. The hatched part went into runs that fell; the pale one is what"
            " stopping them saved. Look for a format that eats the budget in runs that fall."
        ),
        panels=[Panel(title="", traces=traces, layout=layout)] if len(budget) else (),
        legend=[
            *list_format_entries(formats, "block"),
            LegendEntry(text="by runs that fell", colour=INK, shape="hatch"),
            LegendEntry(text="saved", colour=INK, shape="pale"),
        ],
        missing="No trial has been trained yet.",
    )


def _describe(row: dict[str, object]) -> str:
    minutes = (float(str(row["ended"])) - float(str(row["began"]))) / 60
    again = f", process {int(str(row['run'])) + 1}" if row["run"] else ""
    return (
        f"trial {row['trial']}{again}: {plain(row['data_format'])}<br>{minutes:.1f} minutes on {plain(row['device'])}"
    )

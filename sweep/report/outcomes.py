"""Figures of how the trials came out: curves, learning rates, batch sizes, and which setting mattered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sweep.report.charts import (
    INK,
    MUTED,
    PAPER,
    STOPPED,
    Chart,
    LegendEntry,
    Panel,
    Trace,
    colour_of,
    list_format_entries,
    listed,
    make_bars,
    make_layout,
    make_line,
    make_marks,
    plain,
)
from sweep.settings.dimension import Dimension
from sweep.settings.dimensions import DIMENSIONS
from sweep.settings.space import REFERENCE_BATCH

ORIGIN_RATE = 5e-5
"""The learning rate at batch 64 from which the square-root line is drawn."""

LOG = {"type": "log", "exponentformat": "power", "dtick": 1, "minor": {"dtick": "D1"}}


def draw_curves(
    curves: pd.DataFrame, warmups: pd.DataFrame, *, best: int | None, baseline: float | None, metric: str
) -> Chart:
    """Values over progress, with peaks, ends of warm-up and stops."""
    formats = sorted(curves["data_format"].dropna().unique())
    traces: list[Trace] = []
    if baseline is not None:
        traces.append(make_line([0, 100], [baseline, baseline], MUTED, name="untrained", dash="dash", hoverinfo="name"))
    for name in formats:
        rows = curves[curves["data_format"] == name]
        traces.append(make_line(*_with_gaps(rows), colour_of(name, formats), name=name, opacity=0.55, hoverinfo="skip"))
    chosen = curves[curves["trial"] == best]
    if len(chosen):
        colour = colour_of(chosen["data_format"].iloc[0], formats)
        x, y = chosen["progress"] / 10, chosen["value"]
        traces.append(make_line(x, y, colour, name="best trial", width=4, hoverinfo="skip"))
    for name in formats:
        colour = colour_of(name, formats)
        rows, warm = curves[curves["data_format"] == name], warmups[warmups["data_format"] == name]
        measured = rows[rows["progress"] > 0]
        traces += [
            _marks(measured, colour, name=name, symbol="circle", size=4),
            _marks(warm, colour, name="end of warm-up", symbol="line-ns-open", size=11),
            _marks(rows[rows["is_peak"]], colour, name="peak", symbol="circle-open", size=11),
            _marks(rows[rows["is_stop"]], colour, name="stopped", symbol="x", size=10),
        ]
    layout = make_layout("share of the trial's examples, %", f"{metric} on dev")
    legend = [
        *list_format_entries(formats, "line"),
        LegendEntry(text="untrained", colour=MUTED, shape="dash"),
        LegendEntry(text="peak", colour=INK, shape="ring"),
        LegendEntry(text="end of warm-up", colour=INK, shape="tick"),
        STOPPED,
    ]
    return Chart(
        key="curves",
        title=f"{metric} while the runs train",
        sentence=(
            "Each line is a run, the thick one the best. Look for rings (peaks) far left of a line's end: such a run"
            " was best early and then fell. A fall that begins at the tick (the end of the warm-up) points at the rate."
        ),
        panels=[Panel(title="", traces=traces, layout=layout)] if len(curves) else (),
        legend=legend,
        missing="No trial has been measured yet.",
    )


def draw_rates(trials: pd.DataFrame, *, metric: str) -> Chart:
    """Peak and retention over the learning rate, split by format."""
    rows = trials[trials["peak"].notna() & trials["effective_learning_rate"].notna()]
    formats = sorted(rows["data_format"].unique())
    panels = []
    for column, title in (("peak", f"peak {metric}"), ("retention", "retention (last / highest)")):
        layout = make_layout("effective learning rate (log)", title)
        layout["xaxis"] |= LOG
        if column == "retention" and len(rows):
            layout["yaxis"] |= {"range": [min(0.94, float(rows["retention"].min()) - 0.02), 1.01]}
        by_format = [rows[rows["data_format"] == name] for name in formats]
        traces = [_by_trial(part, formats, x="effective_learning_rate", y=column) for part in by_format]
        panels.append(Panel(title=title, traces=traces, layout=layout))
    return Chart(
        key="rates",
        title="What the learning rate does, format by format",
        sentence=(
            "Left the best that a run reached, right how much of it was left at its end (1 is all of it). Look for a"
            " format whose retention sinks to the right while the other's does not: then the rate is too high for that"
            " format alone. Crosses were stopped before their end."
        ),
        panels=panels if len(rows) else (),
        legend=[*list_format_entries(formats, "dot"), STOPPED],
        missing="No trial has been measured yet.",
    )


def draw_batches(trials: pd.DataFrame) -> Chart:
    """Learning rate against batch size with the square-root line through 5e-5 at 64."""
    rows = trials[trials["peak"].notna() & trials["batch_size"].notna()].copy()
    formats = sorted(rows["data_format"].unique())
    # moved a little to either side by format: many trials share a batch size
    shift = {name: 2 ** (0.12 * (place - (len(formats) - 1) / 2)) for place, name in enumerate(formats)}
    rows["place"] = rows["batch_size"].astype(float) * rows["data_format"].map(shift).astype(float)
    sizes = sorted({*rows["batch_size"].astype(int)})
    layout = make_layout("batch size (log)", "effective learning rate (log)")
    layout["xaxis"] |= {"type": "log", "tickvals": sizes, "ticktext": [str(size) for size in sizes]}
    layout["yaxis"] |= LOG
    traces: list[Trace] = []
    if sizes:
        span = np.geomspace(sizes[0] / 1.4, sizes[-1] * 1.4, 20)
        line = ORIGIN_RATE * np.sqrt(span / REFERENCE_BATCH)
        rule = "square-root rule from 5e-5 at 64"
        traces.append(make_line(span, line, MUTED, name=rule, dash="dash", hoverinfo="name"))
    largest = float(rows["peak"].max()) if len(rows) else 1.0
    smallest = float(rows["peak"].min()) if len(rows) else 0.0
    for name in formats:
        part = rows[rows["data_format"] == name]
        trace = _by_trial(part, formats, x="place", y="effective_learning_rate")
        scale = (part["peak"] - smallest) / (largest - smallest or 1.0)
        trace["marker"]["size"] = [round(8 + 14 * float(share), 1) for share in scale]
        traces.append(trace)
    return Chart(
        key="batches",
        title="Learning rate against batch size",
        sentence=(
            "The larger a mark, the higher the run's peak. Look whether the large marks follow the dashed line (the"
            " rate grows with the square root of the batch, from 5e-5 at 64), and whether crosses gather above it."
        ),
        panels=[Panel(title="", traces=traces, layout=layout)] if len(rows) else (),
        legend=[
            *list_format_entries(formats, "dot"),
            STOPPED,
            LegendEntry(text="square-root rule", colour=MUTED, shape="dash"),
        ],
        missing="No trial has been measured yet.",
    )


def _marks(rows: pd.DataFrame, colour: str, *, name: str, symbol: str, size: float) -> Trace:
    """Points of curves, each with its trial in the hover."""
    of = plain(name)
    text = [f"trial {row.trial}, {of}<br>{row.progress / 10:g} %: {row.value:.4f}" for row in rows.itertuples()]
    marker = {"color": colour, "symbol": symbol, "size": size, "line": {"width": 2, "color": colour}}
    return make_marks(rows["progress"] / 10, rows["value"], name=name, text=text, hoverinfo="text", marker=marker)


def _by_trial(rows: pd.DataFrame, formats: Sequence[str], *, x: str, y: str) -> Trace:
    """One mark a trial, a cross where it was stopped."""
    name = rows["data_format"].iloc[0]
    others = [each for each in DIMENSIONS if each.name != "data_format"]
    shown = [each for each in others if each.is_always_shown or rows[each.name].nunique(dropna=False) > 1]
    shape = "circle" if formats.index(name) % 2 == 0 else "diamond"
    symbols = ["x" if stopped else shape for stopped in rows["stop_reason"].notna()]
    style = {"color": colour_of(name, formats), "opacity": 0.85, "size": 11, "line": {"width": 1, "color": PAPER}}
    text = [_describe(row, shown) for row in rows.to_dict("records")]
    return make_marks(rows[x], rows[y], name=name, text=text, hoverinfo="text", marker={**style, "symbol": symbols})


def _describe(row: Mapping[str, Any], shown: Sequence[Dimension]) -> str:
    lines = [
        f"trial {row['trial']}: {plain(row['data_format'])}",
        ", ".join(f"{each.column} {each.write(row[each.shown])}" for each in shown if not pd.isna(row[each.shown])),
        f"peak {row['peak']:.4f} at {row['peak_progress'] / 10:g} %, retention {row['retention']:.3f}",
    ]
    return "<br>".join(lines)


def _with_gaps(rows: pd.DataFrame) -> tuple[list[Any], list[Any]]:
    """The curves of several trials as one line, with a gap between each two."""
    x: list[Any] = []
    y: list[Any] = []
    for _, curve in rows.groupby("trial"):
        x += [*listed(curve["progress"] / 10), None]
        y += [*listed(curve["value"]), None]
    return x, y


def draw_importances(importances: pd.DataFrame) -> Chart:
    """The share of the differences in peak and retention that each setting explains."""
    panels = []
    for column in ("peak", "retention"):
        layout = make_layout(f"share of the differences in {column}", "")
        layout["xaxis"] |= {"range": [0, 1], "tickformat": ".0%"}
        layout["yaxis"] |= {"autorange": "reversed"}
        layout["height"] = 90 + 40 * len(importances)
        names = [name.replace("_", " ") for name in importances["setting"]]
        text = [f"{share:.0%}" for share in importances[column]]
        looks = {"text": text, "textposition": "auto", "hoverinfo": "x+y", "marker": {"color": MUTED}}
        bars = make_bars(names, importances[column], name=column, **looks)
        panels.append(Panel(title=f"for {'the peak' if column == 'peak' else column}", traces=[bars], layout=layout))
    return Chart(
        key="importances",
        title="Which setting matters",
        sentence=(
            "How much of the differences between the runs each setting explains by itself and together with others"
            " (fANOVA). Look whether the same setting leads for the peak and for what is left of it. With few trials"
            " this is rough, and it does not say in which direction."
        ),
        panels=panels if len(importances) else (),
        missing="Fewer than ten trials have been measured, or they differ in nothing: importances would be noise.",
    )

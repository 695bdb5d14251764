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
    Chart,
    LegendEntry,
    Panel,
    Trace,
    colour_of,
    list_format_entries,
    listed,
    make_layout,
    make_line,
    plain,
)
from sweep.settings.dimensions import DIMENSIONS, Dimension
from sweep.settings.space import REFERENCE_BATCH

ORIGIN_RATE = 5e-5
"""The learning rate at batch 64 from which the square-root line is drawn."""


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
        traces.append(
            make_line(chosen["progress"] / 10, chosen["value"], colour, name="best trial", width=4, hoverinfo="skip")
        )
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
    signs = [
        *list_format_entries(formats, "line"),
        LegendEntry(text="untrained", colour=MUTED, shape="dash"),
        LegendEntry(text="peak", colour=INK, shape="ring"),
        LegendEntry(text="end of warm-up", colour=INK, shape="tick"),
        LegendEntry(text="stopped", colour=INK, shape="cross"),
    ]
    return Chart(
        key="curves",
        title=f"{metric} while the runs train",
        sentence=(
            "Each line is a run, the thick one the best. Look for rings (peaks) far left of a line's end: such a run"
            " was best early and then fell. A fall that begins at the tick (the end of the warm-up) points at the rate."
        ),
        panels=[Panel(title="", traces=traces, layout=layout)] if len(curves) else (),
        legend=signs,
        missing="No trial has been measured yet.",
    )


def draw_rates(trials: pd.DataFrame, *, metric: str) -> Chart:
    """Peak and retention over the learning rate, split by format."""
    rows = trials[trials["peak"].notna() & trials["effective_learning_rate"].notna()]
    formats = sorted(rows["data_format"].unique())
    panels = []
    for column, title in (("peak", f"peak {metric}"), ("retention", "retention (last / highest)")):
        layout = make_layout("effective learning rate (log)", title)
        layout["xaxis"] |= {"type": "log", "exponentformat": "power", "dtick": 1, "minor": {"dtick": "D1"}}
        if column == "retention" and len(rows):
            layout["yaxis"] |= {"range": [min(0.94, float(rows["retention"].min()) - 0.02), 1.01]}
        traces = [
            _by_trial(rows[rows["data_format"] == name], formats, x="effective_learning_rate", y=column)
            for name in formats
        ]
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
        legend=[*list_format_entries(formats, "dot"), LegendEntry(text="stopped", colour=INK, shape="cross")],
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
    layout["yaxis"] |= {"type": "log", "exponentformat": "power", "dtick": 1, "minor": {"dtick": "D1"}}
    traces: list[Trace] = []
    if sizes:
        span = np.geomspace(sizes[0] / 1.4, sizes[-1] * 1.4, 20)
        line = ORIGIN_RATE * np.sqrt(span / REFERENCE_BATCH)
        traces.append(
            make_line(span, line, MUTED, name="square-root rule from 5e-5 at 64", dash="dash", hoverinfo="name")
        )
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
            LegendEntry(text="stopped", colour=INK, shape="cross"),
            LegendEntry(text="square-root rule", colour=MUTED, shape="dash"),
        ],
        missing="No trial has been measured yet.",
    )


def _marks(rows: pd.DataFrame, colour: str, *, name: str, symbol: str, size: float) -> Trace:
    """Points of curves, each with its trial in the hover."""
    text = [
        f"trial {row.trial}, {plain(name)}<br>{row.progress / 10:g} %: {row.value:.4f}" for row in rows.itertuples()
    ]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": listed(rows["progress"] / 10),
        "y": listed(rows["value"]),
        "name": plain(name),
        "text": text,
        "hoverinfo": "text",
        "marker": {"color": colour, "symbol": symbol, "size": size, "line": {"width": 2, "color": colour}},
    }


def _by_trial(rows: pd.DataFrame, formats: Sequence[str], *, x: str, y: str) -> Trace:
    """One mark a trial, a cross where it was stopped."""
    name = rows["data_format"].iloc[0]
    others = [one for one in DIMENSIONS if one.name != "data_format"]
    shown = [one for one in others if one.is_always_shown or rows[one.name].nunique(dropna=False) > 1]
    colour = colour_of(name, formats)
    shape = "circle" if formats.index(name) % 2 == 0 else "diamond"
    return {
        "type": "scatter",
        "mode": "markers",
        "x": listed(rows[x]),
        "y": listed(rows[y]),
        "name": plain(name),
        "text": [_describe(row, shown) for row in rows.to_dict("records")],
        "hoverinfo": "text",
        "marker": {
            "color": colour,
            "opacity": 0.85,
            "size": 11,
            "symbol": ["x" if stopped else shape for stopped in rows["stop_reason"].notna()],
            "line": {"width": 1, "color": PAPER},
        },
    }


def _describe(row: Mapping[str, Any], shown: Sequence[Dimension]) -> str:
    lines = [
        f"trial {row['trial']}: {plain(row['data_format'])}",
        ", ".join(f"{one.column} {one.write(row[one.shown])}" for one in shown if not pd.isna(row[one.shown])),
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
    """How much of the differences in peak and retention each setting explains."""
    panels = []
    for column in ("peak", "retention"):
        layout = make_layout(f"share of the differences in {column}", "")
        layout["xaxis"] |= {"range": [0, 1], "tickformat": ".0%"}
        layout["yaxis"] |= {"autorange": "reversed"}
        layout["height"] = 90 + 40 * len(importances)
        bars = {
            "type": "bar",
            "orientation": "h",
            "x": listed(importances[column]),
            "y": [name.replace("_", " ") for name in importances["setting"]],
            "text": [f"{share:.0%}" for share in importances[column]],
            "textposition": "auto",
            "name": column,
            "hoverinfo": "x+y",
            "marker": {"color": MUTED},
        }
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

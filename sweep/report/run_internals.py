"""Figures of the cosines and losses of two runs, the best one that held and the one that fell the furthest."""

from __future__ import annotations

import pandas as pd

from sweep.report.charts import (
    COSINE_COLOURS,
    INK,
    LOSS_COLOURS,
    LOSS_NAMES,
    Chart,
    LegendEntry,
    Panel,
    Trace,
    colour_of,
    make_layout,
    make_line,
)

RUNS = {"held": "the best run that held", "fell": "the run that fell the furthest"}
ALONE = "No run has been measured yet."


def draw_cosines(cosines: pd.DataFrame, histograms: pd.DataFrame) -> Chart:
    """Cosines of positives and negatives over progress, and their distribution at the end, of both runs."""
    panels = []
    for run, rows in cosines.groupby("run", sort=False):
        if rows["positive_mean"].notna().any():
            panels.append(_draw_bands(rows, f"{RUNS[str(run)]}: trial {rows['trial'].iloc[0]}"))
            counted = histograms[histograms["run"] == run]
            if len(counted):
                panels.append(_draw_histograms(counted, f"trial {rows['trial'].iloc[0]}: untrained, and at its end"))
    return Chart(
        key="cosines",
        title="Cosines of queries with their documents",
        sentence=(
            "Queries with their relevant documents (positives) and with all others (negatives): mean, and the band that"
            " holds nine in ten; dotted, the untrained model. Look whether the gap between the two widens, as in a run"
            " that holds, or the two bands rise together, so that others come as close as the relevant ones."
        ),
        panels=panels,
        legend=[
            LegendEntry(text="positives", colour=COSINE_COLOURS["positive"], shape="line"),
            LegendEntry(text="negatives", colour=COSINE_COLOURS["negative"], shape="line"),
            LegendEntry(text="untrained", colour=INK, shape="dash"),
        ],
        missing=ALONE,
    )


def draw_losses(losses: pd.DataFrame, data_formats: dict[int, str], *, metric: str) -> Chart:
    """Values above the losses, over progress, of both runs."""
    panels = []
    formats = sorted({*data_formats.values()})
    for run, rows in losses.groupby("run", sort=False):
        number = int(rows["trial"].iloc[0])
        data_format = data_formats[number]
        colour = colour_of(data_format, formats)
        title = f"{RUNS[str(run)]}: trial {number}, {data_format}"
        panels.append(_draw_losses_of(rows, title, metric=metric, data_format=data_format, colour=colour))
    return Chart(
        key="losses",
        title=f"Losses against {metric}",
        sentence=(
            f"Above {metric}, below the losses of the same run. Look for losses that fall on while {metric} falls too:"
            " that run learns its training task at the cost of retrieval, and no loss would have told. A validation"
            " loss that rises is plain overfitting."
        ),
        panels=panels,
        legend=[LegendEntry(text=LOSS_NAMES[name], colour=one, shape="line") for name, one in LOSS_COLOURS.items()],
        missing=ALONE,
    )


def _draw_bands(rows: pd.DataFrame, title: str) -> Panel:
    x = rows["progress"] / 10
    traces: list[Trace] = []
    for kind, colour in reversed(COSINE_COLOURS.items()):
        high = make_line(x, rows[f"{kind}_p95"], colour, name=f"{kind} 95 %", width=0, hoverinfo="skip")
        low = make_line(x, rows[f"{kind}_p5"], colour, name=f"{kind} 5 %", width=0, hoverinfo="skip")
        traces += [high, {**low, "fill": "tonexty", "fillcolor": f"{colour}44"}]
        traces.append(make_line(x, rows[f"{kind}_mean"], colour, name=f"{kind} mean", width=2.5, mode="lines+markers"))
    return Panel(title=title, traces=traces, layout=make_layout("share of the trial's examples, %", "cosine"))


def _draw_histograms(rows: pd.DataFrame, title: str) -> Panel:
    traces = []
    for kind, colour in COSINE_COLOURS.items():
        for when, dash in (("untrained", "dot"), ("last", "solid")):
            part = rows[rows["when"] == when]
            name = f"{kind}s, {'untrained' if when == 'untrained' else 'at its end'}"
            line = make_line(part["cosine"], part[kind], colour, name=name, width=2, dash=dash)
            traces.append({**line, "line": {**line["line"], "shape": "hvh"}})
    layout = make_layout("cosine", "share of the pairs")
    layout["xaxis"] |= {"range": [-0.5, 1.0]}
    layout["yaxis"] |= {"tickformat": ".0%", "rangemode": "tozero"}
    return Panel(title=title, traces=traces, layout=layout)


def _draw_losses_of(rows: pd.DataFrame, title: str, *, metric: str, data_format: str, colour: str) -> Panel:
    x = rows["progress"] / 10
    above = make_line(x, rows["value"], colour, name=f"{metric}, {data_format}", width=2.5, mode="lines+markers")
    traces: list[Trace] = [above]
    for name, line_colour in LOSS_COLOURS.items():
        if rows[name].notna().any():
            dash = "solid" if name == "loss" else "dash" if name == "validation_loss" else "dot"
            line = make_line(x, rows[name], line_colour, name=LOSS_NAMES[name], width=2, dash=dash)
            traces.append({**line, "mode": "lines+markers", "yaxis": "y2"})
    layout = make_layout("share of the trial's examples, %", metric)
    layout["height"] = 440
    layout["yaxis"] |= {"domain": [0.56, 1.0]}
    layout["yaxis2"] = {**layout["yaxis"], "domain": [0.0, 0.46], "title": {"text": "loss"}, "rangemode": "tozero"}
    layout["xaxis"] |= {"anchor": "y2"}
    return Panel(title=title, traces=traces, layout=layout)

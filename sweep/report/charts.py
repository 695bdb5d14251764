"""The figures of the report as plain values: tables in, Plotly's own JSON out.

A figure is one or more panels beside each other, so that a phone can put them one below the other. Colours that belong
to a thing stand here, once; colours that depend on light and dark are the words ``@ink``, ``@muted``,
``@paper`` and ``@grid``.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

INK, MUTED, PAPER, GRID = "@ink", "@muted", "@paper", "@grid"

FORMAT_COLOURS = {"query-document": "#0072B2", "title-content": "#D55E00"}
OTHER_FORMATS = ("#56B4E9", "#A6761D", "#332288", "#117733")
LOSS_COLOURS = {"loss": "#E69F00", "validation_loss": "#CC79A7", "validation_loss_retrieval": "#999933"}
COSINE_COLOURS = {"positive": "#009E73", "negative": "#888888"}
"""Okabe and Ito's colours, which can be told apart with every common colour blindness, and two more of their kind."""

LOSS_NAMES = {
    "loss": "training loss",
    "validation_loss": "validation loss, own format",
    "validation_loss_retrieval": "validation loss, query-document",
}
Trace = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One plot: its title, and Plotly's ``data`` and ``layout``."""

    title: str
    traces: Sequence[Trace]
    layout: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class LegendEntry:
    """An entry of a figure's legend; its shape is a key of the pictures in ``page.html.jinja``."""

    text: str
    colour: str
    shape: str


STOPPED = LegendEntry(text="stopped", colour=INK, shape="cross")


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A figure.

    Attributes:
        key: Its name in the page.
        title: Its heading.
        sentence: Its content, and the pattern to look for.
        panels: Its plots; none where there is nothing to draw.
        legend: The entries of its legend.
        missing: Why there is nothing to draw.
    """

    key: str
    title: str
    sentence: str
    panels: Sequence[Panel] = ()
    legend: Sequence[LegendEntry] = ()
    missing: str = ""


def colour_of(data_format: str, formats: Sequence[str]) -> str:
    """The colour of a data format, the same in every figure of a study with these formats."""
    others = [name for name in sorted(formats) if name not in FORMAT_COLOURS]
    known = FORMAT_COLOURS | {name: OTHER_FORMATS[place % len(OTHER_FORMATS)] for place, name in enumerate(others)}
    return known.get(data_format, OTHER_FORMATS[0])


def plain(text: object) -> str:
    """A text with its tags escaped, which Plotly would take for formatting and links."""
    return html.escape(" ".join(str(text).split()), quote=False)


def make_layout(x: str, y: str) -> dict[str, Any]:
    """A panel's layout, in colours of the theme, with the titles of its two axes."""
    axis = {"gridcolor": GRID, "zeroline": False, "automargin": True, "linecolor": MUTED}
    return {
        "height": 380,
        "margin": {"l": 56, "r": 12, "t": 12, "b": 48},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": INK, "size": 13},
        "hoverlabel": {"align": "left"},
        "showlegend": False,
        "dragmode": False,
        "xaxis": {**axis, "title": {"text": x}},
        "yaxis": {**axis, "title": {"text": y}},
    }


def make_line(
    x: ArrayLike, y: ArrayLike, colour: str, *, name: str, width: float = 1.5, dash: str = "solid", **more: Any
) -> Trace:
    """A line through points; None is a gap."""
    line = {"color": colour, "width": width, "dash": dash}
    return make_marks(x, y, name=name, **{"mode": "lines", "line": line, **more})


def make_marks(x: ArrayLike, y: ArrayLike, *, name: str, **more: Any) -> Trace:
    """A mark at each point, with Plotly's further keys."""
    points = {"x": listed(x), "y": listed(y), "name": plain(name)}
    return {"type": "scatter", "mode": "markers", **points, **more}


def make_bars(names: Iterable[object], lengths: ArrayLike, *, name: str, **more: Any) -> Trace:
    """Horizontal bars, with Plotly's further keys."""
    bars = {"y": [plain(bar) for bar in names], "x": listed(lengths), "name": plain(name), "hoverinfo": "text"}
    return {"type": "bar", "orientation": "h", **bars, **more}


def listed(values: ArrayLike) -> list[Any]:
    """Numbers for JSON, rounded to six significant digits; None where one is missing or not finite."""
    array = np.asarray(pd.array(values, dtype="Float64").to_numpy(dtype=float, na_value=np.nan))
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in array]


def list_format_entries(formats: Sequence[str], shape: str) -> list[LegendEntry]:
    """The legend's entries of data formats; as dots they differ in shape as well."""
    shapes = {name: "diamond" if shape == "dot" and place % 2 else shape for place, name in enumerate(formats)}
    return [LegendEntry(text=name, colour=colour_of(name, formats), shape=shapes[name]) for name in formats]

"""Plotly itself: its script for the page, and its own figure objects; nobody else knows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from sweep.report.charts import GRID, INK, MUTED, PAPER, Panel

LIGHT = {INK: "#1b1f24", MUTED: "#6b7280", PAPER: "#ffffff", GRID: "#e3e6ea"}
"""What the colours of the theme are on white; the page has the same ones in its style."""


def load_plotly_script() -> str:
    """The whole of plotly.js, to stand in the page."""
    script: str = get_plotlyjs()
    return script


def make_figure(panel: Panel, *, title: str) -> go.Figure:
    """A panel as Plotly's own object, on white and with a legend; Plotly checks every key and value of it.

    Raises:
        ValueError: If the panel holds what Plotly does not know.
    """
    layout = {**panel.layout, "title": {"text": title}, "showlegend": True, "dragmode": "zoom", "height": 480}
    layout |= {
        "paper_bgcolor": PAPER,
        "plot_bgcolor": PAPER,
        "margin": {"t": 48},
        "legend": {"orientation": "h", "y": -0.2},
    }
    return go.Figure(data=_lit(list(panel.traces)), layout=_lit(layout))


def _lit(value: Any) -> Any:
    """The same with the colours of the theme on white."""
    if isinstance(value, Mapping):
        return {name: _lit(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_lit(inner) for inner in value]
    return LIGHT.get(value, value) if isinstance(value, str) else value

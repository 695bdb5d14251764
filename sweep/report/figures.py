"""The adapter of Plotly, the only module that imports it: its script for the page, and its figure objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from sweep.report.charts import GRID, INK, MUTED, PAPER, Panel

LIGHT = {INK: "#1b1f24", MUTED: "#6b7280", PAPER: "#ffffff", GRID: "#e3e6ea"}
"""The theme's colours on white, as in the page's style."""


def load_plotly_script() -> str:
    """The source of plotly.js, to embed in the page."""
    script: str = get_plotlyjs()
    return script


def make_figure(panel: Panel, *, title: str) -> go.Figure:
    """A panel as Plotly's own object, on white and with a legend.

    Raises:
        ValueError: If the panel has a key or value that Plotly does not know.
    """
    layout = {**panel.layout, "title": {"text": title}, "showlegend": True, "dragmode": "zoom", "height": 480}
    layout |= {"paper_bgcolor": PAPER, "plot_bgcolor": PAPER, "margin": {"t": 48}}
    layout |= {"legend": {"orientation": "h", "y": -0.2}}
    return go.Figure(data=_lit(list(panel.traces)), layout=_lit(layout))


def _lit(value: Any) -> Any:
    """The same with the colours of the theme on white."""
    if isinstance(value, Mapping):
        return {name: _lit(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_lit(inner) for inner in value]
    return LIGHT.get(value, value) if isinstance(value, str) else value

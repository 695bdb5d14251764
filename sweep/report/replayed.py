"""The figure of a replay: the best value found against the budget spent, by rule."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sweep.errors import SweepError
from sweep.output_files import write_output
from sweep.report.charts import GRID, INK, Panel, make_marks
from sweep.report.figures import make_figure
from sweep.stopping.replay import SHARES, Replayed

COLOURS = (
    *("#D55E00", "#F0E442", "#888888", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#A6761D"),
    *("#000000", "#7570B3"),
)


def write_replay(file: Path, replayed: Sequence[Replayed], *, title: str, metric: str) -> None:
    """Writes the figure as one HTML file that needs no network.

    Raises:
        SweepError: If it cannot be written.
    """
    figure = make_figure(draw_replay(replayed, title=title, metric=metric), title=title)
    try:
        write_output(file, figure.to_html(include_plotlyjs=True))
    except OSError as error:
        message = f"{file}: the figure cannot be written: {error.strerror}; name another with --figure"
        raise SweepError(message) from error


def draw_replay(replayed: Sequence[Replayed], *, title: str, metric: str) -> Panel:
    """A line for each rule, the mean over the orders, with the 95 % interval of that mean in its hover text."""
    traces = []
    for replay, colour in zip(replayed, COLOURS, strict=True):
        means = replay.best.mean(axis=0)
        spread = replay.best.std(axis=0, ddof=1) if len(replay.best) > 1 else np.zeros_like(means)
        half = 1.96 * spread / np.sqrt(len(replay.best))
        hover = {"customdata": half.tolist(), "hovertemplate": "%{y:.4f} ± %{customdata:.4f} at %{x:.0f} %"}
        line = {"color": colour, "width": 3 if replay is replayed[0] else 2}
        x = [100.0 * share for share in SHARES]
        traces.append(make_marks(x, means, name=replay.rule, mode="lines", line=line, **hover))
    axis = {"color": INK, "gridcolor": GRID}
    layout = {
        "xaxis": {**axis, "title": {"text": "training pairs spent, % of those of all runs"}},
        "yaxis": {**axis, "title": {"text": f"best {metric} found"}},
        "font": {"color": INK},
    }
    return Panel(title=title, traces=traces, layout=layout)

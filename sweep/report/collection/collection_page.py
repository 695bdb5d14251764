"""The texts of a study as one HTML file that needs nothing else: no network, and no script.

All text enters the page escaped, and without control characters. The page's content is in ``collection.html.jinja``.
"""

from __future__ import annotations

import math

from markupsafe import Markup

from sweep import __version__
from sweep.data.lengths import MOST
from sweep.printable import make_printable
from sweep.report.collection.collection_view import CollectionView
from sweep.report.template import load_template, read_part

PARTS = "sweep.report.collection"
"""The package in which the page's own parts lie."""

MAX_CHARACTERS = 1200
"""Characters of an example that are shown."""


def render_collection(view: CollectionView) -> str:
    """The page of a study's texts."""
    scale = max([view.limit or 1, *(texts.lengths.longest for _, texts in view.texts)])
    template = load_template(
        PARTS, "collection.html.jinja", filters={"show": show_text, "place": lambda length: place_on_bar(length, scale)}
    )
    return template.render(
        view=view,
        study=view.plan.spec,
        collection=view.plan.collection,
        most=MOST,
        version=__version__,
        style=Markup(read_part("sweep.report", "page.css") + read_part(PARTS, "collection.css")),
    )


def show_text(text: str) -> str:
    """A text as it is shown: its lines without control characters, and cut where it is very long."""
    lines = map(make_printable, text[:MAX_CHARACTERS].splitlines())
    return "\n".join(lines) + (" ..." if len(text) > MAX_CHARACTERS else "")


def place_on_bar(length: int, scale: int) -> float:
    """Place of a length, by its logarithm, on a bar that ends at the scale; in percent."""
    return round(100 * math.log1p(length) / math.log1p(scale), 1)

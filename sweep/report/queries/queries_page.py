"""The generated queries of a study as one HTML file that needs nothing else: no network, and no script."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from sweep import __version__
from sweep.data.collection import Collection
from sweep.report.collection.collection_page import show_text
from sweep.report.queries.queries_view import QueriesView
from sweep.report.template import load_template, read_part
from sweep.settings.study_file import StudySpec

PARTS = "sweep.report.queries"
"""The package in which the page's own parts lie."""


def render_queries(spec: StudySpec, collection: Collection, views: Sequence[QueriesView]) -> str:
    """The page of a study's generated queries."""
    template = load_template(PARTS, "queries.html.jinja", filters={"show": show_text})
    return template.render(
        study=spec,
        views=views,
        documents=collection.documents,
        version=__version__,
        style=Markup(read_part("sweep.report", "page.css") + read_part("sweep.report.collection", "collection.css")),
    )

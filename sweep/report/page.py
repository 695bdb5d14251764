"""The report as one HTML file that needs nothing else: the answer first, then why runs fell, figures, every trial.

Whatever comes from outside (names, reasons, errors) enters the page as text, escaped by Jinja, or as JSON in which
nothing can end a script. The page's content is in ``page.html.jinja``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from sweep import __version__
from sweep.by_benchmark import compare_on_test, describe_falls
from sweep.report.answer import Answer, find_answer
from sweep.report.collection.collection_page import show_text
from sweep.report.diagnosis import Finding
from sweep.report.figures import load_plotly_script
from sweep.report.queries.queries_view import view_trained_queries
from sweep.report.report_charts import draw_all
from sweep.report.template import load_template, read_part
from sweep.report.trials_table import make_trials_table
from sweep.run_folder import seen_from_here
from sweep.study import Study

PARTS = "sweep.report"
"""The package in which the page's parts lie."""


def render_page(study: Study, findings: Sequence[Finding]) -> str:
    """The report of a study with the findings of its diagnosis: HTML that opens from disk without a network."""
    answer = find_answer(study)
    model = study.find_model(answer.number)
    template = load_template(PARTS, "page.html.jinja", filters=_FILTERS)
    return template.render(
        study=study,
        answer=answer,
        settings=_list_settings(answer),
        model=None if model is None else json.dumps(str(seen_from_here(model)), ensure_ascii=False),
        findings=findings,
        falls=describe_falls(study),
        tests=[] if answer.number is None else compare_on_test(study, answer.number),
        charts=draw_all(study),
        generated=view_trained_queries(study),
        table=make_trials_table(study),
        version=__version__,
        style=Markup(read_part(PARTS, "page.css")),
        script=Markup(read_part(PARTS, "page.js")),
        plotly=Markup(load_plotly_script()),
    )


def dump_json(value: Mapping[str, Any]) -> Markup:
    """JSON that may stand in a script element: nothing in it can end the element or begin a comment."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _list_settings(answer: Answer) -> list[tuple[str, object]]:
    """The settings of the chosen trial, with their names."""
    trial = answer.trial
    if trial is None or trial.params is None or trial.peak is None:
        return []
    settings = [(dimension.label, dimension.say(trial.params)) for dimension in trial.params.given]
    if trial.length > 1:
        settings.append(("length", f"{trial.length} times as long as a trial of the search"))
    return [*settings, ("model kept at", f"{trial.peak.progress / 10:g} % of {trial.planned_examples:,} examples")]


def _describe_numbers(one: Finding) -> str:
    """The numbers behind a finding: its effect, and the trials it rests on."""
    numbers = []
    if one.effect is not None:
        between = f" (interval {one.interval[0]:+.3g} to {one.interval[1]:+.3g})" if one.interval else ""
        numbers.append(f"effect {one.effect:+.3g}{between}")
    if one.trials:
        numbers.append(f"trials {', '.join(map(str, one.trials))}")
    return "; ".join(numbers)


_FILTERS: Mapping[str, Callable[..., Any]] = {"json": dump_json, "numbers": _describe_numbers, "show": show_text}

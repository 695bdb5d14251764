"""The report as one HTML file that needs nothing else: the answer first, then why runs fell, figures, every trial.

Whatever comes from outside (names, reasons, errors) enters the page as text: through `escape`, or as JSON in which
nothing can end a script.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from sweep import __version__
from sweep.report.answer import Answer, find_answer
from sweep.report.charts import Chart, Panel
from sweep.report.figures import load_plotly_script
from sweep.report.findings import Finding
from sweep.report.gallery import draw_all
from sweep.report.listing import render_trials
from sweep.report.signs import render_sign
from sweep.run_folder import seen_from_here
from sweep.storage.records import StudyRecord
from sweep.study import Study

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
"""What the page may do: run and show what is in it, and fetch nothing."""


def render_page(study: Study, findings: Sequence[Finding]) -> str:
    """The whole report of a study.

    Args:
        study: The study.
        findings: The diagnosis: a verdict for each suspected cause.

    Returns:
        HTML that opens from disk without a network.
    """
    charts = draw_all(study)
    parts = [
        _render_header(study),
        _render_answer(study, find_answer(study.standing)),
        _render_findings(findings),
        "<section id='figures'><h2>Figures</h2>",
        *(_render_chart(chart) for chart in charts),
        "</section>",
        render_trials(study),
        _render_footer(study),
    ]
    title = escape(f"{study.name} - sweep report")
    return "\n".join(
        [
            "<!doctype html>",
            "<html lang='en'><head><meta charset='utf-8'>",
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            "<meta name='viewport' content='width=device-width, initial-scale=1'>",
            f"<title>{title}</title>",
            f"<style>{_read('page.css')}</style></head><body>",
            *parts,
            f"<script>{load_plotly_script()}</script>",
            f"<script>{_read('page.js')}</script>",
            "</body></html>\n",
        ]
    )


def escape(text: object) -> str:
    """A text as HTML shows it letter by letter, set apart from its surroundings in its direction of writing."""
    return f"<bdi>{html.escape(str(text))}</bdi>" if not str(text).isascii() else html.escape(str(text))


def _read(name: str) -> str:
    return files("sweep.report").joinpath(name).read_text(encoding="utf-8")


def _render_header(study: Study) -> str:
    standing, spec = study.standing, study.standing.spec
    facts = [
        f"{standing.record.counted} of {standing.budget} trials, {standing.state}",
        f"model {escape(spec.model.base)}",
        f"collection {escape(spec.data.collection)}",
    ]
    return (
        f"<header><div><p class='muted'>sweep report</p><h1>{escape(study.name)}</h1>"
        f"<p class='muted'>{' &middot; '.join(facts)}</p></div>"
        "<button id='theme' type='button'>Theme: auto</button></header>"
    )


def _render_answer(study: Study, answer: Answer) -> str:
    parts = ["<section id='answer'><h2>The answer</h2><div class='card'>"]
    parts.append(f"<p class='headline'>{escape(answer.headline)}</p>")
    if answer.trial is not None and answer.trial.peak is not None:
        parts.append("<div class='columns'>")
        parts.append(f"<div>{_render_figure(answer, study.record)}</div>")
        parts.append(f"<div>{_render_settings(study, answer)}</div>")
        parts.append("</div>")
    parts.append(
        f"<p>Stopping saved {answer.saved_examples:,} training examples ({answer.saved_fraction:.0%} of what the trials"
        " that ended would have seen).</p>"
    )
    if answer.cautions:
        parts.append(
            "<ul class='cautions'>" + "".join(f"<li>{escape(text)}</li>" for text in answer.cautions) + "</ul>"
        )
    return "".join([*parts, "</div></section>"])


def _render_figure(answer: Answer, record: StudyRecord) -> str:
    assert answer.trial is not None
    assert answer.trial.peak is not None
    dev = f"{answer.trial.peak.ndcg:.4f} on dev, by which it was selected"
    if record.baseline is not None:
        dev += f" (untrained {record.baseline:.4f})"
    if answer.test is None:
        return f"<p class='figure'>{answer.trial.peak.ndcg:.4f}</p><p>NDCG@10 {dev}.</p>"
    rows = "".join(
        f"<tr><td>{escape(one.other)}</td><td class='number'>{one.ndcg:.4f}</td><td class='number'>{one.gain:+.4f}</td>"
        f"<td class='number'>{one.low:+.4f} to {one.high:+.4f}</td></tr>"
        for one in answer.comparisons
    )
    return (
        f"<p class='figure'>{answer.test:.4f}</p>"
        f"<p>NDCG@10 on the test split, judged once ({answer.queries} queries); {dev}.</p>"
        "<table><thead><tr><th>against</th><th class='number'>its NDCG@10</th><th class='number'>gain</th>"
        f"<th class='number'>95 % interval, paired</th></tr></thead><tbody>{rows}</tbody></table>"
    )


def _render_settings(study: Study, answer: Answer) -> str:
    assert answer.trial is not None
    params, peak = answer.trial.params, answer.trial.peak
    if params is None or peak is None:
        return ""
    rate = f"{params.learning_rate:.3g}"
    if params.effective_learning_rate != params.learning_rate:
        rate += f" (effective {params.effective_learning_rate:.3g})"
    settings = {
        "data format": params.data_format,
        "learning rate": rate,
        "warm-up ratio": f"{params.warmup_ratio:.3g}",
        "batch size": params.batch_size,
        "loss scale": f"{params.scale:g}",
        "scheduler": params.scheduler,
        "model kept at": f"{peak.progress / 10:g} % of the examples",
    }
    listed = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in settings.items())
    model = study.standing.best_model
    if model is None:
        return f"<dl>{listed}</dl>"
    folder = json.dumps(str(seen_from_here(model)), ensure_ascii=False)
    return f"<dl>{listed}</dl><pre><code>SentenceTransformer({escape(folder)})</code></pre>"


def _render_findings(findings: Sequence[Finding]) -> str:
    """What is supported stands open and first; the rest is a click away, so that the figures are not pushed down."""
    if not findings:
        content = "<p class='missing'>There is nothing to diagnose yet.</p>"
    else:
        found = [one for one in findings if one.verdict == "supported"]
        rest = [one for one in findings if one.verdict != "supported"]
        content = "".join(map(_render_finding, found)) or "<p>No cause is supported by the trials so far.</p>"
        if rest:
            count = f"{len(rest)} more that are not supported, or that these trials cannot tell"
            content += f"<details><summary>{count}</summary>{''.join(map(_render_finding, rest))}</details>"
    return f"<section id='diagnosis'><h2>Why runs fell</h2>{content}</section>"


def _render_finding(one: Finding) -> str:
    numbers = []
    if one.effect is not None:
        between = f" (interval {one.interval[0]:+.3g} to {one.interval[1]:+.3g})" if one.interval else ""
        numbers.append(f"effect {one.effect:+.3g}{between}")
    if one.trials:
        numbers.append(f"trials {', '.join(map(str, one.trials))}")
    steps = f"<pre><code>{escape(one.next_steps)}</code></pre>"
    after = f"<details><summary>What to do next</summary>{steps}</details>" if one.next_steps else ""
    kind = html.escape(one.verdict.replace(" ", "-"))
    return (
        f"<div class='verdict {kind}'><p>{escape(one.cause)} ({escape(one.scope)}): {escape(one.verdict)}</p>"
        f"<p>{escape(one.sentence)}</p>"
        f"<p class='muted'>{escape('; '.join(numbers))}</p>{after}</div>"
    )


def _render_chart(chart: Chart) -> str:
    head = f"<figure id='figure-{chart.key}'><h3>{escape(chart.title)}</h3><p>{escape(chart.sentence)}</p>"
    if not chart.panels:
        return f"{head}<p class='missing'>{escape(chart.missing)}</p></figure>"
    signs = "".join(f"<li>{render_sign(sign)} {escape(sign.text)}</li>" for sign in chart.signs)
    panels = "".join(_render_panel(panel, f"{chart.key}-{place}") for place, panel in enumerate(chart.panels))
    return f"{head}<ul class='legend'>{signs}</ul><div class='panels'>{panels}</div></figure>"


def _render_panel(panel: Panel, name: str) -> str:
    title = f"<p class='title'>{escape(panel.title)}</p>" if panel.title else ""
    data = dump_json({"data": panel.traces, "layout": panel.layout})
    height = int(panel.layout["height"])
    return (
        f"<div class='panel'>{title}<div class='plot' id='{name}' style='height:{height}px'></div>"
        f"<script type='application/json' id='{name}-data'>{data}</script></div>"
    )


def dump_json(value: Mapping[str, Any]) -> str:
    """JSON that may stand in a script element: nothing in it can end the element or begin a comment."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _render_footer(study: Study) -> str:
    return (
        "<footer class='muted'><p>A run's value is its <b>peak</b>, its best evaluation on the dev split after at least"
        " one step; <b>retention</b> is its last NDCG@10 over the highest of its curve, the untrained model's included."
        " Peaks were selected as the highest of many and are optimistic; the test split was read once, by nothing that"
        f" chooses.</p><p>Made by sweep {escape(__version__)} from {escape(study.file.name)}; retrieval seed"
        f" {study.standing.spec.seed}. This file needs no network.</p></footer>"
    )

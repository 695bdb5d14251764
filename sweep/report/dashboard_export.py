"""Additions to a study's optuna-dashboard: a note with the answer, and a few of our figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sweep.by_benchmark import describe_falls
from sweep.columns import write_leaderboard
from sweep.report.answer import find_answer
from sweep.report.charts import Panel
from sweep.report.diagnosis import Finding
from sweep.report.figures import make_figure
from sweep.report.outcomes import draw_batches, draw_rates
from sweep.report.report_charts import draw_main
from sweep.report.tables import tabulate_trials
from sweep.storage.notes import quote
from sweep.study import Study


def exhibit(study: Study, findings: Sequence[Finding]) -> tuple[str, dict[str, Any]]:
    """The note of a study with its findings, and its figures by name, for its dashboard."""
    figures = {name: make_figure(panel, title=title) for name, title, panel in choose_figures(study)}
    return write_note(study, findings), figures


def write_note(study: Study, findings: Sequence[Finding]) -> str:
    """The answer with its cautions, the diagnosis and the leaderboard, as Markdown."""
    answer = find_answer(study)
    # a headline that names a failure's cause includes text from outside
    headline = quote(answer.headline) if answer.number is None else f"**{answer.headline}**"
    parts = [f"## {quote(study.name)}", headline]
    if answer.test is not None:
        lines = [f"- against {one.other} ({one.mean:.4f}): {one}" for one in answer.comparisons]
        test = f"{answer.metric} on the test split: {answer.name} {answer.test:.4f} ({answer.queries} queries)"
        parts.append("\n".join([test, *lines]))
    parts.append(f"Stopping saved {answer.saved_examples:,} training examples ({answer.saved_fraction:.0%}).")
    if answer.cautions:
        parts.append("\n".join(f"- {text}" for text in answer.cautions))
    if findings:
        parts += ["### Why runs fell", _write_findings(findings)]
    if falls := describe_falls(study):
        parts.append("\n".join(f"- {quote(line)}" for line in falls))
    leaderboard = write_leaderboard(study.record, study.spec.space)
    parts += [f"### Leaderboard ({answer.metric}: peaks on dev, selected)", leaderboard]
    return "\n\n".join(parts)


def _write_findings(findings: Sequence[Finding]) -> str:
    supported = [finding for finding in findings if finding.verdict == "supported"]
    lines = [f"- **{finding.cause}** ({quote(finding.scope)}): {finding.sentence}" for finding in supported]
    return "\n".join(lines) or "No suspected cause is supported by this study's runs; the report says why."


def choose_figures(study: Study) -> list[tuple[str, str, Panel]]:
    """The figures for the dashboard, by their names in it: few and small, since every reader loads them."""
    trials = tabulate_trials(study)
    curves, batches = draw_main(study), draw_batches(trials)
    rates = draw_rates(trials, metric=study.record.measure.label).panels
    return [
        *(("sweep-curves", curves.title, _slim(panel)) for panel in curves.panels),
        *((f"sweep-rate-{at}", f"{panel.title} over learning rate", panel) for at, panel in enumerate(rates)),
        *(("sweep-batches", batches.title, panel) for panel in batches.panels),
    ]


def _slim(panel: Panel) -> Panel:
    """The lines of the curves with their peaks and stops, without a mark and a text for every measurement."""
    kept = []
    for trace in panel.traces:
        if trace["mode"] == "lines":
            kept.append({**trace, "hoverinfo": "x+y+name"})
        elif trace["name"] in ("peak", "stopped"):
            kept.append({name: value for name, value in trace.items() if name not in ("text", "hoverinfo")})
    return Panel(title=panel.title, traces=kept, layout=panel.layout)

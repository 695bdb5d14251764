"""The figures of a study, in the order in which the report shows them."""

from __future__ import annotations

from sweep.report import tables
from sweep.report.benchmark_charts import draw_benchmarks
from sweep.report.charts import Chart
from sweep.report.outcomes import draw_batches, draw_curves, draw_importances, draw_rates
from sweep.report.run_internals import draw_cosines, draw_losses
from sweep.report.spending import draw_budget, draw_slots
from sweep.study import Study


def draw_all(study: Study) -> list[Chart]:
    """Every figure of a study; one that has nothing to show says why."""
    trials, record = tables.tabulate_trials(study), study.record
    metric, formats = record.measure.label, {t.number: t.params.data_format for t in record.trials if t.params}
    benchmarks = study.benchmarks()
    return [
        draw_main(study),
        *([draw_benchmarks(benchmarks, formats, metric=metric)] if len(benchmarks) else []),
        draw_rates(trials, metric=metric),
        draw_batches(trials),
        draw_cosines(tables.tabulate_cosines(study), tables.tabulate_histograms(study)),
        draw_losses(tables.tabulate_losses(study), formats, metric=metric),
        draw_importances(tables.tabulate_importances(study)),
        draw_slots(tables.tabulate_slots(study)),
        draw_budget(tables.tabulate_budget(study)),
    ]


def draw_main(study: Study) -> Chart:
    """The curves of all trials."""
    best = study.record.best
    return draw_curves(
        tables.tabulate_curves(study),
        tables.tabulate_warmups(study),
        best=best.number if best else None,
        baseline=study.record.baseline,
        metric=study.record.measure.label,
    )

from __future__ import annotations

import json
import re

import pytest

from sweep.report import charts
from sweep.report.figures import LIGHT, make_figure
from sweep.report.report_charts import draw_all
from sweep.study import Study


def test_plotly_knows_every_key_and_value_of_every_figure(study: Study) -> None:
    for chart in draw_all(study):
        assert chart.panels, chart.key
        for panel in chart.panels:
            figure = make_figure(panel, title="a title")
            assert len(figure.data) == len(panel.traces)
            assert "@" not in json.dumps(figure.to_plotly_json(), default=list).replace("NDCG@10", "")


def test_a_colour_stands_for_one_thing_in_all_figures(study: Study) -> None:
    meanings: dict[str, set[str]] = {}
    for chart in draw_all(study):
        for sign in chart.legend:
            if not sign.colour.startswith("@"):
                meanings.setdefault(sign.colour, set()).add(sign.text)
    assert {colour: texts for colour, texts in meanings.items() if len(texts) > 1} == {}
    assert meanings["#0072B2"] == {"query-document"}
    assert meanings["#D55E00"] == {"title-content"}


def test_every_figure_says_what_it_shows_and_what_to_look_for(study: Study) -> None:
    for chart in draw_all(study):
        assert len(chart.sentence) > 60
        assert re.search(r"\bLook\b", chart.sentence), chart.key


def test_a_study_without_a_trial_has_no_figure_but_reasons(untried: Study) -> None:
    found = draw_all(untried)
    assert [chart.key for chart in found if chart.panels] == []
    assert all(chart.missing for chart in found)


def test_a_format_keeps_its_colour_whatever_other_formats_there_are() -> None:
    formats = ["a", "query-document", "title-content", "z"]
    colours = [charts.colour_of(name, formats) for name in formats]
    assert len(set(colours)) == 4
    assert charts.colour_of("query-document", ["query-document"]) == colours[1]


def test_text_is_shown_by_plotly_letter_by_letter() -> None:
    assert charts.plain('<a href="x">b</a>\n& c') == '&lt;a href="x"&gt;b&lt;/a&gt; &amp; c'


def test_numbers_are_listed_as_json_has_them() -> None:
    assert charts.listed([1.0, float("nan"), None, float("inf"), 0.12345678]) == [1.0, None, None, None, 0.123457]
    assert charts.listed([]) == []


def relative_luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("paper", [LIGHT[charts.PAPER], "#15181d"])
@pytest.mark.parametrize("colour", [*charts.FORMAT_COLOURS.values(), charts.COSINE_COLOURS["positive"]])
def test_the_colours_of_formats_and_positives_stand_out_from_both_papers(colour: str, paper: str) -> None:
    low, high = sorted((relative_luminance(colour), relative_luminance(paper)))
    assert (high + 0.05) / (low + 0.05) >= 3.0  # WCAG 2.1, 1.4.11: graphical objects

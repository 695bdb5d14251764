from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from made_studies import change, make_study
from markupsafe import Markup

from sweep.cli import main
from sweep.report.page import dump_json, render_page
from sweep.report.report_charts import draw_all
from sweep.report.template import set_apart
from sweep.run_folder import RunFolder
from sweep.study import Study

HOSTILE = (
    "<script>boom()</script>\"'&</style>\n]]>--><img src=x onerror=boom()>"
    " \u202eabc \u0639\u0631\u0628\u064a \ud55c\uad6d\uc5b4"
)
"""Markup, quotes, a line break, writing from right to left with an override, and Korean."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    cause: str = "learning rate too high"
    scope: str = "title-content"
    verdict: str = "supported"
    effect: float | None = -0.1
    interval: tuple[float, float] | None = (-0.2, -0.05)
    trials: tuple[int, ...] = (0, 2)
    sentence: str = "High rates keep less."
    next_steps: str = "[[space.start]]\nlearning_rate = 5e-5\n"


class Outline(HTMLParser):
    """What a browser would make of a page: its elements, and the text outside scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self._inside: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._inside and self._inside[-1] == "script":
            self.scripts.append(data)
        elif not self._inside or self._inside[-1] != "style":
            self.text += data


def hostile(study: Study) -> Study:
    """The same study with hostile names, reasons, errors and devices everywhere."""
    trials = [
        dataclasses.replace(
            trial,
            params=None
            if trial.params is None
            else dataclasses.replace(trial.params, data_format=f"{HOSTILE} {place % 2}"),
            attributes={**trial.attributes, "stop_reason": f"drop-off: {HOSTILE}", "error": HOSTILE, "device": HOSTILE},
        )
        for place, trial in enumerate(study.record.trials)
    ]
    record = dataclasses.replace(study.record, name=HOSTILE, trials=tuple(trials))
    spec = study.spec
    data = spec.data.model_copy(update={"collection": f"beir:{HOSTILE}"})
    model = spec.model.model_copy(update={"base": HOSTILE})
    runs = [dataclasses.replace(run, slot=HOSTILE, device=HOSTILE) for run in study.runs]
    location = dataclasses.replace(
        study.location,
        file=Path(f"{HOSTILE}.toml".replace("/", "")),
        spec=spec.model_copy(update={"data": data, "model": model}),
    )
    return change(study, location=location, record=record, runs=runs)


def test_hostile_names_and_notes_are_shown_as_text(study: Study) -> None:
    verdict = Verdict(cause=HOSTILE, scope=HOSTILE, sentence=HOSTILE, next_steps=HOSTILE)
    outline = Outline(render_page(hostile(study), [verdict]))
    plain = Outline(render_page(study, [Verdict()]))
    assert {tag for tag, _ in outline.elements} == {tag for tag, _ in plain.elements} | {"bdi"}
    scripts = [found for tag, found in outline.elements if tag == "script"]
    assert len(scripts) == 2 + sum(found.get("type") == "application/json" for found in scripts)
    assert not [found for tag, found in outline.elements if tag in ("img", "link", "iframe") or "onerror" in found]
    assert outline.text.count(HOSTILE) > 30
    assert not [script for script in outline.scripts if "boom()</script>" in script]


def test_the_page_asks_for_nothing_and_may_not(study: Study) -> None:
    outline = Outline(render_page(study, []))
    links = [
        value for _, found in outline.elements for name, value in found.items() if name in ("src", "href", "action")
    ]
    assert links == []
    (policy,) = [found["content"] for tag, found in outline.elements if tag == "meta" and "http-equiv" in found]
    assert policy is not None
    assert policy.startswith("default-src 'none';")


def test_the_answer_comes_first_then_the_diagnosis_then_figures_then_every_trial(study: Study) -> None:
    page = render_page(study, [Verdict(), Verdict(verdict="cannot tell", effect=None, interval=None, next_steps="")])
    places = [page.index(text) for text in ("Use trial 1.", "Why runs fell", ">Figures<", ">All trials<")]
    assert places == sorted(places)
    text = " ".join(Outline(page).text.split())
    assert "learning rate too high (title-content): supported" in text
    assert "effect -0.1 (interval -0.2 to -0.05); trials 0, 2" in text
    assert text.count("What to do next") == 1
    rows = re.findall(r"<tr( class=best)?><td class=number data-value='([\d.]+)'>", page)
    assert sorted(float(number) for _, number in rows) == list(range(13))
    assert [number for best, number in rows if best] == ["1.0"]


def test_what_is_supported_stands_open_and_the_rest_is_a_click_away(study: Study) -> None:
    unknown = Verdict(verdict="cannot tell", effect=None, interval=None, next_steps="")
    page = render_page(study, [unknown, Verdict()])
    opened, folded = page.index(": supported"), page.index(": cannot tell")
    assert opened < page.index("1 more that are not supported, or that these trials cannot tell") < folded
    assert "No cause is supported by the trials so far." in render_page(study, [unknown])


def test_every_number_that_is_sorted_by_is_the_number_itself(study: Study) -> None:
    page = render_page(study, [])
    peaks = study.trials().set_index("trial")["peak"]
    cells = r"<tr[^>]*><td class=number data-value='([\d.]+)'>\d+</td><td class=number data-value='([\d.]*)'"
    found = {int(float(number)): float(peak or "nan") for number, peak in re.findall(cells, page)}
    assert found == pytest.approx(peaks.to_dict(), nan_ok=True)


def test_a_study_without_a_trial_gives_a_page_that_says_so(untried: Study) -> None:
    text = Outline(render_page(untried, [])).text
    for said in (
        "There is no answer yet: no trial has begun.",
        "There is nothing to diagnose yet.",
        "No trial has begun",
    ):
        assert said in text
    assert "<table id='trials'>" not in render_page(untried, [])


def test_a_study_of_one_trial_gives_a_page_with_its_figures(tmp_path: Path) -> None:
    one = make_study(tmp_path, budget={"trials": 1})
    page = render_page(one, [])
    assert "Use trial 0." in page
    assert "Fewer than ten trials have been measured" in page
    assert "id='curves-0'" in page


def test_a_study_whose_trials_all_failed_gives_a_page_that_names_the_cause(study: Study) -> None:
    trials = tuple(
        dataclasses.replace(trial, state="fail", value=None, rows=(), attributes={**trial.attributes, "error": "E: no"})
        for trial in study.record.trials
    )
    figures = [row for row in study.figures if row["trial"] < 0]
    page = render_page(change(study, trials=trials, tests={}, figures=figures), [])
    assert "all 13 trials failed, 13 of them with: E: no" in page
    assert page.count("failed: E: no") == 13


def test_a_metric_that_is_always_0_gives_a_page_that_says_so(study: Study) -> None:
    trials = tuple(
        dataclasses.replace(
            trial, state="complete", value=0.0, rows=tuple(dataclasses.replace(row, value=0.0) for row in trial.rows)
        )
        for trial in study.record.trials
    )
    record = dataclasses.replace(study.record, trials=trials, baseline=0.0)
    figures = [{**row, "value": 0.0} for row in study.figures]
    page = render_page(change(study, record=record, tests={}, figures=figures), [])
    assert "NDCG@10 was 0 at every measurement of every trial" in page


def test_a_study_without_a_test_split_gives_a_page_that_calls_its_figure_optimistic(study: Study) -> None:
    text = " ".join(Outline(render_page(change(study, tests={}), [])).text.split())
    assert "is the highest of many, and is optimistic" in text


def test_200_trials_of_30_evaluations_stay_below_8_mib(study: Study) -> None:
    whole = [trial for trial in study.record.trials if len(trial.rows) > 2]
    trials, figures = [], [row for row in study.figures if row["trial"] < 0]
    for number in range(200):
        source = whole[number % len(whole)]
        curve = [row for row in study.figures if row["trial"] == source.number]
        points = [1000 * (place + 1) // 30 for place in range(30)]
        rows = [
            dataclasses.replace(source.rows[place % len(source.rows)], progress=point)
            for place, point in enumerate(points)
        ]
        figures += [
            {**curve[place % len(curve)], "trial": number, "progress": point} for place, point in enumerate(points)
        ]
        trials.append(dataclasses.replace(source, number=number, rows=tuple(rows)))
    page = render_page(change(study, trials=trials, figures=figures), [])
    assert len(page.encode()) < 8 * 2**20


def test_text_is_escaped_and_set_apart_in_its_direction() -> None:
    assert set_apart("<a href='x'>&\"") == "<a href='x'>&\""  # left to the template's autoescape
    assert set_apart("<\u0639>") == "<bdi>&lt;\u0639&gt;</bdi>"
    assert set_apart(Markup("<b>\u0639</b>")) == "<b>\u0639</b>"


def test_every_entry_of_every_legend_has_a_picture_in_its_colour(study: Study) -> None:
    page = render_page(study, [])
    entries = [sign for chart in draw_all(study) if chart.panels for sign in chart.legend]
    pictures = re.findall(r"<svg [^>]*style='color:([^']+)'[^>]*>(.*?)</svg>", page)
    colours = [sign.colour.replace("@", "var(--") + (")" if sign.colour.startswith("@") else "") for sign in entries]
    assert [colour for colour, _ in pictures] == colours
    assert all(re.fullmatch(r"<(path|circle|rect) [^<>]*'currentColor'[^<>]*/>", shape) for _, shape in pictures)


def test_json_in_the_page_ends_no_script() -> None:
    text = dump_json({"a": "</script><!--&\u2028"})
    assert not re.search("[<>&\u2028]", text)
    assert json.loads(text) == {"a": "</script><!--&\u2028"}


def test_the_command_writes_the_page_whole_beside_the_database(
    study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = RunFolder.beside(study.file).report
    assert main(["report", str(study.file)]) == 0
    assert capsys.readouterr().out == f"The report lies at {file}\n"
    assert file.read_text(encoding="utf-8").endswith("</body></html>\n")
    other = tmp_path / "other place" / "r.html"
    assert main(["report", str(study.file), "--output", str(other)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(
        f"sweep: {other}: the report cannot be written: No such file or directory; name another place"
    )
    other.parent.mkdir()
    assert main(["report", str(study.file), "--output", str(other)]) == 0
    assert [path.name for path in other.parent.iterdir()] == ["r.html"]

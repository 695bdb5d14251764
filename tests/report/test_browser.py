"""The page in a real headless Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, open_browser
from test_page import Verdict, hostile

from sweep.report.page import render_page
from sweep.study import Study

DRAWN = "return document.documentElement.dataset.drawn"
TRIALS = (
    "return [...document.querySelectorAll('#trials tbody tr:not([hidden])')]"
    ".map(row => row.cells[arguments[0]].textContent)"
)


@pytest.fixture(scope="module")
def page(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(render_page(study, [Verdict()]), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as found:
        yield found


def load(browser: Browser, page: Path) -> None:
    browser.open(page.as_uri())
    browser.wait(DRAWN)


def column(browser: Browser, name: str) -> int:
    heads = browser.run("return [...document.querySelectorAll('#trials th')].map(head => head.textContent)")
    place: int = heads.index(name)
    return place


def click_heading(browser: Browser, name: str) -> None:
    browser.click(f"#trials th:nth-child({column(browser, name) + 1}) button")


def test_every_figure_is_drawn_without_a_complaint_and_without_a_request(browser: Browser, page: Path) -> None:
    browser.requests()
    load(browser, page)
    drawn = browser.run(
        "return [...document.querySelectorAll('.plot')]"
        ".map(plot => plot.querySelectorAll('.trace, .bars .point').length)"
    )
    assert len(drawn) == 14
    assert min(drawn) > 0
    assert browser.complaints() == []
    assert browser.requests() == [page.as_uri()]


def test_a_click_on_a_heading_sorts_by_it_and_another_click_the_other_way(browser: Browser, page: Path) -> None:
    load(browser, page)
    for name in ("peak", "rate", "trial"):
        for way in (1, -1):
            click_heading(browser, name)
            shown = browser.run(TRIALS, column(browser, name))
            numbers = [float(text) for text in shown if text != "-"]
            assert numbers == sorted(numbers)[::way]
            assert shown[len(numbers) :] == ["-"] * (len(shown) - len(numbers))  # what is missing stands last
    click_heading(browser, "format")
    formats = browser.run(TRIALS, column(browser, "format"))
    assert formats == sorted(formats)


def test_words_and_choices_filter_the_table(browser: Browser, page: Path, study: Study) -> None:
    load(browser, page)
    frame = study.trials()
    browser.type("#words", "DROP-OFF")
    stopped = browser.run(TRIALS, column(browser, "trial"))
    assert {int(number) for number in stopped} == set(frame.loc[frame["ended_by"] == "drop-off", "trial"])
    assert browser.run("return document.getElementById('count').textContent") == f"{len(stopped)} of 13 trials"
    browser.type("#words", "")
    place = column(browser, "format")
    browser.click(f"select[data-column='{place}'] option:nth-child(2)")
    assert set(browser.run(TRIALS, place)) == {"query-document"}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_figures_follow_the_theme_of_the_system_and_of_the_button(browser: Browser, page: Path, theme: str) -> None:
    browser.emulate_theme(theme)
    load(browser, page)
    ink = {"light": "rgb(27, 31, 36)", "dark": "rgb(232, 234, 237)"}
    look = (
        "return [getComputedStyle(document.body).color,"
        " getComputedStyle(document.querySelector('#curves-0 .xtitle')).fill]"
    )
    assert browser.run(look) == [ink[theme], ink[theme]]
    other = {"light": "dark", "dark": "light"}[theme]
    for _ in range(2 if other == "dark" else 1):  # the button goes from auto to light, and on to dark
        browser.click("#theme")
    assert browser.run(look) == [ink[other], ink[other]]
    assert browser.complaints() == []


def test_on_a_phone_nothing_is_wider_than_the_window(page: Path) -> None:
    with open_browser(width=390, height=844) as phone:
        load(phone, page)
        assert phone.run("return [window.innerWidth, document.documentElement.scrollWidth]") == [390, 390]
        widths = phone.run("return [...document.querySelectorAll('.plot svg.main-svg')].map(plot => plot.clientWidth)")
        assert 250 < min(widths) <= max(widths) <= 390
        assert phone.complaints() == []


def test_on_paper_every_trial_and_every_figure_is_there(browser: Browser, page: Path) -> None:
    browser.emulate_theme("dark")
    load(browser, page)
    browser.type("#words", "no such word")
    printed = browser.command("Page.printToPDF", paperWidth=8.27, paperHeight=11.69)
    assert printed["data"].startswith("JVBERi")  # %PDF
    assert browser.run("return document.documentElement.dataset.theme || 'auto'") == "auto"
    assert browser.complaints() == []


def test_hostile_names_run_nothing(browser: Browser, study: Study, tmp_path: Path) -> None:
    file = tmp_path / "hostile.html"
    verdict = Verdict(
        cause="<img src=x onerror='window.boomed = 1'>", sentence="</p><script>window.boomed = 1</script>"
    )
    file.write_text(render_page(hostile(study), [verdict]), encoding="utf-8")
    load(browser, file)
    assert browser.run("return window.boomed === undefined && typeof boom === 'undefined'")
    assert browser.run("return document.querySelectorAll('img, a').length") == 0
    assert browser.run("return document.querySelector('h1').textContent") == hostile(study).name
    assert browser.complaints() == []

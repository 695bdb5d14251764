"""optuna-dashboard in a real headless Chromium, on a study that is being run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from browser import Browser, open_browser
from processes import wait_until
from scripted import Recorder, check_finished

from sweep import open_study
from sweep.coordinator.run import run_study
from sweep.dashboard import open_dashboard
from sweep.launch import InlineLauncher
from sweep.plan import plan_study
from sweep.report.dashboard_export import exhibit
from sweep.signals import StopSignal
from sweep.storage.location import locate_study
from sweep.storage.records import ENDED_BY
from sweep.testing import write_toy_study

FAILURE = "<img src=x onerror='window.boomed=1'> \u202eabc \ud55c\uad6d\uc5b4 \u0639\u0631\u0628\u064a `|`\n</td>"


@pytest.fixture
def hold(tmp_path: Path) -> Path:
    """A file that keeps trial 2 from going on."""
    file = tmp_path / "hold"
    file.touch()
    return file


@pytest.fixture
def running(tmp_path: Path, hold: Path) -> Iterator[Path]:
    """The file of a scripted study that is run meanwhile: trial 1 fails with markup, trial 2 is held."""
    script = {"fail": [1], "fail_step": 2, "failure": FAILURE, "hold": {"2": str(hold)}}
    file = write_toy_study(tmp_path, script=script, budget={"trials": 5}, space={"batch_size": 4})
    plan = plan_study(locate_study(file))
    with ThreadPoolExecutor() as pool:
        finished = pool.submit(
            run_study,
            plan,
            watcher=Recorder(),
            stop=StopSignal(),
            jobs="sweep.testing",
            launcher=InlineLauncher(),
            exhibit=lambda: exhibit(open_study(file), []),
        )
        try:
            assert wait_until(lambda: plan.run_folder.trial(2).exists() or finished.done())
            yield file
        finally:
            hold.unlink(missing_ok=True)
        finished.result()
    check_finished(file)


def test_the_dashboard_follows_a_running_study_and_fetches_from_nowhere_else(running: Path, tmp_path: Path) -> None:
    server = open_dashboard(locate_study(running), port=0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    own = f"http://127.0.0.1:{server.server_port}/"
    try:
        with open_browser() as browser:
            browser.open(f"{own}dashboard/studies/1")
            browser.wait("return document.body.innerText.includes('toy')")
            browser.wait("return document.querySelectorAll('.js-plotly-plot .scatterlayer .trace').length > 0")
            browser.open(f"{own}dashboard/studies/1/note")
            wait_for_text(browser, "2 of 5 trials have ended")
            browser.open(f"{own}dashboard/studies/1/trials?numbers=1")
            wait_for_text(browser, "<img src=x onerror='window.boomed=1'>")  # as text, among the trial's attributes
            assert browser.run("return window.boomed === undefined")
            assert [asked for asked in browser.requests() if not asked.startswith(own)] == []
            assert browser.complaints() == []
            browser.picture(tmp_path / "dashboard.png")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_dashboard_draws_the_figures_of_a_finished_study(running: Path, hold: Path) -> None:
    hold.unlink()
    # the figures are written last, each in pieces, which the dashboard would show half
    assert wait_until(lambda: has_ended(running))
    server = open_dashboard(locate_study(running), port=0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        with open_browser() as browser:
            browser.open(f"http://127.0.0.1:{server.server_port}/dashboard/studies/1")
            for name in ("sweep-curves", "sweep-rate-0", "sweep-rate-1", "sweep-batches"):
                plot = f"document.getElementById('user-defined-plot:{name}')"
                browser.wait(f"return {plot} && {plot}.querySelectorAll('.scatterlayer .trace').length > 0")
            assert browser.complaints() == []
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def has_ended(file: Path) -> bool:
    study = open_study(file)
    return study.record.attributes.get(ENDED_BY) is not None and study.owner is None


def wait_for_text(browser: Browser, text: str) -> None:
    browser.wait(f"return document.body.innerText.includes({text!r})")

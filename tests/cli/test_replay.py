from __future__ import annotations

import json
from pathlib import Path

import pytest
from curves import save_bank

from sweep.cli import main
from sweep.coordinator.run import run_study
from sweep.launch import InlineLauncher
from sweep.plan import plan_study
from sweep.signals import StopSignal
from sweep.storage.location import locate_study
from sweep.study import open_study
from sweep.testing import write_toy_study


class Silent:
    def show(self, event: object) -> None: ...
    def refresh(self, sweep: object) -> None: ...


def run_scripted(folder: Path, **tables: dict[str, object]) -> Path:
    file = write_toy_study(folder, script={"noise": 0.05}, **tables)  # type: ignore[arg-type]
    with StopSignal() as stop:
        run_study(
            plan_study(locate_study(file)), watcher=Silent(), stop=stop, jobs="sweep.testing", launcher=InlineLauncher()
        )
    return file


FALLS = {
    "start": [
        {"learning_rate": 5e-4, "warmup_ratio": 0.0, "batch_size": 4, "data_format": "title-content"},
        {"learning_rate": 5e-4, "warmup_ratio": 0.0, "batch_size": 4, "data_format": "query-document"},
    ]
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a study whose trials all went to their end: one that falls and one that rises."""
    folder = tmp_path_factory.mktemp("whole")
    return run_scripted(folder, stopping={"drop_off": False}, budget={"trials": 2}, space=FALLS)


def replay(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = main(["replay", *words])
    found = capsys.readouterr()
    return status, found.out, found.err


def test_a_study_and_a_bank_of_its_runs_are_replayed_alike(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, printed, _ = replay(capsys, str(whole), "--orders", "2", "--json")
    assert status == 0
    found = json.loads(printed)
    assert (found["version"], found["runs"]) == (1, 2)
    ours, proved, nop = found["rules"][:3]
    assert (ours["fallen"], ours["fallen_stopped"], ours["healthy_stopped"], ours["wrong"]) == (1, 1.0, 0.0, 0.0)
    assert max(ours["budget"], proved["budget"]) < nop["budget"] == 1.0
    waves, asha = found["rules"][-2:]
    assert (waves["rule"], asha["rule"]) == ("rungs", "ASHA, pausing")
    assert waves["best_lost"] == waves["best_lost_at_most"] == nop["best_lost"] == 0.0
    assert asha["best_lost"] > 0.0  # a quarter of two is nobody
    save_bank(tmp_path / "bank.npz", open_study(whole).recorded_runs())
    status, again, _ = replay(capsys, str(tmp_path / "bank.npz"), "--orders", "2", "--json")
    assert status == 0
    assert [rule["fallen_stopped"] for rule in json.loads(again)["rules"]] == [
        rule["fallen_stopped"] for rule in found["rules"]
    ]


def test_the_table_says_what_each_rule_did_and_the_figure_draws_it(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figure = tmp_path / "figure.html"
    status, printed, _ = replay(capsys, str(whole), "--orders", "1", "--queries", "30", "--figure", str(figure))
    assert status == 0
    for rule in ("drop-off, by forecast", "Nop", "Patient(None, 3, 0.01)", "Median", "Hyperband", "Wilcoxon"):
        assert f"\n{rule}" in printed
    assert "2 complete runs on NDCG@10; means over 1 orders" in printed
    assert "left out" not in printed
    assert "rungs: pauses at 10% (the best 20% go on) and at 60% (the best 50% go on)" in printed
    assert max(map(len, printed.partition("Figure")[0].splitlines())) <= 120
    page = figure.read_text(encoding="utf-8")
    assert "Plotly.newPlot" in page
    assert "SuccessiveHalving" in page


def test_a_study_is_replayed_at_its_own_rungs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = {"stopping": {"drop_off": False}, "budget": {"trials": 2}, "space": FALLS}
    file = run_scripted(tmp_path / "rungs", rungs={"at": [0.3], "keep": [1.0]}, **tables)  # type: ignore[arg-type]
    status, printed, _ = replay(capsys, str(file), "--orders", "1")
    assert status == 0
    assert "rungs: pauses at 30% (the best 100% go on) of the learning rate spent" in printed


def test_runs_that_were_stopped_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = run_scripted(tmp_path / "stopped", budget={"trials": 2}, space=FALLS)
    status, printed, _ = replay(capsys, str(file), "--orders", "1")
    assert status == 0
    assert "1 complete runs" in printed
    assert "1 runs were stopped while they were recorded, and are left out." in printed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--alpha", "0.7"], "sweep: replay: alpha must lie in (0, 0.5), got 0.7\n"),
        (["--orders", "0"], "sweep: --orders must be at least 1, got 0\n"),
        (["--queries", "1"], "sweep: --queries must be at least 2, got 1\n"),
        (["--orders", "1", "--figure", "nowhere/figure.html"], "the figure cannot be written: No such file"),
    ],
)
def test_what_cannot_be_replayed_is_one_line(
    whole: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, errors = replay(capsys, str(whole), *words)
    assert status == 2
    assert said in errors
    assert errors.count("\n") == 1


def test_a_bank_that_is_missing_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, errors = replay(capsys, str(tmp_path / "no.npz"))
    assert (status, errors) == (2, f"sweep: {tmp_path / 'no.npz'}: cannot be read: No such file or directory\n")

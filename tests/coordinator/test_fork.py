"""A new study out of another's trials: those that still fit, as they were, and nothing half."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from scripted import check_finished, open_study, rewrite, run

from sweep.cli import main
from sweep.coordinator.fork import fork_study, plan_fork
from sweep.errors import CheckpointError, StorageError, SweepError
from sweep.plan import plan_study
from sweep.run_folder import RunFolder
from sweep.storage.database import open_storage_read_only
from sweep.storage.location import locate_study
from sweep.storage.study_tables import read_content
from sweep.testing import write_toy_study


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study of six trials in two formats, the last of which failed; to be copied."""
    file = write_toy_study(
        tmp_path_factory.mktemp("begun"), script={"fail": [5]}, budget={"trials": 6}, checkpoints={"keep": 9}
    )
    run(file)
    return file


@pytest.fixture
def old(begun: Path, tmp_path: Path) -> Path:
    shutil.copytree(begun.parent, tmp_path / "copy")
    (tmp_path / "copy" / "model" / "script.json").write_text("{}")
    return tmp_path / "copy" / begun.name


@pytest.fixture
def new(old: Path) -> Path:
    """The old file under another name, with one format removed."""
    file = old.with_name("new.toml")
    shutil.copy(old, file)
    rewrite(file, "[space]", '[space]\ndata_format = "query-document"')
    return file


def test_the_trials_that_still_fit_are_taken_as_they_were_and_the_new_study_goes_on(old: Path, new: Path) -> None:
    before = open_study(old)[2]
    content = RunFolder.beside(old).database.read_bytes()
    fork = fork_study(plan_study(locate_study(old)), plan_study(locate_study(new)))
    fitting = [trial for trial in before.trials[:5] if trial.params and trial.params.data_format == "query-document"]
    assert list(fork.taken) == [trial.number for trial in fitting]
    assert 0 < len(fitting) < 5
    assert list(fork.unfinished) == [5]
    assert len(fork.taken) + len(fork.left) == 5
    record = open_study(new)[2]
    assert record.baseline == before.baseline
    assert record.attributes["forked_from"] == "toy"
    for ours, theirs in zip(record.trials, fitting, strict=True):
        assert (ours.params, ours.state, ours.value, ours.stop) == (
            theirs.params,
            theirs.state,
            theirs.value,
            theirs.stop,
        )
        assert [(row.progress, row.value) for row in ours.rows] == [(row.progress, row.value) for row in theirs.rows]
        assert ours.attributes["forked_from"] == theirs.number
        assert ours.peak is not None
        assert RunFolder.beside(new).peak_model(ours.number, ours.peak.progress).is_dir()
    rewrite(new, "keep = 9", "keep = 1")
    run(new)
    after = check_finished(new)
    assert after.counted == 6
    assert after.trials[: len(fitting)] == record.trials
    assert all(trial.params and trial.params.data_format == "query-document" for trial in after.trials)
    assert RunFolder.beside(old).database.read_bytes() == content


def test_a_logarithmic_range_may_become_a_linear_one(old: Path, new: Path) -> None:
    rewrite(new, "[space]", "[space]\nlearning_rate = { low = 1e-6, high = 1e-3, log = false }")
    assert fork_study(plan_study(locate_study(old)), plan_study(locate_study(new))).taken
    run(new)
    assert open_study(new)[2].counted == 6


REFUSED = {
    "another grid": (
        "0.8, 1.0]",
        "1.0]",
        r"evaluation\.grid: is .* and was .* in toy\.toml: none of its trials can be",
    ),
    "other queries": ("max_queries = 60", "max_queries = 40", r"evaluation\.max_queries: is 40 and was 60"),
    "other examples": ("examples = 320", "examples = 640", r"budget\.examples: is 640 and was 320"),
    "too few trials": (
        "trials = 6",
        "trials = 1",
        r"budget\.trials: 1 is below the \d trials that toy\.toml hands over",
    ),
}


@pytest.mark.parametrize("change", REFUSED)
def test_a_study_that_cannot_take_trials_over_is_refused_and_leaves_nothing(old: Path, new: Path, change: str) -> None:
    before, after, message = REFUSED[change]
    rewrite(new, before, after)
    with pytest.raises(SweepError, match=message) as refused:
        fork_study(plan_study(locate_study(old)), plan_study(locate_study(new)))
    assert refused.value.exit_code == 2
    assert not RunFolder.beside(new).path.exists()


def test_another_model_is_refused_by_what_it_holds(old: Path, new: Path) -> None:
    shutil.copytree(old.parent / "model", old.parent / "other")
    (old.parent / "other" / "model.safetensors").write_bytes(b"other weights")
    rewrite(new, './model"', './other"')
    with pytest.raises(SweepError, match=r"model\.base: is '\./other' and was '\./model'"):
        fork_study(plan_study(locate_study(old)), plan_study(locate_study(new)))


def test_a_study_that_is_there_is_never_forked_into(old: Path, new: Path) -> None:
    content = RunFolder.beside(old).database.read_bytes()
    with pytest.raises(StorageError, match="there is a study already"):
        fork_study(plan_study(locate_study(new)), plan_study(locate_study(old)))
    assert RunFolder.beside(old).database.read_bytes() == content


def test_a_fork_that_fails_half_way_leaves_nothing(old: Path, new: Path) -> None:
    record = open_study(old)[2]
    trials = read_content(open_storage_read_only(RunFolder.beside(old).database)).trials
    fork = plan_fork(record, trials, plan_study(locate_study(new)).space)
    folder = RunFolder.beside(old)
    blocked = folder.peak_models(next(number for number in fork.taken if folder.peak_models(number)))[0]
    shutil.move(blocked / "ndcg.json", old.parent / "ndcg.json")
    (blocked / "ndcg.json").symlink_to(old.parent / "nowhere")
    with pytest.raises(StorageError, match=r"ndcg\.json"):
        fork_study(plan_study(locate_study(old)), plan_study(locate_study(new)))
    assert not RunFolder.beside(new).path.exists()
    (blocked / "ndcg.json").unlink()
    shutil.move(old.parent / "ndcg.json", blocked / "ndcg.json")
    assert fork_study(plan_study(locate_study(old)), plan_study(locate_study(new))).taken


def test_a_base_model_that_is_no_longer_whole_is_not_taken_over(old: Path, new: Path) -> None:
    (RunFolder.beside(old).base_model / "ndcg.json").write_text("0.1")
    with pytest.raises(CheckpointError, match=r"base.ndcg\.json: is not what its manifest says"):
        fork_study(plan_study(locate_study(old)), plan_study(locate_study(new)))
    assert not RunFolder.beside(new).path.exists()


def test_the_command_says_what_it_took_and_how_to_go_on(
    old: Path, new: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fork", str(old), str(new)]) == 0
    out = capsys.readouterr().out
    assert f"{new}: takes over " in out
    assert "left, since their settings are none of the new space: " in out
    assert "left, since they failed or have not ended: 5" in out
    assert f"Go on:  sweep run {new}" in out
    assert main(["fork", str(old), str(new)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_longer_trial_is_taken_with_the_one_that_it_lengthens_alone(tmp_path: Path) -> None:
    """The longer ones have lower rates here, which lie in the new space though that of the first does not."""
    rates = {"low": 1e-4, "high": 6e-4, "log": True}
    budget = {"trials": 3, "total_examples": (3 + 2 + 2 + 4 + 4) * 320}
    space = {"data_format": "title-content", "learning_rate": rates}
    file = write_toy_study(tmp_path, script={}, budget=budget, space=space, stopping={"drop_off": False})
    record, _ = run(file)
    again = next(trial for trial in record.trials if trial.length == 4)
    between = record.trials[again.longer_than or 0]
    first = record.trials[between.longer_than or 0]
    rate = {trial.number: trial.params.learning_rate for trial in record.trials if trial.params}
    assert rate[again.number] <= rate[between.number] < rate[first.number]
    new = file.with_name("new.toml")
    shutil.copy(file, new)
    rewrite(new, "high = 0.0006", f"high = {(rate[between.number] + rate[first.number]) / 2}")
    fork = fork_study(plan_study(locate_study(file)), plan_study(locate_study(new)))
    assert {first.number, between.number, again.number} <= {*fork.left}

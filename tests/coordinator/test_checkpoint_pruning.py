"""Which models and checkpoints are kept, and that what is deleted is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scripted import Recorder, open_study, run
from trial_records import make_trial

from sweep.coordinator.checkpoint_pruning import GIB, CheckpointPruner, check_disk, folder_bytes, plan_kept, rank_models
from sweep.coordinator.events import tell_to
from sweep.errors import DeviceError
from sweep.run_folder import RunFolder
from sweep.settings.study_file import CheckpointsSpec
from sweep.testing import write_toy_study


@pytest.mark.parametrize(
    ("keep", "room", "expected"),
    [
        (1, None, {5}),
        (2, None, {5, 3}),
        (9, None, {5, 3, 8}),
        (9, 0, {5}),  # the best always
        (9, 20, {5, 3}),
        (9, 29, {5, 3}),
        (9, 30, {5, 3, 8}),
    ],
)
def test_the_best_models_are_kept_as_far_as_there_is_room(keep: int, room: int | None, expected: set[int]) -> None:
    assert plan_kept([5, 3, 8], {5: 10, 3: 10, 8: 10}, keep=keep, room=room) == expected


def test_models_rank_by_their_peaks_behind_the_studys_best_and_diverged_ones_not_at_all() -> None:
    trials = [
        make_trial(0, 0.6),
        make_trial(1, 0.7, state="pruned", kind="drop-off"),
        make_trial(2, 0.9, state="pruned", kind="diverged"),
        make_trial(3, 0.65),
        make_trial(4, 0.8, state="fail"),
        make_trial(5, 0.7, state="pruned", kind="forecast"),
        make_trial(6, state="pruned", kind="diverged"),
    ]
    assert [trial.number for trial in rank_models(trials, trials[3])] == [3, 1, 5, 0]
    assert [trial.number for trial in rank_models(trials[:2], trials[3])] == [3, 1, 0]
    assert [trial.number for trial in rank_models(trials[:2], None)] == [1, 0]


def test_where_no_trial_has_a_model_none_is_kept() -> None:
    assert plan_kept([], {}, keep=3, room=None) == set()


def test_of_a_running_trial_only_the_model_of_its_committed_peak_stays(tmp_path: Path) -> None:
    folder, recorder = RunFolder(tmp_path), Recorder()
    for trial, progress in [(0, 50), (0, 100), (0, 150), (1, 50)]:
        folder.peak_model(trial, progress).mkdir(parents=True)
    keeper = CheckpointPruner(folder, CheckpointsSpec(), slots=1, tell=tell_to(recorder))
    aside = keeper.mark_peaks_for_deletion(0, kept=100)
    assert folder.peak_models(0) == [folder.peak_model(0, 100)]
    assert folder.peak_models(1) == [folder.peak_model(1, 50)]
    folder.peak_model(0, 150).mkdir()  # the trial, which goes on meanwhile
    keeper.delete(0, aside)
    assert sorted(path.name for path in folder.trial(0).iterdir()) == ["peak-0100", "peak-0150"]
    assert recorder.texts("replace") == ["peak-0050, peak-0150 (0.0 MiB)"]


def test_a_model_is_set_aside_where_a_crash_left_one_of_that_name(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    keeper = CheckpointPruner(folder, CheckpointsSpec(), slots=1, tell=tell_to(Recorder()))
    for _ in range(2):
        folder.peak_model(0, 50).mkdir(parents=True)
        (folder.peak_model(0, 50) / "weights").touch()
        aside = keeper.mark_peaks_for_deletion(0, kept=100)
    keeper.delete(0, aside)
    assert list(folder.trial(0).iterdir()) == []


def models_on_disk(file: Path) -> dict[int, float]:
    """NDCG of every model that is kept, by trial."""
    found = RunFolder.beside(file).checkpoints.glob("*/peak-*/ndcg.json")
    return {int(path.parts[-3].removeprefix("trial-")): json.loads(path.read_text()) for path in found}


@pytest.mark.parametrize("keep", [1, 3])
def test_the_peak_models_of_the_best_trials_of_the_study_are_kept_and_nothing_else(tmp_path: Path, keep: int) -> None:
    file = write_toy_study(tmp_path, script={}, budget={"trials": 6}, checkpoints={"keep": keep})
    _, recorder = run(file)
    record = open_study(file)[2]
    ranked = [trial for trial in record.leaderboard() if trial.number != record.best.number]
    expected = [record.best, *ranked][:keep]
    assert models_on_disk(file) == pytest.approx({trial.number: trial.peak.value for trial in expected})
    folders = [path for path in RunFolder.beside(file).checkpoints.glob("*/*") if path.is_dir()]
    assert len(folders) == keep
    assert len(recorder.texts("delete")) >= 6
    assert all("MiB)" in text for text in recorder.texts("delete"))


def test_a_limit_on_the_disk_is_kept_to_by_letting_the_worst_models_go(tmp_path: Path) -> None:
    file = write_toy_study(tmp_path, script={}, budget={"trials": 6}, checkpoints={"keep": 5})
    run(file)
    folder = RunFolder.beside(file)
    sizes = {number: folder_bytes(next(folder.trial(number).glob("peak-*"))) for number in models_on_disk(file)}
    assert len(sizes) == 5
    base = folder_bytes(folder.base_model)
    limit = 9 * base + 2.5 * max(sizes.values())  # what one running trial takes, the default's model, and two
    file.write_text(
        file.read_text().replace("keep = 5", f"keep = 5\nmax_gib = {limit / GIB}").replace("trials = 6", "trials = 7")
    )
    run(file)
    kept = models_on_disk(file)
    record = open_study(file)[2]
    assert len(kept) == 2
    assert record.best.number in kept
    assert folder_bytes(folder.checkpoints) <= limit


def test_a_limit_below_what_running_trials_take_is_refused_with_the_estimate() -> None:
    check_disk(CheckpointsSpec(), slots=64, model_bytes=GIB)
    check_disk(CheckpointsSpec(max_gib=18.0), slots=2, model_bytes=GIB)
    with pytest.raises(DeviceError, match=r"max_gib = 17\.9: 2 trials at once .* take up to 18 GiB .*: raise it") as e:
        check_disk(CheckpointsSpec(max_gib=17.9), slots=2, model_bytes=GIB)
    assert e.value.exit_code == 2

"""Whole studies on the real engine, with scripted jobs in place of training."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from scripted import JOBS, Recorder, ThreeDevices, check_finished, open_study, points, rewrite, run, set_script

from sweep.coordinator.placement import LARGEST_BATCH, LARGEST_MICRO_BATCH
from sweep.coordinator.run import run_study
from sweep.errors import StudyChangedError, StudyEndedError, StudyFileError
from sweep.launch import LocalLauncher
from sweep.plan import plan_study
from sweep.run_folder import RunFolder
from sweep.signals import StopSignal
from sweep.storage.evaluations import AS_SAVED, UNTRAINED
from sweep.storage.location import locate_study
from sweep.storage.records import BASE_MODEL, COLLECTION_HASH
from sweep.study import read_study
from sweep.testing import write_toy_collection, write_toy_study


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "a folder with 'quotes' and 100 %"


def test_a_study_runs_exactly_its_budget_of_trials(folder: Path) -> None:
    file = write_toy_study(folder, script={}, budget={"trials": 6})
    record, recorder = run(file)
    assert len(record.trials) == 6
    assert len(recorder.trials("start")) == len(set(recorder.trials("start"))) == 6
    assert {trial.state for trial in check_finished(file).trials} == {"complete", "pruned"}


def test_each_trial_runs_in_a_process_of_its_own_with_the_same_result(tmp_path: Path) -> None:
    inline = write_toy_study(tmp_path / "inline", script={})
    local = write_toy_study(tmp_path / "local", script={})
    run(inline)
    run(local, launcher=LocalLauncher((JOBS,)))
    first, second = check_finished(inline), check_finished(local)
    assert [trial.params for trial in first.trials] == [trial.params for trial in second.trials]
    assert [trial.peak for trial in first.trials] == [trial.peak for trial in second.trials]
    assert all(RunFolder.beside(local).log(trial.number).is_file() for trial in second.trials)


def test_a_raised_budget_goes_on(folder: Path) -> None:
    file = write_toy_study(folder, script={}, budget={"trials": 3})
    before = run(file)[0]
    rewrite(file, "trials = 3", "trials = 6")
    record, recorder = run(file)
    assert recorder.trials("start") == [3, 4, 5]
    assert recorder.trials("prepare") == []
    assert [trial.rows for trial in record.trials[:3]] == [trial.rows for trial in before.trials]
    check_finished(file)


def test_a_finished_study_is_left_as_it_is_and_starts_no_job(folder: Path) -> None:
    file = write_toy_study(folder, script={}, budget={"trials": 3})
    run(file)
    content = RunFolder.beside(file).database.read_bytes()
    record, recorder = run(file, jobs="no.such.module")
    assert recorder.events == []
    assert record.counted == 3
    assert RunFolder.beside(file).database.read_bytes() == content


def test_a_budget_below_the_trials_that_are_finished_is_refused_and_nothing_is_lost(folder: Path) -> None:
    file = write_toy_study(folder, script={}, budget={"trials": 3})
    run(file)
    content = RunFolder.beside(file).database.read_bytes()
    rewrite(file, "trials = 3", "trials = 1")
    with pytest.raises(StudyFileError, match=r"budget\.trials: 1 is below the 3 trials that are finished") as refused:
        run(file, jobs="no.such.module")
    assert refused.value.exit_code == 2
    assert RunFolder.beside(file).database.read_bytes() == content


def test_what_is_recorded_of_a_trial(folder: Path) -> None:
    file = write_toy_study(folder, script={}, budget={"trials": 5}, workers={"devices": "cpu", "micro_batch": 2})
    run(file)
    study, _, record = open_study(file)
    assert study.metric_names == ["NDCG@10"]
    for trial, frozen in zip(record.trials, study.trials, strict=True):
        params = trial.params
        assert params is not None
        assert params == plan_study(locate_study(file)).space.params(frozen.params)
        assert frozen.user_attrs["batch_size"] == params.batch_size
        assert frozen.user_attrs["effective_learning_rate"] == params.effective_learning_rate
        assert frozen.user_attrs["steps"] == 320 // params.batch_size
        assert frozen.user_attrs["micro_batch"] == 2
        assert frozen.user_attrs["seed"] == 0
        assert frozen.user_attrs["device"].startswith("CPU")
        assert trial.peak is not None
        assert (frozen.user_attrs["peak"], frozen.user_attrs["peak_progress"]) == (
            trial.peak.value,
            trial.peak.progress,
        )
        assert frozen.user_attrs["retention"] == pytest.approx(trial.retention(record.baseline))
        assert (frozen.user_attrs.get("stop_kind") == "drop-off") == (trial.state == "pruned")


def test_a_run_that_falls_is_stopped_and_one_whose_peak_is_the_best_yet_is_complete(folder: Path) -> None:
    start = (
        '[[space.start]]\nlearning_rate = {rate}\nwarmup_ratio = 0.0\nbatch_size = 8\ndata_format = "title-content"\n'
    )
    file = write_toy_study(folder, script={}, budget={"trials": 2})
    file.write_text(file.read_text() + "".join(start.format(rate=rate) for rate in ("6e-4", "5e-4")))
    run(file)
    first, second = check_finished(file).trials
    assert (first.state, second.state) == ("complete", "pruned")
    assert first.value == pytest.approx(0.55)
    for trial in (first, second):
        assert (trial.stop and trial.stop.kind) == "drop-off"
        assert trial.progress < 1000


def test_without_a_drop_off_rule_every_trial_goes_to_its_end(folder: Path) -> None:
    file = write_toy_study(folder, script={}, stopping={"drop_off": False})
    run(file)
    assert {(trial.state, trial.progress) for trial in check_finished(file).trials} == {("complete", 1000)}


def test_the_test_split_is_judged_once(folder: Path) -> None:
    file = write_toy_study(folder, script={}, budget={"trials": 3})
    _, recorder = run(file)
    assert len(recorder.texts("test")) == 1
    untrained = open_study(file)[1].model_values(UNTRAINED, "test")
    rewrite(file, "trials = 3", "trials = 8")
    run(file)
    check_finished(file)
    after = open_study(file)[1].model_values(UNTRAINED, "test")
    assert untrained is not None
    assert after is not None
    assert after.tobytes() == untrained.tobytes()


def test_the_model_of_the_first_start_point_is_kept_and_judged_beside_the_best(folder: Path) -> None:
    start = [{"learning_rate": 5e-5, "data_format": "title-content"}]
    file = write_toy_study(folder, script={}, budget={"trials": 4}, space={"start": start})
    run(file)
    record = check_finished(file)
    assert record.best is not None
    assert record.default is not None
    assert (record.default.number, record.best.number != 0) == (0, True)
    judged = [open_study(file)[1].model_values(trial.number, "test") is not None for trial in record.trials]
    assert [number for number, found in enumerate(judged) if found] == sorted({0, record.best.number})


def test_watchers_are_shown_the_study_as_it_stands(folder: Path) -> None:
    file = write_toy_study(folder, script={}, budget={"trials": 3})
    _, recorder = run(file)
    last = recorder.views[-1]
    assert (last.name, last.finished, last.trials) == ("toy", 3, 3)
    assert [view.finished for view in recorder.views] == sorted(view.finished for view in recorder.views)
    assert all(len(view.running) <= 1 for view in recorder.views)


# ---- trials that die and fail


def run_local(file: Path) -> Recorder:
    return run(file, launcher=LocalLauncher((JOBS,)))[1]


@pytest.mark.parametrize("signal_name", ["SIGKILL", "SIGSEGV"])
def test_a_trial_whose_process_is_killed_goes_on_in_place(folder: Path, signal_name: str) -> None:
    file = write_toy_study(folder, script={"die": {"1": signal_name}}, budget={"trials": 3})
    recorder = run_local(file)
    record = check_finished(file)
    assert len(record.trials) == 3
    assert recorder.trials("retry") == [1]
    [text] = recorder.texts("retry")
    assert text.startswith(f"killed by {signal_name}; goes on from step ")
    assert not text.endswith(" 0")
    assert record.trials[1].attributes["interruptions"] == 1
    measured = Counter(
        (event.trial, event.numbers["progress"]) for event in recorder.events if event.kind == "evaluate"
    )
    assert set(measured.values()) == {1}


def test_a_trial_that_dies_three_times_without_progress_fails_and_counts(folder: Path) -> None:
    script = {"die": {"2": "SIGKILL"}, "die_step": 1, "die_always": True}
    file = write_toy_study(folder, script=script, budget={"trials": 4})
    recorder = run_local(file)
    record = check_finished(file)
    assert [trial.state == "fail" for trial in record.trials] == [False, False, True, False]
    assert record.trials[2].attributes["error"] == "killed by SIGKILL, 3 times without progress"
    assert record.trials[2].attributes["interruptions"] == 3
    assert recorder.trials("retry") == [2, 2]
    assert recorder.trials("start").count(2) == 3


def test_a_trial_that_failed_for_interruptions_goes_on_from_its_checkpoint_whenever_the_study_is_started(
    folder: Path,
) -> None:
    script = {"die": {"1": "SIGKILL"}, "die_step": 20, "die_always": True}
    space = {"batch_size": 8, "data_format": "query-document"}
    file = write_toy_study(folder, script=script, budget={"trials": 2}, space=space)
    for attempts in (3, 6):
        run_local(file)
        trial = open_study(file)[2].trials[1]
        assert (trial.state, trial.attributes["attempt"]) == ("fail", attempts)
        assert trial.attributes["error"] == "killed by SIGKILL, 3 times without progress"
    set_script(file)
    recorder = run_local(file)
    assert recorder.texts("adopt") == ["goes on from step 16 (it was paused)"]
    assert recorder.trials("start") == [1]
    record = check_finished(file)
    assert [trial.state for trial in record.trials] == ["complete", "complete"]
    assert points(record.trials[1]) == [100, 200, 400, 600, 800, 1000]
    assert "error" not in record.trials[1].attributes


# ---- what comes to nothing runs again


def test_a_failed_trial_runs_again_once_another_ends_well_and_then_counts(folder: Path) -> None:
    file = write_toy_study(folder, script={"fail": [1, 3]}, budget={"trials": 4})
    _, recorder = run(file)
    record = check_finished(file)
    assert record.counted == 4
    [rerun] = [trial for trial in record.trials if "rerun_of" in trial.attributes]
    assert rerun.attributes["rerun_of"] == 1
    assert rerun.params == record.trials[1].params
    assert [trial.number for trial in record.trials if trial.is_excused] == [1]
    [text] = recorder.texts("rerun")
    assert text == (
        "its settings run again, since another trial has ended well since; it failed: RuntimeError: scripted failure"
    )


def test_failed_trials_of_a_finished_study_run_again_once_its_file_changes(folder: Path) -> None:
    file = write_toy_study(folder, script={"fail": [2]}, budget={"trials": 3})
    run(file)
    assert check_finished(file).trials[2].state == "fail"
    _, recorder = run(file)
    assert recorder.trials("start") == []
    rewrite(file, 'devices = "cpu"', 'devices = "cpu"\nstall_s = 900.0')
    _, recorder = run(file)
    assert recorder.trials("start") == [3]
    record = check_finished(file)
    assert record.trials[3].params == record.trials[2].params
    assert [trial.number for trial in record.trials if trial.is_excused] == [2]


def test_a_study_without_a_result_ends_with_its_causes_and_goes_on_once_they_are_mended(folder: Path) -> None:
    file = write_toy_study(folder, script={"fail": [0], "fail_step": 10}, budget={"trials": 1})
    with pytest.raises(
        StudyEndedError, match=r"no trial came to a result: RuntimeError: scripted failure \(1 trial\); see"
    ) as ended:
        run(file)
    assert ended.value.exit_code == 1
    with read_study(locate_study(file)) as study:
        assert study.state == "failed"
    set_script(file)
    run(file)
    record = check_finished(file)
    assert [trial.is_excused for trial in record.trials] == [True, False]
    assert record.trials[1].params == record.trials[0].params


def rewrite_collection(folder: Path, *, seed: int) -> None:
    shutil.rmtree(folder / "collection")
    write_toy_collection(folder / "collection", seed=seed)


@pytest.mark.parametrize("part", ["model", "collection"])
def test_a_study_without_a_measurement_goes_on_with_a_mended_model_or_collection(folder: Path, part: str) -> None:
    file = write_toy_study(folder, script={"fail": [0]}, budget={"trials": 1})
    with pytest.raises(StudyEndedError, match="no trial came to a result"):
        run(file)
    begun = open_study(file)[2]
    set_script(file)
    if part == "model":
        (folder / "model" / "model.safetensors").write_bytes(b"mended")
    else:
        rewrite_collection(folder, seed=1)
    _, recorder = run(file)
    record = check_finished(file)
    assert len(recorder.texts("prepare")) == 2
    changed = {name for name in (BASE_MODEL, COLLECTION_HASH) if record.attributes[name] != begun.attributes[name]}
    assert changed == {BASE_MODEL if part == "model" else COLLECTION_HASH}
    rewrite_collection(folder, seed=2)
    with pytest.raises(StudyChangedError, match="its content"):
        run(file)


def test_a_study_all_of_whose_trials_diverge_says_at_which_rates_and_goes_on_once_they_are_lowered(
    folder: Path,
) -> None:
    space = {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}
    file = write_toy_study(folder, script={"diverge": [0, 1]}, budget={"trials": 2}, space=space)
    said = r"no trial came to a result: all of them diverged at learning rates from \d\.\d\de-0\d to \d\.\d\de-0\d"
    with pytest.raises(StudyEndedError, match=said):
        run(file)
    recorder = Recorder()
    with pytest.raises(StudyEndedError, match=said):
        run(file, watcher=recorder)
    assert recorder.trials("start") == []  # nothing has changed
    rewrite(file, "high = 0.01", "high = 0.0002")
    _, recorder = run(file)
    assert recorder.trials("start") == [2, 3]
    record = check_finished(file)
    assert [trial.is_excused for trial in record.trials] == [True, True, False, False]


def test_trials_that_fail_on_one_device_alone_run_again_on_others_and_it_gets_no_more(folder: Path) -> None:
    file = write_toy_study(
        folder,
        script={"sick": ["1"], "step_s": 0.02},
        budget={"trials": 6},
        workers={"devices": [0, 1, 2]},
    )
    _, recorder = run(file, launcher=ThreeDevices((JOBS,)))
    record = check_finished(file)
    failed = [trial for trial in record.trials if trial.state == "fail"]
    assert [trial.attributes["device"] for trial in failed] == ["two, 80 GiB"] * 2
    assert all(trial.is_excused for trial in failed)
    reruns = {trial.attributes["rerun_of"]: trial for trial in record.trials if "rerun_of" in trial.attributes}
    assert {number: trial.params for number, trial in reruns.items()} == {
        trial.number: trial.params for trial in failed
    }
    assert len([text for text in recorder.texts("warning") if text.startswith("cuda:1 (two, 80 GiB): trials ")]) == 1


def test_a_trial_that_raises_fails_with_its_cause_and_counts(folder: Path) -> None:
    file = write_toy_study(folder, script={"fail": [3], "fail_step": 10}, budget={"trials": 4})
    _, recorder = run(file)
    record = check_finished(file)
    assert len(record.trials) == 4
    assert record.trials[3].state == "fail"
    assert record.trials[3].attributes["error"] == "RuntimeError: scripted failure"
    assert record.trials[3].rows
    assert any("failed: RuntimeError: scripted failure; see " in text for text in recorder.texts("end"))


def test_three_failures_in_a_row_end_the_study_and_run_again_once_mended(folder: Path) -> None:
    file = write_toy_study(folder, script={"fail": [2, 3, 4]}, budget={"trials": 7})
    with pytest.raises(StudyEndedError, match="trials 2, 3, 4 failed in a row, so the study was ended") as ended:
        run(file)
    assert ended.value.exit_code == 1
    assert "RuntimeError: scripted failure" in str(ended.value)
    assert str(RunFolder.beside(file).log(4)) in str(ended.value)
    assert "\n" not in str(ended.value)
    record = open_study(file)[2]
    assert record.counted == 2
    set_script(file)
    run(file)
    record = check_finished(file)
    assert [trial.number for trial in record.trials if trial.is_excused] == [2, 3, 4]
    assert len(record.trials) == 10
    reruns = {trial.attributes["rerun_of"]: trial for trial in record.trials if "rerun_of" in trial.attributes}
    assert {number: trial.params for number, trial in reruns.items()} == {
        number: record.trials[number].params for number in (2, 3, 4)
    }


def test_a_study_that_ends_twice_counts_none_of_it(folder: Path) -> None:
    file = write_toy_study(folder, script={"fail": [2, 3, 4, 5, 6, 7]}, budget={"trials": 6})
    for _ in range(2):
        with pytest.raises(StudyEndedError, match="failed in a row"):
            run(file)
    set_script(file)
    run(file)
    record = check_finished(file)
    assert [trial.number for trial in record.trials if trial.is_excused] == [2, 3, 4, 5, 6, 7]
    for number in (5, 6, 7):
        assert record.trials[number].params == record.trials[number - 3].params == record.trials[number + 3].params


def test_a_study_whose_first_two_trials_fail_unmeasured_is_ended(folder: Path) -> None:
    file = write_toy_study(folder, script={"fail": [0, 1]}, budget={"trials": 4})
    with pytest.raises(StudyEndedError, match="trials 0, 1 failed in a row"):
        run(file)
    assert open_study(file)[2].counted == 0
    set_script(file)
    run(file)
    record = check_finished(file)
    assert [record.trials[number].params for number in (2, 3)] == [record.trials[number].params for number in (0, 1)]


def test_a_failed_trial_with_a_high_peak_does_not_keep_others_from_being_the_best(folder: Path) -> None:
    start = '[[space.start]]\nlearning_rate = {rate}\nwarmup_ratio = 0.0\nbatch_size = 8\ndata_format = "{name}"\n'
    file = write_toy_study(folder, script={"fail": [0, 2], "fail_step": 36}, budget={"trials": 2})
    starts = start.format(rate="6e-4", name="query-document") + start.format(rate="6e-4", name="title-content")
    file.write_text(file.read_text() + starts)
    run(file)
    failed, fallen, _ = check_finished(file).trials
    assert failed.state == "fail"
    assert failed.peak is not None
    assert fallen.peak is not None
    assert failed.peak.value > fallen.peak.value
    assert fallen.state == "complete"


def test_a_trial_that_diverges_is_pruned(folder: Path) -> None:
    file = write_toy_study(folder, script={"diverge": [0, 2]}, budget={"trials": 4})
    run(file)
    record = check_finished(file)
    for number in (0, 2):
        trial = record.trials[number]
        assert trial.state == "pruned"
        assert (trial.stop and trial.stop.kind) == "diverged"
        assert trial.attributes["retention"] is None
        assert len(points(trial)) == 2


# ---- memory


def test_exhausted_memory_halves_the_micro_batch_and_later_trials_begin_with_it(folder: Path) -> None:
    file = write_toy_study(folder, script={"exhaust": 2}, budget={"trials": 4}, space={"batch_size": 16})
    _, recorder = run(file)
    record = check_finished(file)
    assert recorder.trials("retry") == [0, 0, 0]
    assert [trial.attributes["micro_batch"] for trial in record.trials] == [2, 2, 2, 2]
    assert list(record.attributes[LARGEST_MICRO_BATCH].values()) == [2]
    assert all(trial.attributes.get("interruptions", 0) == 0 for trial in record.trials)


def test_a_micro_batch_that_is_asked_for_is_never_exceeded(folder: Path) -> None:
    file = write_toy_study(folder, script={"exhaust": 4}, budget={"trials": 2}, space={"batch_size": 16})
    run(file)
    rewrite(file, 'devices = "cpu"', 'devices = "cpu"\nmicro_batch = 1')
    rewrite(file, "trials = 2", "trials = 3")
    run(file)
    assert [trial.attributes["micro_batch"] for trial in check_finished(file).trials] == [4, 4, 1]


def test_memory_exhausted_at_a_micro_batch_of_one_fails_and_no_larger_batch_follows(folder: Path) -> None:
    first = "[[space.start]]\nbatch_size = {size}\n"
    file = write_toy_study(folder, script={"largest_batch": 8}, budget={"trials": 10})
    file.write_text(file.read_text() + "".join(first.format(size=size) for size in (4, 16, 16)))
    run(file)
    record = check_finished(file)
    assert [trial.state for trial in record.trials].count("fail") == 1
    assert record.trials[1].attributes["error"] == "out of memory on cpu at micro-batch 1"
    assert list(record.attributes[LARGEST_BATCH].values()) == [8]
    assert all(trial.params and trial.params.batch_size <= 8 for trial in record.trials[2:])
    rewrite(file, "trials = 10", "trials = 13")
    run(file)
    assert all(trial.params and trial.params.batch_size <= 8 for trial in check_finished(file).trials[2:])


# ---- several devices


def test_a_study_that_ends_leaves_its_other_trials_to_the_next_run(folder: Path) -> None:
    file = write_toy_study(
        folder,
        script={"fail": [1, 2, 3], "fail_step": 10, "step_s": 0.02},
        budget={"trials": 6},
        space={"batch_size": 4, "data_format": "query-document"},
        workers={"devices": [0, 1, 2]},
    )
    with pytest.raises(StudyEndedError, match=r"trials (1, 2|2, 1), 3 failed in a row"):
        run(file, launcher=ThreeDevices((JOBS,)))
    assert open_study(file)[2].trials[0].state == "running"
    set_script(file)
    run(file, launcher=ThreeDevices((JOBS,)))
    record = check_finished(file)
    assert [trial.number for trial in record.trials if trial.is_excused] == [1, 2, 3]
    assert all(trial.attributes.get("interruptions", 0) == 0 for trial in record.trials)


def test_several_slots_share_one_budget(folder: Path) -> None:
    file = write_toy_study(folder, script={"fail": [3]}, budget={"trials": 7}, workers={"devices": [0, 1, 2]})
    recorder = Recorder()
    with StopSignal() as stop:
        run_study(
            plan_study(locate_study(file)),
            watcher=recorder,
            stop=stop,
            jobs=JOBS,
            launcher=ThreeDevices((JOBS,)),
        )
    record = check_finished(file)
    assert len(record.trials) == 8  # the one that failed ran again
    assert {trial.attributes["device"] for trial in record.trials} == {
        f"{name}, 80 GiB" for name in ("one", "two", "three")
    }
    assert max(len(view.running) for view in recorder.views) == 3


def test_the_best_model_is_evaluated_on_dev_as_it_was_saved_where_its_precision_is_the_bases(folder: Path) -> None:
    file = write_toy_study(folder, script={}, budget={"trials": 3}, checkpoints={"precision": "base"})
    run(file)
    record = check_finished(file)
    assert record.best is not None
    table = open_study(file)[1]
    assert table.model_values(record.best.number, AS_SAVED) is not None
    assert [table.model_values(trial.number, AS_SAVED) is not None for trial in record.trials].count(True) == 1

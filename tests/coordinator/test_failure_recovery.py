"""Trials that die, fall silent, or are stopped and thaw; runs that are asked to end from everywhere."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from processes import end_group, living, start_script, wait_until
from runs import RUN, Start, check_gone, read_until, workers
from scripted import JOBS, check_finished, open_study, points, run, set_script

from sweep.clock import Clock
from sweep.coordinator.failure_recovery import FailureStreak, find_allowance, find_stalled
from sweep.launch import LocalLauncher
from sweep.messages import LONG_CALL_S, Alive, Started
from sweep.storage.records import TrialRecord
from sweep.testing import write_toy_study


def write_study(tmp_path: Path, *, trials: int = 2, script: dict[str, Any] | None = None, **tables: Any) -> Path:
    usual = {"space": {"batch_size": 8, "data_format": "query-document"}, "stopping": {"drop_off": False}}
    script = {"step_s": 0.02, **(script or {})}
    return write_toy_study(tmp_path / "study", script=script, budget={"trials": trials}, **{**usual, **tables})


# ---- silence


# In processes of their own: the fork server of this one may have been started by another test, for other imports, and
# what it has not imported takes a trial the time of a long call.


def test_a_trial_that_says_nothing_for_too_long_is_killed_and_goes_on(tmp_path: Path, start: Start) -> None:
    script = {"die": {"1": "SIGSTOP"}, "step_s": 0.0}
    file = write_study(tmp_path, trials=3, script=script, workers={"stall_s": 3.0})
    out, _ = start(file).communicate(timeout=240)
    record = check_finished(file)
    [text] = [line for line in out.splitlines() if line.startswith("retry")]
    assert text.startswith("retry 1 reported nothing for 3 s, so it was killed; goes on from step ")
    assert not text.endswith(" 0")
    assert record.trials[1].attributes["interruptions"] == 1
    assert {trial.state for trial in record.trials} == {"complete"}


def test_a_trial_that_is_always_silent_fails_and_counts(tmp_path: Path, start: Start) -> None:
    script = {"die": {"0": "SIGSTOP"}, "die_step": 1, "die_always": True, "step_s": 0.0}
    file = write_study(tmp_path, script=script, workers={"stall_s": 2.5})
    start(file).communicate(timeout=240)
    failed, whole = check_finished(file).trials
    assert failed.attributes["error"] == "reported nothing for 2.5 s, so it was killed, 3 times without progress"
    assert whole.state == "complete"


def test_steps_are_a_sign_of_life_between_reports(tmp_path: Path) -> None:
    file = write_study(
        tmp_path, trials=1, script={"step_s": 0.15}, workers={"stall_s": 4.0}, evaluation={"grid": [1.0]}
    )
    _, recorder = run(file, launcher=LocalLauncher((JOBS,)))  # 40 steps of 0.15 s and one report
    assert recorder.texts("retry") == []
    check_finished(file)


def test_time_in_which_the_coordinator_itself_was_stopped_is_no_silence_of_its_trials() -> None:
    clock = Clock(100.0)
    assert clock.tick(104.5) == 4.5  # a look that took so long is time in which a trial could have spoken
    assert clock.tick(4000.0) == 9.5  # of an hour, five seconds count
    assert clock.tick(4000.5) == 10.0
    assert clock.tick(3000.0) == 10.0  # a clock that was set back


def test_a_long_call_has_a_limit_of_its_own_where_the_studys_is_shorter() -> None:
    for message, limit_s in {
        Alive(): 30.0,
        Alive(600.0): 600.0,
        Alive(20.0): 30.0,
        Started(warm=True): 30.0,
        Started(warm=False): LONG_CALL_S,  # it imports everything anew
    }.items():
        trial = SimpleNamespace(heard=10.0, killed_for=None, allowance_s=find_allowance(message))
        assert find_stalled(trial, now=9.9 + limit_s, stall_s=30.0) is None  # type: ignore[arg-type]
        reason = find_stalled(trial, now=10.0 + limit_s, stall_s=30.0)  # type: ignore[arg-type]
        assert reason == f"reported nothing for {limit_s:g} s"


def test_a_trial_is_stalled_once_it_has_been_silent_so_long_and_is_killed_once() -> None:
    trial = SimpleNamespace(heard=10.0, killed_for=None, allowance_s=0.0)
    assert find_stalled(trial, now=39.9, stall_s=30.0) is None  # type: ignore[arg-type]
    assert find_stalled(trial, now=40.0, stall_s=30.0) == "reported nothing for 30 s"  # type: ignore[arg-type]
    trial.killed_for = "reported nothing for 30 s"
    assert find_stalled(trial, now=90.0, stall_s=30.0) is None  # type: ignore[arg-type]


# ---- causes


def test_a_failure_is_told_and_kept_with_its_last_log_lines(tmp_path: Path) -> None:
    file = write_study(tmp_path, trials=2, script={"fail": [1], "step_s": 0.0})
    _, recorder = run(file, launcher=LocalLauncher((JOBS,)))
    lines = check_finished(file).trials[1].attributes["last_log_lines"]
    assert lines[-1] == "RuntimeError: scripted failure"
    assert any("raise RuntimeError" in line for line in lines)
    [text] = [text for text in recorder.texts("end") if text.startswith("failed")]
    assert text.endswith("; output: RuntimeError: scripted failure")


def test_a_micro_batch_is_halved_at_the_checkpoint_and_the_trial_goes_on_from_there(tmp_path: Path) -> None:
    file = write_study(tmp_path, trials=2, script={"exhaust": 2, "step_s": 0.0}, checkpoints={"every_s": 0.001})
    _, recorder = run(file)
    assert [event.numbers["micro_batch"] for event in recorder.events if event.kind == "retry"] == [4, 2]
    assert [trial.attributes["micro_batch"] for trial in check_finished(file).trials] == [2, 2]


def test_checkpoints_come_between_evaluations_too(tmp_path: Path) -> None:
    script = {"die": {"0": "SIGKILL"}, "die_step": 39, "step_s": 0.02}
    file = write_study(tmp_path, trials=1, script=script, evaluation={"grid": [1.0]}, checkpoints={"every_s": 0.05})
    _, recorder = run(file, launcher=LocalLauncher((JOBS,)))
    [retry] = [event for event in recorder.events if event.kind == "retry"]
    assert 0 < retry.numbers["step"] < 39
    check_finished(file)


# ---- an older attempt


def test_an_attempt_that_was_stopped_and_thaws_is_not_there_any_more(tmp_path: Path, start: Start) -> None:
    history = tmp_path / "history.jsonl"
    file = write_study(tmp_path, trials=1, script={"history": str(history), "step_s": 0.05})
    process = start(file)
    read_until(process, "evaluate")
    [older] = workers(process.pid)
    os.killpg(process.pid, signal.SIGSTOP)
    os.kill(process.pid, signal.SIGKILL)  # the fork server is stopped too, so nobody ends the trial's process
    process.wait()
    assert older in workers(process.pid) or any(f" {older} " in f" {line} " for line in living(process.pid))
    _, recorder = run(file, launcher=LocalLauncher((JOBS,)))
    assert recorder.warnings == [f"ended process {older}, an older attempt that was still alive"]
    record = check_finished(file)
    assert record.trials[0].attributes["attempt"] == 2
    os.killpg(process.pid, signal.SIGCONT)
    check_gone(process)
    events = [json.loads(line) for line in history.read_text().splitlines()]
    first_of_the_newer = next(place for place, event in enumerate(events) if event["attempt"] == 2)
    assert {event["attempt"] for event in events[first_of_the_newer:]} == {2}


# ---- signals


def test_a_step_that_takes_too_long_is_abandoned_and_its_last_checkpoint_counts(tmp_path: Path, start: Start) -> None:
    file = write_study(tmp_path, trials=1, script={"step_s": 0.02})
    process = start(file, pause_s=0.5)
    read_until(process, "evaluate")
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=180)
    set_script(file, step_s=600)
    process = start(file, pause_s=0.5)
    read_until(process, "start")
    os.kill(process.pid, signal.SIGTERM)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 143
    assert "ended before it could save; its last checkpoint counts" in out
    assert "error None interrupted; run the same command again to go on" in out
    check_gone(process)
    set_script(file)
    _, recorder = run(file)
    [text] = recorder.texts("adopt")
    assert text.endswith("(it was paused)")
    assert " step 0 " not in text
    check_finished(file)


def start_from_a_script(tmp_path: Path, file: Path, *, before: str) -> subprocess.Popen[str]:
    """Runs a study as a background job of a shell script, where SIGINT is ignored from the start."""
    command = shlex.join([sys.executable, "-c", RUN, str(file), "20"])
    line = f"{before} {command} > out.txt 2>&1 & echo $!; wait $!; echo $?"
    code = "import subprocess, sys; subprocess.run(['bash', '-c', sys.argv[1]])"
    return start_script(code, [line], folder=tmp_path, errors=tmp_path / "errors.txt")


@pytest.mark.parametrize(
    ("before", "number"), [("", signal.SIGINT), ("nohup", signal.SIGINT), ("nohup", signal.SIGTERM)]
)
def test_a_run_in_the_background_of_a_script_obeys_a_signal_to_itself_alone(
    tmp_path: Path, before: str, number: int
) -> None:
    file = write_study(tmp_path, trials=1, script={"step_s": 0.05})
    process = start_from_a_script(tmp_path, file, before=before)
    try:
        assert process.stdout is not None
        coordinator = int(process.stdout.readline())
        out = tmp_path / "out.txt"
        assert wait_until(lambda: out.exists() and "\nevaluate" in out.read_text())
        os.kill(coordinator, number)
        status, _ = process.communicate(timeout=30)
        assert int(status) == 128 + number
        assert "saved at step" in out.read_text()
        assert "error None interrupted; run the same command again to go on" in out.read_text()
        check_gone(process)
    finally:
        end_group(process.pid)
    record = open_study(file)[2]
    assert record.trials[0].state == "running"
    assert points(record.trials[0])
    set_script(file)
    run(file)
    check_finished(file)


def test_a_hang_up_that_was_ignored_from_the_start_stays_ignored_by_everybody(tmp_path: Path) -> None:
    file = write_study(tmp_path, trials=1, script={"step_s": 0.05})
    process = start_from_a_script(tmp_path, file, before="nohup")
    try:
        out = tmp_path / "out.txt"
        assert wait_until(lambda: out.exists() and "\nevaluate" in out.read_text())
        os.killpg(process.pid, signal.SIGHUP)  # the shells of the script are gone by that
        assert wait_until(lambda: "\nended None" in out.read_text(), within_s=60), out.read_text()
    finally:
        end_group(process.pid)
        process.communicate()
    assert open_study(file)[2].trials[0].attributes["attempt"] == 1


def test_warnings_that_come_in_numbers_end_nothing_at_once(tmp_path: Path, start: Start) -> None:
    file = write_study(tmp_path, trials=1, script={"step_s": 0.5}, evaluation={"grid": [0.1, 1.0]})
    process = start(file)
    read_until(process, "start")
    for number in (signal.SIGUSR1, signal.SIGHUP, signal.SIGHUP, signal.SIGTERM):
        os.kill(process.pid, number)
        time.sleep(0.02)
    out, _ = process.communicate(timeout=180)
    assert process.returncode == 138, out
    assert "saved at step" in out


def test_a_signal_to_everybody_before_the_trials_are_ready_loses_nothing(tmp_path: Path, start: Start) -> None:
    file = write_study(tmp_path, trials=2)
    for delay_s in (0.0, 0.05, 0.2):
        process = start(file)
        read_until(process, "start")
        time.sleep(delay_s)
        os.killpg(process.pid, signal.SIGTERM)
        out, _ = process.communicate(timeout=180)
        assert process.returncode == 143, out
        check_gone(process)
    set_script(file)
    run(file)
    record = check_finished(file)
    assert [trial.attributes.get("interruptions", 0) for trial in record.trials] == [0, 0]
    assert (tmp_path / "errors.txt").read_text() == ""


# ---- failures in a row


def make_trials(*states: str) -> list[TrialRecord]:
    return [
        TrialRecord(number=number, state=state, value=None, params=None, rows=(), attributes={})  # type: ignore[arg-type]
        for number, state in enumerate(states)
    ]


@pytest.mark.parametrize(
    ("causes", "ended", "expected"),
    [
        (["a"], ["fail"], []),
        (["a", "a"], ["fail", "fail"], [0, 1]),
        (["a", "b"], ["fail", "fail"], [0, 1]),
        (["a", "a"], ["complete", "fail", "fail"], []),
        (["a", "a", "a"], ["complete", "fail", "fail", "fail"], [1, 2, 3]),
        (["a", "b", "a"], ["complete", "fail", "fail", "fail"], []),
        (["b", "a", "a", "a"], ["complete", "fail", "fail", "fail", "fail"], [2, 3, 4]),
        (["x at 0x7f3a, 12.5 s", "x at 0x1, 3 s", "x at 0xf00, 7 s"], ["complete", "fail", "fail", "fail"], [1, 2, 3]),
        (["a", "a", None, "a"], ["complete", "fail", "fail", "complete", "fail"], []),
    ],
)
def test_what_failures_end_a_study(causes: list[str | None], ended: list[str], expected: list[int]) -> None:
    streak = FailureStreak()
    for number, cause in enumerate(causes, start=len(ended) - len(causes)):
        streak.add(number, cause) if cause else streak.clear()
    assert streak.ending(make_trials(*ended)) == expected

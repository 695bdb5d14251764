"""What every launcher promises, and what the local one promises besides."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import launcher_jobs
import pytest
from clusters import make_ray_launcher
from processes import end_group, hold_elsewhere, living, start_script, wait_until

from sweep.coordinator.running import make_assignment, make_trial
from sweep.errors import AttemptHeldError, DeviceError, SweepError
from sweep.launch import CommandLauncher, Died, InlineLauncher, Launcher, LocalLauncher, Message, Slot
from sweep.messages import Alive, Done, Failure, Job, Report, Started, TrialResult, Verdict
from sweep.plan import plan_study
from sweep.settings.study_file import WorkersSpec
from sweep.signals import InterruptedRunError, StopSignal
from sweep.storage.location import locate_study
from sweep.testing import write_toy_study

PRELOAD = ("sweep.testing",)
NO_DEVICE = "pretended:list_none"

LAUNCHERS: dict[str, Callable[[], Launcher]] = {
    "inline": InlineLauncher,
    "local": lambda: LocalLauncher(PRELOAD),
    "ray": lambda: make_ray_launcher(PRELOAD),
    "command": lambda: CommandLauncher(["env", f"PYTHONPATH={os.pathsep.join(sys.path)}", "{worker}"], PRELOAD),
}


SLOW = {"command", "ray"}
"""Launchers whose workers take long to start, so that tests share one until a test closes it."""


@pytest.fixture(scope="module")
def kept() -> Iterator[dict[str, Launcher]]:
    launchers: dict[str, Launcher] = {}
    yield launchers
    for launcher in launchers.values():
        launcher.close()


@pytest.fixture(params=list(LAUNCHERS))
def launcher(request: pytest.FixtureRequest, kept: dict[str, Launcher]) -> Iterator[Launcher]:
    name = request.param
    made = kept.pop(name, None) or LAUNCHERS[name]()
    yield made
    if name in SLOW and not made.is_closed and not made.jobs:  # type: ignore[attr-defined]
        made.wait(0.0)  # what a test did not wait for
        kept[name] = made
    else:
        made.close()


@pytest.fixture
def local() -> Iterator[LocalLauncher]:
    made = LocalLauncher(PRELOAD)
    yield made
    made.close()


@pytest.fixture
def make_job(tmp_path: Path) -> Callable[..., Job]:
    def make(body: str, task: Any = None, *, name: str = "job", **environment: str) -> Job:
        log = tmp_path / "logs of 'jobs'" / f"{name}.log"
        return Job(name=name, body=f"launcher_jobs:{body}", task=task, log=log, environment=environment)

    return make


def listen(launcher: Launcher, *, jobs: int = 1, answer: Callable[[Report], Verdict] | None = None) -> list[Message]:
    """What is said until ``jobs`` jobs have ended; every report is answered."""
    heard: list[Message] = []
    deadline = time.monotonic() + 60
    while jobs:
        assert time.monotonic() < deadline, heard
        for message in launcher.wait(0.2):
            heard.append(message)
            if isinstance(message.payload, Report):
                launcher.answer(message.job, answer(message.payload) if answer else Verdict())
            jobs -= isinstance(message.payload, (Done, Failure, Died))
    return heard


def run(launcher: Launcher, job: Job) -> Any:
    """A job's last word, after which nothing more comes."""
    launcher.start(job)
    heard = [message.payload for message in listen(launcher)]
    assert [type(word) for word in heard[:-1]] in ([Started], []), heard
    assert launcher.wait(0.05) == []
    return heard[-1]


# ---- every launcher: its machine


def find_slots(
    launcher: Launcher, *, stop: StopSignal | None = None, body: str = NO_DEVICE, **workers: Any
) -> list[Slot]:
    """The slots of a launcher; one of this machine has no CUDA device, or whatever ``body`` lists."""
    launcher.list_devices = body  # type: ignore[attr-defined]
    return launcher.find_slots(WorkersSpec(**workers), stop=stop or StopSignal())


@pytest.mark.parametrize(("devices", "trials_per_device", "slots"), [("cpu", 1, 1), ("cpu:3", 1, 3), ("cpu", 2, 2)])
def test_slots_are_as_many_as_asked_for_and_each_has_a_name_of_its_own(
    launcher: Launcher, devices: str, trials_per_device: int, slots: int
) -> None:
    found = find_slots(launcher, devices=devices, trials_per_device=trials_per_device)
    assert len({slot.name for slot in found}) == len(found) == slots
    assert sum(slot.share for slot in found) == pytest.approx(len({slot.place for slot in found}))
    assert all(slot.label and slot.device == "cpu" for slot in found)


def test_a_job_runs_in_the_environment_of_each_slot(launcher: Launcher, make_job: Callable[..., Job]) -> None:
    for slot in find_slots(launcher, devices="cpu:2"):
        assert run(launcher, make_job("echo", slot.name, **slot.environment)) == Done(slot.name)


def test_a_device_that_is_not_there_is_refused(launcher: Launcher, make_job: Callable[..., Job]) -> None:
    with pytest.raises(DeviceError, match=r"workers\.devices: there is no CUDA device 9999"):
        find_slots(launcher, devices=[9999])
    assert launcher.wait(0.05) == []
    assert run(launcher, make_job("echo", 1)) == Done(1)


def test_a_signal_ends_the_search_for_slots(launcher: Launcher) -> None:
    stop = StopSignal()
    threading.Timer(0.5, lambda: setattr(stop, "signal", signal.SIGINT)).start()
    with pytest.raises(InterruptedRunError, match="interrupted"):
        find_slots(launcher, stop=stop, body="launcher_jobs:list_slowly", devices=[9999])


def test_the_memory_in_use_is_a_number_where_somebody_can_tell(launcher: Launcher) -> None:
    for slot in find_slots(launcher, devices="cpu"):
        used_gib = launcher.used_gib(slot)
        assert used_gib is None or 0 <= used_gib < (slot.memory_gib or math.inf)
    assert launcher.used_gib(Slot("cuda:0", "a device of nowhere", "cuda", uuids=("GPU-nowhere",))) is None


@pytest.mark.parametrize("stopped", [False, True])
def test_an_older_attempt_that_is_alive_is_ended_and_its_process_named(
    launcher: Launcher, tmp_path: Path, stopped: bool
) -> None:
    lock = tmp_path / "attempt.lock"
    assert launcher.end_older_attempt(lock) is None
    with hold_elsewhere(lock) as older:
        if stopped:
            os.kill(older.pid, signal.SIGSTOP)
        assert launcher.end_older_attempt(lock) == older.pid
        assert older.wait(5) == -signal.SIGKILL
    assert launcher.end_older_attempt(lock) is None


def test_an_older_attempt_of_another_machine_is_left_alone(launcher: Launcher, tmp_path: Path) -> None:
    lock = tmp_path / "attempt.lock"
    with hold_elsewhere(lock) as older:
        lock.write_text(json.dumps({"pid": older.pid, "attempt": 3, "place": "elsewhere"}))
        with pytest.raises(AttemptHeldError, match="cannot be ended from here"):
            launcher.end_older_attempt(lock)
        assert older.poll() is None


# ---- every launcher: its jobs


def test_a_job_says_that_it_started_then_reports_then_returns(launcher: Launcher, make_job: Callable[..., Job]) -> None:
    launcher.start(make_job("report_all", [100, 200, 300]))
    heard = listen(launcher, answer=lambda report: Verdict(reason=f"answer to {report.progress}"))
    assert [type(message.payload) for message in heard] == [Started, Report, Report, Report, Done]
    assert {message.job for message in heard} == {"job"}
    assert heard[-1].payload == Done(["answer to 100", "answer to 200", "answer to 300"])


def test_a_report_crosses_unchanged(launcher: Launcher, make_job: Callable[..., Job]) -> None:
    launcher.start(make_job("report_all", [350]))
    [report] = [message.payload for message in listen(launcher) if isinstance(message.payload, Report)]
    sent = launcher_jobs.make_report(350)
    assert report.evaluation.per_query.tobytes() == sent.evaluation.per_query.tobytes()
    assert (report.progress, report.step, report.loss) == (sent.progress, sent.step, sent.loss)


def test_every_message_carries_the_attempt_of_its_job(launcher: Launcher, make_job: Callable[..., Job]) -> None:
    launcher.start(dataclasses.replace(make_job("report_all", [100]), attempt=7))
    assert {message.attempt for message in listen(launcher)} == {7}
    launcher.start(dataclasses.replace(make_job("wait_for_pause"), attempt=8))
    launcher.wait(5.0)
    launcher.kill("job")
    assert {message.attempt for message in listen(launcher)} == {8}


def test_a_job_that_comes_to_its_steps_says_so_unasked(launcher: Launcher, make_job: Callable[..., Job]) -> None:
    launcher.start(make_job("wait_for_pause"))
    heard: list[Message] = []
    while not any(isinstance(message.payload, Alive) for message in heard):
        heard += launcher.wait(5.0)
    launcher.pause("job")
    assert listen(launcher)[-1].payload == Done("paused")


def test_a_failure_says_whether_the_disk_was_the_cause(launcher: Launcher, make_job: Callable[..., Job]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    failure = run(launcher, make_job("fill_the_disk", "/dev/full"))
    assert failure.disk_failed
    assert not run(launcher, make_job("fail", "it broke")).disk_failed


def test_a_failure_in_a_folder_that_has_vanished_is_the_disks(
    launcher: Launcher, make_job: Callable[..., Job], tmp_path: Path
) -> None:
    folder = tmp_path / "trial"
    folder.mkdir()
    failure = run(launcher, dataclasses.replace(make_job("lose_the_folder", str(folder)), lock=folder / "attempt.lock"))
    assert failure.cause.startswith("FileNotFoundError")
    assert failure.disk_failed


def test_a_full_disk_that_holds_the_log_too_is_said(local: LocalLauncher, make_job: Callable[..., Job]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    assert run(local, make_job("fill_the_disk_of_its_log", "/dev/full")).disk_failed


def test_an_unanswered_report_waits(launcher: Launcher, make_job: Callable[..., Job]) -> None:
    launcher.start(make_job("report_all", [100, 200]))
    heard: list[Message] = []
    while not any(isinstance(message.payload, Report) for message in heard):
        heard += launcher.wait(0.2)
    assert launcher.wait(0.3) == []
    launcher.answer("job", Verdict())
    assert isinstance(listen(launcher)[-1].payload, Done)


def test_a_name_is_taken_while_its_job_runs_and_free_afterwards(
    launcher: Launcher, make_job: Callable[..., Job]
) -> None:
    launcher.start(make_job("wait_for_pause"))
    with pytest.raises(ValueError, match="a job named 'job' is running"):
        launcher.start(make_job("echo"))
    launcher.pause("job")
    assert listen(launcher)[-1].payload == Done("paused")
    assert run(launcher, make_job("echo", "again")) == Done("again")


def test_jobs_run_side_by_side_and_only_the_one_that_is_meant_pauses(
    launcher: Launcher, make_job: Callable[..., Job]
) -> None:
    launcher.start(make_job("wait_for_pause", name="one"))
    launcher.start(make_job("wait_for_pause", name="two"))
    launcher.pause("two")
    assert listen(launcher)[-1] == Message("two", Done("paused"))
    launcher.pause("one")
    assert listen(launcher)[-1] == Message("one", Done("paused"))


def test_an_exception_comes_home_with_its_cause_and_its_traceback(
    launcher: Launcher, make_job: Callable[..., Job]
) -> None:
    failure = run(launcher, make_job("fail", "it broke"))
    assert isinstance(failure, Failure)
    assert failure.cause == "RuntimeError: it broke"
    assert "KeyError: 'the root of it'" in failure.traceback
    assert "launcher_jobs.py" in failure.traceback
    assert not failure.actionable
    assert failure.exhausted_micro_batch is None


def test_what_a_user_can_act_on_comes_home_as_such(launcher: Launcher, make_job: Callable[..., Job]) -> None:
    failure = run(launcher, make_job("fail_for_the_user", "model.base: there is no such folder"))
    assert (failure.cause, failure.actionable) == ("model.base: there is no such folder", True)


def test_exhausted_memory_comes_home_with_its_micro_batch(launcher: Launcher, make_job: Callable[..., Job]) -> None:
    failure = run(launcher, make_job("exhaust_memory", 16))
    assert (failure.cause, failure.exhausted_micro_batch) == ("out of memory on cuda at micro-batch 16", 16)


def test_a_body_that_is_not_there_is_a_failure(launcher: Launcher, make_job: Callable[..., Job]) -> None:
    failure = run(launcher, make_job("no_such_body"))
    assert "no_such_body" in failure.cause


def test_a_killed_job_dies_once_and_its_name_is_free(launcher: Launcher, make_job: Callable[..., Job]) -> None:
    launcher.start(make_job("wait_for_pause"))
    launcher.wait(5.0)
    launcher.kill("job")
    heard = listen(launcher)
    assert [message.job for message in heard if isinstance(message.payload, Died)] == ["job"]
    assert launcher.wait(0.05) == []
    assert run(launcher, make_job("echo", 1)) == Done(1)


def test_answering_or_pausing_a_job_that_is_gone_is_no_error(launcher: Launcher, make_job: Callable[..., Job]) -> None:
    assert run(launcher, make_job("echo")) == Done(None)
    launcher.answer("job", Verdict())
    launcher.pause("job")


def test_waiting_without_a_job_says_nothing(launcher: Launcher) -> None:
    assert launcher.wait(0.01) == []


def test_a_job_that_has_ended_has_no_process_any_more(launcher: Launcher, make_job: Callable[..., Job]) -> None:
    pid = run(launcher, make_job("describe_process")).result[0]
    assert pid == os.getpid() or not is_alive(pid)


def test_closing_leaves_neither_process_nor_thread(
    launcher: Launcher, make_job: Callable[..., Job], tmp_path: Path
) -> None:
    files = [tmp_path / f"left behind {index}" for index in range(2)]
    for file in files:
        launcher.start(make_job("leave_its_id", str(file), name=file.name))
    assert wait_until(lambda: all(file.exists() and file.read_text() for file in files))
    launcher.close()
    pids = {int(file.read_text()) for file in files} - {os.getpid()}
    assert not any(is_alive(pid) for pid in pids)
    assert wait_until(lambda: not any("left behind" in thread.name for thread in threading.enumerate()), within_s=5)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# ---- the local launcher


def test_each_job_has_a_process_of_its_own(local: LocalLauncher, make_job: Callable[..., Job]) -> None:
    first, second = run(local, make_job("describe_process")), run(local, make_job("describe_process"))
    assert len({first.result[0], second.result[0], os.getpid()}) == 3
    assert not is_alive(first.result[0])


def test_what_was_imported_before_a_job_is_no_garbage_to_look_through(
    local: LocalLauncher, make_job: Callable[..., Job]
) -> None:
    assert run(local, make_job("count_frozen")).result > 10_000


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGABRT"])
def test_a_signal_that_ends_a_process_is_the_reason_of_its_death(
    local: LocalLauncher, make_job: Callable[..., Job], name: str
) -> None:
    assert run(local, make_job("send_itself", name)) == Died(f"killed by {name}")


def test_a_segmentation_fault_is_a_death_with_a_traceback_in_the_log(
    local: LocalLauncher, make_job: Callable[..., Job]
) -> None:
    job = make_job("dereference_null")
    assert run(local, job) == Died("killed by SIGSEGV")
    assert "Segmentation fault" in job.log.read_text()
    assert "dereference_null" in job.log.read_text()


def test_an_exit_without_a_word_is_a_death_with_its_status(local: LocalLauncher, make_job: Callable[..., Job]) -> None:
    assert run(local, make_job("exit_at_once", 7)) == Died("exited with status 7")


def test_a_result_that_cannot_be_sent_is_a_failure(local: LocalLauncher, make_job: Callable[..., Job]) -> None:
    assert "cannot pickle" in run(local, make_job("return_the_unsendable")).cause


def test_each_process_sees_the_environment_it_was_given(local: LocalLauncher, make_job: Callable[..., Job]) -> None:
    names = ["CUDA_VISIBLE_DEVICES", "SWEEP_TEST"]
    for device in ("3", ""):
        local.start(make_job("read_environment", names, name=f"device {device}", CUDA_VISIBLE_DEVICES=device))
    heard = {message.job: message.payload for message in listen(local, jobs=2)}
    assert heard["device 3"].result == {"CUDA_VISIBLE_DEVICES": "3", "SWEEP_TEST": None}
    assert heard["device "].result == {"CUDA_VISIBLE_DEVICES": "", "SWEEP_TEST": None}
    assert run(local, make_job("read_environment", names, SWEEP_TEST="a b")).result["SWEEP_TEST"] == "a b"


def test_a_worker_ignores_sigint(local: LocalLauncher, make_job: Callable[..., Job]) -> None:
    assert run(local, make_job("send_itself", "SIGINT")) == Done("alive")


def test_a_task_that_cannot_be_sent_is_an_error_that_names_it(
    local: LocalLauncher, make_job: Callable[..., Job]
) -> None:
    with pytest.raises(ValueError, match=r"the task of job 'job' must be picklable, got <unlocked _thread\.lock"):
        local.start(make_job("echo", threading.Lock()))
    with pytest.raises(ValueError, match="must be picklable, got <function"):
        local.start(make_job("echo", lambda: None))
    assert run(local, make_job("echo", 1)) == Done(1)


def test_two_processes_of_one_trial_are_never_alive_at_once(local: LocalLauncher, make_job: Callable[..., Job]) -> None:
    lock = make_job("echo").log.parent / "attempt.lock"
    lock.parent.mkdir(parents=True)
    local.start(dataclasses.replace(make_job("wait_for_pause", name="older"), lock=lock))
    local.wait(5.0)
    local.start(dataclasses.replace(make_job("echo", name="newer"), lock=lock))
    failure = listen(local)[-1].payload
    assert isinstance(failure, Failure)
    assert "another process of this trial is alive" in failure.cause
    local.pause("older")
    assert listen(local)[-1] == Message("older", Done("paused"))
    assert run(local, dataclasses.replace(make_job("echo", 1), lock=lock)) == Done(1)


def test_jobs_outlive_neither_the_fork_server_nor_is_the_next_one_kept_from_starting(
    local: LocalLauncher, make_job: Callable[..., Job]
) -> None:
    server = run(local, make_job("describe_process")).result[1]
    local.start(make_job("hold_the_interpreter", name="stuck"))
    local.wait(5.0)
    os.kill(server, signal.SIGKILL)
    assert isinstance(listen(local)[-1].payload, Died)
    assert run(local, make_job("echo", 1)) == Done(1)


def test_sigterm_makes_a_trial_save_and_pause(local: LocalLauncher, tmp_path: Path) -> None:
    plan = plan_study(locate_study(write_toy_study(tmp_path, script={"step_s": 0.02})))
    baseline = launcher_jobs.make_report(0).evaluation.per_query
    trial = make_trial(plan, 0, params=launcher_jobs.PARAMS, baseline=baseline, origin={})
    task = make_assignment(plan, trial, slot=Slot("cpu", "CPU"), micro_batch=None)
    local.start(Job(name="trial", body="sweep.testing:run_trial", task=task, log=plan.run_folder.log(0)))
    heard: list[Message] = []
    while not any(isinstance(message.payload, Report) for message in heard):
        heard += local.wait(0.2)
    os.kill(local.process_ids("trial")[0] or 0, signal.SIGTERM)
    local.answer("trial", Verdict())
    result = listen(local)[-1].payload.result
    assert isinstance(result, TrialResult)
    assert (result.status, result.step < task.steps) == ("paused", True)
    assert plan.run_folder.checkpoint(0, result.step).is_dir()


# ---- the local launcher in a process of its own

LAUNCH = """
import json, sys
from pathlib import Path
from sweep.launch import Died, LocalLauncher
from sweep.messages import Done, Failure, Job, Started

preload, bodies = json.loads(sys.argv[1]), json.loads(sys.argv[2])
launcher = LocalLauncher(preload)
for body in bodies:
    launcher.start(Job(name=body, body=f"launcher_jobs:{body}", task=[100], log=Path("out") / f"{body}.log"))
left = len(bodies)
while left:
    for message in launcher.wait(0.2):
        left -= isinstance(message.payload, (Done, Failure, Died))
        if isinstance(message.payload, Started):
            print(message.job, message.payload.warm, *launcher.process_ids(message.job), flush=True)
launcher.close()
"""


@pytest.fixture
def start_launching(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start(*bodies: str, preload: tuple[str, ...] = PRELOAD) -> subprocess.Popen[str]:
        arguments = [json.dumps(preload), json.dumps(bodies)]
        started.append(start_script(LAUNCH, arguments, folder=tmp_path, errors=tmp_path / "errors.txt"))
        return started[-1]

    yield start
    for process in started:
        end_group(process.pid)
        process.communicate()


Start = Callable[..., "subprocess.Popen[str]"]


def test_the_first_job_finds_its_imports_done(start_launching: Start) -> None:
    out, _ = start_launching("echo").communicate(timeout=60)
    assert out.split()[:2] == ["echo", "True"]


def test_imports_that_failed_are_noticed(start_launching: Start) -> None:
    out, _ = start_launching("echo", preload=("sweep.testing", "no_such_module")).communicate(timeout=60)
    assert out.split()[:2] == ["echo", "False"]


def test_imports_that_end_the_fork_server_are_an_error_of_one_line(start_launching: Start, tmp_path: Path) -> None:
    (tmp_path / "breaks_on_import.py").write_text("raise RuntimeError('scripted')\n")
    start_launching("echo", preload=("breaks_on_import",)).communicate(timeout=60)
    errors = (tmp_path / "errors.txt").read_text()
    assert "RuntimeError: scripted" in errors
    assert errors.splitlines()[-1].startswith(f"{SweepError.__module__}.SweepError: no process can be started")


def test_what_a_job_prints_goes_to_its_log_alone(start_launching: Start, tmp_path: Path) -> None:
    out, _ = start_launching("print_everywhere").communicate(timeout=60)
    assert len(out.splitlines()) == 1
    assert (tmp_path / "errors.txt").read_text() == ""
    log = (tmp_path / "out" / "print_everywhere.log").read_text()
    for words in ("from print", "from stderr", "from the descriptor", "from a child", "from its stderr"):
        assert words in log


def test_no_process_is_left_once_a_launching_process_has_ended(start_launching: Start) -> None:
    process = start_launching("echo", "describe_process")
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert wait_until(lambda: not living(process.pid), within_s=5), living(process.pid)


def test_every_process_ends_within_five_seconds_of_its_killed_coordinator(start_launching: Start) -> None:
    bodies = ("sleep_long", "compute_long", "wait_for_pause", "report_all", "hold_the_interpreter", "stop_itself")
    process = start_launching(*bodies)
    assert process.stdout is not None
    workers = [int(process.stdout.readline().split()[2]) for _ in bodies]
    assert len(living(process.pid)) >= 5
    assert all(is_alive(pid) for pid in workers)
    process.kill()
    assert wait_until(lambda: not living(process.pid), within_s=5), living(process.pid)


def test_a_process_that_is_slow_to_go_keeps_no_other_job_waiting(
    local: LocalLauncher, make_job: Callable[..., Job], tmp_path: Path
) -> None:
    marker = tmp_path / "still there"
    marker.touch()
    local.start(make_job("go_slowly", str(marker), name="slow"))
    assert isinstance(local.wait(30.0)[0].payload, Started)
    assert local.wait(0.5) == []  # its last word counts once its process is gone
    assert run(local, make_job("echo", 3)) == Done(3)
    marker.unlink()
    assert [message.payload for message in listen(local)] == [Done("done, but for my thread")]


def test_a_process_that_does_not_go_after_its_last_word_is_killed_and_its_word_counts(
    local: LocalLauncher, make_job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweep.launch.rank_processes.EXIT_S", 0.2)
    marker = tmp_path / "still there"
    marker.touch()
    local.start(make_job("go_slowly", str(marker)))
    assert wait_until(lambda: any(isinstance(one.payload, Done) for one in local.wait(0.2)), within_s=20)
    assert marker.exists()

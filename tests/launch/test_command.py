"""Workers that a command starts: commands that do not work, workers that do not fit, and kills at every place."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import torch
from processes import TESTS, end_group, start_script, wait_until
from runs import RUN, read_until

import sweep
from sweep.cli.main import main
from sweep.columns import write_leaderboard
from sweep.errors import DeviceError, StudyFileError
from sweep.launch import CommandLauncher, Died, Message
from sweep.launch.command import expand
from sweep.messages import Done, Failure, Job, Report, Started, Verdict
from sweep.settings.study_file import WorkersSpec, load_study
from sweep.signals import InterruptedRunError, StopSignal
from sweep.status import describe_study
from sweep.storage.database import open_storage_read_only
from sweep.storage.evaluations import EvaluationTable
from sweep.storage.records import load_record
from sweep.study import open_study
from sweep.testing import write_toy_study

PATHS = os.pathsep.join(map(str, (TESTS.parent, TESTS / "contracts")))
ENV = ("env", f"PYTHONPATH={PATHS}", "{worker}")

RELAY = """
import os
kept = b""
while chunk := os.read(0, 65536):
    lines, _, kept = (kept + chunk).rpartition(b"\\n")
    os.write(1, lines + b"\\n" if lines or _ else b"")
"""
"""A program that passes on what it reads as Slurm's srun does: to the last end of a line."""

Launch = Callable[..., CommandLauncher]


@pytest.fixture
def launch() -> Iterator[Launch]:
    made: list[CommandLauncher] = []

    def launch(*command: str, shared: Path | None = None) -> CommandLauncher:
        made.append(CommandLauncher(command or ENV, shared=shared))
        return made[-1]

    yield launch
    for launcher in made:
        launcher.close()


def find(launcher: CommandLauncher, **workers: object) -> list[str]:
    spec = WorkersSpec.model_validate({"command": ENV, "devices": "cpu"} | workers)
    return [slot.name for slot in launcher.find_slots(spec, stop=StopSignal())]


def make_job(body: str, task: object = None, *, name: str = "job") -> Job:
    return Job(name=name, body=f"launcher_jobs:{body}", task=task, log=Path(os.devnull))


def listen(launcher: CommandLauncher, *kinds: type) -> Message:
    """The first message of some kinds; reports are answered."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for message in launcher.wait(0.2):
            if isinstance(message.payload, kinds):
                return message
            if isinstance(message.payload, Report):
                launcher.answer(message.job, Verdict())
    raise AssertionError(f"no {kinds}")


def end_of(launcher: CommandLauncher) -> object:
    return listen(launcher, Done, Failure, Died).payload


def find_worker() -> psutil.Process:
    """The one process of this test that runs the worker's program."""
    [worker] = list_workers()
    return worker


def list_workers() -> list[psutil.Process]:
    """The processes of this test that run the worker's program; other tests have started others of other programs."""
    found = []
    for one in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            found += [one] if "sweep.worker" in one.cmdline() else []
    return found


# ---- commands that do not work


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (["no-such-program", "{worker}"], "'no-such-program' cannot be started: No such file or directory"),
        (["/", "{worker}"], "'/' cannot be started: Permission denied"),
        (["false"], "'false' exited with status 1 before the worker spoke: run the command by hand"),
        (["bash", "-c", "echo no key >&2; exit 3"], r"'bash' exited with status 3 \(no key\) before the worker spoke"),
        (["bash", "-c", "kill -9 $$"], "'bash' was killed by SIGKILL before the worker spoke"),
        (["echo", "Welcome\tto node 7"], "'echo' printed 'Welcome to node 7' before the worker spoke"),
        (["bash", "-c", "printf Hello; sleep 9"], "'bash' printed 'Hello' before the worker spoke"),
        (["bash", "-c", "echo Hi; {worker}"], "'bash' printed 'Hi' before the worker spoke.*: have it print that to"),
        (["bash", "-c", "echo 'sweep worker, protocol 99'; cat"], "speaks protocol 99, and this version of sweep 2:"),
    ],
)
def test_a_command_that_starts_no_worker_is_an_error_of_one_line(
    launch: Launch, command: list[str], problem: str
) -> None:
    with pytest.raises(DeviceError, match=rf"\Aworkers\.command: .*{problem}") as raised:
        find(launch(*command))
    assert "\n" not in str(raised.value)


def test_a_signal_ends_the_wait_for_a_worker_that_a_scheduler_does_not_start(launch: Launch) -> None:
    stop = StopSignal()
    stop.signal = signal.SIGINT
    with pytest.raises(InterruptedRunError, match="interrupted"):
        launch("sleep", "60").find_slots(WorkersSpec(), stop=stop)


def test_the_place_of_the_worker_in_a_command_is_a_word_or_a_part_of_one() -> None:
    worker = [sys.executable, "-P", "-m", "sweep.worker"]
    assert expand(["nice", "{worker}"]) == ["nice", *worker]
    assert expand(["ssh", "node", "cd x && {worker}"]) == ["ssh", "node", f"cd x && {' '.join(worker)}"]
    assert expand(["ssh", "node", "own/python -m sweep.worker"]) == ["ssh", "node", "own/python -m sweep.worker"]


@pytest.mark.parametrize(
    ("workers", "problem"),
    [
        ("command = []", "workers: command must name a program"),
        ('command = ["env", "{worker}"]\nslots = 0', r"workers\.slots: input should be greater than or equal to 1"),
        ("slots = 2", "workers: slots counts the workers of a command: set command"),
        ('command = ["env"]\nslots = 2\ntrials_per_device = 2', "workers: slots counts the trials at once"),
        ('command = ["env"]\nslots = 2\ndevices = [0]', "workers: slots counts the trials at once"),
        ('command = "env"', r"workers\.command"),
    ],
)
def test_a_table_of_workers_that_contradicts_itself_is_refused(tmp_path: Path, workers: str, problem: str) -> None:
    file = write_toy_study(tmp_path, script={})
    file.write_text(file.read_text().replace('devices = "cpu"', workers))
    with pytest.raises(StudyFileError, match=problem):
        load_study(file)


# ---- workers that do not fit


def test_a_worker_with_other_sources_is_refused_by_name(launch: Launch, tmp_path: Path) -> None:
    shutil.copytree(Path(sweep.__file__).parent, tmp_path / "sweep", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "sweep" / "trial.py").open("a") as module:
        module.write("# another version\n")
    with pytest.raises(DeviceError, match=rf"the worker on {os.uname().nodename} has sweep .*: install the same"):
        find(launch("env", f"PYTHONPATH={tmp_path}", "{worker}"))


def test_a_worker_with_another_torch_is_refused_by_name_before_a_trial_begins(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "torch-1.0.dist-info").mkdir()
    (tmp_path / "torch-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 1.0\n")
    launcher = launch("env", f"PYTHONPATH={tmp_path}{os.pathsep}{PATHS}", "{worker}")
    launcher.start(make_job("echo"))
    failure = end_of(launcher)
    assert isinstance(failure, Failure)
    assert failure.actionable
    assert f"the worker on {os.uname().nodename} has torch 1.0, and the coordinator " in failure.cause


def test_a_worker_that_does_not_reach_the_study_is_refused_by_name(launch: Launch, tmp_path: Path) -> None:
    here = Path("/proc/self/cwd")  # one path, and another folder for each process
    command = ("env", "-C", str(tmp_path), *ENV[1:])
    with pytest.raises(DeviceError, match=rf"the worker on {os.uname().nodename} does not see what the coordinator"):
        find(launch(*command, shared=here))
    assert not list(Path.cwd().glob(".sweep-*"))
    assert find(launch(shared=tmp_path)) == ["cpu"]
    assert list(tmp_path.iterdir()) == []


def test_slots_are_equal_and_as_many_as_the_study_file_says(launch: Launch) -> None:
    assert find(launch(), slots=3) == ["slot-1", "slot-2", "slot-3"]


# ---- what is said, and by whom


def test_a_relay_that_passes_on_whole_lines_alone_holds_no_message_back(launch: Launch) -> None:
    relay = f"{shlex.quote(sys.executable)} -c {shlex.quote(RELAY)}"
    launcher = launch("bash", "-c", f"PYTHONPATH={PATHS} {{worker}} | {relay}")
    launcher.start(make_job("report_all", [100, 200]))
    assert end_of(launcher) == Done([None, None])


def test_what_a_job_and_a_wrapper_print_does_not_reach_the_coordinator(launch: Launch) -> None:
    launcher = launch("bash", "-c", 'echo "a module was loaded" >&2; exec env "$@"', "--", *ENV[1:])
    launcher.start(make_job("print_everywhere"))
    assert end_of(launcher) == Done(None)


def test_a_wrapper_that_prints_into_the_channel_ends_its_job_by_name(launch: Launch, tmp_path: Path) -> None:
    reminder = f'(until [ -e {tmp_path}/now ]; do sleep 0.05; done; echo "a reminder of the job that holds you up")'
    script = f'{reminder} & exec env "$@"'
    launcher = launch("bash", "-c", script, "--", *ENV[1:])
    launcher.start(make_job("wait_for_pause"))
    listen(launcher, Started)
    (tmp_path / "now").touch()
    failure = end_of(launcher)
    assert isinstance(failure, Failure)
    assert "bash: the stream holds what is no message: b'a reminder" in failure.cause


def test_the_secret_of_a_run_stands_in_no_command_line_and_no_environment(launch: Launch) -> None:
    launcher = launch()
    launcher.start(make_job("wait_for_pause"))
    listen(launcher, Started)
    worker = find_worker()
    for process in (worker, *worker.children(recursive=True)):
        for kind in ("cmdline", "environ"):
            said = Path(f"/proc/{process.pid}/{kind}").read_bytes()
            assert launcher._secret.hex().encode() not in said
            assert launcher._secret not in said


def test_a_worker_is_used_again(launch: Launch) -> None:
    launcher = launch()
    launcher.start(make_job("echo", 1))
    assert end_of(launcher) == Done(1)
    worker = find_worker()
    launcher.start(make_job("echo", 2))
    assert end_of(launcher) == Done(2)
    assert find_worker() == worker
    assert launcher.node_of("job") is None


def test_a_worker_without_a_job_is_let_go(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = launch()
    find(launcher)
    monkeypatch.setattr("sweep.launch.command_worker.IDLE_S", 0.1)
    launcher.start(make_job("echo", 1))
    assert end_of(launcher) == Done(1)
    assert wait_until(lambda: not list_workers(), within_s=10)
    launcher.start(make_job("echo", 2))
    assert end_of(launcher) == Done(2)


def test_the_first_worker_may_wait_for_its_scheduler_longer_than_one_without_a_job(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweep.launch.command_worker.IDLE_S", 0.5)
    assert find(launch("bash", "-c", f"sleep 2; PYTHONPATH={PATHS} exec {{worker}}")) == ["cpu"]


def test_a_command_that_waits_is_asked_to_end_so_that_it_gives_back_what_it_holds(
    launch: Launch, tmp_path: Path
) -> None:
    waiting, released = tmp_path / "waiting", tmp_path / "released"
    launcher = launch("bash", "-c", f"trap 'touch {released}; exit' TERM; touch {waiting}; while :; do sleep 0.1; done")
    launcher.start(make_job("echo"))
    assert wait_until(waiting.exists, within_s=10)
    launcher.kill("job")
    died = end_of(launcher)
    assert isinstance(died, Died)
    assert died.reason.startswith("'bash' exited with status 0")
    assert released.exists()


def test_a_worker_that_is_asked_to_end_has_its_job_save_first(launch: Launch) -> None:
    launcher = launch()
    launcher.start(make_job("wait_for_pause"))
    listen(launcher, Started)
    worker = find_worker()
    worker.terminate()
    assert end_of(launcher) == Done("paused")
    assert wait_until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE, within_s=10)
    launcher.start(make_job("echo", 1))
    assert end_of(launcher) == Done(1)


# ---- kills


def test_a_worker_that_is_killed_is_the_death_of_its_job_and_of_nothing_else(launch: Launch) -> None:
    launcher = launch()
    for name in ("one", "two"):
        launcher.start(make_job("wait_for_pause", name=name))
    assert {listen(launcher, Started).job for _ in range(2)} == {"one", "two"}
    workers = list_workers()
    jobs = workers[0].children(recursive=True)
    workers[0].kill()
    died = listen(launcher, Died)
    assert "was killed by SIGKILL" in died.payload.reason  # type: ignore[union-attr]
    assert wait_until(lambda: not any(job.is_running() for job in jobs), within_s=5)
    [left] = {"one", "two"} - {died.job}
    launcher.pause(left)
    assert listen(launcher, Done) == Message(left, Done("paused"))


def test_a_jobs_process_that_is_killed_leaves_its_worker(launch: Launch) -> None:
    launcher = launch()
    for _ in range(2):
        launcher.start(make_job("send_itself", "SIGKILL"))
        assert end_of(launcher) == Died("killed by SIGKILL")
    find_worker()


def test_a_worker_that_is_stopped_is_killed_with_its_job(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweep.launch.command.KILL_S", 0.3)
    monkeypatch.setattr("sweep.launch.command_worker.END_S", 0.3)
    launcher = launch()
    launcher.start(make_job("hold_the_interpreter"))
    listen(launcher, Started)
    worker = find_worker()
    everybody = [worker, *worker.children(recursive=True)]
    worker.suspend()
    launcher.kill("job")
    died = end_of(launcher)
    assert isinstance(died, Died)
    assert wait_until(lambda: not any(process.is_running() for process in everybody), within_s=5)


LAUNCH = """
import json, sys
from pathlib import Path
from sweep.launch import CommandLauncher
from sweep.messages import Job, Started

bodies, started = json.loads(sys.argv[2]), 0
launcher = CommandLauncher(json.loads(sys.argv[1]))
for body in bodies:
    launcher.start(Job(name=body, body=f"launcher_jobs:{body}", task=[100], log=Path("out") / f"{body}.log"))
while started < len(bodies):
    started += sum(isinstance(message.payload, Started) for message in launcher.wait(0.2))
print("started", flush=True)
launcher.wait(600)
"""


def test_every_process_ends_within_five_seconds_of_its_killed_coordinator(tmp_path: Path) -> None:
    bodies = ["sleep_long", "hold_the_interpreter", "stop_itself"]
    process = start_script(
        LAUNCH, [json.dumps(ENV), json.dumps(bodies)], folder=tmp_path, errors=tmp_path / "errors.txt"
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        everybody = psutil.Process(process.pid).children(recursive=True)
        assert len(everybody) >= 9
        process.kill()
        process.wait()
        assert wait_until(lambda: not any(one.is_running() for one in everybody), within_s=5), everybody
    finally:
        end_group(process.pid)
        process.communicate()


def test_a_study_whose_workers_and_jobs_are_killed_comes_to_its_end_with_every_report(tmp_path: Path) -> None:
    file = write_toy_study(
        tmp_path,
        script={"step_s": 0.01, "history": str(tmp_path / "history")},
        budget={"trials": 4, "examples": 320},
        stopping={"drop_off": False},
        workers={"devices": "cpu", "command": list(ENV), "slots": 2},
    )
    process = start_script(RUN, [str(file), "20"], folder=tmp_path, errors=tmp_path / "errors.txt")
    try:
        for number in range(4):
            lines = read_until(process, "evaluate", "ended", "error")
            if not lines or not lines[-1].startswith("evaluate"):
                break
            workers = psutil.Process(process.pid).children()
            if number % 2:
                workers[0].kill()
            else:
                jobs = [job for worker in workers for server in worker.children() for job in server.children()]
                for job in jobs[:1]:
                    os.kill(job.pid, signal.SIGKILL)
        out, _ = process.communicate(timeout=120)
    finally:
        end_group(process.pid)
    assert process.returncode == 0, out
    history = [json.loads(line) for line in (tmp_path / "history").read_text().splitlines()]
    storage = open_storage_read_only(tmp_path / "toy" / "study.db")
    record = load_record(storage, EvaluationTable(storage.engine, writable=False))
    assert [trial.state for trial in record.trials] == ["complete"] * 4
    stored = {(trial.number, row.progress) for trial in record.trials for row in trial.rows}
    answered = {(entry["trial"], entry["progress"]) for entry in history if entry["event"] == "answered"}
    assert answered <= stored
    assert len(stored) == 4 * 6
    assert sum(trial.attributes.get("interruptions", 0) for trial in record.trials) >= 2
    here = os.uname().nodename
    assert {trial.attributes.get("node") for trial in record.trials} == {here}
    table = write_leaderboard(record, load_study(file).space)
    assert table.count(f"| `{here}` |") == 4
    assert {trial["node"] for trial in describe_study(open_study(file))["trials"]} == {here}


def test_check_says_where_a_command_leads_and_what_versions_it_needs(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny_model, tmp_path / "model")
    file = write_toy_study(tmp_path, workers={"devices": "cpu", "command": list(ENV), "slots": 9})
    assert main(["check", str(file), "--no-measure"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    place = next(number for number, line in enumerate(lines) if line.startswith("Devices:"))
    assert re.fullmatch(r"Devices: +9 x CPU, \d+ cores", lines[place])
    assert re.fullmatch(rf"{os.uname().nodename}: 0 GPUs, \d+ cores, \d+ GiB", lines[place + 1])
    assert lines[place + 2].startswith("versions of each: sweep ")
    assert f"torch {torch.__version__.partition('+')[0]}" in " ".join(lines[place + 2 : place + 5])

"""The body of a job's process, here in this one; what takes a process of its own is in the launchers' contract."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace

import pytest
from processes import TESTS, wait_until

from sweep.job_process import BEAT_S, PipeChannel, run_job
from sweep.launch import Died, LocalLauncher
from sweep.messages import LONG_CALL_S, Alive, Done, Failure, Job, Pause, Started, Verdict


class Line:
    """A channel, and the coordinator's end of it."""

    def __init__(self) -> None:
        self.end, worker = Pipe()
        self.worker: Connection = worker
        self.orphaned = threading.Event()
        self.channel = PipeChannel(worker, on_orphaned=self.orphaned.set)


@pytest.fixture
def line() -> Iterator[Line]:
    line = Line()
    yield line
    line.end.close()
    assert line.orphaned.wait(5)


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the launchers' jobs importable."""
    monkeypatch.syspath_prepend(str(TESTS / "contracts"))


def make_job(body: str, task: object = None, *, lock: Path | None = None) -> Job:
    return Job(name="job", body=f"launcher_jobs:{body}", task=task, log=Path("unused"), lock=lock)


def report(line: Line, progress: int, *answers: object) -> Verdict:
    for answer in answers:
        line.end.send(answer)
    return line.channel.report(SimpleNamespace(progress=progress))  # type: ignore[arg-type]


def test_a_report_waits_for_its_answer_and_answers_come_in_order(line: Line) -> None:
    assert report(line, 100, Verdict(reason="first"), Verdict(stop=True, reason="second")) == Verdict(reason="first")
    assert report(line, 200) == Verdict(stop=True, reason="second")
    assert [line.end.recv()[1].progress for _ in range(2)] == [100, 200]


def test_a_channel_is_pausing_once_it_was_asked_to(line: Line) -> None:
    assert not line.channel.is_pausing()
    line.end.send(Pause())
    assert wait_until(line.channel.is_pausing)
    assert report(line, 100, Verdict(reason="still answered")).reason == "still answered"


def test_of_many_signs_of_life_few_are_sent_and_a_long_call_is_announced_at_once(line: Line) -> None:
    for _ in range(3):
        for _ in range(1000):
            line.channel.sign()
        line.channel.sign(long_call=True)
    began = time.monotonic()
    line.channel.sign()  # the call is over
    sent: list[Alive] = []
    while len(sent) < 6 or sent[-1].allowance_s:
        sent.append(line.end.recv()[1])
    announced = [message for message in sent if message.allowance_s]
    assert announced == [Alive(LONG_CALL_S)] * 3
    assert len(sent) <= 6 + 2 * (1 + (time.monotonic() - began) / BEAT_S)
    while not line.end.poll():
        line.channel.sign()
    assert time.monotonic() - began > BEAT_S
    assert line.end.recv()[1] == Alive()


def test_a_channel_pauses_by_itself_too(line: Line) -> None:
    line.channel.pause()
    assert line.channel.is_pausing()


def test_a_job_whose_coordinator_is_gone_is_told_to_stop() -> None:
    line = Line()
    answers: list[Verdict] = []
    line.channel.send("a report")
    waiting = threading.Thread(target=lambda: answers.append(line.channel._verdicts.get()))
    waiting.start()
    line.end.close()
    waiting.join(5)
    assert line.orphaned.is_set()
    assert answers == [Verdict(stop=True, reason="the coordinator is gone")]
    assert line.channel.is_pausing()


@pytest.mark.usefixtures("jobs")
@pytest.mark.parametrize("warm", [True, False])
def test_a_job_says_that_it_started_and_what_it_returned(line: Line, warm: bool) -> None:
    run_job(make_job("echo", {"a": 1}), line.channel, warm=warm)
    assert [line.end.recv() for _ in range(2)] == [(1, Started(warm=warm)), (1, Done({"a": 1}))]


@pytest.mark.usefixtures("jobs")
def test_a_job_that_raises_sends_its_traceback_home_and_prints_it(
    line: Line, capsys: pytest.CaptureFixture[str]
) -> None:
    run_job(make_job("fail", "it broke"), line.channel, warm=True)
    failure = [line.end.recv()[1] for _ in range(2)][1]
    assert isinstance(failure, Failure)
    assert failure.cause == "RuntimeError: it broke"
    assert failure.traceback in capsys.readouterr().err


@pytest.mark.usefixtures("jobs")
@pytest.mark.parametrize(
    ("text", "disk_failed"),
    [
        ("I/O error: No space left on device (os error 28)", True),  # as safetensors and tokenizers word it
        ("Read-only file system (os error 30)", True),
        ("Stale file handle (os error 116)", True),  # of a share
        ("Permission denied (os error 13)", False),
        ("step 28 failed", False),
    ],
)
def test_a_disk_that_fails_a_library_in_rust_is_known_by_its_words(line: Line, text: str, disk_failed: bool) -> None:
    run_job(make_job("fail", text), line.channel, warm=True)
    assert [line.end.recv()[1] for _ in range(2)][1].disk_failed is disk_failed


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.usefixtures("jobs")
@pytest.mark.parametrize("body", ["fill_the_disk", "fill_the_disk_in_passing"])
def test_a_full_disk_is_known_beneath_other_errors(line: Line, body: str) -> None:
    run_job(make_job(body, "/dev/full"), line.channel, warm=True)
    assert [line.end.recv()[1] for _ in range(2)][1].disk_failed


@pytest.mark.usefixtures("jobs")
def test_a_failure_in_a_folder_that_has_vanished_is_the_disks(line: Line, tmp_path: Path) -> None:
    """So it is with a shared folder that one machine does not reach any more."""
    (tmp_path / "trial").mkdir()
    for body, task, disk_failed in [("fail", "it broke", False), ("lose_the_folder", str(tmp_path / "trial"), True)]:
        run_job(make_job(body, task, lock=tmp_path / "trial" / "lock"), line.channel, warm=True)
        assert [line.end.recv()[1] for _ in range(2)][1].disk_failed is disk_failed


@pytest.mark.usefixtures("jobs")
def test_a_log_takes_the_words_of_one_process_after_the_other(tmp_path: Path) -> None:
    launcher = LocalLauncher(("sweep.testing",))
    log = tmp_path / "logs" / "trial.log"
    for _ in range(2):
        launcher.start(Job(name="job", body="launcher_jobs:print_everywhere", task=None, log=log))
        while not any(isinstance(message.payload, (Done, Died)) for message in launcher.wait(0.2)):
            pass
    launcher.close()
    assert log.read_text().count("from print") == 2
    assert log.stat().st_mode & 0o777 == 0o600

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from scripted import Recorder, check_finished, run
from trial_records import make_running, make_trial

from sweep.coordinator.events import Event, EventLog, SweepView, estimate_seconds_left, format_event
from sweep.errors import StudyEndedError
from sweep.plan import plan_study
from sweep.run_folder import RunFolder
from sweep.storage.location import locate_study
from sweep.storage.records import StudyRecord
from sweep.testing import write_toy_study


def test_an_event_is_a_line_of_json_with_its_time_its_trial_and_its_numbers() -> None:
    line = format_event(Event("evaluate", "two\nlines", 3, {"ndcg": float("nan"), "step": 4, "path": Path("a b")}))
    assert "\n" not in line
    fields = json.loads(line)
    assert fields.pop("time").startswith("20")
    assert fields == {
        "event": "evaluate",
        "trial": 3,
        "text": "two\nlines",
        "ndcg": None,
        "step": 4,
        "path": "a b",
    }


def test_the_coordinators_log_holds_every_event_of_a_run_in_order(tmp_path: Path) -> None:
    file = write_toy_study(tmp_path, script={}, budget={"trials": 2})
    _, recorder = run(file)
    log = RunFolder.beside(file).coordinator_log
    events = [json.loads(line) for line in log.read_text().splitlines()]
    shown = [(event.kind, event.trial, event.text) for event in recorder.events]
    assert [(event["event"], event["trial"], event["text"]) for event in events] == shown[-len(events) :]
    assert {"prepare", "start", "evaluate", "end", "delete", "budget", "test"} <= {event["event"] for event in events}
    assert {event["attempt"] for event in events if event["event"] == "start"} == {1}
    assert log.stat().st_mode & 0o777 == 0o600


def test_the_time_left_follows_the_pace_and_the_usual_length_of_trials_and_the_slots(tmp_path: Path) -> None:
    plan = plan_study(locate_study(write_toy_study(tmp_path, script={}, budget={"trials": 6})))
    record = StudyRecord(
        name="toy",
        attributes={},
        trials=(
            make_trial(0, *[0.6] * 10, step_s=1.0),
            make_trial(1, *[0.6] * 4, step_s=2.0, kind="drop-off", state="pruned"),
            make_trial(2, *[0.6] * 2, step_s=1.0, state="running", value=None),
            make_trial(3, state="running", value=None),
        ),
        baseline=0.5,
    )
    running = [make_running(2, *[0.6] * 2)]
    # 20 s for 1.6 trials' worth of steps: 12.5 s for a whole one. Those that ended went 0.7 of the way. 3 are to begin,
    # which takes 2.1 trials' worth, and the one that runs has 0.5 to go
    assert estimate_seconds_left(plan, record, running, 2) == pytest.approx(12.5 * 2.6 / 2)
    assert estimate_seconds_left(plan, record, running, 1) == pytest.approx(12.5 * 2.6)
    assert estimate_seconds_left(plan, record, running, 8) == pytest.approx(12.5 * 2.6 / 4)  # no more than trials
    beyond = [*running, make_running(3, *[0.6] * 9)]  # it has gone further than is usual: nothing is left of it
    assert estimate_seconds_left(plan, record, beyond, 1) == pytest.approx(12.5 * (2 * 0.7 + 0.5))


def test_before_a_trial_has_ended_the_time_left_is_that_of_whole_ones_and_before_a_measurement_unknown(
    tmp_path: Path,
) -> None:
    plan = plan_study(locate_study(write_toy_study(tmp_path, script={}, budget={"trials": 3})))
    trial = make_trial(0, 0.6, 0.6, state="running", value=None)
    record = StudyRecord(name="toy", attributes={}, trials=(trial,), baseline=0.5)
    assert estimate_seconds_left(plan, record, [make_running(0, 0.6, 0.6)], 1) == pytest.approx(10.0 * 2.8)
    unmeasured = StudyRecord(name="toy", attributes={}, trials=(), baseline=0.5)
    assert estimate_seconds_left(plan, unmeasured, [make_running(0)], 1) is None


def test_a_log_that_has_grown_is_put_aside_and_no_event_is_lost(tmp_path: Path) -> None:
    recorder, file = Recorder(), tmp_path / "logs" / "coordinator.jsonl"
    log = EventLog(file, recorder, max_bytes=250)
    for number in range(5):
        log.show(Event("warning", f"event {number}"))
    kept = file.with_name(file.name + ".1").read_text() + file.read_text()
    assert [json.loads(line)["text"] for line in kept.splitlines()] == [f"event {number}" for number in range(5)]
    assert file.stat().st_size < 250
    assert len(recorder.events) == 5


class Broken(Recorder):
    """A watcher whose display is gone."""

    def __init__(self, error: Exception, *, at: str) -> None:
        super().__init__()
        self._error, self._at = error, at

    def show(self, event: Event) -> None:
        super().show(event)
        if event.kind == self._at:
            raise self._error

    def refresh(self, sweep: SweepView) -> None:
        super().refresh(sweep)
        if self._at == "view":
            raise self._error


@pytest.mark.parametrize(
    ("error", "at", "reason"),
    [
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "study", "Broken pipe"),
        (OSError(errno.EIO, "Input/output error"), "evaluate", "Input/output error"),
        (ValueError("I/O operation on closed file"), "view", "ValueError: I/O operation on closed file"),
    ],
)
def test_a_study_outlives_its_watcher_and_its_log_says_so(
    tmp_path: Path, error: Exception, at: str, reason: str
) -> None:
    file = write_toy_study(tmp_path, script={}, budget={"trials": 2})
    broken = Broken(error, at=at)
    run(file, watcher=broken)
    record = check_finished(file)
    assert len(record.trials) == 2
    lines = [json.loads(line) for line in RunFolder.beside(file).coordinator_log.read_text().splitlines()]
    warnings = [line["text"] for line in lines if line["event"] == "warning"]
    assert warnings == [f"nothing is shown any more ({reason}); what happens stands in this log"]
    assert lines[-1]["event"] == "test"
    assert len(broken.events) < len(lines)


def test_the_log_ends_with_the_cause_for_which_a_run_ended(tmp_path: Path) -> None:
    file = write_toy_study(tmp_path, script={"fail": [0, 1]}, budget={"trials": 3})
    with pytest.raises(StudyEndedError, match="scripted failure") as ended:
        run(file)
    last = json.loads(RunFolder.beside(file).coordinator_log.read_text().splitlines()[-1])
    assert (last["event"], last["text"]) == ("error", str(ended.value))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    os.symlink("/dev/full", tmp_path / "logs" / "coordinator.jsonl")
    recorder = Recorder()
    EventLog(tmp_path / "logs" / "coordinator.jsonl", recorder).show(Event("warning", "still shown"))
    assert recorder.texts("warning") == ["still shown"]

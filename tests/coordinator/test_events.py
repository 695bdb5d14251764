from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from scripted import Recorder, run

from sweep.coordinator.events import Event, EventLog, format_event
from sweep.run_folder import RunFolder
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
    assert {"prepare", "start", "evaluate", "end", "delete", "budget", "judge"} <= {event["event"] for event in events}
    assert {event["attempt"] for event in events if event["event"] == "start"} == {1}
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_log_that_has_grown_is_put_aside_and_no_event_is_lost(tmp_path: Path) -> None:
    recorder, file = Recorder(), tmp_path / "logs" / "coordinator.jsonl"
    log = EventLog(file, recorder, max_bytes=250)
    for number in range(5):
        log.show(Event("warning", f"event {number}"))
    kept = file.with_name(file.name + ".1").read_text() + file.read_text()
    assert [json.loads(line)["text"] for line in kept.splitlines()] == [f"event {number}" for number in range(5)]
    assert file.stat().st_size < 250
    assert len(recorder.events) == 5


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    os.symlink("/dev/full", tmp_path / "logs" / "coordinator.jsonl")
    recorder = Recorder()
    EventLog(tmp_path / "logs" / "coordinator.jsonl", recorder).show(Event("warning", "still shown"))
    assert recorder.texts("warning") == ["still shown"]

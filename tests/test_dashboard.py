from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sweep import open_study
from sweep.coordinator.events import Event, SweepView
from sweep.coordinator.run import run_study
from sweep.dashboard import HOST, DashboardServer, open_dashboard
from sweep.errors import StudyLockedError, SweepError
from sweep.launch import InlineLauncher
from sweep.plan import plan_study
from sweep.run_folder import RunFolder
from sweep.signals import StopSignal
from sweep.storage.location import locate_study
from sweep.storage.lock import StudyLock
from sweep.testing import write_toy_study

START = [
    {"learning_rate": 6e-4, "data_format": "query-document", "batch_size": 4},
    {"learning_rate": 6e-4, "data_format": "title-content", "batch_size": 4},
]
"""The first rises to its end; the second falls from its peak and is stopped."""


class Silent:
    def show(self, event: Event) -> None: ...
    def refresh(self, sweep: SweepView) -> None: ...


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a finished scripted study of two trials; to be read, not written."""
    file = write_toy_study(
        tmp_path_factory.mktemp("dashboard"), script={}, budget={"trials": 2}, space={"start": START}
    )
    with StopSignal() as stop:
        run_study(
            plan_study(locate_study(file)), watcher=Silent(), stop=stop, jobs="sweep.testing", launcher=InlineLauncher()
        )
    return file


@pytest.fixture(scope="module")
def server(study: Path) -> Iterator[DashboardServer]:
    server = open_dashboard(locate_study(study), port=0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def ask(server: DashboardServer, path: str, *, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(HOST, server.server_port, timeout=60)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def read_study(server: DashboardServer) -> dict[str, Any]:
    status, body = ask(server, "/api/studies")
    assert status == 200
    (summary,) = json.loads(body)["study_summaries"]
    status, body = ask(server, f"/api/studies/{summary['study_id']}?after=0")
    assert status == 200
    detail: dict[str, Any] = json.loads(body)
    return detail


def test_it_serves_this_machine_alone(server: DashboardServer) -> None:
    assert server.server_address == ("127.0.0.1", server.server_port)
    status, page = ask(server, "/dashboard")
    assert status == 200
    assert b"<html" in page.lower()


def test_it_shows_every_trial_with_its_curve(server: DashboardServer, study: Path) -> None:
    detail = read_study(server)
    record = open_study(study).record
    assert detail["name"] == "toy"
    assert detail["objective_names"] == ["NDCG@10"]
    assert detail["directions"] == ["maximize"]
    assert len(detail["trials"]) == len(record.trials) == 2
    for shown, trial in zip(detail["trials"], record.trials, strict=True):
        assert shown["number"] == trial.number
        assert shown["state"].lower() == trial.state
        assert shown["values"] == [pytest.approx(trial.value)]
        curve = {point["step"]: point["value"] for point in shown["intermediate_values"]}
        assert curve == pytest.approx({0: record.baseline} | {row.progress: row.value for row in trial.rows})


def test_the_attributes_of_a_trial_say_why_it_ended(server: DashboardServer, study: Path) -> None:
    shown = [
        {one["key"]: one["value"] for one in trial["user_attrs"]}
        | {one["name"]: one["param_external_value"] for one in trial["params"]}
        for trial in read_study(server)["trials"]
    ]
    stopped = open_study(study).record.trials[1]
    assert stopped.state == "pruned"
    assert stopped.stop is not None
    assert stopped.stop.text.startswith("drop-off: ")
    assert stopped.stop.text in shown[1]["stop_reason"]
    assert shown[1]["data_format"] == "title-content"
    assert "stop_reason" not in shown[0]


@pytest.mark.parametrize("host", ["example.com", "example.com:8080", "127.0.0.1.example.com", "localhost.example", ""])
@pytest.mark.parametrize("path", ["/", "/api/studies"])
def test_a_request_under_another_name_is_refused(server: DashboardServer, host: str, path: str) -> None:
    status, said = ask(server, path, Host=host)
    assert (status, said) == (403, b"this dashboard answers to 127.0.0.1 and localhost alone")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "localhost:1"])
def test_a_request_under_this_machines_name_is_answered(server: DashboardServer, host: str) -> None:
    assert ask(server, "/api/studies", Host=host)[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", ["/api/studies", "/api/studies/1", "/api/trials/1/user-attrs"])
def test_a_request_that_is_not_for_reading_is_refused_and_changes_nothing(
    server: DashboardServer, study: Path, method: str, path: str
) -> None:
    database = RunFolder.beside(study).database
    before = database.read_bytes()
    status, said = ask(server, path, method=method)
    assert (status, said) == (405, b"this dashboard is for reading alone")
    assert database.read_bytes() == before


def test_a_study_that_has_not_begun_has_no_dashboard(tmp_path: Path) -> None:
    file = write_toy_study(tmp_path, script={})
    with pytest.raises(SweepError, match="there is no study here yet; start it with `sweep run`"):
        open_dashboard(locate_study(file), port=0)
    assert not RunFolder.beside(file).path.exists()


def test_a_port_that_is_taken_is_an_error_that_names_the_option(server: DashboardServer, study: Path) -> None:
    with pytest.raises(SweepError, match=rf"port {server.server_port} on 127\.0\.0\.1 .*name another with --port"):
        open_dashboard(locate_study(study), port=server.server_port)


def test_a_port_that_cannot_be_is_an_error(study: Path) -> None:
    with pytest.raises(SweepError, match=r"port 70000 on 127\.0\.0\.1 cannot be listened on"):
        open_dashboard(locate_study(study), port=70000)


def test_the_note_of_the_study_has_its_leaderboard(server: DashboardServer) -> None:
    note = read_study(server)["note"]["body"]
    assert "2 of 2 trials have ended" in note
    assert "| **best** | 0 |" in note


def test_where_changes_are_allowed_a_note_is_written_and_no_run_can_begin(study: Path) -> None:
    server = open_dashboard(locate_study(study), port=0, allow_changes=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        with pytest.raises(StudyLockedError, match="this study is being run by process"), StopSignal() as stop:
            run_study(
                plan_study(locate_study(study)),
                watcher=Silent(),
                stop=stop,
                jobs="sweep.testing",
                launcher=InlineLauncher(),
            )
        detail = read_study(server)
        body = {"body": detail["note"]["body"] + "mine", "version": detail["note"]["version"] + 1}
        assert change(server, "/api/studies/1/note", body, Origin="http://example.com") == 403
        assert change(server, "/api/studies/1/note", body) == 204
        assert read_study(server)["note"]["body"].endswith("mine")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    open_dashboard(locate_study(study), port=0, allow_changes=True).server_close()  # the study is free again


def change(server: DashboardServer, path: str, body: dict[str, Any], **headers: str) -> int:
    connection = http.client.HTTPConnection(HOST, server.server_port, timeout=60)
    try:
        connection.request("PUT", path, json.dumps(body), {"Content-Type": "application/json", **headers})
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_study_that_is_being_run_may_not_be_changed(study: Path) -> None:
    with StudyLock(RunFolder.beside(study).lock), pytest.raises(StudyLockedError, match="this study is being run by"):
        open_dashboard(locate_study(study), port=0, allow_changes=True)

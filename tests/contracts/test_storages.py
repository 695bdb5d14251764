"""What holds of a study's database wherever it is: SQLite with either journal, and PostgreSQL."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import optuna
import pytest
import sqlalchemy
from ledgers import SPACE, VALUES, begin_study, begin_trial, end_trial, make_evaluation, make_report
from optuna.exceptions import StorageInternalError
from postgres import PostgresServer
from processes import end_group, start_script, wait_until
from scripted import Recorder

from sweep.coordinator.ledger import Ledger, Measurement
from sweep.coordinator.run import run_study
from sweep.errors import StorageError, StudyLockedError
from sweep.launch import InlineLauncher, Slot
from sweep.plan import StudyPlan, plan_study
from sweep.run_folder import RunFolder
from sweep.signals import StopSignal
from sweep.storage.evaluations import UNTRAINED, EvaluationTable
from sweep.storage.location import DatabaseLocation, PostgresLocation, SqliteLocation, Waiting, locate_study, lock_study
from sweep.storage.records import StudyRecord, load_record
from sweep.testing import write_toy_study

NUMBERS = itertools.count()


@pytest.fixture(params=["rollback journal", "write-ahead log", "PostgreSQL"])
def make_place(request: pytest.FixtureRequest) -> Callable[[RunFolder, str], DatabaseLocation]:
    """Makes a place for a study of a name; it is one kind of storage in all of a test."""
    number = next(NUMBERS)

    def make(folder: RunFolder, name: str) -> DatabaseLocation:
        if request.param == "PostgreSQL":
            server: PostgresServer = request.getfixturevalue("postgres")
            return PostgresLocation(server.address(), f"{name} {number}", folder)
        return SqliteLocation(folder, "wal" if request.param == "write-ahead log" else "delete")

    return make


@pytest.fixture
def place(make_place: Callable[[RunFolder, str], DatabaseLocation], tmp_path: Path) -> DatabaseLocation:
    """A place without a study."""
    return make_place(RunFolder(tmp_path), "toy")


@pytest.fixture
def ledger(place: DatabaseLocation) -> Iterator[Ledger]:
    """The writer of a study that has begun."""
    with lock_study(place, waiting=Waiting()) as held:
        ledger = Ledger(held.storage, "toy")
        begin_study(ledger)
        yield ledger


def read(place: DatabaseLocation) -> StudyRecord:
    storage = place.open_read_only()
    try:
        return load_record(storage, EvaluationTable(storage.engine, writable=False))
    finally:
        storage.engine.dispose()


def test_a_study_that_has_not_begun_is_none_and_reading_it_makes_none(place: DatabaseLocation, tmp_path: Path) -> None:
    assert not place.exists()
    with pytest.raises(StorageError, match=r"\A.*: there is no study here yet; start it with `sweep run`\Z"):
        place.open_read_only()
    assert not place.exists()
    assert place.find_owner() is None
    assert list(tmp_path.iterdir()) == []


def test_what_is_committed_is_seen_by_who_reads_alone(ledger: Ledger, place: DatabaseLocation) -> None:
    number = begin_trial(ledger)
    for progress, ndcg in [(100, 0.625), (500, 0.75), (1000, 0.25)]:
        ledger.commit([Measurement(number, make_report(progress, ndcg))])
        assert [row.value for row in read(place).trials[0].rows][-1] == ndcg
    running = begin_trial(ledger)
    end_trial(ledger, number, 0.75)
    record = read(place)
    assert place.exists()
    assert record == ledger.record()
    assert (record.baseline, record.counted) == (0.5, 1)
    assert [trial.state for trial in record.trials] == ["complete", "running"]
    assert record.trials[number].value == 0.75
    assert record.trials[running].rows == ()
    assert ledger.study.trials[number].params == VALUES
    assert ledger.study.trials[number].intermediate_values == {0: 0.5, 100: 0.625, 500: 0.75, 1000: 0.25}


def test_the_values_of_each_query_come_back_to_the_bit(ledger: Ledger, place: DatabaseLocation) -> None:
    number = begin_trial(ledger)
    values = np.array([0.1, np.nan, 1 / 3, 0.0, 1.0], dtype=np.float32)
    measured = dataclasses.replace(make_evaluation(0.0), per_query=values)
    ledger.commit([Measurement(number, dataclasses.replace(make_report(100, 0.0), evaluation=measured))])
    storage = place.open_read_only()
    points, found = EvaluationTable(storage.engine, writable=False).per_query(number)
    storage.engine.dispose()
    assert points == [100]
    assert found.dtype == np.float32
    assert found[0].tobytes() == values.tobytes()


def test_a_second_measurement_at_one_progress_is_refused(ledger: Ledger) -> None:
    number = begin_trial(ledger)
    ledger.commit([Measurement(number, make_report(100, 0.5))])
    with pytest.raises(ValueError, match=f"trial {number} has a measurement at 100"):
        ledger.table.add([(number, make_report(100, 0.75))])
    assert [row.value for row in ledger.table.rows(number)] == [0.5]


def spell(record: StudyRecord) -> list[str]:
    """The trials of a study as text, in which a value that is not a number equals itself."""
    in_order = [dataclasses.replace(one, attributes=dict(sorted(one.attributes.items()))) for one in record.trials]
    return list(map(repr, in_order))


@pytest.mark.parametrize("ending", ["complete", "pruned", "fail", "diverged"])
def test_what_the_writer_remembers_of_an_ended_trial_is_what_is_read(ledger: Ledger, ending: str) -> None:
    before = ledger.record()
    ended, others = begin_trial(ledger), [begin_trial(ledger) for _ in range(2)]
    for progress, ndcg in [(100, 0.625), (200, math.nan), (300, 1 / 3)]:
        report = dataclasses.replace(make_report(progress, ndcg), seconds=progress / 3)
        ledger.commit([Measurement(ended, report, {"micro_batch": 16})])
    ledger.note(ended, device="cpu", mark=[3, 1], share=math.inf)
    ledger.begin_run(ended, slot=Slot(name="cpu", label="CPU"), attempt=1)
    ledger.study.enqueue_trial({}, user_attrs={"by": "hand"})
    others.append(begin_trial(ledger))
    ledger.mirror()  # which finds that the number was taken
    others.append(begin_trial(ledger))
    value = {"complete": 0.625, "diverged": math.nan}.get(ending)
    ledger.end_trial(ended, value=value, pruned=ending == "pruned", peak=value, error="a cause")
    record = ledger.update_record(before, ended)
    end_trial(ledger, others[-1], 0.5)
    record = ledger.update_record(record, others[-1])
    found = ledger.record()
    assert spell(record) == spell(found)
    assert [trial.number for trial in record.trials] == list(range(6))
    assert [trial.state for trial in record.trials][1:] == ["running"] * 3 + ["waiting", "complete"]
    check_mirror(ledger)


def check_mirror(ledger: Ledger) -> None:
    """Holds what Optuna shows against what is recorded."""
    record, shown = ledger.record(), ledger.study.get_trials()
    assert [trial.number for trial in shown] == [trial.number for trial in record.trials]
    assert [trial.state.name.lower() for trial in shown] == [trial.state for trial in record.trials]
    assert [trial.value for trial in shown] == [trial.value for trial in record.trials]
    for trial, known in zip(shown, record.trials, strict=True):
        curve = {row.progress: row.value for row in known.rows}
        assert repr({step: value for step, value in trial.intermediate_values.items() if step}) == repr(curve)
        assert trial.user_attrs.items() <= known.attributes.items()


def test_what_optuna_was_not_shown_before_a_crash_is_shown_by_the_next_coordinator(place: DatabaseLocation) -> None:
    with lock_study(place, waiting=Waiting()) as held:
        first = Ledger(held.storage, "toy")
        begin_study(first)
        numbers = [begin_trial(first) for _ in range(5)]
        first.commit([Measurement(0, make_report(100, 0.75))])
        first.mirror(at_most_s=0.0)
        end_trial(first, 0, 0.75)
        first.commit([Measurement(1, make_report(100, 0.5))])
        end_trial(first, 3, 0.5)
    assert 0 < len(show(place)) < len(numbers)
    with lock_study(place, waiting=Waiting()) as held:
        second = Ledger(held.storage, "toy")
        second.mirror()
        check_mirror(second)
        assert len(second.study.trials) == len(numbers)


def test_a_trial_that_was_enqueued_under_a_number_that_is_taken_by_then_moves_behind_the_others(
    place: DatabaseLocation,
) -> None:
    with lock_study(place, waiting=Waiting()) as held:
        first = Ledger(held.storage, "toy")
        begin_study(first)
        begin_trial(first)
        first.study.enqueue_trial(VALUES, user_attrs={"by": "hand"})
        begin_trial(first)  # Optuna is shown it by the next coordinator
    with lock_study(place, waiting=Waiting()) as held:
        second = Ledger(held.storage, "toy")
        assert [trial.state for trial in second.record().trials] == ["running", "running", "waiting"]
        adopted = second.adopt_trials(SPACE).trials[2]
        assert (adopted.state, adopted.attributes["by"]) == ("running", "hand")
        assert second.values()[2].items() >= VALUES.items()
        check_mirror(second)
        assert begin_trial(second) == 3


def test_a_study_whose_trials_stand_in_optunas_tables_alone_is_read_and_goes_on(place: DatabaseLocation) -> None:
    with lock_study(place, waiting=Waiting()) as held:
        ledger = Ledger(held.storage, "toy")
        begin_study(ledger)
        for _ in range(3):
            number = begin_trial(ledger)
            ledger.commit([Measurement(number, make_report(100, 0.75))])
        end_trial(ledger, 0, 0.75)
        ledger.end_trial(1, value=None, pruned=True, stop_reason="drop-off: fell")
        ledger.study.enqueue_trial(VALUES)
        shown = ledger.study.get_trials()
        with held.storage.engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE study_attributes")
            connection.exec_driver_sql("DROP TABLE study_trials")
            connection.exec_driver_sql("UPDATE evaluations SET ndcg = value")
            connection.exec_driver_sql("UPDATE sweep_schema SET version = 3")
    alone = read(place)
    assert [trial.state for trial in alone.trials] == ["complete", "pruned", "running", "waiting"]
    assert alone.attributes == {"spec": {}}
    with lock_study(place, waiting=Waiting()) as held:
        ledger = Ledger(held.storage, "toy")
        assert ledger.has_begun()
        assert spell(ledger.record()) == spell(alone)
        assert ledger.study.get_trials() == shown
        ledger.adopt_trials(SPACE)
        ledger.commit([Measurement(2, make_report(200, 0.5))])
        check_mirror(ledger)
    assert read(place).trials[2].rows[-1].value == 0.5


def test_who_reads_a_study_with_optuna_while_it_is_written_never_fails_and_misses_nothing_it_saw(
    ledger: Ledger, place: DatabaseLocation
) -> None:
    over = threading.Event()

    def read_on() -> list[int]:
        seen: list[tuple[int, int]] = [(0, 0)]
        while not over.is_set():
            trials = show(place)
            assert [trial.number for trial in trials] == list(range(len(trials)))
            seen.append((len(trials), sum(len(trial.intermediate_values) for trial in trials)))
            assert seen[-1] >= seen[-2]
            assert all(trial.params == VALUES for trial in trials)
        return [trials for trials, _ in seen]

    with ThreadPoolExecutor() as pool:
        reading = pool.submit(read_on)
        try:
            for place_in_line in range(12):
                number = begin_trial(ledger)
                for progress in (250, 500, 1000):
                    ledger.commit([Measurement(number, make_report(progress, 0.5))])
                    ledger.mirror(at_most_s=0.0)
                if place_in_line % 3:
                    end_trial(ledger, number, 0.5)
            ledger.mirror()
        finally:
            over.set()
        seen = reading.result()
    assert len(set(seen)) > 3
    assert len(show(place)) == 12
    check_mirror(ledger)


def show(place: DatabaseLocation) -> list[optuna.trial.FrozenTrial]:
    """The trials as Optuna reads them."""
    storage = place.open_read_only()
    try:
        return optuna.load_study(study_name="toy", storage=storage).get_trials()
    finally:
        storage.engine.dispose()


def test_a_coordinator_that_comes_later_finds_everything(place: DatabaseLocation) -> None:
    with lock_study(place, waiting=Waiting()) as held:
        first = Ledger(held.storage, "toy")
        begin_study(first)
        number = begin_trial(first)
        first.commit([Measurement(number, make_report(100, 0.75))])
        left = first.record()
    with lock_study(place, waiting=Waiting()) as held:
        second = Ledger(held.storage, "toy")
        assert second.has_begun()
        assert second.record() == left
        (adopted,) = second.adopt_trials(SPACE).trials
        assert adopted.number == number
        second.commit([Measurement(number, make_report(200, 0.25))])
        end_trial(second, number, 0.75)
        assert begin_trial(second) == number + 1
    assert [trial.state for trial in read(place).trials] == ["complete", "running"]


def test_reading_alone_cannot_write(ledger: Ledger, place: DatabaseLocation) -> None:
    storage = place.open_read_only()
    reader = optuna.load_study(study_name="toy", storage=storage)
    with pytest.raises(StorageInternalError, match="exception is raised during the commit"):
        reader.set_user_attr("key", "value")
    with pytest.raises(sqlalchemy.exc.DBAPIError, match=r"read-?only"), storage.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM evaluations")
    storage.engine.dispose()
    assert "key" not in ledger.study.user_attrs
    assert len(ledger.table.rows(UNTRAINED)) == 1


def test_a_reader_in_the_middle_of_its_reading_keeps_no_writer_waiting(ledger: Ledger, place: DatabaseLocation) -> None:
    number = begin_trial(ledger)
    storage = place.open_read_only()
    with storage.engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT * FROM evaluations")
        assert found.fetchone() is not None
        ledger.commit([Measurement(number, make_report(100, 0.75))])
    storage.engine.dispose()
    assert [row.value for row in read(place).trials[number].rows] == [0.75]


@pytest.mark.parametrize("version", ["sweep", "optuna"])
def test_a_database_of_a_newer_version_is_one_line_and_stays_as_it_is(place: DatabaseLocation, version: str) -> None:
    with lock_study(place, waiting=Waiting()) as held:
        begin_study(Ledger(held.storage, "toy"))
        with held.storage.engine.begin() as connection:
            if version == "sweep":
                connection.exec_driver_sql("UPDATE sweep_schema SET version = 99")
            else:
                connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'v99.0.0'")
    with pytest.raises(StorageError, match=r"\A.*version.*(upgrade|updating).*\Z"):
        read(place)
    with (
        lock_study(place, waiting=Waiting()) as held,
        pytest.raises(StorageError, match=r"\A.*version.*(upgrade|updating).*\Z"),
    ):
        Ledger(held.storage, "toy")


HOLD = """
import sys, time
from pathlib import Path
from sweep.run_folder import RunFolder
from sweep.storage.location import PostgresLocation, SqliteLocation, Waiting, lock_study
from sweep.storage.postgresql import parse_address

url, name, folder = sys.argv[1:]
folder = RunFolder(Path(folder))
place = PostgresLocation(parse_address(url), name, folder) if url else SqliteLocation(folder)
with lock_study(place, waiting=Waiting()):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def owner(place: DatabaseLocation, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the study."""
    words = ["", ""]
    if isinstance(place, PostgresLocation):
        words = [request.getfixturevalue("postgres").url, place.study]
    process = start_script(HOLD, [*words, str(tmp_path)], folder=tmp_path, errors=tmp_path / "errors.txt")
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n", (tmp_path / "errors.txt").read_text()
    yield process
    end_group(process.pid)
    process.communicate()


def test_a_study_has_one_coordinator_and_who_comes_second_is_told_who_it_is(
    owner: subprocess.Popen[str], place: DatabaseLocation
) -> None:
    found = place.find_owner()
    assert found is not None
    assert (found.pid, found.host) == (owner.pid, socket.gethostname())
    expected = f"being run by process {owner.pid} on {socket.gethostname()} since 20.*stop that one first$"
    with pytest.raises(StudyLockedError, match=expected), lock_study(place, waiting=Waiting()):
        pass
    assert place.find_owner() == found


def test_a_study_is_free_once_its_coordinator_was_killed(owner: subprocess.Popen[str], place: DatabaseLocation) -> None:
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    assert wait_until(lambda: place.find_owner() is None)
    with lock_study(place, waiting=Waiting()):
        found = place.find_owner()
        assert found is not None
        assert found.pid == os.getpid()
    assert place.find_owner() is None


@pytest.fixture
def plan(make_place: Callable[[RunFolder, str], DatabaseLocation], tmp_path: Path) -> StudyPlan:
    """A scripted study of three trials."""
    plan = plan_study(locate_study(write_toy_study(tmp_path / "a study", script={}, budget={"trials": 3})))
    return moved(plan, make_place(plan.run_folder, "toy"))


def moved(plan: StudyPlan, database: DatabaseLocation) -> StudyPlan:
    return dataclasses.replace(plan, location=dataclasses.replace(plan.location, database=database))


def run(plan: StudyPlan) -> tuple[StudyRecord, Recorder]:
    recorder = Recorder()
    with StopSignal() as stop:
        record = run_study(plan, watcher=recorder, stop=stop, jobs="sweep.testing", launcher=InlineLauncher())
    return record, recorder


def test_a_whole_study_runs_and_a_second_run_of_it_finds_nothing_to_do(plan: StudyPlan) -> None:
    record, _ = run(plan)
    assert [trial.state in ("complete", "pruned") for trial in record.trials] == [True] * 3
    assert all(trial.rows for trial in record.trials)
    again, recorder = run(plan)
    assert (again, recorder.events) == (record, [])
    assert read(plan.location.database) == record


def test_the_curves_of_a_study_are_the_same_wherever_it_is_kept(plan: StudyPlan, tmp_path: Path) -> None:
    elsewhere = moved(plan, SqliteLocation(RunFolder(tmp_path / "elsewhere"), "delete"))
    (tmp_path / "elsewhere").mkdir()
    curves = [
        [(trial.params, [(row.progress, row.value) for row in trial.rows]) for trial in run(one)[0].trials]
        for one in (plan, elsewhere)
    ]
    assert curves[0] == curves[1]

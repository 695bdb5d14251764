from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from ledgers import SPACE, begin_study, begin_trial, end_trial, make_report
from postgres import PostgresServer
from sqlalchemy.exc import OperationalError

from sweep.coordinator.ledger import Ledger, Measurement
from sweep.launch import Slot
from sweep.run_folder import RunFolder
from sweep.storage.location import PostgresLocation, Waiting, lock_study
from sweep.storage.postgresql import Connector, open_postgres
from sweep.storage.records import StudyRecord
from sweep.storage.retry import ATTEMPTS, retry
from sweep.storage.runs import RunTable

NUMBERS = itertools.count()


def lost(*, invalidated: bool = True) -> OperationalError:
    error = psycopg.OperationalError("the connection is gone")
    return OperationalError("SELECT 1", {}, error, connection_invalidated=invalidated)


def fail(times: int, error: Exception) -> Iterator[Any]:
    return itertools.chain([error] * times, itertools.repeat("done"))


def call(outcomes: Iterator[Any]) -> Any:
    outcome = next(outcomes)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


@pytest.mark.parametrize("times", [0, 1, ATTEMPTS - 1])
def test_a_call_is_made_again_while_its_connection_is_lost(times: int) -> None:
    outcomes = fail(times, lost())
    assert retry(lambda: call(outcomes)) == "done"


def test_a_server_that_drops_every_connection_is_given_up() -> None:
    outcomes = fail(ATTEMPTS, lost())
    with pytest.raises(OperationalError, match="the connection is gone"):
        retry(lambda: call(outcomes))


def test_what_fails_for_another_reason_is_not_made_again() -> None:
    outcomes = fail(1, lost(invalidated=False))
    with pytest.raises(OperationalError, match="the connection is gone"):
        retry(lambda: call(outcomes))
    assert next(outcomes) == "done"


def test_a_write_that_may_stand_already_is_made_again_in_another_way() -> None:
    outcomes = fail(2, lost())
    assert retry(lambda: call(outcomes), again=lambda: f"{call(outcomes)} at last") == "done at last"


class LosingConnector(Connector):
    """Connects, and loses one connection: at a study's ``fatal``-th commit, before it or before its answer."""

    commits = 0
    fatal: int | None = None
    is_committed = False

    def __init__(self, place: PostgresLocation) -> None:
        super().__init__(
            place.address, schema=place.schema, read_only=False, tell=lambda _: None, is_ended=lambda: False
        )
        self.made: list[psycopg.Connection] = []

    def _connect(self) -> psycopg.Connection:
        connection = super()._connect()
        self.made.append(connection)
        commit = connection.commit

        def commit_and_lose() -> None:
            self.commits += 1
            if self.commits != self.fatal:
                return commit()
            if self.is_committed:
                commit()
            connection.close()
            raise psycopg.OperationalError("the connection is gone")

        connection.commit = commit_and_lose  # type: ignore[method-assign]
        return connection


def write_study(connect: Connector, place: PostgresLocation) -> tuple[StudyRecord, list[Any], list[Any]]:
    """A whole small study: begun, two trials, one finished and one adopted; what Optuna and we hold of it."""
    storage = open_postgres(connect, where=place)
    ledger = Ledger(storage, "toy")
    begin_study(ledger)
    for ndcg in (0.75, 0.25):
        number = begin_trial(ledger)
        ledger.begin_run(number, slot=Slot(name="cpu", label="CPU"), attempt=1)
        ledger.commit([Measurement(number, make_report(100, ndcg))])
        ledger.note(number, device="cpu")
        ledger.end_run(number)
    end_trial(ledger, 0, 0.75)
    ledger.mirror()
    ledger = Ledger(storage, "toy")
    ledger.adopt_trials(SPACE)
    ledger.commit([Measurement(1, make_report(500, 0.5))])
    ledger.end_trial(1, value=None, pruned=True)
    table = RunTable(storage.engine)
    found = (
        ledger.record(),
        [
            (trial.number, trial.state, trial.params, trial.values, trial.intermediate_values, trial.user_attrs)
            for trial in retry(ledger.study.get_trials)
        ],
        [(run.trial, run.run, run.slot) for run in table.runs()],
    )
    storage.engine.dispose()
    return found


@pytest.mark.parametrize("is_committed", [False, True], ids=["before the commit", "before its answer"])
def test_a_study_is_the_same_whichever_commit_loses_its_connection(
    postgres: PostgresServer, tmp_path: Path, is_committed: bool
) -> None:
    def write(fatal: int | None) -> tuple[tuple[StudyRecord, list[Any], list[Any]], int]:
        place = PostgresLocation(postgres.address(), f"losing {next(NUMBERS)}", RunFolder(tmp_path))
        with lock_study(place, waiting=Waiting()):
            connect = LosingConnector(place)
            connect.fatal, connect.is_committed = fatal, is_committed
            found = write_study(connect, place)
            for connection in connect.made:
                connection.close()
            return found, connect.commits

    whole, commits = write(None)
    assert len(whole[1]) == 2
    for fatal in range(1 + is_committed, commits + 1, 3):  # all of them take a minute
        assert write(fatal)[0] == whole, fatal

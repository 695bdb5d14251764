from __future__ import annotations

import itertools
import os
import socket

import psycopg
import pytest
from postgres import PostgresServer

from sweep.errors import StudyLockedError
from sweep.storage.advisory import AdvisoryLock, find_advisory_owner
from sweep.storage.postgresql import Connector

NUMBERS = itertools.count()


@pytest.fixture
def schema() -> str:
    return f"sweep_advisory_{next(NUMBERS)}"


def connector(postgres: PostgresServer, schema: str) -> Connector:
    return Connector(postgres.address(), schema=schema, read_only=False, tell=lambda _: None, is_ended=lambda: False)


def lock_of(postgres: PostgresServer, schema: str) -> AdvisoryLock:
    return AdvisoryLock(connector(postgres, schema), schema=schema, where="the study")


def cut_off(postgres: PostgresServer) -> None:
    """Ends the connection that holds the only lock, as a network does."""
    found = postgres.execute(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_locks WHERE locktype = 'advisory' AND granted"
    )
    assert found == [(True,)]


def test_the_lock_is_held_in_its_block_alone(postgres: PostgresServer, schema: str) -> None:
    connect = connector(postgres, schema)
    assert find_advisory_owner(connect, schema=schema) is None
    with lock_of(postgres, schema) as lock:
        lock.check()
        found = find_advisory_owner(connect, schema=schema)
        assert found is not None
        assert (found.pid, found.host) == (os.getpid(), socket.gethostname())
    assert find_advisory_owner(connect, schema=schema) is None
    with pytest.raises(RuntimeError, match="scripted"), lock_of(postgres, schema):
        raise RuntimeError("scripted")
    assert find_advisory_owner(connect, schema=schema) is None


def test_studies_do_not_lock_each_other(postgres: PostgresServer, schema: str) -> None:
    with lock_of(postgres, schema) as one, lock_of(postgres, f"{schema}_other") as other:
        one.check()
        other.check()


def test_a_second_coordinator_is_told_who_holds_the_study(postgres: PostgresServer, schema: str) -> None:
    expected = f"^the study: this study is being run by process {os.getpid()} on {socket.gethostname()} since 20"
    with lock_of(postgres, schema), pytest.raises(StudyLockedError, match=expected), lock_of(postgres, schema):
        pass


def test_a_lock_whose_connection_was_lost_is_had_back(postgres: PostgresServer, schema: str) -> None:
    with lock_of(postgres, schema) as lock:
        cut_off(postgres)
        assert find_advisory_owner(connector(postgres, schema), schema=schema) is None
        lock.check()
        assert find_advisory_owner(connector(postgres, schema), schema=schema) is not None


def test_a_coordinator_that_lost_its_lock_to_another_writes_nothing_more(
    postgres: PostgresServer, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweep.storage.advisory.PATIENCE_S", 0.0)
    with lock_of(postgres, schema) as lock:
        cut_off(postgres)
        with lock_of(postgres, schema), pytest.raises(StudyLockedError, match="this study is being run by process"):
            lock.check()


def test_a_coordinator_that_another_one_ran_before_writes_nothing_more(postgres: PostgresServer, schema: str) -> None:
    with lock_of(postgres, schema) as lock:
        cut_off(postgres)
        with lock_of(postgres, schema):
            pass
        with pytest.raises(StudyLockedError, match="another coordinator ran this study while the server was gone"):
            lock.check()


def test_a_notice_of_the_server_is_not_its_end(postgres: PostgresServer, schema: str) -> None:
    with lock_of(postgres, schema) as lock:
        connection = lock._connection
        assert connection is not None
        connection.execute("LISTEN something")
        with psycopg.connect(postgres.url, autocommit=True) as other:
            other.execute("NOTIFY something")
        lock.check()
        assert lock._connection is connection

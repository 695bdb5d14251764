from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledgers import begin_study, begin_trial, make_report
from postgres import PostgresServer

from sweep.coordinator.ledger import Ledger, Measurement
from sweep.errors import StorageError
from sweep.run_folder import RunFolder
from sweep.storage.location import PostgresLocation, Waiting, lock_study
from sweep.storage.postgresql import Connector, PostgresAddress, name_schema, parse_address

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://server/studies", "postgresql://server/studies"),
        ("postgres://me@server:5433/studies", "postgresql://me@server:5433/studies"),
        (f"postgresql+psycopg://me:{SECRET}@server/studies?sslmode=require", "postgresql://me@server/studies"),
        ("postgresql://me@/studies?host=/run/postgresql", "postgresql://me@/run/postgresql/studies"),
        ("postgresql://", "postgresql:///"),
    ],
)
def test_an_address_is_shown_without_its_password(url: str, shown: str) -> None:
    address = parse_address(url)
    assert address is not None
    assert str(address) == shown
    assert SECRET not in repr(address)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "postgresql:",
        "mysql://server/x",
        "postgresql://server:port/x",
        "postgresql://me:p@ss@server/x",
        "/some/file.db",
    ],
)
def test_what_is_no_address_is_none(url: str) -> None:
    assert parse_address(url) is None


@given(names=st.lists(st.text(min_size=1, max_size=100), min_size=2, max_size=2, unique=True))
def test_each_study_has_a_schema_of_its_own_that_postgresql_takes(names: list[str]) -> None:
    schemas = [name_schema(name) for name in names]
    assert schemas[0] != schemas[1]
    assert all(re.fullmatch(r"sweep_[a-z0-9_]*", schema) and len(schema) < 64 for schema in schemas)


def test_a_plain_name_is_its_schemas_name() -> None:
    assert name_schema("quickstart") == "sweep_quickstart"
    assert name_schema("Quickstart").startswith("sweep_quickstart_")


def connector(address: PostgresAddress, **settings: float) -> Connector:
    return Connector(address, schema="sweep_x", read_only=True, tell=lambda _: None, is_ended=lambda: False, **settings)


def test_a_server_that_is_not_there_is_one_line_at_once() -> None:
    address = PostgresAddress({"host": "127.0.0.1", "port": "1", "user": "me", "password": SECRET, "dbname": "studies"})
    told: list[str] = []
    connect = Connector(
        address, schema="sweep_x", read_only=True, tell=told.append, is_ended=lambda: bool(told), patience_s=math.inf
    )
    with pytest.raises(StorageError, match=r"\Apostgresql://me@127\.0\.0\.1:1/studies: cannot be reached: .*\Z") as e:
        connect()
    assert told == []  # it is not waited for, since it was never there
    assert SECRET not in str(e.value)


@pytest.fixture
def guarded(postgres: PostgresServer) -> Iterator[PostgresAddress]:
    """The address of a user who needs a password."""
    postgres.execute(f"CREATE ROLE guarded LOGIN PASSWORD '{SECRET}'")
    rules = postgres.folder / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"local all guarded scram-sha-256\n{before}")
    postgres.execute("SELECT pg_reload_conf()")
    yield PostgresAddress({**postgres.address().parameters, "user": "guarded", "password": SECRET})
    rules.write_text(before)
    postgres.execute("SELECT pg_reload_conf()")
    postgres.execute("DROP OWNED BY guarded")
    postgres.execute("DROP ROLE guarded")


def test_a_wrong_password_is_one_line_at_once_and_is_not_repeated(guarded: PostgresAddress) -> None:
    wrong = PostgresAddress({**guarded.parameters, "password": "wr0ng-s3cret"})
    with pytest.raises(StorageError, match=r"\A.*: cannot be reached: .*password authentication failed.*\Z") as refused:
        connector(wrong)()
    assert "wr0ng-s3cret" not in str(refused.value)
    with connector(guarded)() as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("guarded",)


def test_a_user_who_may_make_no_schema_is_told_so_in_one_line(guarded: PostgresAddress, tmp_path: Path) -> None:
    place = PostgresLocation(guarded, "not allowed", RunFolder(tmp_path))
    with (
        pytest.raises(StorageError, match=r"\A.*: permission denied for database .*\Z"),
        lock_study(place, waiting=Waiting()),
    ):
        pass


def test_a_database_that_is_not_there_is_one_line(postgres: PostgresServer) -> None:
    address = PostgresAddress({**postgres.address().parameters, "dbname": "nowhere"})
    with pytest.raises(StorageError, match=r'\A.*: cannot be reached: .*database "nowhere" does not exist.*\Z'):
        connector(address)()


def test_what_is_acknowledged_is_on_the_disk_whatever_the_server_says(postgres: PostgresServer) -> None:
    with connector(postgres.address())() as connection:
        assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)
        assert connection.execute("SHOW default_transaction_read_only").fetchone() == ("on",)


@pytest.fixture(scope="module")
def mortal() -> Iterator[PostgresServer]:
    """A server of these tests' own, to be killed."""
    server = PostgresServer()
    yield server
    server.close()


def test_a_study_goes_on_after_its_server_was_killed_and_started_again(mortal: PostgresServer, tmp_path: Path) -> None:
    place = PostgresLocation(mortal.address(), "killed", RunFolder(tmp_path))
    said: list[str] = []
    with lock_study(place, waiting=Waiting(tell=said.append)) as held:
        ledger = Ledger(held.storage, "toy")
        begin_study(ledger)
        number = begin_trial(ledger)
        for progress in (100, 200, 300):
            ledger.commit([Measurement(number, make_report(progress, 0.5))])
            mortal.kill()
            mortal.start()
        assert place.find_owner() is None  # the lock went with the server
        ledger.commit([Measurement(number, make_report(400, 0.5))])
        found = place.find_owner()
        assert found is not None  # and was had back before anything was written
        assert [row.progress for row in ledger.table.rows(number)] == [100, 200, 300, 400]
        assert ledger.study.trials[number].intermediate_values == {0: 0.5, 100: 0.5, 200: 0.5, 300: 0.5, 400: 0.5}


def test_a_server_that_was_reached_is_waited_for_and_the_user_is_told(mortal: PostgresServer) -> None:
    said: list[str] = []
    asked: list[float] = []

    def is_ended() -> bool:
        asked.append(time.monotonic())
        if len(asked) == 3:
            mortal.start()
        return False

    connect = Connector(mortal.address(), schema="sweep_x", read_only=True, tell=said.append, is_ended=is_ended)
    connect().close()
    mortal.kill()
    connect().close()
    assert len(asked) >= 3
    assert re.fullmatch(r"postgresql://\S+ is gone; waiting for it, up to 90 s", said[0])
    assert re.fullmatch(r"postgresql://\S+ is back after \d+ s", said[1])


def test_a_server_that_stays_away_is_one_line_that_says_what_stands(mortal: PostgresServer) -> None:
    connect = connector(mortal.address(), patience_s=1.2)
    connect().close()
    mortal.kill()
    try:
        with pytest.raises(
            StorageError, match=r"\A.*: cannot be reached for \d+ s; what was committed stands, and the same command"
        ):
            connect()
    finally:
        mortal.start()


def test_nobody_waits_for_a_server_who_was_told_to_stop(mortal: PostgresServer) -> None:
    connect = Connector(mortal.address(), schema="sweep_x", read_only=True, tell=lambda _: None, is_ended=lambda: True)
    connect().close()
    mortal.kill()
    try:
        with pytest.raises(StorageError, match="cannot be reached"):
            connect()
    finally:
        mortal.start()


def test_many_studies_share_a_database_and_none_sees_another(postgres: PostgresServer, tmp_path: Path) -> None:
    places = [PostgresLocation(postgres.address(), f"shared {name}", RunFolder(tmp_path / name)) for name in ("a", "b")]
    for place in places:
        place.folder.path.mkdir()
    with lock_study(places[0], waiting=Waiting()) as first, lock_study(places[1], waiting=Waiting()) as second:
        one, other = Ledger(first.storage, "toy"), Ledger(second.storage, "toy")
        begin_study(one)
        begin_trial(one)
        assert not other.has_begun()
        assert len(other.study.trials) == 0
    with psycopg.connect(postgres.url) as connection:
        found = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    assert found == (0,)

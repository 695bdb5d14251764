"""Optuna's own contract for storages, on the settings under which a study's database is opened."""

from __future__ import annotations

import gc
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.storages import BaseStorage
from optuna.testing.pytest_storages import StorageTestCase
from postgres import PostgresServer

from sweep.run_folder import RunFolder
from sweep.storage.database import open_storage
from sweep.storage.location import PostgresLocation, Waiting, lock_study


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study's database without a study, to be copied: making its tables takes longer than most of these tests."""
    file = tmp_path_factory.mktemp("empty") / "study.db"
    open_storage(file, journal="delete").engine.dispose()
    return file


class TestRollbackJournal(StorageTestCase):
    @pytest.fixture
    def storage(self, tmp_path: Path, empty: Path) -> Iterator[BaseStorage]:
        storage = open_storage(Path(shutil.copy(empty, tmp_path / "study.db")), journal="delete")
        yield storage
        storage.engine.dispose()


class TestWriteAheadLog(StorageTestCase):
    @pytest.fixture
    def storage(self, tmp_path: Path, empty: Path) -> Iterator[BaseStorage]:
        storage = open_storage(Path(shutil.copy(empty, tmp_path / "study.db")), journal="wal")
        yield storage
        storage.engine.dispose()


@pytest.fixture(scope="session")
def place(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> PostgresLocation:
    """A study's place on the server without a study, to be emptied after each test for the same reason."""
    return PostgresLocation(postgres.address(), "optuna", RunFolder(tmp_path_factory.mktemp("optuna")))


class TestPostgres(StorageTestCase):
    @pytest.fixture
    def storage(self, place: PostgresLocation, postgres: PostgresServer) -> Iterator[BaseStorage]:
        with lock_study(place, waiting=Waiting()) as held:
            yield held.storage
        with warnings.catch_warnings():  # copies that a test unpickled and left open
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
        postgres.execute(f"TRUNCATE {place.schema}.studies RESTART IDENTITY CASCADE")

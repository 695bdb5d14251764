"""Optuna's own contract for storages, on the settings under which a study's database is opened."""

from __future__ import annotations

import gc
import itertools
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
from sweep.storage.place import PostgresPlace, Waiting, hold_study

NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study's database without a study, to be copied: making its tables takes longer than most of these tests."""
    file = tmp_path_factory.mktemp("empty") / "study.db"
    open_storage(file, journal="delete").engine.dispose()
    return file


class TestRollbackJournal(StorageTestCase):
    @pytest.fixture
    def storage(self, memory_folder: Path, empty: Path) -> Iterator[BaseStorage]:
        storage = open_storage(Path(shutil.copy(empty, memory_folder / "study.db")), journal="delete")
        yield storage
        storage.engine.dispose()


class TestWriteAheadLog(StorageTestCase):
    @pytest.fixture
    def storage(self, memory_folder: Path, empty: Path) -> Iterator[BaseStorage]:
        storage = open_storage(Path(shutil.copy(empty, memory_folder / "study.db")), journal="wal")
        yield storage
        storage.engine.dispose()


class TestPostgres(StorageTestCase):
    @pytest.fixture
    def storage(self, tmp_path: Path, postgres: PostgresServer) -> Iterator[BaseStorage]:
        place = PostgresPlace(postgres.address(), f"optuna {next(NUMBERS)}", RunFolder(tmp_path))
        with hold_study(place, waiting=Waiting()) as held:
            yield held.storage
        with warnings.catch_warnings():  # copies that a test unpickled and left open
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()

"""Optuna's own contract for storages, on the settings under which a study's database is opened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.storages import BaseStorage
from optuna.testing.pytest_storages import StorageTestCase

from sweep.storage.database import open_storage


class TestStudyDatabase(StorageTestCase):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[BaseStorage]:
        storage = open_storage(tmp_path / "study.db")
        yield storage
        storage.engine.dispose()

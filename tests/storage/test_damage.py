from __future__ import annotations

import random
from pathlib import Path

import pytest
from ledgers import begin_trial, end_trial, make_report

from sweep.coordinator.ledger import Ledger, Measurement
from sweep.errors import StorageError
from sweep.storage.database import open_storage, open_storage_read_only

TRIALS = 12


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a study of twelve finished trials of twenty measurements."""
    file = tmp_path_factory.mktemp("whole") / "study.db"
    storage = open_storage(file, journal="delete")
    ledger = Ledger(storage, "toy")
    for _ in range(TRIALS):
        number = begin_trial(ledger)
        for progress in range(50, 1001, 50):
            ledger.commit([Measurement(number, make_report(progress, 0.25, queries=200))])
        end_trial(ledger, number, 0.25)
    storage.engine.dispose()
    return file.read_bytes()


def test_a_whole_file_is_opened(tmp_path: Path, whole: bytes) -> None:
    (tmp_path / "study.db").write_bytes(whole)
    storage = open_storage(tmp_path / "study.db", journal="delete")
    assert Ledger(storage, "toy").record().counted == TRIALS
    storage.engine.dispose()


@pytest.mark.parametrize("seed", range(6))
def test_a_damaged_file_is_one_line_that_says_what_is_intact_and_stays_as_it_is(
    tmp_path: Path, whole: bytes, seed: int
) -> None:
    chosen = random.Random(seed)
    damaged = bytearray(whole)
    pages = len(whole) // 4096
    for page in chosen.sample(range(pages // 2, pages), 3):
        damaged[page * 4096 : (page + 1) * 4096] = chosen.randbytes(4096)
    file = tmp_path / "study.db"
    file.write_bytes(damaged)
    with pytest.raises(
        StorageError,
        match=r"\A.*study\.db: is damaged \(.*\); intact: [1-9]\d* finished trials and \d+ measurements, and every"
        r" model on disk; nothing was overwritten: restore a copy of it, or move it away to begin the study anew\Z",
    ) as caught:
        open_storage(file)
    intact = int(str(caught.value).partition("trials and ")[2].partition(" ")[0])
    assert 0 < intact < TRIALS * 20
    assert file.read_bytes() == damaged
    assert [entry.name for entry in tmp_path.iterdir()] == ["study.db"]


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_file_that_was_cut_off_is_one_line_and_stays_as_it_is(tmp_path: Path, whole: bytes, share: float) -> None:
    file = tmp_path / "study.db"
    file.write_bytes(whole[: int(len(whole) * share) // 4096 * 4096])
    before = file.read_bytes()
    with pytest.raises(StorageError, match=r"\A.*study\.db: is damaged \(.*\); intact: \d+ finished trials.*\Z"):
        open_storage(file)
    with pytest.raises(StorageError, match=r"\A.*study\.db: .*\Z"):
        open_storage_read_only(file)
    assert file.read_bytes() == before


def test_an_empty_file_is_no_reason_to_begin_anew(tmp_path: Path) -> None:
    (tmp_path / "study.db").touch()
    with pytest.raises(
        StorageError, match=r"\A.*study\.db: is empty, so the study that was in it is lost; nothing.*\Z"
    ):
        open_storage(tmp_path / "study.db")
    assert (tmp_path / "study.db").stat().st_size == 0

"""The mark by which a folder is known to be the same one on another machine."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sweep.errors import StorageError
from sweep.launch.shared import Mark, make_mark


def test_a_mark_that_is_answered_in_the_same_folder_leaves_nothing(tmp_path: Path) -> None:
    mark = make_mark(tmp_path)
    assert mark.file.stat().st_mode & 0o777 == 0o600
    assert mark.answer() is None
    assert mark.check() is None
    mark.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_which_the_mark_does_not_appear_is_another_one(tmp_path: Path) -> None:
    mark = make_mark(tmp_path)
    elsewhere = Mark(tmp_path / "elsewhere" / mark.file.name, mark.content)
    assert elsewhere.answer() == f"does not see what the coordinator writes into {tmp_path / 'elsewhere'}"
    assert mark.check() == f"wrote into another {tmp_path} than the coordinator's"


def test_a_copy_of_the_folder_is_noticed_by_the_coordinator(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    mark = make_mark(tmp_path / "folder")
    shutil.copytree(tmp_path / "folder", tmp_path / "copy")
    assert Mark(tmp_path / "copy" / mark.file.name, mark.content).answer() is None
    assert mark.check() is not None


def test_a_mark_with_another_content_is_another_folder(tmp_path: Path) -> None:
    mark = make_mark(tmp_path)
    mark.file.write_text("of another run")
    assert mark.answer() == f"sees another {tmp_path} than the coordinator"


def test_a_folder_that_cannot_be_written_to_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot be written to, and every worker must: No such file"):
        make_mark(tmp_path / "gone")

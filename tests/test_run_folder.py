from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from sweep.cli import main
from sweep.errors import StorageError, StudyFileError, StudyLockedError
from sweep.run_folder import RunFolder, claim_folder
from sweep.settings.study_file import load_study
from sweep.storage.lock import StudyLock
from sweep.testing import write_toy_study


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_new_run_folder_is_for_its_user_alone(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        claim_folder(tmp_path / "study")
    finally:
        os.umask(before)
    assert mode(tmp_path / "study") == 0o700


def test_a_run_folder_that_others_can_read_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study").chmod(0o755)
    claim_folder(tmp_path / "study")
    assert mode(tmp_path / "study") == 0o700


def test_a_run_folder_with_what_a_study_leaves_behind_will_do(tmp_path: Path) -> None:
    (tmp_path / "study" / "checkpoints" / "trial-0000").mkdir(parents=True)
    (tmp_path / "study" / "study.db").touch()
    (tmp_path / "study" / "checkpoints" / "trial-0000" / "file").touch()
    claim_folder(tmp_path / "study")


def test_a_run_folder_may_be_a_link_to_another_disk(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "study").symlink_to("elsewhere")
    claim_folder(tmp_path / "study")
    assert mode(tmp_path / "elsewhere") == 0o700


STRANGE: dict[str, Callable[[Path, Path], object]] = {
    "study.db": lambda path, target: path.symlink_to(target),
    "study.lock": lambda path, target: path.symlink_to(target),
    "logs": lambda path, target: path.symlink_to(target.parent),
    "logs/trial-0000.log": lambda path, target: path.symlink_to(target),
    "checkpoints/trial-0000": lambda path, target: path.symlink_to(target.parent),
    "checkpoints/trial-0000/step-00000001/model.safetensors": lambda path, target: path.symlink_to(target),
    "checkpoints/trial-0001": lambda path, _: path.symlink_to("../../nowhere"),
    "checkpoints/pipe": lambda path, _: os.mkfifo(path),
}


@pytest.mark.parametrize(("name", "place"), STRANGE.items(), ids=STRANGE.keys())
def test_a_link_or_a_pipe_in_a_run_folder_is_refused_before_anything_is_written_through_it(
    tmp_path: Path, name: str, place: Callable[[Path, Path], object], capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_toy_study(tmp_path / "studies", script={})
    mine = tmp_path / "mine" / "precious.txt"
    mine.parent.mkdir()
    mine.write_text("precious")
    strange = RunFolder.beside(file).path / name
    strange.parent.mkdir(parents=True)
    place(strange, mine)
    assert main(["run", str(file)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"sweep: {strange}: is a symlink or special file")
    assert said.count("\n") == 1
    assert mine.read_text() == "precious"
    assert [entry.name for entry in mine.parent.iterdir()] == ["precious.txt"]


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("precious")
    (tmp_path / "study.lock").symlink_to("precious.txt")
    with pytest.raises(StorageError, match=r"study\.lock: cannot be opened: "), StudyLock(tmp_path / "study.lock"):
        pass
    assert (tmp_path / "precious.txt").read_text() == "precious"


def test_a_file_in_the_place_of_a_run_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "study").write_text("mine")
    with pytest.raises(StorageError, match=r"\A.*study: is no folder, but the study's must be here.*\Z"):
        claim_folder(tmp_path / "study")
    assert (tmp_path / "study").read_text() == "mine"


def test_a_run_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"\A.*none/study: cannot be made, or not for this user alone: .*\Z"):
        claim_folder(tmp_path / "none" / "study")


@pytest.mark.parametrize("name", ["../escape", "..", "a/b", "/etc", "a\\b", "", ".hidden", "a\nb", "a\0b", "-rf"])
def test_a_studys_name_leads_nowhere(tmp_path: Path, name: str) -> None:
    file = write_toy_study(tmp_path, script={})
    shown = "".join(f"\\u{ord(letter):04x}" for letter in name)
    file.write_text(file.read_text().replace('name = "toy"', f'name = "{shown}"'))
    with pytest.raises(StudyFileError, match=r"\A.*toy\.toml: name: "):
        load_study(file)


def test_a_lock_that_somebody_holds_is_refused_with_who_it_is(tmp_path: Path) -> None:
    with (
        StudyLock(tmp_path / "study.lock"),
        pytest.raises(StudyLockedError, match=f"being run by process {os.getpid()} on .* stop that one first"),
        StudyLock(tmp_path / "study.lock"),
    ):
        pass

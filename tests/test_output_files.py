"""Files that a user names: complete or not there, and written through what stands at their paths."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from sweep.output_files import create_output, is_standard_output, write_output


def test_a_file_is_replaced_and_keeps_its_permissions(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text("old")
    file.chmod(0o640)
    with file.open() as reader:
        write_output(file, "new")
        assert reader.read() == "old"  # who reads it meanwhile reads all of it
    assert file.read_text() == "new"
    assert file.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["report.html"]


@pytest.mark.parametrize("is_there", [True, False])
def test_a_link_stays_and_its_target_is_written(tmp_path: Path, is_there: bool) -> None:
    target, first, link = tmp_path / "served" / "index.html", tmp_path / "first", tmp_path / "link.html"
    target.parent.mkdir()
    if is_there:
        target.write_text("old")
    first.symlink_to(target)
    link.symlink_to("first")
    write_output(link, "new")
    assert (link.is_symlink(), first.is_symlink(), target.is_symlink()) == (True, True, False)
    assert target.read_text() == "new"
    assert os.listdir(target.parent) == ["index.html"]


def test_a_pipe_stays_and_takes_the_text_as_a_stream(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write_output(pipe, "new" * 50_000)
    reader.join()
    assert read == ["new" * 50_000]
    assert pipe.is_fifo()


def test_a_file_with_another_name_has_the_text_under_both(tmp_path: Path) -> None:
    file, other = tmp_path / "a", tmp_path / "b"
    file.write_text("old")
    other.hardlink_to(file)
    write_output(file, "new")
    assert other.read_text() == "new"


def test_what_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        write_output(loop, "new")
    with pytest.raises(IsADirectoryError, match="Is a directory"):
        write_output(tmp_path, "new")
    with pytest.raises(FileNotFoundError, match="No such file"):
        write_output(tmp_path / "missing" / "report.html", "new")
    assert os.listdir(tmp_path) == ["loop"]


@pytest.mark.parametrize("has_links", [True, False])
def test_a_new_file_is_complete_and_one_that_is_there_is_left_alone(
    tmp_path: Path, has_links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    if not has_links:  # as on a FAT file system
        monkeypatch.setattr(os, "link", refuse)
    file, link = tmp_path / "new.toml", tmp_path / "link.toml"
    create_output(file, "new \u6f22")
    assert file.read_text(encoding="utf-8") == "new \u6f22"
    link.symlink_to(tmp_path / "nowhere")
    for there in (file, link):
        with pytest.raises(FileExistsError, match="File exists"):
            create_output(there, "newer")
    with pytest.raises(FileNotFoundError, match="No such file"):
        create_output(tmp_path / "missing" / "new.toml", "new")
    assert file.read_text(encoding="utf-8") == "new \u6f22"
    assert sorted(os.listdir(tmp_path)) == ["link.toml", "new.toml"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_device_is_written_to() -> None:
    write_output(Path(os.devnull), "new")
    assert Path(os.devnull).is_char_device()
    with pytest.raises(OSError, match="No space left on device"):
        write_output(Path("/dev/full"), "new")


def test_standard_output_is_known_by_any_path(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert not is_standard_output(tmp_path / "missing")
    assert not is_standard_output(tmp_path)
    assert is_standard_output(Path("/dev/stdout"))
    write_output(Path("/dev/stdout"), "new")
    assert capfd.readouterr().out == "new"

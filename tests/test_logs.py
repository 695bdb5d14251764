from __future__ import annotations

from pathlib import Path

import pytest

from sweep.logs import last_lines, open_log, rotate


def test_a_small_log_stays_and_a_large_one_is_put_aside_in_place_of_the_one_before(tmp_path: Path) -> None:
    log = tmp_path / "a log"
    assert not rotate(log)
    log.write_text("small")
    assert not rotate(log, max_bytes=6)
    for content in ("first", "second"):
        log.write_text(content)
        assert rotate(log, max_bytes=5)
        assert not log.exists()
        assert (tmp_path / "a log.1").read_text() == content


def test_a_log_is_made_with_its_folder_for_its_owner_alone(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "a log"
    with open(open_log(log), "w") as file:
        file.write("words")
    assert log.read_text() == "words"
    assert (log.stat().st_mode & 0o777, log.parent.stat().st_mode & 0o777) == (0o600, 0o700)


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"one\n\ntwo\n", ["one", "two"]),
        (b"1\n2\n3\n4", ["2", "3", "4"]),
        (b"\x1b[31mred\xff\n", [" [31mred\ufffd"]),
        (b"x" * 400, ["x" * 300]),
    ],
)
def test_the_last_lines_of_a_log_can_be_shown(tmp_path: Path, content: bytes, lines: list[str]) -> None:
    (tmp_path / "log").write_bytes(content)
    assert last_lines(tmp_path / "log", 3) == lines


def test_a_log_that_is_not_there_has_no_lines(tmp_path: Path) -> None:
    assert last_lines(tmp_path / "log") == []

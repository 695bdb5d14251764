from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from sweep.errors import StorageError, StudyFileError, SweepError
from sweep.run_folder import RunFolder
from sweep.storage.location import STORAGE_VARIABLE, PostgresLocation, SqliteLocation, locate_study
from sweep.testing import write_toy_study

URLS = {name: f"postgresql://me@{name}.example/studies" for name in ("option", "environment", "file")}
SECRET = "s3cr3t"
WITH_PASSWORD = [
    f"postgresql://me:{SECRET}@server/studies",
    f"postgresql://me@server/studies?password={SECRET}",
    f"postgres://:{SECRET}@/studies",
    f"postgresql+psycopg://me:{SECRET}@server:5432/studies",
]
NO_ADDRESS = [
    "sqlite:///study.db",
    "study.db",
    "mysql://me@server/studies",
    f"postgresql://me:{SECRET}@server:port/studies:{SECRET}?nonsense={SECRET}",
    f"postgresql+psycopg2://me:{SECRET}@server/studies",
    f"me:{SECRET}@server",
    "",
]


def write(folder: Path, url: str | None = None) -> Path:
    """A study file, which names an address or none."""
    return write_toy_study(folder, script={}, storage={"url": url} if url else {})


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        ({"option", "environment", "file"}, "option"),
        ({"option", "file"}, "option"),
        ({"environment", "file"}, "environment"),
        ({"environment"}, "environment"),
        ({"file"}, "file"),
    ],
)
def test_the_command_comes_before_the_environment_and_that_before_the_file(
    tmp_path: Path, given: set[str], chosen: str
) -> None:
    file = write(tmp_path, URLS["file"] if "file" in given else None)
    option = URLS["option"] if "option" in given else None
    environment = {STORAGE_VARIABLE: URLS["environment"]} if "environment" in given else {}
    location = locate_study(file, storage=option, environment=environment)
    assert isinstance(location.database, PostgresLocation)
    assert (location.file, location.run_folder, location.option) == (file, RunFolder.beside(file), option)
    assert str(location.database) == f"{URLS[chosen]} (study 'toy')"


@pytest.mark.parametrize("environment", [{}, {STORAGE_VARIABLE: ""}])
def test_a_study_without_an_address_lies_beside_its_file(tmp_path: Path, environment: dict[str, str]) -> None:
    file = write(tmp_path)
    assert locate_study(file, environment=environment).database == SqliteLocation(RunFolder.beside(file))


def test_another_command_is_told_the_file_and_the_address_that_this_one_was_told(tmp_path: Path) -> None:
    file = write(tmp_path / "a folder")
    assert shlex.split(locate_study(file, environment={}).arguments) == [str(file)]
    located = locate_study(file, storage=URLS["option"], environment={})
    assert shlex.split(located.arguments) == [str(file), "--storage", URLS["option"]]
    environment = {STORAGE_VARIABLE: URLS["environment"]}  # which the other command has too
    assert shlex.split(locate_study(file, environment=environment).arguments) == [str(file)]


@pytest.mark.parametrize("url", WITH_PASSWORD)
def test_a_password_where_others_can_read_it_is_refused_and_not_repeated(tmp_path: Path, url: str) -> None:
    with pytest.raises(StorageError, match=r"\A--storage: holds a password.*SWEEP_STORAGE.*\Z") as refused:
        locate_study(write(tmp_path), storage=url, environment={})
    assert SECRET not in str(refused.value)
    with pytest.raises(StudyFileError, match=r"\A.*toy\.toml: storage\.url: holds a password.*\Z") as refused_file:
        locate_study(write(tmp_path, url), environment={})
    assert SECRET not in str(refused_file.value)


@pytest.mark.parametrize("url", WITH_PASSWORD)
def test_a_password_in_the_environment_is_taken_and_not_shown(tmp_path: Path, url: str) -> None:
    location = locate_study(write(tmp_path), environment={STORAGE_VARIABLE: url})
    database = location.database
    assert isinstance(database, PostgresLocation)
    assert database.address.parameters["password"] == SECRET
    for shown in (repr(location), location.arguments, str(database), str(database.address), repr(database.address)):
        assert SECRET not in shown


@pytest.mark.parametrize("url", NO_ADDRESS)
def test_what_is_no_address_is_one_line_that_does_not_repeat_it(tmp_path: Path, url: str) -> None:
    calls = {
        "--storage": lambda: locate_study(write(tmp_path), storage=url, environment={}),
        "SWEEP_STORAGE": lambda: locate_study(write(tmp_path), environment={STORAGE_VARIABLE: url}),
        r"storage\.url": lambda: locate_study(write(tmp_path, url), environment={}),
    }
    for source, call in calls.items():
        if not url and source != "--storage":
            continue  # an empty variable is none
        with pytest.raises(SweepError, match=rf"\A.*{source}: must be an address such as postgresql://.*\Z") as refused:
            call()
        assert SECRET not in str(refused.value)

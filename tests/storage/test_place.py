from __future__ import annotations

from pathlib import Path

import pytest

from sweep.errors import StorageError, StudyFileError, SweepError
from sweep.run_folder import RunFolder
from sweep.settings.study_file import StorageSpec, StudySpec, load_study
from sweep.storage.place import STORAGE_VARIABLE, PostgresPlace, SqlitePlace, find_place
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


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_toy_study(tmp_path, script={})


def spec_with(file: Path, url: str | None) -> StudySpec:
    return load_study(file).model_copy(update={"storage": StorageSpec(url=url) if url else StorageSpec()})


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
    file: Path, given: set[str], chosen: str
) -> None:
    place = find_place(
        file,
        spec_with(file, URLS["file"] if "file" in given else None),
        storage=URLS["option"] if "option" in given else None,
        environment={STORAGE_VARIABLE: URLS["environment"]} if "environment" in given else {},
    )
    assert isinstance(place, PostgresPlace)
    assert str(place) == f"{URLS[chosen]} (study 'toy')"


@pytest.mark.parametrize("environment", [{}, {STORAGE_VARIABLE: ""}])
def test_a_study_without_an_address_lies_beside_its_file(file: Path, environment: dict[str, str]) -> None:
    assert find_place(file, spec_with(file, None), environment=environment) == SqlitePlace(RunFolder.beside(file))


@pytest.mark.parametrize("url", WITH_PASSWORD)
def test_a_password_where_others_can_read_it_is_refused_and_not_repeated(file: Path, url: str) -> None:
    with pytest.raises(StorageError, match=r"\A--storage: holds a password.*SWEEP_STORAGE.*\Z") as refused:
        find_place(file, spec_with(file, None), storage=url, environment={})
    assert SECRET not in str(refused.value)
    with pytest.raises(StudyFileError, match=r"\A.*toy\.toml: storage\.url: holds a password.*\Z") as refused_file:
        find_place(file, spec_with(file, url), environment={})
    assert SECRET not in str(refused_file.value)


@pytest.mark.parametrize("url", WITH_PASSWORD)
def test_a_password_in_the_environment_is_taken_and_not_shown(file: Path, url: str) -> None:
    place = find_place(file, spec_with(file, None), environment={STORAGE_VARIABLE: url})
    assert isinstance(place, PostgresPlace)
    assert place.address.parameters["password"] == SECRET
    for shown in (str(place), repr(place), str(place.address), repr(place.address)):
        assert SECRET not in shown


@pytest.mark.parametrize("url", NO_ADDRESS)
def test_what_is_no_address_is_one_line_that_does_not_repeat_it(file: Path, url: str) -> None:
    calls = {
        "--storage": lambda: find_place(file, spec_with(file, None), storage=url, environment={}),
        "SWEEP_STORAGE": lambda: find_place(file, spec_with(file, None), environment={STORAGE_VARIABLE: url}),
        r"storage\.url": lambda: find_place(file, spec_with(file, url), environment={}),
    }
    for source, call in calls.items():
        if not url and source != "--storage":
            continue  # an empty variable is none
        with pytest.raises(SweepError, match=rf"\A.*{source}: must be an address such as postgresql://.*\Z") as refused:
            call()
        assert SECRET not in str(refused.value)

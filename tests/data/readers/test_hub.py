from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub_server import COMMIT, TOKEN, serve_hub
from small_files import write_lines, write_parquet, write_text

import sweep
from sweep.data.readers.hub import Hub
from sweep.errors import CollectionError

LOAD = """
import json, sys
from pathlib import Path
from sweep.data import load_collection, pin_collection
from sweep.errors import CollectionError
from sweep.settings.data_spec import DataSpec

for name in sys.argv[1:]:
    try:
        data = pin_collection(DataSpec(collection=name))
        loaded = load_collection(data, folder=Path())
        said = [data.collection, sorted(loaded.documents), loaded.qrels, loaded.notes]
    except CollectionError as error:
        said = str(error)
    print("SAID", json.dumps(said))
"""

README = """---
license: mit
configs:
- config_name: corpus
  data_files: [{split: corpus, path: corpus/corpus-*}]
- config_name: queries
  data_files: [{split: queries, path: queries/queries-*}]
- config_name: default
  data_files: [{split: train, path: data/train-*}, {split: validation, path: data/validation-*}]
---
"""


def write_data_set(folder):
    write_text(folder / "README.md", README)
    corpus = [{"_id": f"d{n}", "title": None, "text": f"text {n}"} for n in range(4)]
    write_parquet(folder / "corpus" / "corpus-0.parquet", [*corpus, {"_id": "d4", "title": "late", "text": "text 4"}])
    write_parquet(folder / "queries" / "queries-0.parquet", [{"_id": f"q{n}", "text": f"query {n}"} for n in range(4)])
    for number, split in enumerate(("train", "validation")):
        rows = [{"query-id": f"q{number}", "corpus-id": f"d{number}", "score": 1.0}]
        write_parquet(folder / "data" / f"{split}-0.parquet", rows)


def load(folder, *names, **variables):
    """What each name gives in a process of its own, whose hub and caches are those of a folder."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))},
        "HF_HOME": str(folder / "hf"),
        "SWEEP_CACHE": str(folder / "cache"),
        "PYTHONPATH": str(Path(sweep.__file__).parents[1]),
        **variables,
    }
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *names], env=environment, capture_output=True, text=True, timeout=300, check=True
    )
    return [json.loads(line.removeprefix("SAID ")) for line in done.stdout.splitlines() if line.startswith("SAID ")]


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """Folder, and what each name gave while the hub was there."""
    folder = tmp_path_factory.mktemp("hub")
    hub = folder / "hub" / "me"
    for name in ("toy", "toy-gated"):
        write_data_set(hub / name)
    write_lines(hub / "rows" / "train.jsonl", [{"anchor": f"q {n}", "positive": f"d {n}"} for n in range(9)])
    write_text(hub / "broken" / "train.jsonl", '{"anchor": "q", "positive": "d"}\n{oops')
    parts = ("toy", "toy@v9", "toy#de", "gone", "hidden", "toy-gated", "rows", "broken")
    names = [f"hub:me/{part}" for part in parts]
    with serve_hub(folder / "hub") as address:
        return folder, dict(zip(names, load(folder, *names, HF_ENDPOINT=address, HF_TOKEN=TOKEN), strict=True))


def test_a_data_set_is_read_by_its_configurations_at_a_revision_that_is_recorded(answers):
    name, documents, qrels, notes = answers[1]["hub:me/toy"]
    assert name == f"hub:me/toy@{COMMIT}"
    assert documents == ["d0", "d1", "d2", "d3", "d4"]
    assert qrels == {"train": {"q0": {"d0": 1}}, "dev": {"q1": {"d1": 1}}, "test": {}}
    assert notes[0] == f"me/toy on the hub at revision {COMMIT}"
    assert "dev from default/validation.jsonl.gz" in notes[1]


def test_a_data_set_of_rows_is_read_as_the_rows_that_it_has(answers):
    _, documents, _, notes = answers[1]["hub:me/rows"]
    assert len(documents) == 9
    assert notes[1] == "read as pairs: train from default/train.jsonl.gz"


def test_the_token_is_that_of_the_environment(answers):
    assert answers[1]["hub:me/toy-gated"][0] == f"hub:me/toy-gated@{COMMIT}"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("hub:me/gone", "hub:me/gone: there is no such data set, or it needs a login"),
        ("hub:me/hidden", "hub:me/hidden: there is no such data set, or it needs a login or its terms accepted"),
        ("hub:me/toy@v9", "hub:me/toy@v9: there is no such revision of it"),
        ("hub:me/toy#de", f"hub:me/toy@{COMMIT}#de: has no part 'de'"),
        ("hub:me/broken", f"hub:me/broken@{COMMIT}"),
    ],
)
def test_what_cannot_be_had_is_refused_in_one_line_and_leaves_nothing_half_written(answers, name, problem):
    folder, said = answers
    assert said[name].startswith(problem)
    assert "\n" not in said[name]
    assert sorted(path.parent.name for path in (folder / "cache").rglob("data")) == [COMMIT] * 3  # toy, toy-gated, rows


def test_what_was_fetched_is_read_without_the_hub(answers):
    folder, said = answers
    offline = load(folder, "hub:me/toy", "hub:me/other", HF_ENDPOINT="http://127.0.0.1:9")
    assert offline == [said["hub:me/toy"], "hub:me/other: cannot be read: [Errno 111] Connection refused"]


@pytest.mark.parametrize("source", ["", "a/b/c", "../x", "me/toy@", "me toy"])
def test_a_name_that_is_none_is_refused(source):
    with pytest.raises(CollectionError, match="names no data set; write hub:NAME@REVISION"):
        Hub().pin(source)

from __future__ import annotations

import re

import pytest
from small_files import write_lines, write_text

from sweep.data import load_collection
from sweep.data.readers.configurations import choose_configurations
from sweep.errors import CollectionError
from sweep.settings.data_spec import DataSpec

MTEB = ["corpus", "default", "queries"]
LANGUAGES = ["de", "de-corpus", "de-queries", "en-corpus", "en-qrels", "en-queries"]


@pytest.mark.parametrize(
    ("names", "part", "chosen"),
    [
        (MTEB, "", MTEB),
        (LANGUAGES, "de", ["de", "de-corpus", "de-queries"]),
        (LANGUAGES, "en", ["en-corpus", "en-qrels", "en-queries"]),
        (["corpus", "de-qrels", "de-queries", "en-qrels", "en-queries"], "en", ["en-qrels", "en-queries", "corpus"]),
        (["default"], "", ["default"]),
        (["pair"], "", ["pair"]),
        (["pair", "triplet"], "triplet", ["triplet"]),
        (["default", "large"], "", ["default"]),
    ],
)
def test_the_configurations_of_one_collection_are_chosen(names, part, chosen):
    assert choose_configurations(names, part=part, source="me/toy") == chosen


@pytest.mark.parametrize(
    ("names", "part", "problem"),
    [
        (LANGUAGES, "", "me/toy: holds several collections, de, en: name one, as in me/toy#de"),
        (LANGUAGES, "fr", "me/toy: has no part 'fr'; known are de, en"),
        (["pair", "triplet"], "", "me/toy: holds several collections, pair, triplet: name one, as in me/toy#pair"),
    ],
)
def test_a_choice_that_is_open_is_refused_with_what_there_is(names, part, problem):
    with pytest.raises(CollectionError, match=re.escape(problem)):
        choose_configurations(names, part=part, source="me/toy")


def write_clone(folder, front_matter, *, languages=("",)):
    if front_matter:
        write_text(folder / "README.md", f"---\n{front_matter}\n---\n# A data set\n")
    for language in languages:
        start = folder / language
        write_lines(start / "a.jsonl", [{"_id": f"{language}d{n}", "text": f"t {n}"} for n in range(4)])
        write_lines(start / "b.jsonl", [{"_id": f"q{n}", "text": f"q {n}"} for n in range(4)])
        rows = [{"query-id": f"q{n}", "corpus-id": f"{language}d{n}", "score": 1} for n in range(4)]
        for place, split in enumerate(("one", "two")):
            write_lines(start / f"{split}.jsonl", rows[2 * place : 2 * place + 2])


CONFIGS = """configs:
- config_name: {0}corpus
  data_files: {1}a.jsonl
- config_name: {0}queries
  data_files: [{1}b.jsonl]
- config_name: {0}qrels
  data_files:
    train: {1}one.jsonl
    dev: [{1}two.jsonl]"""


def load(folder, part=""):
    return load_collection(DataSpec(collection=f"{folder.name}{part}"), folder=folder.parent)


def test_a_clone_is_read_as_the_configurations_of_its_readme_say(tmp_path):
    write_clone(tmp_path / "toy", CONFIGS.format("", ""))
    collection = load(tmp_path / "toy")
    assert {split: len(qrels) for split, qrels in collection.qrels.items()} == {"train": 2, "dev": 2, "test": 0}
    assert collection.notes == (
        "read as BEIR: documents from a.jsonl; queries from b.jsonl; train from one.jsonl; dev from two.jsonl",
        "left aside: README.md",
    )


def test_a_part_of_a_clone_is_named_behind_its_path(tmp_path):
    both = CONFIGS.format("en-", "en/") + CONFIGS.format("de-", "de/").removeprefix("configs:")
    write_clone(tmp_path / "toy", both, languages=("en", "de"))
    assert set(load(tmp_path / "toy", "#de").documents) == {"ded0", "ded1", "ded2", "ded3"}
    with pytest.raises(CollectionError, match=r"toy: holds several collections, en, de: name one, as in .*toy#en"):
        load(tmp_path / "toy")


def test_a_clone_without_a_readme_is_read_by_the_names_of_its_folders(tmp_path):
    write_clone(tmp_path / "toy", "")
    for old, new in (
        ("a", "corpus/corpus"),
        ("b", "queries/queries"),
        ("one", "data/train"),
        ("two", "data/validation"),
    ):
        (tmp_path / "toy" / new).parent.mkdir(exist_ok=True)
        (tmp_path / "toy" / f"{old}.jsonl").rename(tmp_path / "toy" / f"{new}.jsonl")
    collection = load(tmp_path / "toy")
    assert {split: len(qrels) for split, qrels in collection.qrels.items()} == {"train": 2, "dev": 2, "test": 0}


@pytest.mark.parametrize(
    ("front_matter", "part", "problem"),
    [
        (CONFIGS.format("", "x"), "", r"README\.md: names xa\.jsonl for configuration 'corpus', and there is no such"),
        ("configs: [", "", r"README\.md: its front matter cannot be read: while parsing"),
        ("license: mit", "#de", "toy: has no part 'de': its README.md names no configurations"),
        (CONFIGS.format("", ""), "#de", "toy: has no part 'de'; known are"),
    ],
)
def test_a_readme_that_does_not_fit_is_refused(tmp_path, front_matter, part, problem):
    write_clone(tmp_path / "toy", front_matter)
    with pytest.raises(CollectionError, match=problem) as refused:
        load(tmp_path / "toy", part)
    assert "\n" not in str(refused.value)


def test_a_clone_without_its_large_files_is_refused_with_what_to_do(tmp_path):
    write_text(tmp_path / "toy" / "a.parquet", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    with pytest.raises(
        CollectionError, match=r"a\.parquet: is a pointer of Git LFS and not the data: run git lfs pull"
    ):
        load(tmp_path / "toy")

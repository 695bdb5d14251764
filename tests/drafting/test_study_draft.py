"""What is drafted for which collection, and how it is named."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest

from sweep.data import Document, RawCollection, write_beir
from sweep.drafting.study_draft import DEFAULT_BASE, draft_study, name_study, relocate_collection
from sweep.settings.study_file import load_study
from sweep.testing import write_toy_collection

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def here(tmp_path: Path, tiny_model: Path) -> Path:
    """A folder with a collection and a model."""
    write_toy_collection(tmp_path / "teas", documents=200)
    shutil.copytree(tiny_model, tmp_path / "model")
    return tmp_path


def draft(here: Path, collection: str = "teas", base: str = "model") -> tuple[dict[str, Any], str]:
    made = draft_study(collection, name="x", base=base, here=here, folder=here / "studies")
    return tomllib.loads(made.text), made.text.replace("\n# ", " ")


def write_collection(folder: Path, *, title: str = "", qrels: Any = None, count: int = 200) -> None:
    documents = {f"d{number}": Document(title and f"{title} {number}", _words(number)) for number in range(count)}
    queries = {f"q{number}": f"what is word{number}x1" for number in range(count)}
    judged = qrels or {"all": {f"q{number}": {f"d{number}": 1} for number in range(count)}}
    write_beir(folder, RawCollection(documents, queries, judged))


def _words(number: int) -> str:
    return " ".join(f"word{number}x{place}" for place in range(12))


def test_the_base_model_is_the_packaged_one_where_none_is_named(here: Path) -> None:
    tables, text = draft(here, base=DEFAULT_BASE)
    assert tables["model"]["base"] == load_study(REPOSITORY / "studies" / "quickstart.toml").model.base
    assert tables["model"]["max_seq_length"] <= 256
    assert "the model reads 256 as it is, at most 512" in text


def test_formats_that_the_collection_cannot_make_are_left_out_with_the_reason(here: Path) -> None:
    write_collection(here / "untitled")
    tables, text = draft(here, "untitled")
    assert tables["space"]["data_format"] == ["query-document"]
    assert "document" not in tables["data"]
    assert "left out: the train split yields no pair for format 'title-content', which needs documents with" in text
    assert tables["budget"]["trials"] == 12
    assert len(tables["space"]["start"]) == 2


def test_given_negatives_make_their_format(here: Path) -> None:
    graded = {f"q{n}": {f"d{n}": 2, f"d{n ^ 1}": 1, f"d{(n + 2) % 600}": 0} for n in range(600)}
    write_collection(here / "graded", qrels={"all": graded}, count=600)
    tables, text = draft(here, "graded")
    assert {"query-document", "query-negatives"} <= set(tables["space"]["data_format"])
    assert "set relevant = 2 if a grade of 1 is only related" in text


def test_a_format_with_few_pairs_holds_no_batch_down(here: Path) -> None:
    qrels = {f"q{number}": {f"d{number}": 1} for number in range(300)}
    for number in range(10):
        qrels[f"q{number}"] |= {f"d{number + 20}": 0}
    write_collection(here / "few", qrels={"all": qrels}, count=300)
    tables, text = draft(here, "few")
    assert tables["space"]["data_format"] == ["query-document"]
    assert re.search(r"left out: \d distinct texts of format 'query-negatives' are too few", text)
    assert tables["space"]["batch_size"]["high"] >= 32


def test_the_authors_splits_are_taken_and_a_missing_test_split_is_said(here: Path) -> None:
    qrels = {
        "train": {f"q{n}": {f"d{n}": 1} for n in range(150)},
        "dev": {f"q{n}": {f"d{n}": 1} for n in range(150, 200)},
    }
    write_collection(here / "split", qrels=qrels)
    tables, text = draft(here, "split")
    assert "split" not in tables["data"]
    assert "the splits are the authors'; queries: train 150, dev 50, test 0" in text
    assert "there is no test split" in text
    assert "all 50 dev queries are evaluated on" in text


def test_of_a_large_collection_a_part_is_evaluated_on(here: Path) -> None:
    write_collection(here / "large", count=8000)
    tables, text = draft(here, "large")
    evaluated = tables["evaluation"]
    assert evaluated["max_queries"] < 1600
    assert evaluated["max_queries"] < evaluated["max_documents"] < 8000
    assert f"of 8,000: the {evaluated['max_queries']:,} judged for dev, then a sample" in text


def test_a_model_without_a_limit_has_none_and_one_without_a_tokenizer_estimates(here: Path) -> None:
    from model_kinds import KINDS

    (here / "static").mkdir()
    KINDS["StaticEmbedding"][0](here / "static")
    tables, text = draft(here, base="static/model")
    assert "max_seq_length" not in tables["model"]
    assert "the model reads texts of any length" in text
    (here / "model" / "tokenizer.json").unlink()
    tables, text = draft(here)
    assert "about (estimated from words)" in text
    assert tables["model"]["max_seq_length"] == 32


@pytest.mark.parametrize(
    ("collection", "name"),
    [
        ("teas", "teas"),
        ("./some/where/my data.v2/", "my-data"),
        ("pairs:files/train.jsonl.gz", "train"),
        ("hub:BeIR/scifact@main", "scifact"),
        ("hub:mteb/nano#nfcorpus", "nano-nfcorpus"),
        ("package:aws-cli", "aws-cli"),
        ("/", "study"),
        ("\u6f22\u5b57", "\u6f22\u5b57"),
        ("x" * 200, "x" * 60),
    ],
)
def test_a_study_is_named_after_its_collection(collection: str, name: str) -> None:
    assert name_study(collection) == name


@pytest.mark.parametrize(
    ("collection", "seen"),
    [
        ("teas", "../teas"),
        ("beir:teas", "beir:../teas"),
        ("teas#part", "../teas#part"),
        ("studies/inside", "./inside"),
        ("package:aws-cli", "package:aws-cli"),
        ("hub:BeIR/scifact@main", "hub:BeIR/scifact@main"),
        ("/elsewhere/teas", "/elsewhere/teas"),
        ("..", "OUTSIDE"),
    ],
)
def test_a_path_from_here_is_one_from_the_study_file(collection: str, seen: str, here: Path) -> None:
    (here / "studies" / "inside").mkdir(parents=True)
    found = relocate_collection(collection, here=here, folder=here / "studies")
    assert found == seen.replace("OUTSIDE", str(here.parent))

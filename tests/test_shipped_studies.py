"""The study files that are shipped: each is valid, also the one that no test machine can run as it is."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from test_cli import run_command

from sweep.plan import plan_study
from sweep.setting_checks import check_settings
from sweep.settings.study_file import load_study
from sweep.storage.location import locate_study
from tests.model_kinds import KINDS

STUDIES = sorted((Path(__file__).parents[1] / "studies").glob("*.toml"))
KLUE = next(file for file in STUDIES if file.name == "klue-roberta-large.toml")


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.stem)
def test_every_setting_of_it_stands(file: Path) -> None:
    spec = load_study(file)
    assert spec.name == file.stem
    assert check_settings(file, spec).keys() == {*spec.space.data_format}


def test_what_is_not_on_the_machine_is_named_and_the_rest_is_checked(tmp_path: Path) -> None:
    (tmp_path / KLUE.name).write_text(KLUE.read_text())
    done = run_command("check", "--offline", KLUE.name, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    said = re.sub(r"\s+", " ", done.stdout)
    for line in (
        "batch size 256, 512, 1024, 2048, 4096, 8192; scale 100",
        "6.00e-05 is effectively 1.20e-04 at batch 256 and 6.79e-04 at batch 8192",
        "Trial: batch 8192: 100 steps, 819,200 examples in whole batches, 12 evaluations",
        "Missing: model.base: klue/roberta-large is neither in the local hub cache",
        "Missing: collection 'miracl-ko' is no path",
        "Missing: collection 'mldr-ko' is no path",
        "is valid as far as can be told without what is missing.",
    ):
        assert line in said
    assert not (tmp_path / KLUE.stem).exists()


def test_a_setting_that_does_not_stand_is_refused_offline_too(tmp_path: Path) -> None:
    (tmp_path / KLUE.name).write_text(KLUE.read_text().replace("mixture = 0.9", "mixture = 1.9"))
    done = run_command("check", "--offline", KLUE.name, folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "space.mixture: must be below 1, got 1.9" in done.stderr


# ---- the layouts of the collections that it names, with invented text


def write_lines(file: Path, records: Sequence[Mapping[str, object]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress("".join(json.dumps(record) + "\n" for record in records).encode()))


def write_table(file: Path, rows: Sequence[Sequence[object]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))


def invent(count: int, *, seed: int) -> list[str]:
    """Texts of eight words that no other text has."""
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    draw = np.random.default_rng(seed)
    return [" ".join("".join(word) for word in letters[draw.integers(26, size=(8, 5))]) for _ in range(count)]


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """The study beside MIRACL's and MLDR's folders of invented text, and a small plain RoBERTa; batches fit these."""
    texts = invent(300, seed=0)
    miracl = tmp_path / "miracl-ko"
    passages = [
        {"docid": f"{place // 3}#{place % 3}", "title": f"page {text[:11]}", "text": text}
        for place, text in enumerate(texts)
    ]
    write_lines(miracl / "miracl-corpus-v1.0-ko" / "docs-0.jsonl.gz", passages)
    for split, places in (("train", range(0, 180, 3)), ("dev", range(180, 300, 3))):
        own = miracl / "miracl-v1.0-ko"
        topics = [(place, f"what of {texts[place][:17]}") for place in places]
        write_table(own / "topics" / f"topics.miracl-v1.0-ko-{split}.tsv", topics)
        qrels = [(place, "Q0", passages[place]["docid"], 1) for place in places]
        negatives = [(place, "Q0", passages[place + 1]["docid"], 0) for place in places]
        write_table(own / "qrels" / f"qrels.miracl-v1.0-ko-{split}.tsv", [*qrels, *negatives])
    pages = invent(120, seed=1)
    mldr = tmp_path / "mldr-ko" / "mldr-v1.0-ko"
    corpus = [{"docid": f"doc-ko-{place}", "text": text} for place, text in enumerate(pages)]
    write_lines(mldr / "corpus.jsonl.gz", corpus)
    for split, places in (("train", range(60)), ("dev", range(60, 90)), ("test", range(90, 120))):
        rows = [
            {
                "query_id": f"q-ko-{place}",
                "query": f"which page says {pages[place][:17]}",
                "positive_passages": [corpus[place]],
                "negative_passages": [corpus[place - 1]] if split == "train" else [],
            }
            for place in places
        ]
        write_lines(mldr / f"{split}.jsonl.gz", rows)
    KINDS["BERT without modules"][0](tmp_path)
    file = tmp_path / KLUE.name
    text = KLUE.read_text()
    for old, new in {
        '"klue/roberta-large"': '"./model"',
        "max_seq_length = 512": "",
        "examples = 819200": "examples = 640",
        "{ low = 256, high = 8192 }": "{ low = 8, high = 16 }",
        "batch_size = 8192": "batch_size = 16",
        "max_documents = 20000": "",
    }.items():
        assert old in text
        text = text.replace(old, new)
    file.write_text(text + '\n[workers]\ndevices = "cpu"\n')
    return file


def test_it_reads_the_layouts_of_its_collections(filled: Path) -> None:
    plan = plan_study(locate_study(filled))
    collection = plan.collection
    assert {part.name: (part.trains, part.evaluates) for part in collection.parts} == {
        "MIRACL-ko": (1.0, 1.0),
        "MLDR-ko": (None, 1.0),
    }
    counts = {split: len(judged) for split, judged in collection.qrels.items()}
    assert counts == {"train": 60, "dev": 70, "test": 30}
    assert [(block.name, block.queries) for block in plan.evaluation_set("dev").blocks] == [
        ("MIRACL-ko", 40),
        ("MLDR-ko", 30),
    ]
    rows = plan.rows["title-content+query-document"]
    assert [section.part for section in rows.sections] == [0, 1]
    assert not {name for name in collection.training_documents() if name.startswith("MLDR-ko/")}


def test_the_whole_way_of_a_run_is_gone_offline_where_everything_is_there(filled: Path) -> None:
    done = run_command("check", "--offline", "--no-measure", filled.name, folder=filled.parent)
    assert done.returncode == 0, done.stderr
    assert "dev on MLDR-ko (weight 1): 30 queries over 120 documents" in done.stdout
    assert done.stdout.rstrip().endswith(f"{filled.name} is valid.")

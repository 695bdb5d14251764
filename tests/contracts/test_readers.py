"""The contract of every reader: a sound source becomes a collection; a broken one is refused with its file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import util
from pathlib import Path

import pytest
from small_files import write_lines, write_parquet, write_text

from sweep.data import READERS, SPLITS, load_collection
from sweep.data.cache import fill_cached
from sweep.errors import CollectionError
from sweep.settings.data_spec import DataSpec
from sweep.testing import write_toy_collection


@dataclass(frozen=True)
class Source:
    """A source of one reader.

    Attributes:
        name: As ``data.collection`` names it, relative to the folder that it is written in.
        write: Writes it into a folder.
        broken: What a user can break: the file that the message must name, and its broken content.
        packages: What has to be installed.
    """

    name: str
    write: Callable[[Path], object] = lambda _: None
    broken: Mapping[str, bytes] | None = None
    packages: tuple[str, ...] = ()


def _write_ms_marco(folder: Path) -> None:
    for name, row in (
        ("collection", "{0}\tdocument {0}\n"),
        ("queries", "{0}\tquery {0}\n"),
        ("qrels", "{0}\t0\t{0}\t1\n"),
    ):
        write_text(folder / "toy" / f"{name}.tsv", "".join(row.format(n) for n in range(10)))


def _write_hub(_: Path) -> None:
    """Puts a data set into the cache, as if it had been fetched."""
    fill_cached(Path("hub", "me/toy", "0" * 40), lambda folder: write_toy_collection(folder / "data", documents=20))


def _write_autorag(folder: Path) -> None:
    write_parquet(folder / "toy" / "corpus.parquet", [{"doc_id": f"{n}", "contents": f"c {n}"} for n in range(10)])
    write_parquet(
        folder / "toy" / "qa.parquet",
        [{"qid": f"{n}", "query": f"q {n}", "retrieval_gt": [[f"{n}"]]} for n in range(10)],
    )


SOURCES = {
    "beir": Source(
        name="beir:toy",
        write=lambda folder: write_toy_collection(folder / "toy", documents=20),
        broken={
            "toy/corpus.jsonl.gz": b"no archive",
            "toy/queries.jsonl": b'{"_id": "q0000"',
            "toy/qrels/all.tsv": b"q0000\td0000\tmuch\n",
        },
    ),
    "hub": Source(name=f"hub:me/toy@{'0' * 40}", write=_write_hub),
    "ms-marco": Source(
        name="ms-marco:toy",
        write=_write_ms_marco,
        broken={
            "toy/collection.tsv": b"0\n",
            "toy/queries.tsv": b"0\ta\n\xff",
            "toy/qrels.tsv": b"0\t0\t0\tmuch\n" * 2,
        },
    ),
    "passages": Source(
        name="passages:train.jsonl",
        write=lambda folder: write_lines(
            folder / "train.jsonl",
            [
                {"query_id": n, "query": f"q {n}", "positive_passages": [{"docid": n, "text": f"t {n}"}]}
                for n in range(10)
            ],
        ),
        broken={"train.jsonl": b"[]"},
    ),
    "autorag": Source(
        name="autorag:toy",
        write=_write_autorag,
        broken={"toy/corpus.parquet": b"PAR1", "toy/qa.parquet": b"PAR1"},
    ),
    "squad": Source(
        name="squad:dev.json",
        write=lambda folder: write_text(
            folder / "dev.json",
            json.dumps(
                {"data": [{"paragraphs": [{"context": f"c {n}", "qas": [{"question": f"q {n}"}]} for n in range(10)]}]}
            ),
        ),
        broken={"dev.json": b'{"data": ['},
    ),
    "pairs": Source(
        name="pairs:faq.csv",
        write=lambda folder: write_text(
            folder / "faq.csv", "question,answer\n" + "".join(f"q {n},a {n}\n" for n in range(10))
        ),
        broken={"faq.csv": b'question,answer\n"a'},
    ),
    "package": Source(name="package:aws-cli", packages=("awscli", "botocore")),
}


@pytest.fixture(autouse=True)
def _cache_of_its_own(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SWEEP_CACHE", str(tmp_path_factory.mktemp("cache")))


def load(source: Source, folder: Path):
    for package in source.packages:
        if util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    source.write(folder)
    return load_collection(DataSpec(collection=source.name), folder=folder)


def test_every_reader_has_a_source_here():
    assert SOURCES.keys() == READERS.keys()


@pytest.mark.parametrize("scheme", READERS)
def test_a_reader_is_found_by_its_scheme_and_says_how_it_is_named(scheme):
    assert READERS[scheme].usage.startswith(f"{scheme}:")
    with pytest.raises(CollectionError, match=f"unknown scheme; known are .*{READERS[scheme].usage}"):
        load_collection(DataSpec(collection="nothing:x"), folder=Path())


@pytest.mark.parametrize("scheme", READERS)
def test_a_sound_source_is_a_collection_whose_judgements_are_about_what_is_there(scheme, tmp_path):
    collection = load(SOURCES[scheme], tmp_path)
    assert list(collection.qrels) == list(SPLITS)
    assert any(collection.training_judgements())
    for judgements in collection.qrels.values():
        assert judgements.keys() <= collection.queries.keys()
        assert {document for grades in judgements.values() for document in grades} <= collection.documents.keys()
        assert all(type(grade) is int for grades in judgements.values() for grade in grades.values())


@pytest.mark.parametrize("scheme", [scheme for scheme, source in SOURCES.items() if source.broken])
def test_the_same_source_is_the_same_collection(scheme, tmp_path):
    first, second = (load(SOURCES[scheme], tmp_path / name) for name in ("one", "two"))
    assert first.content_hash == second.content_hash


@pytest.mark.parametrize(
    ("scheme", "file"), [(scheme, file) for scheme, source in SOURCES.items() for file in source.broken or ()]
)
def test_a_broken_file_is_refused_by_name_in_one_line(scheme, file, tmp_path):
    source = SOURCES[scheme]
    source.write(tmp_path)
    (tmp_path / file).write_bytes(source.broken[file])
    with pytest.raises(CollectionError, match=Path(file).name) as refused:
        load_collection(DataSpec(collection=source.name), folder=tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("scheme", [scheme for scheme in READERS if scheme != "hub"])  # that has a hub of its own
def test_a_source_that_is_not_there_is_refused(scheme, tmp_path):
    with pytest.raises(CollectionError, match=r"no(where| such)"):
        load_collection(DataSpec(collection=f"{scheme}:nowhere"), folder=tmp_path)

from __future__ import annotations

import gzip
import re

import pytest
from small_files import write_lines, write_text

from sweep.data import Document, load_collection
from sweep.data.readers.ms_marco import MsMarco
from sweep.errors import CollectionError
from sweep.settings.data_spec import DataSpec


def load(folder):
    return load_collection(DataSpec(collection=folder.name), folder=folder.parent)


def test_ms_marcos_files_are_read_and_the_sets_of_a_split_are_joined(tmp_path):
    write_text(tmp_path / "collection.tsv", '0\tThe "presence" of\n1\t"Half a quote\n2\tThree\n3\tFour\n')
    for name, queries in (("train", [5]), ("dev", [6, 7]), ("dev.small", [6]), ("eval", [9])):
        write_text(tmp_path / f"queries.{name}.tsv", "".join(f"{n}\tquery {n}\n" for n in queries))
    for name, text in (("train", "5\t0\t0\t1\n"), ("dev", "6\t0\t1\t1\n7\t0\t2\t1\n"), ("dev.small", "6\t0\t1\t1\n")):
        write_text(tmp_path / f"qrels.{name}.tsv", text)
    write_text(tmp_path / "top1000.dev", "x")
    collection = load(tmp_path)
    assert collection.documents["1"] == Document("", '"Half a quote')
    assert len(collection.queries) == 4
    assert collection.qrels == {"train": {"5": {"0": 1}}, "dev": {"6": {"1": 1}, "7": {"2": 1}}, "test": {}}
    assert collection.notes[0].startswith(
        "read as MS MARCO or MIRACL files: documents from collection.tsv; queries from"
    )
    assert "left aside: top1000.dev" in collection.notes


def test_documents_with_addresses_and_titles_are_read(tmp_path):
    docs = gzip.compress(b"D1\thttp://x\tTea\tSteep it.\nD2\thttp://y\t\tKnead it.\n")
    (tmp_path / "msmarco-docs.tsv.gz").write_bytes(docs)
    write_text(tmp_path / "msmarco-test2019-queries.tsv", "1\thow hot\n2\thow long\n")
    write_text(tmp_path / "2019qrels-docs.txt", "1 Q0 D1 3\n1 Q0 D2 0\n2 Q0 D2 2\n")
    contents = MsMarco().read(".", folder=tmp_path)
    assert contents.documents == {"D1": Document("Tea", "Steep it."), "D2": Document("", "Knead it.")}
    assert contents.qrels == {"2019qrels-docs": {"1": {"D1": 3, "D2": 0}, "2": {"D2": 2}}}


def test_miracls_files_are_read(tmp_path):
    (tmp_path / "miracl-corpus-v1.0-xx").mkdir()
    for shard in range(2):
        records = [{"docid": f"{shard}#{n}", "title": f"T{shard}", "text": f"Text {shard} {n}"} for n in range(2)]
        file = write_lines(tmp_path / "miracl-corpus-v1.0-xx" / f"docs-{shard}.jsonl", records)
        file.with_suffix(".jsonl.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    for number, split in enumerate(("train", "dev")):
        folder = tmp_path / "miracl-v1.0-xx"
        write_text(folder / "topics" / f"topics.miracl-v1.0-xx-{split}.tsv", f"{number}\tquery {number}\n")
        write_text(
            folder / "qrels" / f"qrels.miracl-v1.0-xx-{split}.tsv",
            f"{number}\tQ0\t{number}#0\t1\n{number}\tQ0\t0#1\t0\n",
        )
    collection = load(tmp_path)
    assert len(collection.documents) == 4
    assert collection.documents["1#0"] == Document("T1", "Text 1 0")
    assert collection.qrels == {"train": {"0": {"0#0": 1, "0#1": 0}}, "dev": {"1": {"1#0": 1, "0#1": 0}}, "test": {}}


def test_a_line_with_other_columns_is_refused_with_file_and_line(tmp_path):
    write_text(tmp_path / "collection.tsv", "0\tone\n1\ttwo\tthree\n")
    write_text(tmp_path / "queries.tsv", "5\tquery\n")
    write_text(tmp_path / "qrels.tsv", "5\t0\t0\t1\n")
    with pytest.raises(
        CollectionError, match=re.escape("collection.tsv:2: must have 2 (id, text), 3 (id, title, text)")
    ):
        MsMarco().read(".", folder=tmp_path)

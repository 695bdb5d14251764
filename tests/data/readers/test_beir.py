from __future__ import annotations

import gzip
import re

import pytest

from sweep.data import Document, RawCollection, read_beir, write_beir
from sweep.errors import CollectionError


def test_a_folder_is_read_as_it_was_written_by_hand(write_toy):
    contents = read_beir(write_toy())
    assert contents.documents["d1"] == Document("Tea", "Green tea is steeped below boiling.")
    assert contents.documents["d4"].title == ""
    assert contents.queries["q3"] == "wash rice"
    assert contents.qrels == {"test": {"q1": {"d1": 2}, "q2": {"d2": 1}, "q3": {"d3": 1}, "q4": {"d4": 1}}}


def test_compressed_files_are_read_as_plain_ones_are(write_toy):
    folder = write_toy()
    plain = read_beir(folder)
    for name in ("corpus", "queries"):
        file = folder / f"{name}.jsonl"
        (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    assert read_beir(folder) == plain


def test_what_is_written_is_read_back_equal_and_written_again_to_the_same_bytes(tmp_path):
    contents = RawCollection(
        {"d\u00e9": Document("\u8336", 'line\u2028separator, "quotes" and\nbreak'), "d2": Document("", "")},
        {"q 1": "wie hei\u00df?"},
        {"train": {"q 1": {"d\u00e9": 3, "d2": 0}}, "dev": {"q 1": {"d2": -1}}},
    )
    for name in ("a", "b"):
        write_beir(tmp_path / name, contents)
    assert read_beir(tmp_path / "a") == contents
    files = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*")]
    assert len(files) == 4
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("q1\td1\t1\n", id="no-header"),
        pytest.param("query-id\tcorpus-id\tscore\nq1\td1\t1.0\n", id="whole-real"),
        pytest.param("query-id\tcorpus-id\tscore\r\nq1\td1\t1\r\n\r\n", id="windows-lines-and-a-blank"),
        pytest.param("\ufeffquery-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td1\t1", id="byte-order-mark-and-a-repeat"),
    ],
)
def test_qrels_are_read_however_they_are_spelt(write_toy, text):
    assert read_beir(write_toy(dev=text)).qrels == {"dev": {"q1": {"d1": 1}}}


def test_numbers_as_ids_are_read_as_text(write_toy):
    folder = write_toy(test="7\td1\t1\n")
    (folder / "queries.jsonl").write_text('{"_id": 7, "text": "seven"}\n')
    assert read_beir(folder).queries == {"7": "seven"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("q1\td1\t0.5\n", "dev.tsv:1: the grade must be a whole number, got '0.5'", id="half"),
        pytest.param("q1\td1\t1\nq2\td2\tnan\n", "dev.tsv:2: the grade must be a whole number, got 'nan'", id="nan"),
        pytest.param("q1\td1\tgood\n", "dev.tsv:1: the grade must be a whole number, got 'good'", id="word"),
        pytest.param("q1\t0\td1\t1\n", "dev.tsv:1: must have 3 columns with tabs between them, got 4", id="trec"),
        pytest.param("q1 d1 1\n", "dev.tsv:1: must have 3 columns with tabs between them, got 1", id="spaces"),
        pytest.param("q1\td1\t1\nq1\td1\t2\n", "dev.tsv:2: judges document 'd1' twice for query 'q1'", id="twice"),
        pytest.param("query-id\tcorpus-id\tscore\n", "dev.tsv: holds no judgement", id="empty"),
        pytest.param(
            "q1\tx1\t1\nq9\td1\t1\nq1\td1\t1\nq1\tx2\t1\nq1\tx3\t1\n",
            "dev.tsv: 4 judgements are about a query or document that is not there:"
            " 'q1' -> 'x1', 'q1' -> 'x2', 'q1' -> 'x3', ...",
            id="unknown",
        ),
    ],
)
def test_a_qrels_file_that_does_not_stand_is_refused_with_file_and_line(write_toy, text, problem):
    with pytest.raises(CollectionError, match=re.escape(problem)) as caught:
        read_beir(write_toy(dev=text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        pytest.param("{oops", "jsonl:2: is not JSON: ", id="not-json"),
        pytest.param("[1, 2]", "jsonl:2: is not a JSON object, got list", id="not-object"),
        pytest.param('{"text": "no id"}', "jsonl:2: _id must be a text that is not empty, got None", id="no-id"),
        pytest.param('{"_id": "", "text": ""}', "jsonl:2: _id must be a text that is not empty, got ''", id="blank-id"),
        pytest.param('{"_id": true, "text": ""}', "jsonl:2: _id must be a text that is not empty, got True", id="bool"),
        pytest.param('{"_id": "x"}', "jsonl:2: text must be a text, got None", id="no-text"),
        pytest.param('{"_id": "x", "text": 3}', "jsonl:2: text must be a text, got 3", id="number"),
        pytest.param('{"_id": "x", "text": "\\ud83d"}', "jsonl:2: text holds half a character", id="surrogate"),
        pytest.param('{"_id": "same", "text": ""}', "jsonl:2: {kind} id 'same' occurs twice", id="twice"),
    ],
)
@pytest.mark.parametrize(("file", "kind"), [("corpus", "document"), ("queries", "query")])
def test_a_line_that_does_not_stand_is_refused_with_file_and_line(write_toy, file, kind, line, problem):
    folder = write_toy()
    (folder / f"{file}.jsonl").write_text('{"_id": "same", "text": "first"}\n' + line + "\n")
    with pytest.raises(CollectionError, match=re.escape(f"{file}.{problem.replace('{kind}', kind)}")) as caught:
        read_beir(folder)
    assert "\n" not in str(caught.value)


def test_a_title_that_is_no_text_is_refused(write_toy):
    folder = write_toy()
    (folder / "corpus.jsonl").write_text('{"_id": "x", "text": "", "title": ["a"]}\n')
    with pytest.raises(CollectionError, match=r"corpus\.jsonl:1: title must be a text, got \['a'\]"):
        read_beir(folder)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(CollectionError, match="nowhere: there is no such folder"):
        read_beir(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["corpus", "queries"])
def test_a_missing_file_is_refused(write_toy, name):
    folder = write_toy()
    (folder / f"{name}.jsonl").unlink()
    with pytest.raises(CollectionError, match=rf"there is no {name}\.jsonl \(or {name}\.jsonl\.gz\) in it"):
        read_beir(folder)


def test_a_folder_without_qrels_is_refused(write_toy):
    folder = write_toy()
    (folder / "qrels" / "test.tsv").unlink()
    with pytest.raises(CollectionError, match=r"qrels: there is no qrels file \(such as test\.tsv\) in it"):
        read_beir(folder)


def test_a_file_that_is_not_text_is_refused(write_toy):
    folder = write_toy()
    (folder / "corpus.jsonl").write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    with pytest.raises(CollectionError, match=r"corpus\.jsonl: is not text \(UTF-8\) after line"):
        read_beir(folder)


@pytest.mark.parametrize("damage", ["cut", "changed", "not-compressed"])
def test_a_damaged_archive_is_refused(write_toy, damage):
    folder = write_toy()
    whole = bytearray(gzip.compress((folder / "corpus.jsonl").read_bytes()))
    whole[len(whole) // 2] ^= 0xFF
    content = {"cut": bytes(whole[: len(whole) // 3]), "changed": bytes(whole), "not-compressed": b"plain text"}[damage]
    (folder / "corpus.jsonl").unlink()
    (folder / "corpus.jsonl.gz").write_bytes(content)
    with pytest.raises(CollectionError, match=r"corpus\.jsonl\.gz(:\d+)?: (cannot be read|is not)"):
        read_beir(folder)

from __future__ import annotations

import gzip
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_beir import CORPUS, JUDGED, QUERIES, lines

from sweep.data import Document, RawCollection, read_beir, write_beir
from sweep.data.readers.beir import Beir
from sweep.data.readers.listing import Listing
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
        pytest.param("q1\td1\t1\nq2\td2\t0.5\n", id="no-header"),
        pytest.param("query-id\tcorpus-id\tscore\nq1\td1\t1.0\nq2\td2\t.5\n", id="reals"),
        pytest.param("query-id\tcorpus-id\tscore\r\nq1\td1\t1\r\n\r\nq2\td2\t0.5\r\n", id="windows-lines-and-a-blank"),
        pytest.param("\ufeffquery-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td1\t1\nq2\td2\t0.5", id="byte-order-mark"),
        pytest.param("relevance\tquery_id\tdoc_id\n1\tq1\td1\n0.5\tq2\td2\n", id="named-columns-in-any-order"),
        pytest.param("frage\tdokument\tnote\nq1\td1\t1\nq2\td2\t0.5\n", id="a-header-of-other-names"),
        pytest.param("q1 Q0 d1 1\nq2   Q0 d2 0.5\n", id="trec-with-spaces"),
        pytest.param("q1\t0\td1\t1\nq2\t0\td2\t0.5\n", id="trec-with-tabs"),
    ],
)
def test_qrels_are_read_however_they_are_spelt(write_toy, text):
    grades = read_beir(write_toy(dev=text)).qrels["dev"]
    assert grades == {"q1": {"d1": 1}, "q2": {"d2": 0.5}}
    assert type(grades["q1"]["d1"]) is int


def test_two_columns_are_judgements_of_grade_1(write_toy):
    assert read_beir(write_toy(train="q1\td1\nq2\td2\n")).qrels == {"train": {"q1": {"d1": 1}, "q2": {"d2": 1}}}


def write_parquet(file, rows):
    pq.write_table(pa.Table.from_pylist(rows), file)


def write_zstd(file, text):
    file.write_bytes(pa.compress(text.encode(), codec="zstd", asbytes=True))


QRELS_FILES = {
    "qrels/test.tsv.gz": lambda file: file.write_bytes(gzip.compress(JUDGED.encode())),
    "qrels/test.tsv.zst": lambda file: write_zstd(file, JUDGED),
    "qrels/test": lambda file: file.write_text(JUDGED),
    "qrels/test.trec": lambda file: file.write_text("q1 0 d1 2\nq2 0 d2 1\nq3 0 d3 1\nq4 0 d4 1\n"),
    "qrels/test.csv": lambda file: file.write_text(JUDGED.replace("\t", ",")),
    "qrels/test.jsonl": lambda file: file.write_text(
        lines({"query-id": f"q{n}", "corpus-id": f"d{n}", "score": 2 if n == 1 else 1} for n in range(1, 5))
    ),
    "qrels/test.json": lambda file: file.write_text(
        '{"q1": {"d1": 2}, "q2": {"d2": 1}, "q3": {"d3": 1}, "q4": {"d4": 1}}'
    ),
    "qrels/test-00000-of-00001.parquet": lambda file: write_parquet(
        file, [{"qid": f"q{n}", "docid": f"d{n}", "score": 2.0 if n == 1 else 1.0} for n in range(1, 5)]
    ),
    "qrels-test.tsv": lambda file: file.write_text(JUDGED),
    "test.tsv": lambda file: file.write_text(JUDGED),
}


@pytest.mark.parametrize("name", QRELS_FILES)
def test_qrels_are_read_from_any_file_of_their_folder_or_beside_the_corpus(write_toy, name):
    folder = write_toy()
    expected = read_beir(folder)
    (folder / "qrels" / "test.tsv").unlink()
    QRELS_FILES[name](folder / name)
    found = read_beir(folder)
    assert (
        found.qrels == expected.qrels == {"test": {"q1": {"d1": 2}, "q2": {"d2": 1}, "q3": {"d3": 1}, "q4": {"d4": 1}}}
    )
    assert f"test from {name}" in found.notes[0]


def test_validation_is_dev_and_what_finder_leaves_behind_is_left_aside(write_toy):
    folder = write_toy(validation="q1\td1\t1\n", train="q2\td2\t1\n")
    (folder / "qrels" / "._train.tsv").write_bytes(b"\x00\x05\x16\x07")
    (folder / "notes.pdf").write_bytes(b"%PDF")
    for name in ("README", "train.tsv.bak"):
        (folder / "qrels" / name).write_text("no judgement")
    found = read_beir(folder)
    assert found.qrels == {"dev": {"q1": {"d1": 1}}, "train": {"q2": {"d2": 1}}}
    assert found.notes == (
        "read as BEIR: documents from corpus.jsonl; queries from queries.jsonl; train from qrels/train.tsv;"
        " dev from qrels/validation.tsv",
        "left aside: notes.pdf, qrels/._train.tsv, qrels/README, qrels/train.tsv.bak",
    )


def test_sets_in_several_files_are_joined(write_toy):
    folder = write_toy(test="q1\td1\t1\n")
    (folder / "qrels" / "test-00001.tsv").write_text("q2\td2\t1\n")
    assert read_beir(folder).qrels == {"test": {"q1": {"d1": 1}, "q2": {"d2": 1}}}


@pytest.mark.parametrize("identifier", ["_id", "id", "docid", "doc_id", "pid"])
@pytest.mark.parametrize("text", ["text", "contents", "context", "body"])
def test_documents_are_read_by_any_usual_keys(write_toy, identifier, text):
    folder = write_toy()
    expected = read_beir(folder)
    spelt = [{identifier: each["_id"], "title": each.get("title"), text: each["text"], "url": 3} for each in CORPUS]
    (folder / "corpus.jsonl").write_text(lines(spelt))
    assert read_beir(folder) == expected


@pytest.mark.parametrize("identifier", ["_id", "id", "query_id", "qid"])
@pytest.mark.parametrize("text", ["text", "query", "question"])
def test_queries_are_read_by_any_usual_keys(write_toy, identifier, text):
    folder = write_toy()
    expected = read_beir(folder)
    (folder / "queries.jsonl").write_text(lines({identifier: each["_id"], text: each["text"]} for each in QUERIES))
    assert read_beir(folder) == expected


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".jsonl.zst"])
def test_documents_and_queries_are_read_from_tables_and_parquet(write_toy, suffix):
    folder = write_toy()
    expected = read_beir(folder)
    for name, records in (("corpus", CORPUS), ("queries", QUERIES)):
        (folder / f"{name}.jsonl").unlink()
        file, keys = folder / f"{name}{suffix}", list(records[0])
        if suffix == ".parquet":
            write_parquet(file, records)
        elif suffix == ".jsonl.zst":
            write_zstd(file, lines(records))
        else:
            mark = {".csv": ",", ".tsv": "\t"}[suffix]
            rows = [keys, *([record.get(key, "") for key in keys] for record in records)]
            file.write_text("".join(mark.join(row) + "\r\n" for row in rows), newline="")
    assert read_beir(folder) == expected


def test_beirs_own_names_come_before_others_and_before_what_lies_deeper(write_toy):
    folder = write_toy()
    expected = read_beir(folder)
    (folder / "old" / "qrels").mkdir(parents=True)
    for name in ("queries.dev.jsonl", "old/corpus.jsonl", "old/queries.jsonl"):
        (folder / name).write_text('{"_id": "other", "text": "other"}\n')
    (folder / "old" / "qrels" / "test.tsv").write_text("other\tother\t1\n")
    assert read_beir(folder) == expected


def test_several_collections_in_one_folder_are_refused(write_toy):
    folder = write_toy()
    for name in ("a", "b"):
        (folder.parent / "both" / name).mkdir(parents=True)
        (folder.parent / "both" / name / "corpus.jsonl").write_text(lines(CORPUS))
        (folder.parent / "both" / name / "queries.jsonl").write_text(lines(QUERIES))
        (folder.parent / "both" / name / "qrels.tsv").write_text(JUDGED)
    with pytest.raises(CollectionError, match="both: holds several collections, in a, b: name one of them"):
        read_beir(folder.parent / "both")


def test_judgements_about_what_is_not_there_are_left_out_with_a_count_by_side(write_toy):
    found = read_beir(write_toy(test=JUDGED + "q1\tgone\t1\nq9\td1\t1\n"))
    assert found.qrels["test"] == {"q1": {"d1": 2}, "q2": {"d2": 1}, "q3": {"d3": 1}, "q4": {"d4": 1}}
    assert found.notes[-1] == (
        "2 of 6 judgements of test left out: 1 about a query that is not there and 1 about a document that is not there"
        " (query 'q9'; document 'gone')"
    )


@pytest.mark.parametrize(
    ("written", "there", "named"),
    [
        ("caf\u00e9", "cafe\u0301", r"'caf\\xe9', which is there in another Unicode form, 'cafe\\u0301'"),
        ("7.0", "7", "'7.0', which is there as '7'"),
        ("a b", "ab", "'a b', which is there as 'ab'"),
    ],
)
def test_an_id_that_is_there_in_another_spelling_is_named_as_such(write_toy, written, there, named):
    folder = write_toy(test=JUDGED + f"q1\t{written}\t1\n")
    with (folder / "corpus.jsonl").open("a", encoding="utf-8") as corpus:
        corpus.write(lines([{"_id": there, "text": "spelt"}]))
    assert named.replace("\\\\", "\\") in read_beir(folder).notes[-1]


def test_equal_records_under_one_id_are_merged_with_a_count(write_toy):
    folder = write_toy()
    expected = read_beir(folder)
    for name, records in (("corpus", CORPUS), ("queries", QUERIES)):
        (folder / f"{name}.jsonl").write_text(lines([*records, *records[:2]]))
    found = read_beir(folder)
    assert found == expected
    assert found.notes[1:] == tuple(
        f"2 times a {kind} stands again with equal text: merged" for kind in ("document", "query")
    )


def test_a_folder_that_changes_while_it_is_read_is_refused(write_toy):
    folder = write_toy()
    listing = Listing(folder)
    with (folder / "corpus.jsonl").open("a") as corpus:
        corpus.write(lines([{"_id": "late", "text": "late"}]))
    with pytest.raises(CollectionError, match=r"corpus\.jsonl: was changed while the collection was read"):
        Beir().read_listing(listing)


def test_numbers_as_ids_are_read_as_text(write_toy):
    folder = write_toy(test="7\td1\t1\n")
    (folder / "queries.jsonl").write_text('{"_id": 7, "text": "seven"}\n')
    assert read_beir(folder).queries == {"7": "seven"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("q1\td1\t1\nq2\td2\tnan\n", "dev.tsv:2: the grade must be a number, got 'nan'", id="nan"),
        pytest.param("q1\td1\t1\nq1\td2\tgood\n", "dev.tsv:2: the grade must be a number, got 'good'", id="word"),
        pytest.param("q1\n", "dev.tsv:1: must have 2 (query, document), 3", id="one-column"),
        pytest.param("q1\td1\t1\nq1\td2\n", "dev.tsv:2: must have 3 columns as the first line has, got 2", id="ragged"),
        pytest.param("q1 Q0 d1 1 3.5 bm25\n", "dev.tsv:1: has the 6 columns of a run", id="run"),
        pytest.param("\td1\t1\n", "dev.tsv:1: the query's id must be a text that is not empty", id="no-query"),
        pytest.param("q1\td1\t1\nq1\td1\t2\n", "dev.tsv:2: judges document 'd1' twice for query 'q1'", id="twice"),
        pytest.param("query-id\tcorpus-id\tscore\n", "dev.tsv: holds no judgement", id="empty"),
        pytest.param(
            "q1\tx1\t1\nq9\td1\t1\nq1\td1\t1\nq1\tx2\t1\nq1\tx3\t1\n",
            "dev.tsv:1: 4 of 5 judgements of dev cannot be used, 1 about a query that is not there and 3 about a"
            " document that is not there (query 'q9'; document 'x1', 'x2', 'x3'): do its ids belong to this"
            " collection?",
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
        pytest.param('{"text": "no id"}', "jsonl:2: has no id under any of _id, ", id="no-id"),
        pytest.param('{"_id": "", "text": ""}', "jsonl:2: _id must be a text that is not empty, got ''", id="blank-id"),
        pytest.param('{"_id": true, "text": ""}', "jsonl:2: _id must be a text that is not empty, got True", id="bool"),
        pytest.param('{"_id": "x"}', "jsonl:2: has no text under any of text, ", id="no-text"),
        pytest.param('{"_id": "x", "text": null}', "jsonl:2: text must be a text, got None", id="null"),
        pytest.param('{"_id": "x", "text": 3}', "jsonl:2: text must be a text, got 3", id="number"),
        pytest.param('{"_id": "x", "text": "\\ud83d"}', "jsonl:2: text holds half a character", id="surrogate"),
        pytest.param('{"_id": "same", "text": ""}', "jsonl:2: {kind} id 'same' occurs twice, with", id="twice"),
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
    with pytest.raises(CollectionError, match="nowhere: there is no such file or folder"):
        read_beir(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["corpus", "queries"])
def test_a_missing_file_is_refused(write_toy, name):
    folder = write_toy()
    (folder / f"{name}.jsonl").unlink()
    with pytest.raises(
        CollectionError,
        match=rf"there is no file of \w+ \(such as {name}\.jsonl\) in it: there lie [^(]*qrels/test\.tsv",
    ):
        read_beir(folder)


def test_a_folder_without_qrels_is_refused(write_toy):
    folder = write_toy()
    (folder / "qrels" / "test.tsv").unlink()
    with pytest.raises(CollectionError, match=r"there is no file of judgements \(such as qrels/test\.tsv\) in it"):
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


@pytest.mark.parametrize(("name", "kind"), [("corpus", "document"), ("queries", "query")])
def test_an_empty_file_is_refused(write_toy, name, kind):
    folder = write_toy()
    (folder / f"{name}.jsonl").write_text("\n")
    with pytest.raises(CollectionError, match=rf"{name}\.jsonl: holds no {kind}"):
        read_beir(folder)

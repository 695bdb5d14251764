from __future__ import annotations

import json
import re

import pytest
from small_files import write_lines, write_parquet, write_text

from sweep.data import load_collection
from sweep.data.readers.pairs import Pairs
from sweep.errors import CollectionError
from sweep.settings.data_spec import DataSpec

TEA, BREAD, RICE = "Steep it.", "Knead it.", "Rinse it."


def read(path):
    return Pairs().read(path.name, folder=path.parent)


def texts(contents, name="all"):
    """Query text -> document text -> grade."""
    return {
        contents.queries[query]: {contents.documents[d].text: grade for d, grade in judged.items()}
        for query, judged in contents.qrels[name].items()
    }


EXPECTED = {"how is tea made": {TEA: 1, BREAD: 0}, "how is bread made": {BREAD: 1, TEA: 0, RICE: 0}}
LISTS = [
    {"query": "how is tea made", "pos": [TEA], "neg": [BREAD]},
    {"query": "how is bread made", "pos": [BREAD], "neg": [TEA, RICE]},
]
TRIPLETS = [
    {"anchor": "how is tea made", "positive": TEA, "negative_1": BREAD, "negative_2": None},
    {"anchor": "how is bread made", "positive": BREAD, "negative_1": TEA, "negative_2": RICE},
]
SPELLINGS = {
    "lists.jsonl": lambda file: write_lines(file, LISTS),
    "lists.jsonl.zst": lambda file: write_lines(file, LISTS),
    "lists.json": lambda file: write_text(file, json.dumps(LISTS, indent=1)),
    "lines.json": lambda file: write_lines(file, LISTS),
    "triplets.jsonl": lambda file: write_lines(file, TRIPLETS),
    "lists.parquet": lambda file: write_parquet(file, LISTS),
    "triplets.parquet": lambda file: write_parquet(file, TRIPLETS),
    "triplets.csv": lambda file: write_text(
        file,
        "Anchor,Positive,Negative\n"
        f"how is tea made,{TEA},{BREAD}\nhow is bread made,{BREAD},{TEA}\nhow is bread made,{BREAD},{RICE}\n",
    ),
    "semicolons.csv": lambda file: write_text(
        file, f"question;answer;negatives\nhow is tea made;{TEA};{BREAD}\nhow is bread made;{BREAD};{TEA}\n"
        f"how is bread made;{BREAD};{RICE}\n",
    ),
    "triples.tsv": lambda file: write_text(
        file,
        f"how is tea made\t{TEA}\t{BREAD}\nhow is bread made\t{BREAD}\t{TEA}\nhow is bread made\t{BREAD}\t{RICE}\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SPELLINGS)
def test_pairs_triplets_and_lists_are_one_collection_in_any_kind_of_file(tmp_path, name):
    contents = read(SPELLINGS[name](tmp_path / name))
    assert texts(contents) == EXPECTED
    assert len(contents.documents) == 3
    assert contents.notes[0] == f"read as pairs: all from {name}"


@pytest.mark.parametrize("query", ["query", "anchor", "question"])
@pytest.mark.parametrize("positive", ["pos", "positive", "answer", "context", "passage"])
def test_rows_are_read_by_any_usual_keys(tmp_path, query, positive):
    assert texts(read(write_lines(tmp_path / "a.jsonl", [{query: "q", positive: TEA}]))) == {"q": {TEA: 1}}


def test_a_table_from_a_spreadsheet_is_read_as_it_looks_there(tmp_path):
    faq = '\ufeffquestion,answer\r\nHow?,"Steep it,\r\nthen ""wait""."\r\nHow?,NA\r\nWhich code?,001\r\n'
    contents = read(write_text(tmp_path / "faq.csv", faq))
    assert texts(contents) == {"How?": {'Steep it,\r\nthen "wait".': 1, "NA": 1}, "Which code?": {"001": 1}}
    assert contents.notes[1] == "3 rows make 2 queries and 3 documents"


def test_quotes_in_a_table_with_tabs_enclose_fields_only_where_they_pair(tmp_path):
    bare = write_text(tmp_path / "bare.tsv", f'query\tpositive\n"half a quote\t{TEA}\nplain\t6" pan\n')
    assert texts(read(bare)) == {'"half a quote': {TEA: 1}, "plain": {'6" pan': 1}}
    quoted = write_text(tmp_path / "quoted.tsv", 'query\tpositive\n"two\nlines"\t"a ""word"""\n')
    assert texts(read(quoted)) == {"two\nlines": {'a "word"': 1}}


def test_a_title_beside_a_context_is_its_documents(tmp_path):
    rows = [{"title": "Tea", "context": TEA, "question": "how", "answers": {"text": ["it"]}, "id": 3}]
    contents = read(write_parquet(tmp_path / "rows.parquet", rows))
    assert [(page.title, page.text) for page in contents.documents.values()] == [("Tea", TEA)]
    assert contents.notes[-1] == "columns that are not used: answers, id"


def test_a_positive_of_one_row_is_no_negative_of_another(tmp_path):
    rows = [{"query": "q", "pos": [TEA], "neg": [BREAD]}, {"query": "q", "pos": [BREAD], "neg": [TEA]}]
    assert texts(read(write_lines(tmp_path / "a.jsonl", rows))) == {"q": {TEA: 1, BREAD: 1}}


def test_files_of_a_folder_are_its_splits(tmp_path):
    for name in ("train-00000-of-00002", "train-00001-of-00002", "validation", "test"):
        write_parquet(tmp_path / "data" / f"{name}.parquet", [{"query": f"q {name}", "positive": f"d {name}"}])
    write_text(tmp_path / "LICENSE", "free")
    collection = load_collection(DataSpec(collection="."), folder=tmp_path)
    assert {split: len(qrels) for split, qrels in collection.qrels.items()} == {"train": 2, "dev": 1, "test": 1}
    assert collection.notes[1] == "left aside: LICENSE"


def test_rows_without_a_query_or_an_answer_are_left_out_with_a_count(tmp_path):
    rows = [
        {"query": "q", "pos": [TEA]},
        {"query": "r", "pos": [BREAD]},
        {"query": " ", "pos": [TEA]},
        {"query": "s", "pos": []},
    ]
    contents = read(write_lines(tmp_path / "a.jsonl", rows))
    assert set(texts(contents)) == {"q", "r"}
    assert "2 rows without a query or an answer are left out" in contents.notes
    with pytest.raises(CollectionError, match=r"b\.jsonl: 2 of 3 rows have no query or no answer"):
        read(write_lines(tmp_path / "b.jsonl", rows[1:]))


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.csv", "Frage,Antwort\na,b\n", "a.csv:2: must have a query (query, anchor, question"),
        ("a.csv", "question,answer\na,b,c\n", "a.csv:2: must have 2 columns as the header has (question, answer)"),
        ("a.csv", 'question,answer\na,"b\nc\n', "a.csv: is no table after line 1: unexpected end of data (a quote"),
        ("a.csv", "question,answer\n", "a.csv: holds no judgement"),
        ("a.tsv", "how is tea\tmade so\nby hand\n", "a.tsv:2: must have 2 columns as the first line has, got 1"),
        ("a.jsonl", '{"query": "q", "pos": "d"}\n{"query": "q"}\n', "a.jsonl:2: must have a query"),
        ("a.jsonl", '{"query": "q", "pos": 3}\n', "a.jsonl:1: pos must be a text, got 3"),
        ("a.jsonl", '{"query": ["q", {}], "pos": ["d", {"text": "e"}]}\n', "a.jsonl:1: pos must be a text, got {'te"),
        ("a.json", '[{"query": "q", "pos": "d"}, 3]', "a.json: element 2: is not a JSON object, got int"),
        ("a.parquet", "no Parquet", "a.parquet: cannot be read after row 0: Parquet magic bytes not found"),
        ("a.yaml", "x", "a.yaml: has no suffix of a file with records: .jsonl"),
    ],
)  # fmt: skip
def test_rows_that_do_not_stand_are_refused_with_file_and_place(tmp_path, name, text, problem):
    with pytest.raises(CollectionError, match=re.escape(problem)) as caught:
        read(write_text(tmp_path / name, text))
    assert "\n" not in str(caught.value)


def test_a_folder_without_pairs_is_refused(tmp_path):
    write_text(tmp_path / "a.csv", "name,age\nx,3\n")
    with pytest.raises(
        CollectionError, match=r"there are no pairs \(rows of query pos neg.* there lie a\.csv \(keys: name"
    ):
        Pairs().read(".", folder=tmp_path)

from __future__ import annotations

import os

import pytest

from sweep.data import Document, RawCollection, load_collection, plan_evaluation_set, write_beir
from sweep.data.sources import LAYOUTS
from sweep.errors import CollectionError
from sweep.settings.data_spec import DataSpec, SplitSpec

ROWS = {n: f"q{n}\td{n}\t1\n" for n in range(1, 5)}


def load(folder, **split):
    data = DataSpec(collection=f"beir:{folder.name}", split=SplitSpec(**split))
    return load_collection(data, folder=folder.parent)


def sizes(collection):
    return {split: len(qrels) for split, qrels in collection.qrels.items()}


@pytest.mark.parametrize("name", ["test", "train", "dev", "whatever"])
def test_a_single_qrels_file_is_split_by_document(write_toy, name):
    collection = load(write_toy(**{name: "".join(ROWS.values())}), dev=0.25, test=0.25)
    assert sizes(collection) == {"train": 2, "dev": 1, "test": 1}
    assert len(collection.held_out) == 2
    assert not collection.leaks.documents
    assert plan_evaluation_set(collection, "dev", max_documents=None, max_queries=None, seed=0).judged_documents == 1


def test_splits_with_dev_are_kept_as_they_are_by_saying_so(write_toy):
    collection = load(write_toy(train=ROWS[1] + ROWS[2], dev=ROWS[3], test=ROWS[4] + ROWS[1]), leaks="keep")
    assert (collection.held_out, collection.left_out) == (frozenset(), frozenset())
    assert collection.leaks.documents == {"judged": {"d1", "d3"}}
    assert collection.leaks.queries == {"equal": {"q1"}}
    assert list(collection.training_judgements()) == [("q1", "d1"), ("q2", "d2")]


def test_what_a_study_from_before_trained_on_stays(write_toy):
    folder = write_toy(train=ROWS[1] + ROWS[2], dev=ROWS[3], test=ROWS[4] + ROWS[1])
    older = DataSpec(collection=f"beir:{folder.name}", rules=1, split=SplitSpec(leaks="keep"))
    collection = load_collection(older, folder=folder.parent)
    assert (collection.held_out, collection.left_out, collection.leaks.documents) == (frozenset(), frozenset(), {})


@pytest.mark.parametrize("seed", range(6))
def test_a_group_of_documents_goes_into_one_split(write_toy, seed):
    tied = load(write_toy(), dev=0.5, test=0.0, group="d[12]|(d)[34]", seed=seed)
    (split,) = {split for split, judged in tied.qrels.items() if judged.keys() & {"q3", "q4"}}
    assert {"q3", "q4"} <= tied.qrels[split].keys()


def test_splits_with_dev_are_taken_without_what_leaks(write_toy):
    collection = load(write_toy(train=ROWS[1] + ROWS[2], dev=ROWS[3], test=ROWS[4] + ROWS[1]))
    assert collection.qrels == {
        "train": {"q1": {"d1": 1}, "q2": {"d2": 1}},
        "dev": {"q3": {"d3": 1}},
        "test": {"q4": {"d4": 1}, "q1": {"d1": 1}},
    }
    assert (collection.held_out, collection.left_out) == ({"d1", "d3"}, {"q1"})  # d4 has no title to be trained on


@pytest.mark.parametrize(
    ("splits", "empty"), [({"train": ROWS[1], "dev": ROWS[2]}, "test"), ({"dev": ROWS[1], "test": ROWS[2]}, "train")]
)
def test_a_split_that_is_absent_beside_dev_is_empty(write_toy, splits, empty):
    collection = load(write_toy(**splits))
    assert sizes(collection) == {"train": 1, "dev": 1, "test": 1} | {empty: 0}
    assert not set(collection.qrels["train"]) & collection.left_out


def test_dev_is_carved_by_document_out_of_train_where_only_it_is_missing(write_toy):
    collection = load(write_toy(train=ROWS[1] + ROWS[2] + ROWS[3], test=ROWS[4]), dev=0.34)
    assert sizes(collection) == {"train": 2, "dev": 1, "test": 1}
    assert collection.qrels["test"] == {"q4": {"d4": 1}}
    assert collection.held_out == {document for judged in collection.qrels["dev"].values() for document in judged}


def test_a_collection_carries_the_name_that_the_study_gave_it(write_toy):
    folder = write_toy()
    assert load(folder).name == f"beir:{folder.name}"


def test_a_folder_may_be_absolute(write_toy, tmp_path):
    absolute = DataSpec(collection=f"beir:{write_toy()}")
    assert load_collection(absolute, folder=tmp_path / "elsewhere").documents["d1"].title == "Tea"


def test_several_qrels_files_must_be_those_of_known_splits(write_toy):
    with pytest.raises(CollectionError, match=r"its judgements 'held' are of no known split; .* train, dev, test"):
        load(write_toy(train=ROWS[1], held=ROWS[2]))


def test_a_collection_that_cannot_be_split_is_refused_by_name(write_toy):
    with pytest.raises(CollectionError, match="beir:toy 'collection': cannot be split by document: 1 judged"):
        load(write_toy(test=ROWS[1]))


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        (
            "web:scifact",
            "'web:scifact' has an unknown scheme; known are a FOLDER or FILE, .*package:aws-cli, beir:FOLD",
        ),
        ("scifact", r"'scifact' is no path \(.*scifact\); known are a FOLDER or FILE, .*package:aws-cli, beir:FOLDER"),
        ("package:gcloud", "there is no packaged collection 'gcloud'; known is package:aws-cli"),
        ("beir:", "'beir:' names no folder or file; write beir:FOLDER"),
        ("beir:nowhere", f"{os.sep}nowhere: there is no such file or folder"),
    ],
)
def test_an_unknown_collection_is_refused_with_the_known_ones(tmp_path, name, problem):
    with pytest.raises(CollectionError, match=problem):
        load_collection(DataSpec(collection=name), folder=tmp_path)


def test_a_path_without_a_scheme_is_read_by_its_layout(write_toy):
    folder = write_toy(train=ROWS[1], dev=ROWS[2])
    collection = load_collection(DataSpec(collection=f"./{folder.name}"), folder=folder.parent)
    assert collection.content_hash == load(folder).content_hash
    assert collection.notes[0].startswith("read as BEIR: documents from corpus.jsonl; queries from queries.jsonl; dev")


def test_a_layout_that_is_none_is_refused_with_what_lies_there_and_what_would_be_read(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.jsonl").write_text('{"premise": "a", "label": 1}\n')
    (tmp_path / "data" / "weights.bin").write_bytes(b"\0")
    with pytest.raises(
        CollectionError, match=r"data: is of no layout .* rows\.jsonl, weights\.bin \(keys: premise, label\)"
    ) as no:
        load_collection(DataSpec(collection="data"), folder=tmp_path)
    assert all(layout.shape in str(no.value) for layout in LAYOUTS)
    assert "\n" not in str(no.value)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(CollectionError, match="holds no file"):
        load_collection(DataSpec(collection="."), folder=tmp_path)


def test_relevant_says_from_which_grade_a_document_is_a_positive(write_toy):
    folder = write_toy(train="q1\td1\t1\nq2\td2\t2\n", dev="q3\td3\t1\nq4\td4\t2\nq4\td3\t1\n")
    data = DataSpec(collection=f"beir:{folder.name}", relevant=2)
    collection = load_collection(data, folder=folder.parent)
    assert list(collection.training_judgements()) == [("q2", "d2")]
    judged = plan_evaluation_set(collection, "dev", max_documents=None, max_queries=None, seed=0)
    assert judged.qrels == {"q4": {"d4": 2, "d3": 1}}
    assert judged.relevant == 2
    assert collection.content_hash != load(folder).content_hash


def test_a_file_of_a_collection_is_refused_with_the_folder_to_name(write_toy):
    folder = write_toy()
    with pytest.raises(
        CollectionError, match=r"corpus\.jsonl: is of no layout that is read \(its folder is: name .*toy"
    ):
        load_collection(DataSpec(collection=f"{folder.name}/corpus.jsonl"), folder=folder.parent)


def test_an_archive_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "scifact.zip").write_bytes(b"PK\x03\x04")
    with pytest.raises(CollectionError, match=r"\(an archive: unpack it, and name its folder\)"):
        load_collection(DataSpec(collection="scifact.zip"), folder=tmp_path)


def test_a_path_that_is_nearly_there_is_named(write_toy):
    folder = write_toy()
    with pytest.raises(CollectionError, match=r"is no path .*; did you mean toy 'collection'\?"):
        load_collection(DataSpec(collection="toy-collection"), folder=folder.parent)


@pytest.mark.parametrize(
    ("sets", "hashed"),
    [
        (("all", "all"), "1c0ea01a32f3401add5c00d5b53987ec9088ec678b58358f935ca3b231a0c69e"),
        (("train", "test"), "34d261522a58e343b4ccaa2d05f5387dfeccdb7cf5bdbc29a51ef305e6d2f7b4"),
    ],
)
def test_a_collection_of_an_older_study_has_the_hash_that_it_had(tmp_path, sets, hashed):
    documents = {f"d{n}": Document(f"t{n % 3}", f"text {n % 9}") for n in range(12)}
    judged = {f"q{n}": {f"d{n}": 1 + n % 2, **({f"d{n * n % 12}": 0} if n % 2 else {})} for n in range(12)}
    qrels = {name: {} for name in sets}
    for number, (query, grades) in enumerate(judged.items()):
        qrels[sets[number // 6]][query] = grades
    write_beir(tmp_path / "old", RawCollection(documents, {f"q{n}": f"query {n}" for n in range(12)}, qrels))
    assert load_collection(DataSpec(collection="beir:old", rules=1), folder=tmp_path).content_hash == hashed


def test_what_was_read_is_said_under_beir_too_where_it_is_something_else(tmp_path):
    (tmp_path / "faq.csv").write_text("question,answer\n" + "".join(f"q {n},a {n}\n" for n in range(9)))
    assert load_collection(DataSpec(collection="beir:faq.csv"), folder=tmp_path).notes[:2] == (
        "faq.csv is not in BEIR's format, and is read as it is",
        "read as pairs: all from faq.csv",
    )


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        (
            "faq.csv",
            "question,answer\na,b\n".encode("utf-16"),
            r"faq\.csv: is not text \(UTF-8\) after line 0: save it as",
        ),
        ("qa.parquet", b"PAR1 and no more", r"qa\.parquet: cannot be read after row 0: Parquet magic bytes not found"),
        ("pairs.jsonl", b'{"query": ', r"pairs\.jsonl:1: is not JSON: Expecting value"),
        ("pairs.jsonl", b"", r"pairs\.jsonl is empty"),
    ],
)
@pytest.mark.parametrize("beside", [False, True])
def test_a_file_that_cannot_be_looked_at_is_named_with_the_reason(tmp_path, name, content, problem, beside):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / name).write_bytes(content)
    if beside:
        (tmp_path / "data" / "corpus.jsonl").write_text('{"_id": "d", "text": "t"}\n')
    with pytest.raises(CollectionError, match=problem) as refused:
        load_collection(DataSpec(collection="data"), folder=tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("pooled", "left_out"), [(1, {"d1", "d3"}), (3, {"d1"})])
def test_documents_judged_not_relevant_are_left_out_unless_that_takes_most_of_training(write_toy, pooled, left_out):
    pool = "".join(f"q4\td{place}\t0\n" for place in (3, 2, 4)[:pooled])
    rows = ROWS[2] + ROWS[3] + "q1\td4\t1\n"
    collection = load(write_toy(train=rows, dev="q4\td1\t1\n" + pool))
    assert collection.held_out == left_out


def test_a_pool_that_is_judged_for_every_query_is_split_and_trained_on_by_what_is_relevant(tmp_path):
    documents = {f"d{n}": Document("", f"text {n} of {n * n}") for n in range(20)}
    pool = dict.fromkeys(documents, 0)
    qrels = {f"q{n}": {**pool, **{f"d{5 * n + each}": 1 for each in range(5)}} for n in range(4)}
    queries = {f"q{n}": f"what of {word}" for n, word in enumerate(("ash", "birch", "cedar", "elm"))}
    write_beir(tmp_path / "pool", RawCollection(documents, queries, {"all": qrels}))
    data = DataSpec(collection="pool", split=SplitSpec(dev=0.25, test=0.25))
    collection = load_collection(data, folder=tmp_path)
    assert sizes(collection) == {"train": 2, "dev": 1, "test": 1}
    assert len(list(collection.training_judgements())) == 10

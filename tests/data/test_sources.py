from __future__ import annotations

import os

import pytest

from sweep.data import load_collection, plan_evaluation_set
from sweep.errors import CollectionError
from sweep.settings.study_file import DataSpec, SplitSpec

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
    with pytest.raises(CollectionError, match=r"qrels/validation\.tsv is the file of no known split; .* dev\.tsv"):
        load(write_toy(train=ROWS[1], validation=ROWS[2]))


def test_a_collection_that_cannot_be_split_is_refused_by_name(write_toy):
    with pytest.raises(CollectionError, match="beir:toy 'collection': cannot be split by document: 1 judged"):
        load(write_toy(test=ROWS[1]))


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("hub:mteb/scifact", "'hub:mteb/scifact' has an unknown scheme; known are package:aws-cli, beir:FOLDER"),
        ("scifact", "'scifact' has an unknown scheme; known are package:aws-cli, beir:FOLDER"),
        ("package:gcloud", "there is no packaged collection 'gcloud'; known is package:aws-cli"),
        ("beir:", "'beir:' names no folder; write beir:FOLDER"),
        ("beir:nowhere", f"{os.sep}nowhere: there is no such folder"),
    ],
)
def test_an_unknown_collection_is_refused_with_the_known_ones(tmp_path, name, problem):
    with pytest.raises(CollectionError, match=problem):
        load_collection(DataSpec(collection=name), folder=tmp_path)

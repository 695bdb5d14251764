from __future__ import annotations

import gzip
import json
import statistics
from importlib import metadata, util
from pathlib import Path

import pytest

from sweep.data import FORMATS, load_collection, make_columns, plan_evaluation_set
from sweep.data.readers.aws_cli import load_aws_cli, make_aws_cli
from sweep.errors import CollectionError
from sweep.settings.data_spec import DataSpec

needs_packages = pytest.mark.skipif(
    not (util.find_spec("awscli") and util.find_spec("botocore")), reason="awscli or botocore is not installed"
)

LONG = "<p>Creates a <code>Bucket</code>, &amp; returns its name.</p><ul><li>See <a href='x'>A</a>s there.</li></ul>"


@pytest.fixture(scope="module")
def made():
    folders = {name: Path(util.find_spec(name).submodule_search_locations[0]) for name in ("awscli", "botocore")}
    return make_aws_cli(folders["awscli"] / "examples", folders["botocore"] / "data")


@pytest.fixture
def packages(tmp_path):
    """Folders laid out as those of the packages; returns a function that writes files into them and makes."""

    def write_service(name, version, operations, *, compressed=True):
        folder = tmp_path / "data" / name / version
        folder.mkdir(parents=True)
        described = {operation: {"documentation": text} for operation, text in operations.items()}
        raw = json.dumps({"metadata": {"serviceFullName": f"Amazon {name}"}, "operations": described}).encode()
        file = folder / ("service-2.json.gz" if compressed else "service-2.json")
        file.write_bytes(gzip.compress(raw) if compressed else raw)

    def make(examples):
        for path, text in examples.items():
            file = tmp_path / "examples" / f"{path}.rst"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return make_aws_cli(tmp_path / "examples", tmp_path / "data")

    return write_service, make


def test_documents_are_the_operations_of_the_newest_version_as_plain_text(packages):
    write_service, make = packages
    write_service("s3", "2006-03-01", {"CreateBucket": LONG, "Short": "<p>Deletes the tag.</p>"})
    write_service("s3", "2001-01-01", {"Outdated": LONG})
    write_service("config", "2014-11-12", {"PutRule": LONG}, compressed=False)
    contents = make({"s3api/create-bucket": "**To create a bucket**\n\n aws s3api create-bucket\n"})
    assert sorted(contents.documents) == ["config.PutRule", "s3.CreateBucket"]
    assert contents.documents["s3.CreateBucket"].title == "Amazon s3"
    assert contents.documents["s3.CreateBucket"].text == "Creates a Bucket, & returns its name. See As there."


@pytest.mark.parametrize(
    ("heading", "query"),
    [
        ("**Example 1: To create a bucket with ``owner`` enforced.**", "To create a bucket with owner enforced"),
        ("**Example2:To create a bucket:**  ", "To create a bucket"),
        ("**2. To create a bucket**", "To create a bucket"),
        ("**Example: To create a bucket**", "To create a bucket"),
        ("**[EC2-VPC] To create a bucket**", "[EC2-VPC] To create a bucket"),
        ("**Output of this**::", None),
        ("**Note: This command is old**", None),
        ("**Example 1: Create bucket**", None),
    ],
)
def test_headings_become_queries_without_number_and_ending(packages, heading, query):
    write_service, make = packages
    write_service("s3", "2006-03-01", {"CreateBucket": LONG, "ListBuckets": LONG})
    contents = make({"s3api/create-bucket": f"{heading}\n\n text\n", "s3api/list-buckets": "**To list all buckets**\n"})
    assert set(contents.queries.values()) == {"To list all buckets", query} - {None}


@pytest.mark.parametrize(
    ("path", "command", "operation"),
    [
        pytest.param("s3api/create-bucket", "aws s3api create-bucket", "s3.CreateBucket", id="renamed-service"),
        pytest.param("s3api/create-bucket", "", "s3.CreateBucket", id="no-command-shown"),
        pytest.param("other/create-bucket", "aws s3api create-bucket", "s3.CreateBucket", id="lies-elsewhere"),
        pytest.param("s3api/create-buckets", "aws s3api create-bucket", "s3.CreateBucket", id="misnamed"),
        pytest.param("s3api/delete-buckets", "aws s3api create-bucket", None, id="misnamed-with-another-verb"),
        pytest.param("s3api/create-bucket", "aws s3api list-buckets", None, id="contradicted"),
        pytest.param("s3api/create-it", "aws s3api create-bucket\n aws s3 cp", None, id="misnamed-and-not-alone"),
        pytest.param("s3/cp", "aws s3 cp", None, id="custom-command"),
        pytest.param("s3api/wait/create-bucket", "aws s3api create-bucket", None, id="waiter"),
        pytest.param("rds/add-option-to-option-group", "", "rds.ModifyOptionGroup", id="split-command"),
    ],
)
def test_an_example_is_judged_for_the_operation_that_it_runs(packages, path, command, operation):
    write_service, make = packages
    write_service("s3", "2006-03-01", {"CreateBucket": LONG, "ListBuckets": LONG})
    write_service("rds", "2014-10-31", {"ModifyOptionGroup": LONG, "Other": LONG})
    contents = make({path: f"**To do this here**\n\n {command}\n", "rds/other": "**To do something else**\n"})
    ids = [query for query, text in contents.queries.items() if text == "To do this here"]
    assert ids == ([] if operation is None else [f"{operation}#1"])
    if operation:
        assert contents.qrels["judged"][ids[0]] == {operation: 1}


def test_one_heading_on_two_pages_is_one_query_with_two_relevant_documents(packages):
    write_service, make = packages
    write_service("s3", "2006-03-01", {"CreateBucket": LONG, "ListBuckets": LONG})
    contents = make({"s3api/list-buckets": "**To Do This**\n", "s3api/create-bucket": "**To do this**\n"})
    assert contents.queries == {"s3.CreateBucket#1": "To do this"}
    assert contents.qrels["judged"] == {"s3.CreateBucket#1": {"s3.CreateBucket": 1, "s3.ListBuckets": 1}}


def test_folders_without_examples_or_operations_are_refused(tmp_path):
    with pytest.raises(CollectionError, match="do not hold operations and examples of them"):
        make_aws_cli(tmp_path / "examples", tmp_path / "data")


@needs_packages
def test_the_real_packages_give_a_plausible_collection(made):
    assert 12_500 <= len(made.documents) <= 16_000
    assert 4_700 <= len(made.queries) <= 6_500
    judgements = made.qrels["judged"]
    assert set(judgements) == set(made.queries)
    assert {grade for judged in judgements.values() for grade in judged.values()} == {1}
    judged = {document for grades in judgements.values() for document in grades}
    assert 4_100 <= len(judged) <= 5_700
    assert judged <= set(made.documents)
    assert 80 <= sum(len(grades) > 1 for grades in judgements.values()) <= 250
    assert 6 <= statistics.median(len(text.split()) for text in made.queries.values()) <= 8
    assert 28 <= statistics.median(len(document.text.split()) for document in made.documents.values()) <= 38
    assert 380 <= len({document.title for document in made.documents.values()}) <= 500
    assert len({text.casefold() for text in made.queries.values()}) == len(made.queries)


@needs_packages
def test_the_real_packages_judge_what_a_reader_would(made):
    ids = {text: key for key, text in made.queries.items()}
    for heading, operation in {
        "To create a bucket with owner enforced": "s3.CreateBucket",
        "To delete an AWS Config rule": "config.DeleteConfigRule",
        "To merge shards": "kinesis.MergeShards",
        "To upload an object": "mediastore-data.PutObject",
    }.items():
        assert operation in made.qrels["judged"][ids[heading]]


@needs_packages
def test_the_cached_collection_is_the_made_one_and_is_not_made_anew(made, tmp_path, monkeypatch):
    monkeypatch.setenv("SWEEP_CACHE", str(tmp_path))
    first = load_aws_cli()
    (folder,) = (tmp_path / "collections").iterdir()
    assert metadata.version("awscli") in folder.name
    assert metadata.version("botocore") in folder.name
    written = {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in folder.rglob("*")}
    cached = load_aws_cli()
    assert written
    assert {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in folder.rglob("*")} == written
    assert made == first == cached


@needs_packages
def test_a_study_can_train_and_judge_on_it(tmp_path, monkeypatch):
    monkeypatch.setenv("SWEEP_CACHE", str(tmp_path))
    collection = load_collection(DataSpec(collection="package:aws-cli"), folder=tmp_path)
    judged = {split: {d for grades in qrels.values() for d in grades} for split, qrels in collection.qrels.items()}
    assert not judged["train"] & (judged["dev"] | judged["test"])
    assert 0.19 < len(judged["dev"]) / sum(map(len, judged.values())) < 0.21
    contents = {collection.documents[document].text for document in collection.held_out}
    for data_format, least in {"title-content": 10_000, "query-document": 2_500}.items():
        columns = make_columns(collection, FORMATS[data_format](), document="text")
        assert len(columns["anchor"]) > least
        assert not contents & set(columns["positive"])
    assert len(plan_evaluation_set(collection, "dev", max_documents=800, max_queries=200, seed=0).document_ids) == 800

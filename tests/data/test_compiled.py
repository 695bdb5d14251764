from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sweep.data import FORMATS, SPLITS, Collection, load_collection, make_columns, plan_held_out, plan_judged
from sweep.data.arrow import map_tables, write_tables
from sweep.data.compiled import (
    CompiledCollection,
    compile_collection,
    from_tables,
    identify_compiled,
    to_tables,
)
from sweep.data.grades import find_own, grade_rows
from sweep.settings.study_file import StudySpec, load_study
from sweep.testing import write_toy_study

NAMES = ("title-content", "query-document")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    return write_toy_study(folder, evaluation={"max_queries": 30, "max_documents": 60})


@pytest.fixture(scope="module")
def spec(study: Path) -> StudySpec:
    return load_study(study)


@pytest.fixture(scope="module")
def collection(study: Path, spec: StudySpec) -> Collection:
    return load_collection(spec.data, folder=study.parent)


@pytest.fixture(params=["in memory", "mapped"])
def compiled(
    request: pytest.FixtureRequest, spec: StudySpec, collection: Collection, tmp_path: Path
) -> CompiledCollection:
    made = compile_collection(spec, collection, data_formats=NAMES)
    if request.param == "in memory":
        return made
    write_tables(tmp_path, to_tables(made))
    return from_tables(map_tables(tmp_path))


def test_columns_and_held_out_rows_are_those_of_the_collection(compiled, collection, spec):
    judgements = plan_judged(spec, collection, "dev").qrels
    document = spec.data.document
    for name in NAMES:
        known = compiled.formats[name]
        columns = {column: compiled.take(texts) for column, texts in known.columns.items()}
        assert list(columns.items()) == list(make_columns(collection, FORMATS[name](), document=document).items())
        rows = plan_held_out(collection, FORMATS[name](), judgements=judgements, document=document)
        assert known.held_out.replace(lambda texts: compiled.take(np.array(texts))) == rows
        assert known.roles == FORMATS[name]().roles


@pytest.mark.parametrize("split", ["dev", "test"])
def test_evaluation_sets_are_those_of_the_study(compiled, collection, spec, split):
    (judged,), expected = compiled.judged[split], plan_judged(spec, collection, split)
    documents = [collection.documents[name].embedded(spec.data.document) for name in expected.document_ids]
    assert compiled.take(judged.documents) == documents
    assert compiled.take(judged.queries) == [collection.queries[name] for name in expected.query_ids]
    assert judged.grades == grade_rows(expected)
    np.testing.assert_array_equal(judged.own, find_own(expected))
    assert judged.relevant is None


def test_every_text_has_one_number_and_its_length(compiled):
    texts = compiled.take(np.arange(len(compiled.texts)))
    assert len(set(texts)) == len(texts)
    assert compiled.characters.tolist() == [len(text) for text in texts]


def test_a_text_is_tokenized_for_the_tasks_that_it_has(compiled):
    queries, documents = compiled.texts_with("query"), compiled.texts_with("document")
    judged = [one for (one,) in compiled.judged.values()]
    assert {*np.concatenate([split.queries for split in judged])} <= {*queries}
    assert {*np.concatenate([split.documents for split in judged])} <= {*documents}
    for name in NAMES:
        columns = compiled.formats[name].columns
        assert {*columns["anchor"]} <= {*queries}
        assert {*columns["positive"]} <= {*documents}
    assert {*queries, *documents} == set(range(len(compiled.texts)))


def test_only_the_formats_that_are_asked_for_have_columns(collection, spec):
    compiled = compile_collection(spec, collection, data_formats=["title-content"])
    assert compiled.formats["title-content"].columns
    assert not compiled.formats["query-document"].columns  # its validation loss is taken all the same
    assert compiled.formats["query-document"].held_out


def test_a_collection_without_test_queries_is_compiled_for_dev(collection, spec):
    splits = {split: collection.qrels[split] if split != "test" else {} for split in SPLITS}
    assert list(compile_collection(spec, replace(collection, qrels=splits), data_formats=NAMES).judged) == ["dev"]


def test_grades_own_documents_and_thresholds_survive_the_files(collection, spec, tmp_path):
    documents = sorted(collection.documents)
    query = next(iter(collection.qrels["dev"]))
    graded = replace(
        collection,
        relevant=0.5,
        queries={**collection.queries, documents[0]: collection.documents[documents[0]].text},
        own_documents=frozenset(documents[:1]),
        qrels={
            **collection.qrels,
            "dev": {query: {documents[0]: 0, documents[1]: 0.25, documents[2]: 3}, documents[0]: {documents[3]: 1}},
        },
    )
    write_tables(tmp_path, to_tables(compile_collection(spec, graded, data_formats=NAMES)))
    (judged,) = from_tables(map_tables(tmp_path)).judged["dev"]
    expected = plan_judged(spec, graded, "dev")
    assert judged.grades == grade_rows(expected)
    assert sorted(grade for row in judged.grades for grade in row.values()) == [0, 0.25, 1, 3]
    np.testing.assert_array_equal(judged.own, find_own(expected))
    assert (judged.own >= 0).sum() == 1
    assert judged.relevant == 0.5


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("evaluation", {"max_queries": 29}),
        ("evaluation", {"max_documents": 61}),
        ("data", {"document": "text"}),
        ("model", {"max_seq_length": 16}),
        ("space", {"data_format": ("title-content",)}),
    ],
)
def test_the_identity_follows_what_is_compiled(spec, table, change):
    other = spec.model_copy(update={table: getattr(spec, table).model_copy(update=change)})
    first, second = (identify_compiled(study, base="a model", content="a collection") for study in (spec, other))
    assert first != second

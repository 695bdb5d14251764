from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bm25s import BM25

import sweep.trial
from sweep.data import load_collection, plan_judged
from sweep.data.hard_sample import order_by_hardness
from sweep.data.leaks import normalize
from sweep.data.near_texts import split_words
from sweep.errors import StudyFileError
from sweep.messages import CompilationTask, StudyTask, give_no_sign
from sweep.run_folder import RunFolder
from sweep.settings.study_file import load_study
from sweep.testing import write_toy_study
from sweep.training import hard_search
from sweep.training.compilation import open_compiled
from sweep.training.hard_search import find_hard_documents
from sweep.training.models import load_base_model, load_model
from sweep.trial import compile_again, open_or_compile, prepare_study

SAMPLE = {"max_queries": 8, "max_documents": 40, "sample": "hard"}


class Channel:
    sign = staticmethod(give_no_sign)


@pytest.fixture
def few_each(monkeypatch):
    """Three documents of each query and way of ranking, and a part of the corpus encoded at a time."""
    monkeypatch.setattr(hard_search, "HARDEST", 3)
    monkeypatch.setattr(hard_search, "ENCODED_AT_ONCE", 50)


@pytest.fixture
def task(tiny_model, tmp_path):
    write_toy_study(tmp_path, model_settings={"base": str(tiny_model)}, evaluation=SAMPLE)
    return StudyTask(spec=load_study(tmp_path / "toy.toml"), folder=tmp_path, run_folder=tmp_path / "toy")


def load(task):
    return load_collection(task.spec.data, folder=task.folder)


def rank_plainly(task, collection, query):
    """The three documents that the words of a query rank highest, and those that its embedding does."""
    names = sorted(collection.documents, reverse=True)
    texts = [collection.documents[name].embedded(task.spec.data.document) for name in names]
    index = BM25()
    index.index([split_words(normalize(text)) for text in texts], show_progress=False)
    words = index.get_scores(split_words(normalize(collection.queries[query])))
    model = load_base_model(task.spec.model, task.folder).model
    cosines = model.encode_query([collection.queries[query]], normalize_embeddings=True) @ (
        model.encode_document(texts, normalize_embeddings=True).T
    )
    return [[names[column] for column in np.argsort(-scores, kind="stable")[:3]] for scores in (words, cosines[0])]


def judged_texts(compiled, split):
    (judged,) = compiled.collection.judged[split]
    return compiled.collection.take(judged.documents)


@pytest.mark.usefixtures("few_each")
def test_a_sample_holds_the_judged_documents_the_hardest_others_and_random_ones(task):
    evaluation = task.spec.evaluation.model_copy(update={"max_documents": 70})
    task = replace(task, spec=task.spec.model_copy(update={"evaluation": evaluation}))
    prepare_study(task, Channel())
    collection = load(task)
    compiled = open_compiled(RunFolder(task.run_folder).compiled)
    for split in ("dev", "test"):
        plain = plan_judged(task.spec, collection, split)
        judged = {name for grades in plain.qrels.values() for name in grades}
        rankings = [ranked for query in plain.query_ids for ranked in rank_plainly(task, collection, query)]
        ranks = {name: min(row.index(name) for row in rankings if name in row) for row in rankings for name in row}
        hard = sorted({*ranks} - judged, key=lambda name: (ranks[name], -sum(name in row for row in rankings)))
        found = plan_judged(task.spec, collection, split, hard=compiled.hard.by_split[split])
        assert {*compiled.hard.by_split[split]} == {*hard}
        assert [ranks[name] for name in compiled.hard.by_split[split]] == [ranks[name] for name in hard]
        assert len(found.document_ids) == 70
        assert {*found.document_ids} >= judged | {*hard}
        assert {*found.document_ids} - judged - {*hard} <= {*plain.document_ids}
        assert found.query_ids == plain.query_ids
        assert found.qrels == plain.qrels
        texts = [collection.documents[name].embedded(task.spec.data.document) for name in found.document_ids]
        assert judged_texts(compiled, split) == texts


def test_where_hard_documents_are_too_many_the_hardest_are_taken(task):
    prepare_study(task, Channel())
    collection, compiled = load(task), open_compiled(RunFolder(task.run_folder).compiled)
    hard = compiled.hard.by_split["dev"]
    found = plan_judged(task.spec, collection, "dev", hard=hard)
    judged = {name for grades in found.qrels.values() for name in grades}
    assert {*found.document_ids} - judged == {*hard[: 40 - len(judged)]}
    assert len(hard) == 40


def test_it_is_found_once_and_stays_for_all_trials(task, monkeypatch):
    prepare_study(task, Channel())
    folder = RunFolder(task.run_folder)
    before = judged_texts(open_compiled(folder.compiled), "dev")
    sought = []
    monkeypatch.setattr(sweep.trial, "find_hard_documents", lambda *_, **__: sought.append(1))
    compile_again(CompilationTask(**vars(task), identity="another"), Channel())
    assert judged_texts(open_compiled(folder.compiled), "dev") == before
    trained = load_model(folder.base_model, device="cpu")
    assert judged_texts(open_or_compile(task, trained, data_format="query-document"), "dev") == before
    assert sought == []


def test_where_it_is_lost_it_is_found_again_by_the_base_model(task):
    prepare_study(task, Channel())
    folder = RunFolder(task.run_folder)
    before = judged_texts(open_compiled(folder.compiled), "dev")
    (folder.compiled / "texts.arrow").write_bytes(b"broken")
    other = load_model(folder.base_model, device="cpu")
    for parameter in other.parameters():
        parameter.data.mul_(-1.0)
    assert judged_texts(open_or_compile(task, other), "dev") == before


def test_a_random_sample_is_the_default_and_the_same_as_ever(task):
    collection = load(task)
    random = task.spec.model_copy(update={"evaluation": task.spec.evaluation.model_copy(update={"sample": "random"})})
    assert load_study(write_toy_study(task.folder / "plain")).evaluation.sample == "random"
    assert plan_judged(random, collection, "dev") == plan_judged(task.spec, collection, "dev")  # until they are known
    prepare_study(replace(task, spec=random), Channel())
    assert open_compiled(RunFolder(task.run_folder).compiled).hard is None


def test_larger_samples_hold_smaller_ones(task):
    collection = load(task)
    hard = [*sorted(collection.documents)[:30]]
    sets = []
    for size in (20, 35, 60, 120):
        evaluation = task.spec.evaluation.model_copy(update={"max_documents": size})
        spec = task.spec.model_copy(update={"evaluation": evaluation})
        sets.append({*plan_judged(spec, collection, "dev", hard=hard).document_ids})
    assert [len(one) for one in sets] == [20, 35, 60, 120]
    assert sets[0] < sets[1] < sets[2] < sets[3]


def test_a_hard_sample_needs_a_size(tmp_path):
    file = write_toy_study(tmp_path, script={}, evaluation={"sample": "hard"})
    with pytest.raises(StudyFileError, match='sample = "hard" needs max_documents'):
        load_study(file)


def test_a_query_that_is_a_document_is_no_hard_one_of_itself(task):
    collection = load(task)
    query = sorted(collection.qrels["dev"])[0]
    document = next(iter(collection.qrels["dev"][query]))
    twin = {**collection.documents, query: collection.documents[document]}
    known = replace(collection, documents=twin, own_documents=frozenset({query}))
    model = load_base_model(task.spec.model, task.folder).model
    spec = task.spec.model_copy(
        update={"evaluation": task.spec.evaluation.model_copy(update={"max_queries": 1, "max_documents": 500})}
    )
    only = replace(known, qrels={"train": {}, "dev": {query: {document: 1}}, "test": {}})
    assert query not in find_hard_documents(spec, only, model)["dev"]


@pytest.mark.parametrize(
    ("rankings", "ordered"),
    [([], []), ([[3, 1], [2, 1]], [2, 3, 1]), ([[5, 4], [4, 5], [4, 6]], [4, 5, 6]), ([[1, 2, 3], [4]], [1, 4, 2, 3])],
)
def test_the_best_rank_counts_then_the_number_of_rankings(rankings, ordered):
    assert order_by_hardness([np.array(row) for row in rankings]).tolist() == ordered

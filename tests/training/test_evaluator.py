from __future__ import annotations

import dataclasses
import random
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

from sweep.data import FORMATS, Collection, Document, EvaluationSet, load_collection, plan_evaluation_set, plan_held_out
from sweep.data.formats.title_content import TitleContent
from sweep.measures.measures import find_measure
from sweep.settings.data_spec import DataSpec
from sweep.training.evaluator import ENCODE_BATCH, encode
from sweep.training.losses.multiple_negatives_ranking import MultipleNegativesRanking
from sweep.training.models import load_model
from sweep.training.tokens import TOKENIZED_AT_ONCE, tokenize
from tests.compiled import compile_texts, encode_texts, make_evaluator

TEXTS = ["", "a", "abc def", "z" * 90, "one two three", "Ümläut, 日本", *("ab " * n + "cd" for n in range(1, 60))]


@pytest.fixture(scope="module")
def model(tiny_model):
    return load_model(tiny_model, device="cpu")


@pytest.fixture(scope="module")
def binary(toy_collection):
    return load_collection(DataSpec(collection=f"beir:{toy_collection}"), folder=toy_collection)


@pytest.fixture(scope="module")
def graded(binary):
    """The toy collection with three to eight graded documents a query, one of them of grade 0 and one of grade 1."""
    draw = np.random.default_rng(0)
    names = sorted(binary.documents)
    qrels = {}
    for query in sorted(binary.queries)[:60]:
        chosen = draw.choice(names, size=draw.integers(3, 9), replace=False)
        qrels[query] = {str(name): int(grade) for name, grade in zip(chosen, [0, 1, *draw.integers(0, 4, 6)])}  # noqa: B905
    return Collection("graded", binary.documents, binary.queries, {"train": {}, "dev": qrels, "test": {}}, frozenset())


def judged_set(collection, **limits):
    return plan_evaluation_set(collection, "dev", **{"max_documents": None, "max_queries": None, "seed": 0, **limits})


def library_cosines(model, collection, judged, **prompts):
    """(Q, D) cosines by the library's own encode."""
    queries, documents = (
        model.encode(texts, normalize_embeddings=True, prompt=prompts.get(role)).astype(np.float64)
        for role, texts in (
            ("query", [collection.queries[name] for name in judged.query_ids]),
            ("document", [collection.documents[name].text for name in judged.document_ids]),
        )
    )
    return queries @ documents.T


def relevant_mask(judged):
    return np.array([[judged.qrels[q].get(d, 0) > 0 for d in judged.document_ids] for q in judged.query_ids])


def assert_summary(found, cosines):
    assert found.mean == pytest.approx(np.mean(cosines), abs=1e-5)
    assert found.p5 == pytest.approx(np.percentile(cosines, 5), abs=1e-5)
    assert found.p95 == pytest.approx(np.percentile(cosines, 95), abs=1e-5)


@pytest.mark.parametrize("count", [1, 31, 32, 33, len(TEXTS)])
def test_embeddings_come_in_the_order_of_the_texts_and_are_those_of_the_library(model, count):
    texts = [TEXTS[place] for place in np.random.default_rng(count).permutation(len(TEXTS))[:count]]
    ours = encode_texts(model, texts)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, model.encode(texts, normalize_embeddings=True), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1.0, atol=1e-5)


def test_a_sign_of_life_follows_each_batch_that_is_tokenized_or_encoded(model):
    signs = []
    texts = [f"{text} {number}" for number in range(8) for text in TEXTS]
    compiled, numbers = compile_texts(texts)
    tokens = tokenize(model, compiled, sign=lambda: signs.append("tokenized"))["document"]
    assert signs == ["tokenized"] * -(-len(texts) // TOKENIZED_AT_ONCE)
    assert len(signs) > 1
    signs.clear()
    encode(model, tokens, numbers, sign=lambda: signs.append("encoded"))
    assert signs == ["encoded"] * -(-len(texts) // ENCODE_BATCH["cpu"])


def test_a_judging_gives_signs_from_its_beginning_to_its_end(model, binary):
    signs = []
    judged = judged_set(binary, max_documents=60, max_queries=20)
    make_evaluator(model, binary, judged=judged, sign=lambda: signs.append("judged")).evaluate(model)
    batches = -(-60 // ENCODE_BATCH["cpu"]) + -(-20 // ENCODE_BATCH["cpu"])
    assert len(signs) == batches + 1 + 5 + 2  # a chunk is ranked, five measures taken, two summaries


def test_batches_hold_texts_of_like_length_so_that_little_is_padded(model):
    batches = []
    hook = model.register_forward_pre_hook(lambda _, inputs: batches.append(inputs[0]))
    encode_texts(model, TEXTS)
    hook.remove()
    lengths = [batch["attention_mask"].sum(dim=1) for batch in batches]
    assert sorted((int(length) for row in lengths for length in row), reverse=True) == torch.cat(lengths).tolist()
    assert [batch["attention_mask"].shape[1] for batch in batches] == [int(row.max()) for row in lengths]


@pytest.mark.parametrize(
    ("metric", "theirs"),
    [
        ("ndcg@10", "ndcg_cut_10"),
        ("ndcg@150", "ndcg_cut_150"),
        ("recall@5", "recall_5"),
        ("recall@150", "recall_150"),
        ("map@20", "map_cut_20"),
        ("mrr@240", "recip_rank"),
    ],
)
@pytest.mark.parametrize("limits", [{}, {"max_documents": 120, "max_queries": 25}])
def test_a_measure_is_that_of_trec_eval_on_the_embeddings_of_the_library(model, graded, limits, metric, theirs):
    pytrec_eval = pytest.importorskip("pytrec_eval")
    judged = judged_set(graded, **limits)
    cosines = library_cosines(model, graded, judged)
    run = {
        query: dict(zip(judged.document_ids, row.tolist(), strict=True))
        for query, row in zip(judged.query_ids, cosines, strict=True)
    }
    qrels = {query: dict(grades) for query, grades in judged.qrels.items()}
    assert {grade for grades in qrels.values() for grade in grades.values()} == {0, 1, 2, 3}
    asked = {theirs, "ndcg_cut_10", "recall_10", "recall_100", "recip_rank"}
    evaluator = pytrec_eval.RelevanceEvaluator(qrels, {re.sub(r"_(\d+)$", r".\1", name) for name in asked})
    found = evaluator.evaluate(run)
    values = {name: [found[query][name] for query in judged.query_ids] for name in asked}
    measure = find_measure(metric)
    ours = make_evaluator(model, graded, judged=judged, measure=measure).evaluate(model)
    np.testing.assert_allclose(ours.per_query, values[theirs], atol=1e-6)
    assert ours.value == pytest.approx(np.mean(ours.per_query))
    assert ours.ndcg_10 == pytest.approx(np.mean(values["ndcg_cut_10"]), abs=1e-6)
    assert (ours.recall_10, ours.recall_100) == pytest.approx(
        (np.mean(values["recall_10"]), np.mean(values["recall_100"])), abs=1e-6
    )
    assert len(np.unique(ours.per_query)) > 4 or measure.depth > len(judged.document_ids)


def test_measures_of_relevant_or_not_are_trec_evals_at_the_grade_from_which_a_document_is_relevant(model, graded):
    pytrec_eval = pytest.importorskip("pytrec_eval")
    graded = replace(graded, relevant=2)
    judged = judged_set(graded)
    cosines = library_cosines(model, graded, judged)
    run = {
        query: dict(zip(judged.document_ids, row.tolist(), strict=True))
        for query, row in zip(judged.query_ids, cosines, strict=True)
    }
    qrels = {query: dict(grades) for query, grades in judged.qrels.items()}
    asked = {"ndcg_cut.10", "recall.10", "map_cut.10", "recip_rank"}
    found = pytrec_eval.RelevanceEvaluator(qrels, asked, relevance_level=2).evaluate(run)
    for metric, theirs in (("ndcg@10", "ndcg_cut_10"), ("recall@10", "recall_10"), ("map@10", "map_cut_10")):
        ours = make_evaluator(model, graded, judged=judged, measure=find_measure(metric)).evaluate(model)
        np.testing.assert_allclose(ours.per_query, [found[query][theirs] for query in judged.query_ids], atol=1e-6)
    positives = sum(grade >= 2 for grades in qrels.values() for grade in grades.values())
    assert sum(ours.positives.histogram) == positives


def test_mean_ndcg_of_binary_grades_is_that_of_the_librarys_evaluator(model, binary):
    judged = judged_set(binary)
    evaluator = InformationRetrievalEvaluator(
        {name: binary.queries[name] for name in judged.query_ids},
        {name: binary.documents[name].text for name in judged.document_ids},
        {query: set(grades) for query, grades in judged.qrels.items()},
        show_progress_bar=False,
        write_csv=False,
    )
    theirs = evaluator(model)["cosine_ndcg@10"]
    ours = make_evaluator(model, binary, judged=judged).evaluate(model).value
    assert 0.01 < ours < 0.99
    assert ours == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("collection", ["binary", "graded"])
def test_cosines_of_relevant_and_of_other_pairs_are_those_of_the_library(model, collection, request):
    chosen = request.getfixturevalue(collection)
    judged = judged_set(chosen)
    cosines, relevant = library_cosines(model, chosen, judged), relevant_mask(judged)
    found = make_evaluator(model, chosen, judged=judged).evaluate(model)
    assert_summary(found.positives, cosines[relevant])
    assert_summary(found.negatives, cosines[~relevant])
    assert found.seconds > 0


def test_more_queries_than_are_ranked_at_once_are_ranked_alike(model):
    words = [f"{chr(97 + n % 26)}{chr(97 + n // 26 % 26)}" for n in range(1100)]
    collection = Collection(
        "many",
        {f"d{n}": Document("", f"{words[n]} {words[-n - 1]} abc") for n in range(60)},
        {f"q{n:04d}": f"{word} {words[n // 2]}" for n, word in enumerate(words)},
        {"train": {}, "dev": {f"q{n:04d}": {f"d{n % 60}": 1} for n in range(1100)}, "test": {}},
        frozenset(),
    )
    judged = judged_set(collection)
    found = make_evaluator(model, collection, judged=judged).evaluate(model)
    assert found.per_query.shape == (1100,)
    parts = [
        EvaluationSet(judged.document_ids, names, {name: judged.qrels[name] for name in names}, judged.judged_documents)
        for names in (judged.query_ids[:1000], judged.query_ids[1000:])
    ]
    apart = [make_evaluator(model, collection, judged=part).evaluate(model).per_query for part in parts]
    assert (np.concatenate(apart) == found.per_query).mean() > 0.99  # rounding can swap two documents
    cosines, relevant = library_cosines(model, collection, judged), relevant_mask(judged)
    assert_summary(found.positives, cosines[relevant])
    assert_summary(found.negatives, cosines[~relevant])


def test_the_view_of_documents_decides_what_is_embedded(model, binary):
    judged = judged_set(binary, max_documents=60, max_queries=20)
    both = make_evaluator(model, binary, judged=judged, document="title-and-text").evaluate(model)
    joined = {name: Document("", document.embedded("title-and-text")) for name, document in binary.documents.items()}
    same = Collection("joined", joined, binary.queries, binary.qrels, binary.held_out)
    assert both.positives == make_evaluator(model, same, judged=judged).evaluate(model).positives
    assert both.positives != make_evaluator(model, binary, judged=judged).evaluate(model).positives


def test_a_query_that_is_a_document_does_not_find_itself(model, binary):
    queries = {f"q{n:04}": binary.documents[f"d{n:04}"].text for n in range(20)}
    documents = {**binary.documents, **{name: Document("", text) for name, text in queries.items()}}
    judged = {name: {name.replace("q", "d"): 1} for name in queries}
    found = Collection("own", documents, queries, {"dev": judged}, frozenset(), own_documents=frozenset(queries))
    twins = make_evaluator(model, found, judged=judged_set(found)).evaluate(model)
    assert (twins.per_query == 1.0).all()  # the only other document of the very text
    blind = dataclasses.replace(found, own_documents=frozenset())
    assert make_evaluator(model, blind, judged=judged_set(blind)).evaluate(model).per_query.max() < 1.0
    # nor is its cosine with itself one of those with other documents
    assert sum(twins.negatives.histogram) == 20 * (len(documents) - 2)


def test_shuffled_judgements_are_worth_little_and_are_evaluated_on_the_same_ranking(model, binary):
    judged = judged_set(binary)
    both = make_evaluator(model, binary, judged=judged, shuffled=True).evaluate(model)
    alone = make_evaluator(model, binary, judged=judged).evaluate(model)
    assert alone.shuffled is None
    assert (both.per_query == alone.per_query).all()
    assert both.shuffled.shape == both.per_query.shape
    assert both.shuffled.mean() < both.per_query.mean()


def random_states():
    python, numpy, torch_state = random.getstate(), np.random.get_state(legacy=False), torch.random.get_rng_state()
    return python, numpy["state"]["key"].tolist(), numpy["state"]["pos"], torch_state.tolist()


@pytest.mark.parametrize("training", [True, False])
def test_judging_draws_no_random_number_and_leaves_the_model_in_its_mode(tiny_model, binary, training):
    model = load_model(tiny_model, device="cpu")
    model.train(training)
    before = random_states()
    evaluator = make_evaluator(model, binary, judged=judged_set(binary, max_documents=60, max_queries=20))
    first, second = evaluator.evaluate(model), evaluator.evaluate(model)
    assert random_states() == before
    assert [module for module in model.modules() if module.training != training] == []
    np.testing.assert_array_equal(first.per_query, second.per_query)
    assert first.positives == second.positives
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_model_whose_embeddings_are_not_finite_is_judged_as_not_a_number(tiny_model, binary, value):
    model = load_model(tiny_model, device="cpu")
    judged = judged_set(binary, max_documents=60, max_queries=20)
    evaluator = make_evaluator(model, binary, judged=judged)
    with torch.no_grad():
        next(model.parameters()).fill_(value)
    found = evaluator.evaluate(model)
    assert found.per_query.shape == (len(judged.query_ids),)
    assert np.isnan(found.per_query).all()
    assert np.isnan(found.value)
    for cosines in (found.positives, found.negatives):
        assert np.isnan([cosines.mean, cosines.p5, cosines.p95]).all()


def test_a_failed_judging_leaves_the_model_in_its_mode(tiny_model):
    model = load_model(tiny_model, device="cpu")
    model.train()

    def spoil(_, inputs):
        inputs[0]["input_ids"] += 10**6

    model.register_forward_pre_hook(spoil)
    with pytest.raises(IndexError, match="out of range"):
        encode_texts(model, ["abc"])
    assert model.training


PROMPTS = [
    {"query": "find ", "document": "page "},
    {"query": "find ", "document": ""},
    {"query": "", "document": "page "},
    {"query": "", "document": "", "other": "never "},
]


@pytest.mark.parametrize("prompts", PROMPTS)
@pytest.mark.parametrize("pooled", [True, False])
def test_the_prompts_of_a_model_are_put_before_queries_and_documents(tiny_model, binary, prompts, pooled):
    model = load_model(tiny_model, device="cpu")
    model.prompts = prompts
    model.set_pooling_include_prompt(pooled)
    judged = judged_set(binary)
    texts = [binary.documents[name].text for name in judged.document_ids]
    queries = [binary.queries[name] for name in judged.query_ids]
    cosines = (
        model.encode_query(queries, normalize_embeddings=True)
        @ model.encode_document(texts, normalize_embeddings=True).T
    )
    relevant = relevant_mask(judged)
    found = make_evaluator(model, binary, judged=judged).evaluate(model)
    assert_summary(found.positives, cosines[relevant])
    assert_summary(found.negatives, cosines[~relevant])


def test_the_validation_loss_is_that_of_the_librarys_loss_on_the_held_out_pairs(model, binary):
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    pairs = plan_held_out(binary, TitleContent(), judgements=binary.qrels["dev"], document="text")
    evaluator = make_evaluator(
        model,
        binary,
        judged=judged_set(binary, max_queries=5),
        held_out={"title-content": pairs},
        loss=MultipleNegativesRanking(scale=50.0),
    )
    found = evaluator.evaluate(model).validation_losses
    model.eval()
    loss = MultipleNegativesRankingLoss(model, scale=50.0)
    with torch.no_grad():
        theirs = [
            float(loss([model.preprocess(list(anchors)), model.preprocess(list(positives))], labels=None))
            for anchors, positives in zip(*pairs.texts.values(), strict=True)
        ]
    assert found == {"title-content": pytest.approx(np.mean(theirs), abs=1e-4)}


def test_held_out_pairs_leave_the_ndcg_as_it_is(model, binary):
    judged = judged_set(binary)
    formats = ("title-content", "query-document")
    pairs = {name: plan_held_out(binary, FORMATS[name](), judgements=judged.qrels, document="text") for name in formats}
    alone = make_evaluator(model, binary, judged=judged).evaluate(model)
    beside = make_evaluator(model, binary, judged=judged, held_out=pairs, loss=MultipleNegativesRanking()).evaluate(
        model
    )
    np.testing.assert_array_equal(alone.per_query, beside.per_query)
    assert set(beside.validation_losses) == set(formats)
    assert alone.validation_losses == {}


def test_recall_and_reciprocal_rank_are_those_of_the_librarys_evaluator(model, binary):
    judged = judged_set(binary)
    evaluator = InformationRetrievalEvaluator(
        {name: binary.queries[name] for name in judged.query_ids},
        {name: binary.documents[name].text for name in judged.document_ids},
        {name: {d for d, grade in judged.qrels[name].items() if grade > 0} for name in judged.query_ids},
        mrr_at_k=[10],
        precision_recall_at_k=[10, 100],
        write_csv=False,
    )
    theirs = evaluator(model)
    found = make_evaluator(model, binary, judged=judged).evaluate(model)
    assert found.mrr_10 == pytest.approx(theirs["cosine_mrr@10"], abs=1e-6)
    assert found.recall_10 == pytest.approx(theirs["cosine_recall@10"], abs=1e-6)
    assert found.recall_100 == pytest.approx(theirs["cosine_recall@100"], abs=1e-6)


def test_alignment_uniformity_and_histograms_come_from_the_same_embeddings(model, binary):
    judged = judged_set(binary, max_documents=40)
    found = make_evaluator(model, binary, judged=judged).evaluate(model)
    cosines, relevant = library_cosines(model, binary, judged), relevant_mask(judged)
    assert found.alignment == pytest.approx(2 - 2 * cosines[relevant].mean(), abs=1e-4)
    assert sum(found.positives.histogram) == relevant.sum()
    assert sum(found.negatives.histogram) == (~relevant).sum()
    documents = model.encode([binary.documents[name].text for name in judged.document_ids], normalize_embeddings=True)
    potential = torch.pdist(torch.tensor(documents, dtype=torch.float64)).pow(2).mul(-2).exp().mean().log()
    assert found.uniformity == pytest.approx(float(potential), abs=1e-4)


@pytest.fixture
def collapsed(tiny_model):
    """A model that reads every text as the same vector, but for the rounding of its batch."""
    model = load_model(tiny_model, device="cpu")
    with torch.no_grad():
        for table in (module for module in model.modules() if isinstance(module, torch.nn.Embedding)):
            table.weight.copy_(table.weight[:1].expand_as(table.weight))
    return model


def test_a_collapsed_model_is_known_as_one_and_ranks_alike_whatever_the_batch(collapsed, binary, monkeypatch):
    judged, values = judged_set(binary, max_queries=20), []
    for size in (1, 7, 32):
        monkeypatch.setitem(ENCODE_BATCH, "cpu", size)
        evaluation = make_evaluator(collapsed, binary, judged=judged).evaluate(collapsed)
        assert evaluation.has_collapsed
        values.append(evaluation.per_query)
    np.testing.assert_array_equal(values[0], values[1])
    np.testing.assert_array_equal(values[0], values[2])


def test_documents_of_one_text_are_ties_that_the_later_id_wins(model, binary):
    judged = judged_set(binary, max_queries=10)
    first, second = judged.document_ids[:2]  # ids descend
    twins = {**binary.documents, second: replace(binary.documents[second], text=binary.documents[first].text)}
    query = judged.query_ids[0]
    for relevant, rank in ((first, 0), (second, 1)):
        qrels = {query: {relevant: 1}}
        alone = replace(judged, document_ids=[first, second], query_ids=[query], qrels=qrels)
        evaluation = make_evaluator(model, replace(binary, documents=twins), judged=alone).evaluate(model)
        assert evaluation.value == pytest.approx(1.0 / np.log2(rank + 2))

from __future__ import annotations

import numpy as np
import pytest

from sweep.data import Collection, Document, plan_evaluation_set
from sweep.data.lexical import evaluate_bm25
from sweep.measures.measures import find_measure

DOCUMENTS = {
    "d1": Document("Tea", "steep green leaves below boiling"),
    "d2": Document("Bread", "dough rises with yeast"),
    "d3": Document("Rice", "rinse grains before they are cooked"),
    "d4": Document("", ""),
}
QUERIES = {"q1": "Green LEAVES", "q2": "bread", "q3": "nothing of it", "q4": "?!"}
QRELS = {"q1": {"d1": 1}, "q2": {"d2": 1}, "q3": {"d3": 1}, "q4": {"d3": 1}}


def evaluate(document: str, documents: dict[str, Document] = DOCUMENTS, **changes: object) -> list[float]:
    made = Collection("toy", documents, QUERIES, {"dev": QRELS}, frozenset(), **changes)  # type: ignore[arg-type]
    judged = plan_evaluation_set(made, "dev", max_documents=None, max_queries=None, seed=0)
    values = evaluate_bm25(made, judged, document=document, measure=find_measure("mrr@1"))  # type: ignore[arg-type]
    assert values.dtype == np.float32
    return values.tolist()


def test_words_are_found_whatever_their_case() -> None:
    assert evaluate("text") == [1.0, 0.0, 0.0, 0.0]


def test_titles_count_where_they_are_embedded() -> None:
    assert evaluate("title-and-text") == [1.0, 1.0, 0.0, 0.0]


def test_documents_without_a_word_are_found_by_none() -> None:
    assert evaluate("text", dict.fromkeys(DOCUMENTS, Document("", "?"))) == [0.0, 0.0, 0.0, 0.0]


def test_a_query_that_is_a_document_does_not_find_itself() -> None:
    documents = {**DOCUMENTS, "q1": Document("", "green leaves")}
    assert evaluate("text", documents)[0] == 0.0
    assert evaluate("text", documents, own_documents=frozenset({"q1"}))[0] == 1.0


def test_its_ranking_is_that_of_the_formula() -> None:
    """Robertson's BM25 with Lucene's idf, written out."""
    texts = {name: document.text.split() for name, document in DOCUMENTS.items() if document.text}
    mean = sum(map(len, texts.values())) / len(texts)

    def score(query: list[str], text: list[str]) -> float:
        total = 0.0
        for word in query:
            holders = sum(word in other for other in texts.values())
            idf = np.log(1 + (len(texts) - holders + 0.5) / (holders + 0.5))
            count = text.count(word)
            total += idf * count / (count + 1.5 * (0.25 + 0.75 * len(text) / mean))
        return total

    queries = {"q1": "green dough yeast", "q2": "steep rinse grains before"}
    best = {name: max(texts, key=lambda other: score(text.split(), texts[other])) for name, text in queries.items()}
    assert best == {"q1": "d2", "q2": "d3"}
    made = Collection(
        "toy", DOCUMENTS, queries, {"dev": {name: {found: 1} for name, found in best.items()}}, frozenset()
    )
    judged = plan_evaluation_set(made, "dev", max_documents=None, max_queries=None, seed=0)
    values = evaluate_bm25(made, judged, document="text", measure=find_measure("mrr@1"))
    assert values.tolist() == pytest.approx([1.0, 1.0])

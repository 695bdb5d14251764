"""BM25: what a ranking by words alone is worth, which a model should beat."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sweep.data.collection import Collection, DocumentView, EvaluationSet
from sweep.data.grades import find_own, grade_rows, look_up_grades, pad_grades, rank_others
from sweep.data.leaks import normalize
from sweep.data.near_texts import split_words
from sweep.measures.measures import Measure


def evaluate_bm25(
    collection: Collection, judged: EvaluationSet, *, document: DocumentView, measure: Measure
) -> NDArray[np.float32]:
    """(Q,) values of a measure of BM25's ranking: k1 1.5, b 0.75, words as they are written but for case.

    The queries of a benchmark are ranked over its documents.
    """
    values = [_evaluate_one(collection, one, document, measure) for one in judged.by_benchmark()]
    return np.concatenate(values)


def _evaluate_one(
    collection: Collection, judged: EvaluationSet, document: DocumentView, measure: Measure
) -> NDArray[np.float32]:
    from bm25s import BM25  # only check needs it

    texts = [split_words(normalize(collection.documents[name].embedded(document))) for name in judged.document_ids]
    scores = np.zeros((len(judged.query_ids), len(texts)), dtype=np.float32)
    known = {word for text in texts for word in text}
    if known:
        index = BM25()
        index.index(texts, show_progress=False)
        for row, name in enumerate(judged.query_ids):
            words = [word for word in split_words(normalize(collection.queries[name])) if word in known]
            if words:
                scores[row] = index.get_scores(words)
    rows = grade_rows(judged)
    top = rank_others(scores, find_own(judged), depth=measure.depth)
    values = measure.evaluate(look_up_grades(rows, top), pad_grades(rows), relevant=judged.relevant)
    return values.astype(np.float32)

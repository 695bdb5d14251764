"""Evaluator: a measure of a model on a fixed set of queries and documents.

Texts are tokenized once, in batches of like length, so that an evaluation is little more than the model's own forward
passes. Nothing here draws a random number, so an evaluation leaves a training run as it was.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import batch_to_device

from sweep.data import Collection, EvaluationSet, HeldOutRows
from sweep.data.formats.format import PROMPTS
from sweep.measures.geometry import alignment, count_cosines, uniformity
from sweep.measures.measures import DEFAULT_METRIC, Measure, find_measure
from sweep.measures.ranking import FloatArray, rank_top_k
from sweep.measures.score import Score
from sweep.messages import Cosines, Evaluation, Sign, give_no_sign
from sweep.training.devices import autocast
from sweep.training.losses.loss import Loss

SIDE_FIGURES = {name: find_measure(name.replace("_", "@")) for name in ("ndcg_10", "recall_10", "recall_100", "mrr_10")}
"""Measures whose means are recorded with every evaluation, whatever the study's metric is."""

ENCODE_BATCH = {"cpu": 32, "cuda": 512}
QUERY_CHUNK = 1024
MAX_COSINES = 4_000_000
MAX_UNIFORM = 1000
"""Documents, evenly spread over the judged ones, that uniformity is taken over: half a million pairs."""

_Float32 = NDArray[np.float32]
_NO_COSINES = Cosines(mean=np.nan, p5=np.nan, p95=np.nan)


class TokenizedTexts:
    """N texts as batches of like length, ready for a model's forward pass: cut by its tokenizer and length limit.

    The prompt is put before each text, as the model was trained to expect. A sign of life follows each batch.
    """

    def __init__(
        self, model: SentenceTransformer, texts: Sequence[str], *, prompt: str | None, sign: Sign = give_no_sign
    ) -> None:
        size = ENCODE_BATCH.get(model.device.type, 32)
        order = np.argsort([-len(text) for text in texts], kind="stable")
        lengths = np.empty(len(texts), dtype=np.int64)
        for start in range(0, len(texts), size):  # lengths in tokens, found in batches of like length in characters
            rows = order[start : start + size]
            features = model.preprocess([texts[row] for row in rows], prompt=prompt)
            lengths[rows] = features["attention_mask"].sum(dim=1).numpy()
            sign()
        self.order = np.argsort(-lengths, kind="stable")
        self.batches: list[dict[str, Any]] = []
        for start in range(0, len(texts), size):
            self.batches.append(
                model.preprocess([texts[row] for row in self.order[start : start + size]], prompt=prompt)
            )
            sign()


def encode(model: SentenceTransformer, texts: TokenizedTexts, *, sign: Sign = give_no_sign) -> _Float32:
    """(N, H) embeddings of length 1 in the order of the texts; not finite where the model's were not.

    The model is left in the mode (training or not) that it came in. A sign of life follows each batch.
    """
    training = model.training
    model.eval()
    try:
        with torch.inference_mode(), autocast(model.device.type):
            parts = []
            for batch in texts.batches:
                parts.append(model(batch_to_device(dict(batch), model.device))["sentence_embedding"])
                sign()
            embeddings = torch.nn.functional.normalize(torch.cat(parts).float(), dim=1).cpu().numpy()
    finally:
        model.train(training)
    restored: _Float32 = np.empty_like(embeddings)
    restored[texts.order] = embeddings
    return restored


class Evaluator:
    """Evaluates models on one set of queries and documents.

    Args:
        model: Any of the models to be evaluated: they share a tokenizer.
        collection: The collection with the texts.
        judged: The queries, documents and grades; the documents descend by id, so that ties are broken as by trec_eval.
        document: The part of a document that is embedded.
        held_out: Rows, by any name, that a validation loss is taken over. Of their texts only those that are not
            encoded anyway are encoded besides.
        loss: The loss that is taken over them; without one there is none.
        measure: The study's measure; by default NDCG@10.
        sign: Given between the batches of texts that are tokenized and encoded, and of queries that are ranked.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        collection: Collection,
        *,
        judged: EvaluationSet,
        document: Any = "text",
        held_out: Mapping[str, HeldOutRows] | None = None,
        loss: Loss | None = None,
        measure: Measure | None = None,
        sign: Sign = give_no_sign,
    ) -> None:
        self.judged = judged
        self._sign = sign
        self._held_out = held_out or {}
        self._loss = loss
        self._measure = measure or find_measure(DEFAULT_METRIC)
        self._depth = max(measure.depth for measure in (self._measure, *SIDE_FIGURES.values()))
        prompts = role_prompts(model)
        documents = [collection.documents[name].embedded(document) for name in judged.document_ids]
        queries = [collection.queries[name] for name in judged.query_ids]
        held = self._held_out.values()
        self._document_rows = _rows_of(documents, (text for rows in held for text in rows.texts_with("document")))
        self._query_rows = _rows_of(queries, (text for rows in held for text in rows.texts_with("query")))
        documents += [text for text, row in self._document_rows.items() if row >= len(documents)]
        queries += [text for text, row in self._query_rows.items() if row >= len(queries)]
        self._documents = TokenizedTexts(model, documents, prompt=prompts.get("document"), sign=sign)
        self._queries = TokenizedTexts(model, queries, prompt=prompts.get("query"), sign=sign)
        self._grades = _grade_rows(judged)
        self._judged = _padded([list(row.values()) for row in self._grades])  # (Q, J)

    def evaluate(self, model: SentenceTransformer) -> Evaluation:
        """The measure of each query, and further figures of the same embeddings."""
        start = time.perf_counter()
        all_documents = encode(model, self._documents, sign=self._sign)
        all_queries = encode(model, self._queries, sign=self._sign)
        documents = all_documents[: len(self.judged.document_ids)]  # (D, H)
        queries = all_queries[: len(self.judged.query_ids)]  # (Q, H)
        if not (np.isfinite(all_documents).all() and np.isfinite(all_queries).all()):
            per_query = np.full(len(queries), np.nan, dtype=np.float32)
            seconds = time.perf_counter() - start
            return Evaluation(per_query=per_query, positives=_NO_COSINES, negatives=_NO_COSINES, seconds=seconds)
        ranked, positives, negatives = self._rank(queries, documents)
        return Evaluation(
            per_query=self._evaluate(self._measure, ranked),
            positives=self._summarize(positives),
            negatives=self._summarize(negatives),
            **{name: Score(self._evaluate(measure, ranked)).mean for name, measure in SIDE_FIGURES.items()},
            alignment=alignment(positives),
            uniformity=uniformity(documents[:: -(-len(documents) // MAX_UNIFORM)]),
            validation_losses=self._validation_losses(query=all_queries, document=all_documents),
            seconds=time.perf_counter() - start,
        )

    def _summarize(self, cosines: _Float32) -> Cosines:
        self._sign()
        return _summarize(cosines)

    def _validation_losses(self, **encoded: _Float32) -> dict[str, float]:
        """The loss on each of the held-out sets, from all embeddings by the prompt that their texts have."""
        if self._loss is None:
            return {}
        rows = {"query": self._query_rows, "document": self._document_rows}
        losses = {}
        for name, held in self._held_out.items():
            self._sign()
            prompts = [PROMPTS[held.roles[column]] for column in held.texts]
            columns = zip(prompts, held.texts.values(), strict=True)
            losses[name] = self._loss.validation_loss(
                [encoded[prompt][_look_up(batches, rows[prompt])] for prompt, batches in columns]
            )
        return losses

    def _evaluate(self, measure: Measure, ranked: FloatArray) -> _Float32:
        """(Q,) values of a measure, in the precision in which they are recorded."""
        self._sign()
        return measure.evaluate(ranked, self._judged).astype(np.float32)

    def _rank(self, queries: _Float32, documents: _Float32) -> tuple[NDArray[np.float64], _Float32, _Float32]:
        """(Q, depth) grades in rank order, and the cosines of relevant pairs and of others, in chunks of queries."""
        stride = max(1, len(queries) * len(documents) // MAX_COSINES)
        grades, positives, negatives = [], [], []
        for start in range(0, len(queries), QUERY_CHUNK):
            rows = self._grades[start : start + QUERY_CHUNK]
            scores = queries[start : start + QUERY_CHUNK] @ documents.T  # (q, D)
            top = rank_top_k(scores, self._depth)
            grades.append(
                [[row.get(column, 0) for column in best] for row, best in zip(rows, top.tolist(), strict=True)]
            )
            relevant = np.zeros(scores.shape, dtype=bool)
            for place, row in enumerate(rows):
                relevant[place, [column for column, grade in row.items() if grade > 0]] = True
            positives.append(scores[relevant])
            negatives.append(scores[~relevant][::stride])
            self._sign()
        return np.concatenate(grades).astype(np.float64), np.concatenate(positives), np.concatenate(negatives)


def role_prompts(model: SentenceTransformer) -> dict[str, str]:
    """The prompts that a model brings for queries and for documents, without empty ones."""
    return {role: prompt for role, prompt in model.prompts.items() if role in ("query", "document") and prompt}


def _grade_rows(judged: EvaluationSet) -> list[dict[int, int]]:
    """For each query, its judged documents' grades by column."""
    columns = {name: column for column, name in enumerate(judged.document_ids)}
    return [
        {columns[document]: grade for document, grade in judged.qrels[query].items() if document in columns}
        for query in judged.query_ids
    ]


def _padded(rows: list[list[int]]) -> NDArray[np.float64]:
    padded = np.zeros((len(rows), max(map(len, rows), default=0)))
    for place, row in enumerate(rows):
        padded[place, : len(row)] = row
    return padded


def _rows_of(texts: Sequence[str], further: Iterable[str]) -> dict[str, int]:
    """The row in which each text is encoded: that of its first occurrence, and for further ones a row behind all."""
    rows: dict[str, int] = {}
    for row, text in enumerate(texts):
        rows.setdefault(text, row)
    new = dict.fromkeys(text for text in further if text not in rows)
    return rows | {text: len(texts) + place for place, text in enumerate(new)}


def _look_up(batches: Sequence[Sequence[str]], rows: Mapping[str, int]) -> NDArray[np.int64]:
    """(S, B) rows of the texts of S batches."""
    return np.array([[rows[text] for text in batch] for batch in batches])


def _summarize(cosines: _Float32) -> Cosines:
    if not cosines.size:
        return _NO_COSINES
    p5, p95 = np.percentile(cosines, [5, 95])
    return Cosines(
        mean=float(np.mean(cosines, dtype=np.float64)), p5=float(p5), p95=float(p95), histogram=count_cosines(cosines)
    )

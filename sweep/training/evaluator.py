"""Evaluator: a measure of a model on a fixed set of queries and documents.

Texts are compiled and tokenized before, so that an evaluation is little more than the model's own forward passes, on
batches of like length. Nothing here draws a random number, so an evaluation leaves a training run as it was.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import batch_to_device, truncate_embeddings

from sweep.data import HeldOutRows, IntArray
from sweep.data.compiled import JudgedTexts
from sweep.data.formats.format import PROMPTS, Prompt
from sweep.data.grades import GradeRows, look_up_grades, pad_grades, shuffle_rows
from sweep.measures.geometry import alignment, count_cosines, uniformity
from sweep.measures.measures import DEFAULT_METRIC, Measure, find_measure
from sweep.measures.score import Score
from sweep.messages import Cosines, Evaluation, Sign, give_no_sign
from sweep.training.cosines import SampledCosines
from sweep.training.devices import autocast
from sweep.training.losses.loss import Loss
from sweep.training.ranks import ALONE, Ranks
from sweep.training.search import Corpus, search
from sweep.training.similarity import Similarity, unit, unit_rows
from sweep.training.tokens import Tokens

SIDE_FIGURES = {name: find_measure(name.replace("_", "@")) for name in ("ndcg_10", "recall_10", "recall_100", "mrr_10")}
"""Measures whose means are recorded with every evaluation, whatever the study's metric is."""

ENCODE_BATCH = {"cpu": 32, "cuda": 512}
MAX_COSINES = 4_000_000
"""Cosines with documents that are not relevant, evenly spread over all of them, that are summed up, or little more."""

MAX_UNIFORM = 1000
"""Documents, evenly spread over the judged ones, that uniformity is taken over: half a million pairs."""

_Float32 = NDArray[np.float32]
_NO_COSINES = Cosines(mean=np.nan, p5=np.nan, p95=np.nan)


def encode(
    model: SentenceTransformer,
    tokens: Tokens,
    texts: IntArray,
    *,
    as_trained: bool = True,
    sign: Sign = give_no_sign,
    ranks: Ranks = ALONE,
) -> _Float32:
    """(N, H) embeddings of the texts with N numbers, on the dimensions that the model is used with.

    Their task's prompt is put before the texts, and the model's routes are those of the task, as in the library's
    ``encode_query`` and ``encode_document``. The embeddings have length 1 where the model compares cosines, and are not
    finite where the model's were not. With ``as_trained`` the precision is that of training, else that of whoever loads
    the model. The model is left in the mode (training or not) that it came in. A sign of life follows each batch.
    Of several ranks each encodes its share of the same batches, and the first has the embeddings of all.
    """
    training = model.training
    order = np.argsort(-tokens.lengths(texts), kind="stable")
    size = ENCODE_BATCH.get(model.device.type, 32)
    is_unit = Similarity(model.similarity_fn_name).needs_unit_length
    embeddings: _Float32 = np.empty((0, 0), dtype=np.float32)
    model.eval()
    try:
        with torch.inference_mode(), autocast(model.device.type) if as_trained else contextlib.nullcontext():
            for start in range(size * ranks.rank, len(texts), size * ranks.count):
                some = order[start : start + size]
                features = tokens.batch(texts[some], model)
                found = model(batch_to_device(features, model.device), task=tokens.task)["sentence_embedding"].float()
                if model.truncate_dim is not None:
                    found = truncate_embeddings(found, model.truncate_dim)
                if not len(embeddings):
                    embeddings = np.empty((len(texts), found.shape[1]), dtype=np.float32)
                embeddings[some] = (unit(found) if is_unit else found).cpu().numpy()
                sign()
    finally:
        model.train(training)
    starts = [range(size * rank, len(texts), size * ranks.count) for rank in range(ranks.count)]
    ranks.collect(embeddings, [np.concatenate([order[:0], *(order[at : at + size] for at in own)]) for own in starts])
    return embeddings


@dataclass(frozen=True, eq=False)
class RankedSet:
    """The queries and documents of one benchmark among the embeddings of all.

    Attributes:
        columns: (D,) row of each document's text among all texts.
        distinct: (U,) rows of its distinct texts, ascending.
        places: (D,) place of each document's text among these.
        rows: (Q,) row of each query's text.
        grades: For each query, its judged documents' grades by column.
        own: (Q,) column of each query that is itself a document; -1 of the others.
        shuffled: The grades of other queries; None where they are not wanted.
        weight: Weight of its mean in the objective.
        relevant: Grade from which a document is relevant; None for every grade above 0.
    """

    columns: NDArray[np.int64]
    distinct: NDArray[np.int64]
    places: NDArray[np.int64]
    rows: NDArray[np.int64]
    grades: GradeRows
    own: NDArray[np.int64]
    shuffled: GradeRows | None
    weight: float
    relevant: float | None

    @classmethod
    def of(
        cls, judged: JudgedTexts, *, documents: Mapping[int, int], queries: Mapping[int, int], shuffled: bool
    ) -> RankedSet:
        """The benchmark of an evaluation set, from the row of each text by its number."""
        columns = np.array([documents[text] for text in judged.documents.tolist()])
        distinct, places = np.unique(columns, return_inverse=True)
        return cls(
            columns=columns,
            distinct=distinct,
            places=places,
            rows=np.array([queries[text] for text in judged.queries.tolist()]),
            grades=judged.grades,
            own=judged.own,
            shuffled=shuffle_rows(judged.grades, seed=0) if shuffled else None,
            weight=judged.weight,
            relevant=judged.relevant,
        )

    def evaluate(self, measure: Measure, top: NDArray[np.int64], *, shuffled: bool) -> _Float32:
        """(Q,) values of a measure of (Q, K) columns in rank order."""
        grades = self.shuffled if shuffled and self.shuffled is not None else self.grades
        ranked = look_up_grades(grades, top)
        return measure.evaluate(ranked, pad_grades(grades), relevant=self.relevant).astype(np.float32)


class Evaluator:
    """Evaluates models on one set of queries and documents, or on those of several benchmarks.

    Args:
        judged: The queries, documents and grades, one set for each benchmark; the documents descend by id, so that ties
            are broken as by trec_eval.
        tokens: The texts by task, as any of the models takes them: they share tokenizers, prompts and routes.
        held_out: Rows, by any name, that a validation loss is taken over. Of their texts only those that are not
            encoded anyway are encoded besides.
        loss: The loss that is taken over them; without one there is none.
        measure: The study's measure; by default NDCG@10.
        shuffled: Whether each query is also evaluated by the judgements of another one.
        sign: Given between the batches of texts that are encoded, and of queries that are ranked.
        ranks: Processes that share the encoding; the first evaluates, and each of the others must `assist` it then.
    """

    def __init__(
        self,
        judged: Sequence[JudgedTexts],
        tokens: Mapping[Prompt, Tokens],
        *,
        held_out: Mapping[str, HeldOutRows[int]] | None = None,
        loss: Loss | None = None,
        measure: Measure | None = None,
        shuffled: bool = False,
        sign: Sign = give_no_sign,
        ranks: Ranks = ALONE,
    ) -> None:
        self._tokens = tokens
        self._sign = sign
        self._ranks = ranks
        self._held_out = held_out or {}
        self._loss = loss
        self._measure = measure or find_measure(DEFAULT_METRIC)
        self._depth = max(measure.depth for measure in (self._measure, *SIDE_FIGURES.values()))
        held = self._held_out.values()
        documents = [text for one in judged for text in one.documents.tolist()]
        queries = [text for one in judged for text in one.queries.tolist()]
        self._document_rows = _rows_of(documents, (text for rows in held for text in rows.texts_with("document")))
        self._query_rows = _rows_of(queries, (text for rows in held for text in rows.texts_with("query")))
        self._benchmarks = [
            RankedSet.of(one, documents=self._document_rows, queries=self._query_rows, shuffled=shuffled)
            for one in judged
        ]
        sizes = [len(one.rows) for one in self._benchmarks]
        weights = [np.full(size, one.weight / size) for one, size in zip(self._benchmarks, sizes, strict=True)]
        self._weights = np.concatenate(weights) if len(judged) > 1 else None

    def evaluate(self, model: SentenceTransformer, *, as_trained: bool = True) -> Evaluation:
        """The measure of each query, and further figures of the same embeddings.

        With ``as_trained`` the model computes in the precision of training, else in that of whoever loads it.
        """
        start = time.perf_counter()
        similarity = Similarity(model.similarity_fn_name)
        all_documents = self._encode(model, "document", self._document_rows, as_trained=as_trained)
        all_queries = self._encode(model, "query", self._query_rows, as_trained=as_trained)
        if not (_are_finite(all_documents) and _are_finite(all_queries)):
            per_query = np.full(sum(len(one.rows) for one in self._benchmarks), np.nan, dtype=np.float32)
            seconds = time.perf_counter() - start
            return Evaluation(
                per_query=per_query,
                weights=self._weights,
                positives=_NO_COSINES,
                negatives=_NO_COSINES,
                seconds=seconds,
            )
        found = [self._rank(one, similarity, all_queries, all_documents) for one in self._benchmarks]
        tops = [top for top, _, _ in found]
        positives, negatives = (np.concatenate([ranked[place] for ranked in found]) for place in (1, 2))
        columns = np.concatenate([one.columns for one in self._benchmarks])
        spread = columns[:: -(-len(columns) // MAX_UNIFORM)]
        return Evaluation(
            per_query=self._evaluate(self._measure, tops),
            weights=self._weights,
            shuffled=self._evaluate_shuffled(tops),
            positives=self._summarize(positives),
            negatives=self._summarize(negatives),
            **{
                name: Score(self._evaluate(measure, tops), self._weights).mean for name, measure in SIDE_FIGURES.items()
            },
            alignment=alignment(positives),
            uniformity=uniformity(unit_rows(similarity, all_documents[spread])),
            validation_losses=self._validation_losses(similarity, query=all_queries, document=all_documents),
            seconds=time.perf_counter() - start,
        )

    def assist(self, model: SentenceTransformer) -> None:
        """Encodes this process's share of the texts for an evaluation in the first one."""
        self._encode(model, "document", self._document_rows, as_trained=True)
        self._encode(model, "query", self._query_rows, as_trained=True)

    def _encode(self, model: SentenceTransformer, task: Prompt, rows: Iterable[int], *, as_trained: bool) -> _Float32:
        texts = np.array(list(rows), dtype=np.int64)
        return encode(model, self._tokens[task], texts, as_trained=as_trained, sign=self._sign, ranks=self._ranks)

    def _summarize(self, cosines: _Float32) -> Cosines:
        self._sign()
        return _summarize(cosines)

    def _validation_losses(self, similarity: Similarity, **encoded: _Float32) -> dict[str, float]:
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
                [encoded[prompt][_look_up(batches, rows[prompt])] for prompt, batches in columns], similarity=similarity
            )
        return losses

    def _evaluate(self, measure: Measure, tops: Sequence[NDArray[np.int64]], *, shuffled: bool = False) -> _Float32:
        """(Q,) values of a measure, in the precision in which they are recorded."""
        self._sign()
        values = [
            one.evaluate(measure, top, shuffled=shuffled) for one, top in zip(self._benchmarks, tops, strict=True)
        ]
        return np.concatenate(values)

    def _evaluate_shuffled(self, tops: Sequence[NDArray[np.int64]]) -> _Float32 | None:
        """(Q,) values of the measure by the judgements of other queries, where they are wanted."""
        is_wanted = self._benchmarks[0].shuffled is not None
        return self._evaluate(self._measure, tops, shuffled=True) if is_wanted else None

    def _rank(
        self, benchmark: RankedSet, similarity: Similarity, all_queries: _Float32, all_documents: _Float32
    ) -> tuple[NDArray[np.int64], _Float32, _Float32]:
        """(Q, depth) columns in rank order, and the cosines of relevant pairs and of others.

        A text that stands twice has one embedding and one score: ties between documents are no work of rounding. A
        query that is itself a document is not compared with that.
        """
        queries = all_queries[benchmark.rows]  # (Q, H)
        corpus = Corpus(similarity, all_documents, texts=benchmark.distinct, places=benchmark.places)
        cosines = SampledCosines(
            queries, corpus, grades=benchmark.grades, own=benchmark.own, relevant=benchmark.relevant, most=MAX_COSINES
        )
        ranking = search(queries, corpus, own=benchmark.own, depth=self._depth, watch=cosines.add, sign=self._sign)
        return ranking.top, *cosines.collect(ranking.is_flat)


def _rows_of(texts: Sequence[int], further: Iterable[int]) -> dict[int, int]:
    """The row in which each distinct text is encoded, by its number, in order of first occurrence."""
    return {text: row for row, text in enumerate(dict.fromkeys([*texts, *further]))}


def _look_up(batches: Sequence[Sequence[int]], rows: Mapping[int, int]) -> NDArray[np.int64]:
    """(S, B) rows of the texts of S batches."""
    return np.array([[rows[text] for text in batch] for batch in batches])


def _are_finite(embeddings: _Float32) -> bool:
    """Whether all numbers of (N, H) embeddings are finite, without as many marks at once."""
    return all(np.isfinite(embeddings[start : start + 8192]).all() for start in range(0, len(embeddings), 8192))


def _summarize(cosines: _Float32) -> Cosines:
    if not cosines.size:
        return _NO_COSINES
    p5, p95 = np.percentile(cosines, [5, 95])
    return Cosines(
        mean=float(np.mean(cosines, dtype=np.float64)), p5=float(p5), p95=float(p95), histogram=count_cosines(cosines)
    )

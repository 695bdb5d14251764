"""Hard documents of a study: those that BM25 and the untrained model rank highest for its queries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from sweep.data.collection import EVALUATED, Collection, EvaluationSet, Split, find_judged
from sweep.data.compiled import TextNumbers
from sweep.data.formats.format import Prompt
from sweep.data.hard_sample import order_by_hardness
from sweep.data.lexical import rank_by_words
from sweep.data.order import IntArray
from sweep.data.sources import plan_judged
from sweep.errors import ModelError
from sweep.messages import Sign, give_no_sign
from sweep.settings.study_file import StudySpec
from sweep.training.evaluator import encode
from sweep.training.search import Corpus, search
from sweep.training.similarity import Similarity
from sweep.training.tokens import Tokens

HARDEST = 100
"""Documents that each query and way of ranking proposes."""

ENCODED_AT_ONCE = 32_768
"""Documents whose embeddings are held at once."""


def find_hard_documents(
    spec: StudySpec, collection: Collection, model: SentenceTransformer, *, sign: Sign = give_no_sign
) -> dict[Split, list[str]]:
    """Ids of the hardest documents for each split, hardest first, as many as its sample has room for.

    For each query the hundred documents that BM25 ranks highest, and the hundred that the model does, are candidates;
    documents that are judged are none, for the sample holds them anyway.

    Raises:
        ModelError: If the model's embeddings are not finite.
    """
    found: dict[Split, list[str]] = {}
    for known in [collection.take(part) for part in collection.benchmarks] or [collection]:
        names = sorted(known.documents, reverse=True)
        sets = {split: plan_judged(spec, known, split) for split in EVALUATED if find_judged(known, split)}
        rankings = _rank(spec, known, names, model, [*sets.values()], sign)
        for (split, judged), ranked in zip(sets.items(), rankings, strict=True):
            known_grades = {document for grades in judged.qrels.values() for document in grades}
            ordered = (names[column] for column in order_by_hardness(ranked).tolist())
            others = [name for name in ordered if name not in known_grades]
            found.setdefault(split, []).extend(others[: spec.evaluation.max_documents])
    return found


def _rank(
    spec: StudySpec,
    collection: Collection,
    names: Sequence[str],
    model: SentenceTransformer,
    sets: Sequence[EvaluationSet],
    sign: Sign,
) -> Iterator[list[IntArray]]:
    """For each evaluation set the columns, in rank order, that each query's words and embedding rank highest."""
    queries = [name for judged in sets for name in judged.query_ids]
    asked = [collection.queries[name] for name in queries]
    columns = {name: column for column, name in enumerate(names) if name in collection.own_documents}
    own = np.array([columns.get(name, -1) for name in queries], dtype=np.int64)

    def embedded() -> Iterator[str]:
        return (collection.documents[name].embedded(spec.data.document) for name in names)

    sign(long_call=True)
    by_words = rank_by_words(embedded(), asked, own=own, depth=HARDEST)
    by_model = rank_by_model(model, embedded(), asked, own=own, depth=HARDEST, sign=sign)
    start = 0
    for judged in sets:
        some = slice(start, start + len(judged.query_ids))
        yield [*by_words[some], *by_model[some]]
        start = some.stop


def rank_by_model(
    model: SentenceTransformer,
    texts: Iterable[str],
    queries: Sequence[str],
    *,
    own: IntArray,
    depth: int,
    sign: Sign = give_no_sign,
) -> list[IntArray]:
    """For each query the columns of the texts that a model ranks highest, best first; a part is encoded at a time.

    Args:
        model: The model.
        texts: Texts of documents; of equal scores the earlier comes first.
        queries: Texts of queries.
        own: (Q,) column of each query that is itself a document, and not ranked; -1 of the others.
        depth: Depth of the rankings.
        sign: Is given as the work gets further.

    Raises:
        ModelError: If the model's embeddings are not finite.
    """
    similarity = Similarity(model.similarity_fn_name)
    asked = encode_texts(model, queries, "query", sign)
    columns = np.empty((len(queries), 0), dtype=np.int64)
    scores = np.empty((len(queries), 0))
    for start, some in _cut(texts, ENCODED_AT_ONCE):
        corpus = Corpus(similarity, encode_texts(model, some, "document", sign))
        here = np.where((own >= start) & (own < start + len(some)), own - start, -1)
        found = search(asked, corpus, own=here, depth=depth, sign=sign)
        columns = np.concatenate([columns, found.top + start], axis=1)
        scores = np.concatenate([scores, found.scores], axis=1)
        best = np.lexsort((columns, -scores), axis=1)[:, :depth]
        columns, scores = np.take_along_axis(columns, best, axis=1), np.take_along_axis(scores, best, axis=1)
    return [row[kept] for row, kept in zip(columns, scores > -np.inf, strict=True)]


def _cut(texts: Iterable[str], size: int) -> Iterator[tuple[int, list[str]]]:
    """Places and texts of a part after another."""
    some: list[str] = []
    for place, text in enumerate(texts):
        some.append(text)
        if len(some) == size:
            yield place + 1 - size, some
            some = []
    if some:
        yield place + 1 - len(some), some


def encode_texts(model: SentenceTransformer, texts: Sequence[str], task: Prompt, sign: Sign) -> NDArray[np.float32]:
    """(N, H) embeddings of N texts that are not compiled, as queries or as documents; equal texts have one.

    Raises:
        ModelError: If an embedding is not finite.
    """
    numbers = TextNumbers()
    places = np.array(numbers.number(texts), dtype=np.int64)
    compiled = numbers.compile(formats={}, judged={})
    distinct = np.arange(len(compiled.texts))
    embeddings = encode(model, Tokens(task, distinct, compiled, None, None), distinct, as_trained=False, sign=sign)
    if not np.isfinite(embeddings).all():
        raise ModelError("model.base: its embeddings are not finite, so nothing can be found by them")
    return embeddings[places]

"""Search and scoring beside the library's evaluator, with the same embeddings, and the memory of a large corpus."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peak_memory import peak_gib
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sentence_transformers.util import cos_sim

from sweep.data.grades import GradeRows, look_up_grades, pad_grades
from sweep.measures.measures import find_measure
from sweep.training.cosines import SampledCosines
from sweep.training.search import DOCUMENT_CHUNK, QUERY_CHUNK, Corpus, search
from sweep.training.similarity import Similarity, multiply

DIMENSIONS = 384
JUDGED = 5
"""Documents that are judged for each query."""

METRICS = ("ndcg@10", "mrr@10", "map@100", "recall@1", "recall@3", "recall@5", "recall@10")
"""What the library's evaluator computes by default, but for what follows from these."""

TREC = {"ndcg@10": "ndcg_cut_10", "recall@10": "recall_10", "map@100": "map_cut_100"}

Embeddings = NDArray[np.float32]


class GivenEmbeddings(InformationRetrievalEvaluator):
    """The library's evaluator with embeddings in place of a model."""

    def __init__(self, queries: Embeddings, documents: Embeddings, grades: GradeRows) -> None:
        names = [f"d{column:08}" for column in range(len(documents))]
        relevant = {
            f"q{row}": {names[column] for column, grade in judged.items() if grade > 0}
            for row, judged in enumerate(grades)
        }
        super().__init__(dict.fromkeys(relevant, ""), dict.fromkeys(names, ""), relevant, write_csv=False)
        self.score_functions = {"cosine": cos_sim}
        self.score_function_names = ["cosine"]
        self.given = torch.from_numpy(queries), torch.from_numpy(documents)

    def embed_inputs(self, *_: Any, **__: Any) -> torch.Tensor:
        return self.given[0]

    def evaluate(self) -> dict[str, float]:
        """The values of the metrics by our names."""
        found = self.compute_all_metrics(None, corpus_embeddings=self.given[1])["cosine"]  # type: ignore[arg-type]
        return {name: found[f"{name.partition('@')[0]}@k"][int(name.partition("@")[2])] for name in METRICS}


def make_embeddings(documents: int, queries: int, *, seed: int = 0) -> tuple[Embeddings, Embeddings, GradeRows]:
    """Random unit vectors, and judgements of documents that have been drawn to their query."""
    random = np.random.default_rng(seed)
    asked = _unit(random.standard_normal((queries, DIMENSIONS), dtype=np.float32))
    found = _unit(random.standard_normal((documents, DIMENSIONS), dtype=np.float32))
    grades = []
    for query in asked:
        columns = random.choice(documents, size=JUDGED, replace=False)
        found[columns] += random.uniform(0.1, 0.4, size=(JUDGED, 1)).astype(np.float32) * query
        grades.append(dict(zip(columns.tolist(), random.integers(0, 4, size=JUDGED).tolist(), strict=True)))
        grades[-1][int(columns[0])] = 3
    return asked, _unit(found), grades


def evaluate(queries: Embeddings, documents: Embeddings, grades: GradeRows, *, graded: bool) -> dict[str, Any]:
    """(Q,) values of each metric as an evaluation of a trial finds them."""
    own = np.full(len(queries), -1)
    depth = max(find_measure(name).depth for name in METRICS)
    top = search(queries, Corpus(Similarity("cosine"), documents), own=own, depth=depth).top
    rows = grades if graded else [{column: min(grade, 1) for column, grade in row.items()} for row in grades]
    ranked, judged = look_up_grades(rows, top), pad_grades(rows)
    return {name: find_measure(name).evaluate(ranked, judged) for name in METRICS}


def measure_search(*, documents: int, queries: int, rounds: int) -> dict[str, Any]:
    """Seconds of both, in turn, and the largest differences of values."""
    asked, corpus, grades = make_embeddings(documents, queries)
    library = GivenEmbeddings(asked, corpus, grades)
    seconds: dict[str, list[float]] = {"search": [], "library": [], "matrix product": []}
    for _ in range(rounds):
        ours = _time(lambda: evaluate(asked, corpus, grades, graded=False), seconds["search"])
        theirs = _time(library.evaluate, seconds["library"])
        _time(lambda: _multiply(asked, corpus), seconds["matrix product"])
    differences = {name: abs(float(np.mean(ours[name])) - theirs[name]) for name in METRICS}
    return {
        "documents": documents,
        "queries": queries,
        "threads": torch.get_num_threads(),
        "seconds": seconds,
        "largest difference, binary": max(differences.values()),
        "largest difference from trec_eval, graded": _compare_graded(asked[:200], corpus, grades[:200]),
    }


def measure_memory(*, documents: int, queries: int) -> dict[str, Any]:
    """The peak of a process that searches a corpus and sums its cosines up, and what the embeddings take of it."""
    code = f"from search import search_alone; search_alone(documents={documents}, queries={queries})"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=sys.path[0])
    seconds, peak_gib = map(float, found.stdout.split())
    embeddings_gib = documents * DIMENSIONS * 4 / 2**30
    return {"documents": documents, "queries": queries, "seconds": seconds, "peak_gib": peak_gib,
            "embeddings_gib": embeddings_gib}  # fmt: skip


def search_alone(*, documents: int, queries: int) -> None:
    """Prints the seconds of a search, and the peak of memory of this process."""
    random = np.random.default_rng(0)
    corpus = np.empty((documents, DIMENSIONS), dtype=np.float32)
    for start in range(0, documents, DOCUMENT_CHUNK):
        some = corpus[start : start + DOCUMENT_CHUNK]
        some[:] = _unit(random.standard_normal(some.shape, dtype=np.float32))
    asked = _unit(random.standard_normal((queries, DIMENSIONS), dtype=np.float32))
    grades = [{int(random.integers(documents)): 1} for _ in asked]
    own = np.full(queries, -1)
    began = time.perf_counter()
    searched = Corpus(Similarity("cosine"), corpus)
    cosines = SampledCosines(asked, searched, grades=grades, own=own, relevant=None, most=4_000_000)
    ranking = search(asked, searched, own=own, depth=100, watch=cosines.add)
    cosines.collect(ranking.is_flat)
    print(time.perf_counter() - began, peak_gib())


def _time(work: Callable[[], Any], seconds: list[float]) -> Any:
    began = time.perf_counter()
    result = work()
    seconds.append(time.perf_counter() - began)
    return result


def _multiply(queries: Embeddings, documents: Embeddings) -> None:
    """The matrix product of all embeddings alone, in the same chunks: less is not to be had in float32."""
    for row in range(0, len(queries), QUERY_CHUNK):
        some = queries[row : row + QUERY_CHUNK]
        out = np.empty((len(some), DOCUMENT_CHUNK), dtype=np.float32)
        for start in range(0, len(documents) - DOCUMENT_CHUNK + 1, DOCUMENT_CHUNK):
            multiply(some, documents[start : start + DOCUMENT_CHUNK], out=out)


def _compare_graded(queries: Embeddings, documents: Embeddings, grades: GradeRows) -> float:
    """The largest difference of a query's value from that of trec_eval, by scores in float64."""
    import pytrec_eval

    ours = evaluate(queries, documents, grades, graded=True)
    scores = queries.astype(np.float64) @ documents.T.astype(np.float64)
    best = np.argpartition(-scores, 1000, axis=1)[:, :1000]
    run = {
        f"q{row}": {f"d{column}": float(scores[row, column]) for column in columns.tolist()}
        for row, columns in enumerate(best)
    }
    qrels = {f"q{row}": {f"d{column}": grade for column, grade in judged.items()} for row, judged in enumerate(grades)}
    asked = {name.replace("_10", ".10", 1) for name in TREC.values()}
    found = pytrec_eval.RelevanceEvaluator(qrels, asked).evaluate(run)
    return max(
        abs(float(value) - found[f"q{row}"][theirs])
        for name, theirs in TREC.items()
        for row, value in enumerate(ours[name])
    )


def _unit(embeddings: Embeddings) -> Embeddings:
    unit: Embeddings = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    return unit

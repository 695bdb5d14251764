"""How alike samples of a corpus order checkpoints as the whole corpus does: of hard documents, and of random ones.

The checkpoints are those of short trainings on the quickstart's collection, over its rates, batch sizes and formats.
The embeddings of its whole corpus by each are kept in a folder, so that an interrupted measurement goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweep.data import Collection, EvaluationSet, load_collection, plan_judged
from sweep.data.compiled import TextNumbers
from sweep.data.grades import find_own, grade_rows, look_up_grades, pad_grades
from sweep.messages import Assignment, give_no_sign
from sweep.progress import count_steps
from sweep.settings.dimensions import Params
from sweep.settings.study_file import StudySpec, load_study
from sweep.training.evaluator import encode
from sweep.training.fit import StepAction, fit
from sweep.training.hard_search import find_hard_documents
from sweep.training.models import Model, load_model, prepare_base_model
from sweep.training.search import Corpus, search
from sweep.training.similarity import Similarity
from sweep.training.tokens import Tokens
from sweep.trial import plan_fit, publish_compiled

RUNS = (
    (5e-5, "title-content", 32),
    (5e-5, "query-document", 32),
    (5.6e-4, "title-content", 32),
    (5.6e-4, "query-document", 32),
    (1.5e-4, "query-document", 64),
    (1.5e-4, "title-content", 16),
    (2.5e-4, "query-document", 16),
    (1e-5, "query-document", 64),
    (3e-4, "query-document", 64),
    (2e-5, "title-content", 64),
)
"""Rate, format and batch size of each training."""

SHARES = (0.15, 0.5, 1.0)
"""Shares of a training after which its model is a checkpoint."""

SIZES = (500, 1000, 2000, 4000)
SEEDS = 20
"""Random samples of each size."""

Embeddings = NDArray[np.float32]


def measure_samples(study: Path, *, keep: Path, trainings: int = len(RUNS)) -> dict[str, Any]:
    """Concordance with the whole corpus of hard samples and of random ones, by their sizes.

    Args:
        study: The study file.
        keep: Folder of the embeddings by the checkpoints.
        trainings: Trainings that checkpoints are taken of: the first of `RUNS`.
    """
    spec = load_study(study)
    collection = load_collection(spec.data, folder=study.parent)
    names = sorted(collection.documents, reverse=True)
    whole = _plan(spec, collection, documents=len(names))
    base = prepare_base_model(spec.model, study.parent, into=keep / "base").model
    full: dict[str, float] = {}
    sampled: dict[tuple[int, str, int], dict[str, float]] = {}
    largest = _sized(spec, documents=SIZES[-1])
    hard = find_hard_documents(largest, collection, load_model(keep / "base", device="cpu", precision=None))["dev"]
    sets = {(size, "hard", 0): _plan(spec, collection, documents=size, hard=hard) for size in SIZES}
    sets |= {
        (size, "random", seed): _plan(spec, collection, documents=size, seed=seed)
        for size in SIZES
        for seed in range(SEEDS)
    }
    for name, documents, queries in _checkpoints(
        spec, study.parent, collection, names, base, keep=keep, runs=RUNS[:trainings]
    ):
        evaluate = _evaluator(spec, names, whole.query_ids, documents, queries)
        full[name] = evaluate(whole)
        for key, chosen in sets.items():
            sampled.setdefault(key, {})[name] = evaluate(chosen)
    return {
        "checkpoints": full,
        "sizes": [_describe(size, full, sampled, whole=whole, sets=sets) for size in SIZES],
    }


def find_concordance(first: Mapping[str, float], second: Mapping[str, float]) -> float:
    """Share of pairs of checkpoints that two evaluations order alike; those that the first holds equal are left out."""
    pairs = [pair for pair in combinations(first, 2) if first[pair[0]] != first[pair[1]]]
    alike = [(first[one] - first[other]) * (second[one] - second[other]) > 0 for one, other in pairs]
    return sum(alike) / len(pairs)


def _describe(
    size: int,
    full: Mapping[str, float],
    sampled: Mapping[tuple[int, str, int], Mapping[str, float]],
    *,
    whole: EvaluationSet,
    sets: Mapping[tuple[int, str, int], EvaluationSet],
) -> dict[str, Any]:
    random = [find_concordance(full, sampled[size, "random", seed]) for seed in range(SEEDS)]
    hard = sampled[size, "hard", 0]
    return {
        "documents": len(sets[size, "hard", 0].document_ids),
        "judged": whole.judged_documents,
        "hard": find_concordance(full, hard),
        "random": {"mean": float(np.mean(random)), "least": min(random), "most": max(random)},
        "hard, mean difference": float(np.mean([hard[name] - full[name] for name in full])),
        "random, mean difference": float(
            np.mean([sampled[size, "random", seed][name] - full[name] for name in full for seed in range(SEEDS)])
        ),
        "values": dict(hard),
    }


def _checkpoints(
    spec: StudySpec,
    folder: Path,
    collection: Collection,
    names: list[str],
    base: Model,
    *,
    keep: Path,
    runs: Sequence[tuple[float, str, int]],
) -> Iterator[tuple[str, Embeddings, Embeddings]]:
    """Name and embeddings of each checkpoint: of the documents in an order, and of the queries of dev."""
    params = Params(
        learning_rate=0.0,
        effective_learning_rate=0.0,
        warmup_ratio=0.1,
        batch_size=1,
        data_format="",
        scale=20.0,
        scheduler="linear",
    )
    task = Assignment(spec=spec, folder=folder, run_folder=keep, trial=0, params=params, steps=0, evaluations=())
    compiled = publish_compiled(task, collection, base, identity="samples")
    queries = plan_judged(spec, collection, "dev").query_ids
    documents = [collection.documents[name].embedded(spec.data.document) for name in names]
    asked = [collection.queries[name] for name in queries]

    def embed(model: Model, file: Path) -> None:
        if not file.exists():
            np.savez(file, d=_encode(model, documents, "document"), q=_encode(model, asked, "query"))
            print(f"  {file.stem}", flush=True)

    embed(load_model(keep / "base", device="cpu", precision=None), keep / "untrained.npz")
    for run, (rate, data_format, batch_size) in enumerate(runs):
        steps = count_steps(spec.budget.examples, batch_size)
        marks = {max(1, round(steps * share)): keep / f"run{run}-{share * 100:.0f}.npz" for share in SHARES}
        if all(file.exists() for file in marks.values()):
            continue
        model = load_model(keep / "base", device="cpu")
        changes = {"learning_rate": rate, "effective_learning_rate": rate, "batch_size": batch_size}
        plan = plan_fit(
            task,
            replace(params, data_format=data_format, **changes),
            compiled,
            steps=steps,
            micro_batch=batch_size,
            work_folder=keep / "work",
            checkpoint=lambda step: keep / f"step-{step}",
            sign=give_no_sign,
        )

        def note(step: int, _: Any, model: Model = model, marks: Mapping[int, Path] = marks) -> StepAction:
            if step in marks:
                embed(model, marks[step])
            return StepAction.GO_ON

        fit(model, plan, on_step=note)
    for file in sorted(keep.glob("*.npz")):
        found = np.load(file)
        yield file.stem, found["d"], found["q"]


def _encode(model: Model, texts: list[str], task: Any) -> Embeddings:
    numbers = TextNumbers()
    places = np.array(numbers.number(texts), dtype=np.int64)
    compiled = numbers.compile(formats={}, judged={})
    distinct = np.arange(len(compiled.texts))
    return encode(model, Tokens(task, distinct, compiled, None, None), distinct, as_trained=False)[places]


def _evaluator(
    spec: StudySpec, names: list[str], query_ids: tuple[str, ...], documents: Embeddings, queries: Embeddings
) -> Callable[[EvaluationSet], float]:
    rows = {name: row for row, name in enumerate(names)}
    measure = spec.evaluation.measure

    def evaluate(chosen: EvaluationSet) -> float:
        if chosen.query_ids != query_ids:
            raise ValueError("samples must have the same queries")
        corpus = Corpus(Similarity("cosine"), documents[[rows[name] for name in chosen.document_ids]])
        top = search(queries, corpus, own=find_own(chosen), depth=measure.depth).top
        grades = grade_rows(chosen)
        return float(np.mean(measure.evaluate(look_up_grades(grades, top), pad_grades(grades))))

    return evaluate


def _sized(spec: StudySpec, *, documents: int) -> StudySpec:
    return spec.model_copy(update={"evaluation": spec.evaluation.model_copy(update={"max_documents": documents})})


def _plan(
    spec: StudySpec, collection: Collection, *, documents: int, seed: int | None = None, hard: list[str] | None = None
) -> EvaluationSet:
    """An evaluation set of some size: with hard documents, or random ones of a seed, and always the same queries."""
    own = plan_judged(_sized(spec, documents=documents), collection, "dev", hard=hard or ())
    if seed is None:
        return own
    judged = {name for grades in own.qrels.values() for name in grades}
    others = sorted(collection.documents.keys() - judged)
    drawn = np.random.default_rng(seed).choice(others, size=len(own.document_ids) - len(judged), replace=False)
    return replace(own, document_ids=tuple(sorted([*judged, *drawn.tolist()], reverse=True)))

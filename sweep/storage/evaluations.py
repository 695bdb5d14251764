"""The table ``evaluations``: every measurement of every trial, with the value of each query.

It stands in the study's own database, beside Optuna's tables.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy
from numpy.typing import NDArray
from sqlalchemy import select

from sweep.messages import Cosines, Evaluation, Report
from sweep.storage.retry import retried, retry
from sweep.storage.schema import EVALUATIONS, FIGURES, HISTOGRAMS, known_columns, open_schema
from sweep.storage.transaction import reading, writing

UNTRAINED = -1
"""The trial's number at measurements of the untrained model."""

AS_SAVED = "dev, as saved"
"""The split of a measurement on dev of a model as it was saved, where it may differ from the one in training."""

_AS_REPORTED = ("progress", "step", "examples", "seconds", "evaluation_seconds")
_OF_TRAINING = ("loss", "learning_rate", "gradient_norm", "memory_gib")
"""Columns that stand in a report under their own names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationRow:
    """A measurement as it was committed, without its per-query values.

    Attributes:
        trial: The trial's number.
        progress: Thousandths.
        step: Optimizer step.
        value: Mean of the study's metric; NaN where the model's embeddings were not finite.
        seconds: Seconds spent on the trial so far.
        evaluation_seconds: Seconds of those that went into evaluations.
        examples: Training pairs seen so far.
    """

    trial: int
    progress: int
    step: int
    value: float
    seconds: float
    evaluation_seconds: float
    examples: int


def as_row(trial: int, report: Report) -> EvaluationRow:
    """A trial's report as it is read once it is committed."""
    value = report.evaluation.value
    columns = {name: getattr(report, name) for name in _AS_REPORTED}
    return EvaluationRow(trial=trial, value=value if math.isfinite(value) else math.nan, **columns)


class EvaluationTable:
    """The measurements of a study, in the database of an engine; where writable, missing tables are made.

    Raises:
        StorageError: If the tables are of a newer version than this program's, or missing where they cannot be made.
    """

    def __init__(self, engine: sqlalchemy.Engine, *, writable: bool) -> None:
        self._engine = engine
        retry(lambda: open_schema(engine, writable=writable))

    def add(self, measured: Sequence[tuple[int, Report]]) -> None:
        """Commits measurements on the dev split, each with its trial's number, together.

        Raises:
            ValueError: If a trial has a measurement at that progress; then none is added.
        """
        rows = []
        for trial, report in measured:
            columns = {name: getattr(report, name) for name in (*_AS_REPORTED, *_OF_TRAINING)}
            rows.append(_columns(report.evaluation, trial=trial, split="dev", **columns))
        self._insert(rows)

    def add_model(self, trial: int, split: str, evaluation: Evaluation) -> None:
        """Commits the evaluation of a complete model: the untrained one on dev, or a chosen one on test."""
        row = _columns(evaluation, trial=trial, split=split, progress=0, step=0, examples=0)
        self._insert([{**row, "seconds": evaluation.seconds, "evaluation_seconds": evaluation.seconds}])

    @retried
    def remove_model(self, trial: int, split: str) -> None:
        """Removes the evaluation of a trial's best model, or of the untrained one, on a split."""
        with writing(self._engine) as connection:
            connection.execute(EVALUATIONS.delete().where(EVALUATIONS.c.trial == trial, EVALUATIONS.c.split == split))

    def rows(self, trial: int | None = None) -> list[EvaluationRow]:
        """The dev measurements of one trial or of all, ordered by trial and progress."""
        names = ("trial", "progress", "step", "value", "seconds", "evaluation_seconds", "examples")
        known = {column.name: column for column in known_columns(self._engine, EVALUATIONS)}
        query = select(*(known[name] for name in names)).where(EVALUATIONS.c.split == "dev")
        query = query.where(EVALUATIONS.c.trial == trial if trial is not None else EVALUATIONS.c.trial >= 0)
        with reading(self._engine) as connection:
            rows = connection.execute(query.order_by(EVALUATIONS.c.trial, EVALUATIONS.c.progress)).all()
        # a hundred thousand rows are read at the start of a long study: by position, without a mapping each
        return [
            EvaluationRow(
                trial=number,
                progress=progress,
                step=step,
                value=math.nan if value is None else value,
                seconds=seconds,
                evaluation_seconds=evaluation_seconds,
                examples=examples,
            )
            for number, progress, step, value, seconds, evaluation_seconds, examples in rows
        ]

    @retried
    def figures(self, split: str = "dev") -> list[dict[str, Any]]:
        """Every column of the measurements on a split except the values of each query, by the column's name.

        The untrained model's stand under the trial ``UNTRAINED``. A figure that was not measured, or that an older
        version of the schema lacks, is None; a histogram is a tuple of counts.
        """
        columns = [column for column in known_columns(self._engine, EVALUATIONS) if column.name != "per_query"]
        query = select(*columns).where(EVALUATIONS.c.split == split)
        with reading(self._engine) as connection:
            rows = connection.execute(query.order_by(EVALUATIONS.c.trial, EVALUATIONS.c.progress)).mappings().all()
        missing = dict.fromkeys(column.name for column in EVALUATIONS.columns if column.name != "per_query")
        return [missing | dict(row) | {name: _counts(row.get(name)) for name in HISTOGRAMS} for row in rows]

    @retried
    def per_query(self, trial: int) -> tuple[list[int], NDArray[np.float32]]:
        """A trial's progress points (T,) and values of each query (T, Q) on the dev split."""
        query = select(EVALUATIONS.c.progress, EVALUATIONS.c.per_query).where(
            EVALUATIONS.c.trial == trial, EVALUATIONS.c.split == "dev"
        )
        with reading(self._engine) as connection:
            rows = connection.execute(query.order_by(EVALUATIONS.c.progress)).all()
        return [row.progress for row in rows], np.array([_from_blob(row.per_query) for row in rows])

    @retried
    def model_values(self, trial: int, split: str) -> NDArray[np.float32] | None:
        """(Q,) value of each query of a model, or None where it has not been evaluated on the split."""
        query = select(EVALUATIONS.c.per_query).where(
            EVALUATIONS.c.trial == trial, EVALUATIONS.c.split == split, EVALUATIONS.c.progress == 0
        )
        with reading(self._engine) as connection:
            blob = connection.execute(query).scalar()
        return None if blob is None else _from_blob(blob)

    def _insert(self, rows: Sequence[Mapping[str, Any]]) -> None:
        def insert() -> None:
            with writing(self._engine) as connection:
                connection.execute(EVALUATIONS.insert(), rows)

        def insert_again() -> None:  # the first time may have been committed, all of them, and its answer lost
            if not self._has(rows[0]):
                insert()

        try:
            retry(insert, again=insert_again)
        except sqlalchemy.exc.IntegrityError as error:
            taken = (f"trial {row['trial']} has a measurement at {row['progress']}" for row in rows)
            raise ValueError(" or ".join(taken)) from error

    def _has(self, row: Mapping[str, Any]) -> bool:
        query = select(EVALUATIONS.c.step).where(*(column == row[column.name] for column in EVALUATIONS.primary_key))
        with reading(self._engine) as connection:
            return connection.execute(query).first() is not None


def _columns(evaluation: Evaluation, **columns: object) -> dict[str, Any]:
    """A row of the table: an evaluation's own columns with others."""
    return {
        **columns,
        "value": _finite(evaluation.value),
        "ndcg": _finite(evaluation.ndcg_10),
        "per_query": evaluation.per_query.astype("<f4").tobytes(),
        **_cosine_columns("positive", evaluation.positives),
        **_cosine_columns("negative", evaluation.negatives),
        **{name: _finite(getattr(evaluation, name)) for name in FIGURES},
        "validation_loss": _finite(evaluation.validation_losses.get("own", math.nan)),
        "validation_loss_retrieval": _finite(evaluation.validation_losses.get("retrieval", math.nan)),
    }


def _cosine_columns(kind: str, cosines: Cosines) -> dict[str, object]:
    counts = None if cosines.histogram is None else np.array(cosines.histogram, dtype="<u4").tobytes()
    figures = {f"{kind}_{figure}": _finite(getattr(cosines, figure)) for figure in ("mean", "p5", "p95")}
    return {**figures, f"{kind}_histogram": counts}


def _counts(blob: bytes | None) -> tuple[int, ...] | None:
    return None if blob is None else tuple(np.frombuffer(blob, dtype="<u4").tolist())


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _from_blob(blob: bytes) -> NDArray[np.float32]:
    return np.frombuffer(blob, dtype="<f4").astype(np.float32)


def curves(rows: Sequence[EvaluationRow]) -> dict[int, list[EvaluationRow]]:
    """The rows of each trial; those of one trial follow each other."""
    return {trial: list(group) for trial, group in itertools.groupby(rows, key=lambda row: row.trial)}

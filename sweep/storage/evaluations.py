"""The table ``evaluations``: every measurement of every trial, with the NDCG of each query.

It stands in the study's own database, beside Optuna's tables, which are left to Optuna.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy
from numpy.typing import NDArray
from sqlalchemy import Column, Float, Integer, LargeBinary, MetaData, String, Table, select

from sweep.errors import StorageError
from sweep.messages import Cosines, Evaluation, Report

SCHEMA_VERSION = 2

UNTRAINED = -1
"""What stands for the trial's number at measurements of the untrained model."""

_FIGURES = ("recall_10", "recall_100", "mrr_10", "alignment", "uniformity")
"""Figures of an evaluation that stand in columns of the same name."""

_metadata = MetaData()

_schema = Table("sweep_schema", _metadata, Column("version", Integer, primary_key=True))

_evaluations = Table(
    "evaluations",
    _metadata,
    Column("trial", Integer, primary_key=True),
    Column("split", String(8), primary_key=True),
    Column("progress", Integer, primary_key=True),
    Column("step", Integer, nullable=False),
    Column("examples", Integer, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("evaluation_seconds", Float, nullable=False),
    Column("ndcg", Float),
    Column("per_query", LargeBinary, nullable=False),
    Column("loss", Float),
    *(Column(f"{kind}_{figure}", Float) for kind in ("positive", "negative") for figure in ("mean", "p5", "p95")),
    # since version 2
    *(Column(name, Float) for name in _FIGURES),
    *(Column(f"{kind}_histogram", LargeBinary) for kind in ("positive", "negative")),
    *(Column(name, Float) for name in ("validation_loss", "validation_loss_retrieval")),
    *(Column(name, Float) for name in ("learning_rate", "gradient_norm", "memory_gib")),
)

_ADDED = {
    2: (
        *(*_FIGURES, "positive_histogram", "negative_histogram"),
        *("validation_loss", "validation_loss_retrieval", "learning_rate", "gradient_norm", "memory_gib"),
    )
}
"""Columns of ``evaluations`` that each version of the schema added; what was measured before has none of them."""


@dataclass(frozen=True, kw_only=True)
class EvaluationRow:
    """A measurement as it was committed, without its per-query values.

    Attributes:
        trial: The trial's number.
        progress: Thousandths.
        step: Optimizer step.
        ndcg: Mean NDCG@10; NaN where the model's embeddings were not finite.
        seconds: Seconds spent on the trial so far.
        evaluation_seconds: Seconds of those that went into evaluations.
        examples: Training pairs seen so far.
    """

    trial: int
    progress: int
    step: int
    ndcg: float
    seconds: float
    evaluation_seconds: float
    examples: int


class EvaluationTable:
    """The measurements of a study.

    Args:
        engine: The engine of the study's database.
        writable: Whether to make the tables if they are not there.

    Raises:
        StorageError: If the tables are of a newer version than this program's, or missing where they cannot be made.
    """

    def __init__(self, engine: sqlalchemy.Engine, *, writable: bool) -> None:
        self._engine = engine
        if writable:
            with engine.begin() as connection:
                _make_or_upgrade(connection)
        self._check_version()

    def add(self, trial: int, report: Report) -> None:
        """Commits a trial's measurement on the dev split.

        Raises:
            ValueError: If the trial has a measurement at that progress.
        """
        self._insert(
            report.evaluation,
            trial=trial,
            split="dev",
            progress=report.progress,
            step=report.step,
            examples=report.examples,
            seconds=report.seconds,
            evaluation_seconds=report.evaluation_seconds,
            loss=report.loss,
            learning_rate=report.learning_rate,
            gradient_norm=report.gradient_norm,
            memory_gib=report.memory_gib,
        )

    def add_judgement(self, trial: int, split: str, evaluation: Evaluation) -> None:
        """Commits the judgement of a whole model: the untrained one on dev, or a chosen one on test."""
        self._insert(
            evaluation,
            trial=trial,
            split=split,
            progress=0,
            step=0,
            examples=0,
            seconds=evaluation.seconds,
            evaluation_seconds=evaluation.seconds,
            loss=None,
        )

    def rows(self, trial: int | None = None) -> list[EvaluationRow]:
        """The dev measurements of one trial or of all, ordered by trial and progress."""
        names = ("trial", "progress", "step", "ndcg", "seconds", "evaluation_seconds", "examples")
        query = select(*(_evaluations.c[name] for name in names)).where(_evaluations.c.split == "dev")
        query = query.where(_evaluations.c.trial == trial if trial is not None else _evaluations.c.trial >= 0)
        with self._engine.connect() as connection:
            found = connection.execute(query.order_by(_evaluations.c.trial, _evaluations.c.progress)).all()
        return [EvaluationRow(**{**row._mapping, "ndcg": math.nan if row.ndcg is None else row.ndcg}) for row in found]

    def per_query(self, trial: int) -> tuple[list[int], NDArray[np.float32]]:
        """A trial's progress points (T,) and NDCG per query (T, Q) on the dev split."""
        query = select(_evaluations.c.progress, _evaluations.c.per_query).where(
            _evaluations.c.trial == trial, _evaluations.c.split == "dev"
        )
        with self._engine.connect() as connection:
            found = connection.execute(query.order_by(_evaluations.c.progress)).all()
        return [row.progress for row in found], np.array([_from_blob(row.per_query) for row in found])

    def judgement(self, trial: int, split: str) -> NDArray[np.float32] | None:
        """(Q,) NDCG per query of a judged model, or None where it has not been judged."""
        query = select(_evaluations.c.per_query).where(
            _evaluations.c.trial == trial, _evaluations.c.split == split, _evaluations.c.progress == 0
        )
        with self._engine.connect() as connection:
            blob = connection.execute(query).scalar()
        return None if blob is None else _from_blob(blob)

    def _insert(self, evaluation: Evaluation, **columns: object) -> None:
        values = {
            **columns,
            "ndcg": _finite(evaluation.ndcg),
            "per_query": evaluation.per_query.astype("<f4").tobytes(),
            **_cosine_columns("positive", evaluation.positives),
            **_cosine_columns("negative", evaluation.negatives),
            **{name: _finite(getattr(evaluation, name)) for name in _FIGURES},
            "validation_loss": _finite(evaluation.validation_losses.get("own", math.nan)),
            "validation_loss_retrieval": _finite(evaluation.validation_losses.get("retrieval", math.nan)),
        }
        try:
            with self._engine.begin() as connection:
                connection.execute(_evaluations.insert().values(**values))
        except sqlalchemy.exc.IntegrityError as error:
            raise ValueError(f"trial {columns['trial']} has a measurement at {columns['progress']}") from error

    def _check_version(self) -> None:
        try:
            with self._engine.connect() as connection:
                version = connection.execute(select(_schema.c.version)).scalar()
        except sqlalchemy.exc.DatabaseError as error:
            raise StorageError("this database holds no study of this program; start one with `sweep run`") from error
        _refuse_newer(version)


def _make_or_upgrade(connection: sqlalchemy.Connection) -> None:
    """Makes the tables, or gives those of an older version the columns that they lack, in one transaction."""
    has_tables = sqlalchemy.inspect(connection).has_table(_schema.name)
    version = connection.execute(select(_schema.c.version)).scalar() if has_tables else None
    if version is None:
        _metadata.create_all(connection)
        connection.execute(_schema.insert().values(version=SCHEMA_VERSION))
        return
    _refuse_newer(version)
    for step in range(version + 1, SCHEMA_VERSION + 1):
        for name in _ADDED[step]:
            kind = _evaluations.c[name].type.compile(connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {_evaluations.name} ADD COLUMN {name} {kind}")
    if version < SCHEMA_VERSION:
        connection.execute(_schema.update().values(version=SCHEMA_VERSION))


def _refuse_newer(version: int | None) -> None:
    if version is None or version > SCHEMA_VERSION:
        raise StorageError(
            f"this study's tables have version {version}, and this program knows {SCHEMA_VERSION}: upgrade it"
        )


def _cosine_columns(kind: str, cosines: Cosines) -> dict[str, object]:
    counts = None if cosines.histogram is None else np.array(cosines.histogram, dtype="<u4").tobytes()
    figures = {f"{kind}_{figure}": _finite(getattr(cosines, figure)) for figure in ("mean", "p5", "p95")}
    return {**figures, f"{kind}_histogram": counts}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _from_blob(blob: bytes) -> NDArray[np.float32]:
    return np.frombuffer(blob, dtype="<f4").astype(np.float32)


def curves(rows: Sequence[EvaluationRow]) -> dict[int, list[EvaluationRow]]:
    """The rows of each trial, in the order in which they come."""
    found: dict[int, list[EvaluationRow]] = {}
    for row in rows:
        found.setdefault(row.trial, []).append(row)
    return found

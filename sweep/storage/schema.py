"""Our own tables in a study's database beside Optuna's, their version, and the upgrade of an older one."""

from __future__ import annotations

from typing import Any

import sqlalchemy
from sqlalchemy import JSON, Column, Float, Integer, LargeBinary, MetaData, String, Table, Text, select

from sweep.errors import StorageError
from sweep.storage.transaction import reading

SCHEMA_VERSION = 4

FIGURES = ("recall_10", "recall_100", "mrr_10", "alignment", "uniformity")
"""Figures of an evaluation that stand in columns of the same name."""

HISTOGRAMS = ("positive_histogram", "negative_histogram")

_metadata = MetaData()

_schema = Table("sweep_schema", _metadata, Column("version", Integer, primary_key=True))

EVALUATIONS = Table(
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
    *(Column(name, Float) for name in FIGURES),
    *(Column(name, LargeBinary) for name in HISTOGRAMS),
    *(Column(name, Float) for name in ("validation_loss", "validation_loss_retrieval")),
    *(Column(name, Float) for name in ("learning_rate", "gradient_norm", "memory_gib")),
    # since version 4: the study's metric; `ndcg` is NDCG@10, which was the only one before
    Column("value", Float),
)
"""Every measurement of every trial."""

# since version 3

RUNS = Table(
    "sweep_runs",
    _metadata,
    Column("trial", Integer, primary_key=True, autoincrement=False),
    Column("run", Integer, primary_key=True, autoincrement=False),
    Column("slot", String(32), nullable=False),
    Column("device", Text, nullable=False),
    Column("began", Float, nullable=False),
    Column("ended", Float),
)
"""Every process of every trial: where and when it ran."""

# since version 4; the plain name "trials" is Optuna's

ATTRIBUTES = Table(
    "study_attributes", _metadata, Column("name", String(255), primary_key=True), Column("value", Text, nullable=False)
)
"""The study's attributes, as JSON by name."""

TRIALS = Table(
    "study_trials",
    _metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("state", String(8), nullable=False),
    Column("value", Float),
    *(Column(name, Text, nullable=False) for name in ("values", "distributions", "attributes")),
    Column("began", Float),
    Column("ended", Float),
)
"""Every trial; `sweep.storage.study_tables.TrialRow` says what its columns hold."""

OLD_TRIALS = Table("sweep_trials", MetaData(), Column("trial", Integer, primary_key=True), Column("stop_numbers", JSON))
"""A table of version 3, no longer written: only the numbers behind the stops of its time stand nowhere else."""


def open_schema(engine: sqlalchemy.Engine, *, writable: bool) -> None:
    """Makes our tables or brings older ones up to this version; where not writable, checks only that they are there.

    Raises:
        StorageError: If the tables are of a newer version than this program's, or missing where they cannot be made.
    """
    if writable:
        with engine.begin() as connection:
            _make_or_upgrade(connection)
    try:
        with engine.connect() as connection:
            version = connection.execute(select(_schema.c.version)).scalar()
    except sqlalchemy.exc.DatabaseError as error:
        raise StorageError("this database holds no study of this program; start one with `sweep run`") from error
    _refuse_newer(version)


def has_columns(engine: sqlalchemy.Engine, table: Table) -> frozenset[str]:
    """Names of the columns that a table has in a database of this or an older version; none if it is not there."""
    with reading(engine) as connection:
        inspector = sqlalchemy.inspect(connection)
        columns = inspector.get_columns(table.name) if inspector.has_table(table.name) else ()
        return frozenset(column["name"] for column in columns)


def known_columns(engine: sqlalchemy.Engine, table: Table) -> list[sqlalchemy.ColumnElement[Any]]:
    """The columns that a table has in a database of this or an older version, in which the value was the NDCG@10."""
    there = has_columns(engine, table)
    known: list[sqlalchemy.ColumnElement[Any]] = [column for column in table.columns if column.name in there]
    if table is EVALUATIONS and there and "value" not in there:
        known.append(EVALUATIONS.c.ndcg.label("value"))
    return known


def _make_or_upgrade(connection: sqlalchemy.Connection) -> None:
    """Makes the tables, or gives those of an older version what they lack, in one transaction."""
    has_tables = sqlalchemy.inspect(connection).has_table(_schema.name)
    version = connection.execute(select(_schema.c.version)).scalar() if has_tables else None
    if version is not None:
        _refuse_newer(version)
        if version == SCHEMA_VERSION:
            return
    _metadata.create_all(connection)
    known = {column["name"] for column in sqlalchemy.inspect(connection).get_columns(EVALUATIONS.name)}
    for column in EVALUATIONS.columns:
        if column.name not in known:
            kind = column.type.compile(connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {EVALUATIONS.name} ADD COLUMN {column.name} {kind}")
    if "value" not in known:
        connection.execute(EVALUATIONS.update().values(value=EVALUATIONS.c.ndcg))
    connection.execute(_schema.delete())
    connection.execute(_schema.insert().values(version=SCHEMA_VERSION))


def _refuse_newer(version: int | None) -> None:
    if version is None or version > SCHEMA_VERSION:
        raise StorageError(
            f"this study's tables have version {version}, and this program knows {SCHEMA_VERSION}: upgrade it"
        )

"""Copies of rows of our tables from one study's database into another's, under new trial numbers."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy
from sqlalchemy import select

from sweep.storage.schema import EVALUATIONS, RUNS, known_columns


def copy_rows(source: sqlalchemy.Engine, target: sqlalchemy.Engine, numbers: Mapping[int, int]) -> None:
    """Copies the dev measurements of some trials, and where they ran, in one transaction.

    Evaluations on the test split stay behind: it is read once in a study's life.

    Args:
        source: The engine of the database to read, of this or an older version.
        target: The engine of the database to write, which has our tables and none of these rows.
        numbers: The new number of each trial to copy, by its old one.
    """
    with source.connect() as reading, target.begin() as writing:
        for table in (EVALUATIONS, RUNS):
            known = known_columns(source, table)
            if not known:  # a version that did not have the table
                continue
            query = select(*known).where(table.c.trial.in_(numbers))
            if table is EVALUATIONS:
                query = query.where(table.c.split == "dev")
            if rows := [{**row, "trial": numbers[row["trial"]]} for row in reading.execute(query).mappings()]:
                writing.execute(table.insert(), rows)

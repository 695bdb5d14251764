"""The tables ``study_attributes`` and ``study_trials``: the study's source of truth.

Optuna's tables beside them are a mirror of these (`sweep.storage.mirror`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import optuna
import sqlalchemy
from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial
from sqlalchemy import select

from sweep.errors import StorageError
from sweep.storage.retry import retried
from sweep.storage.schema import ATTRIBUTES, OLD_TRIALS, TRIALS, has_columns
from sweep.storage.transaction import reading, writing

State = Literal["waiting", "running", "complete", "pruned", "fail"]

FINISHED: tuple[State, ...] = ("complete", "pruned", "fail")


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """A trial as it is recorded.

    Attributes:
        number: Its number in the study.
        state: Its state, in Optuna's terms.
        value: Its value in the Optuna study, or None.
        values: Its point, by the names of its parameters in the Optuna study.
        distributions: The distribution of each parameter, in Optuna's JSON.
        attributes: User attributes.
        began: Time at which it began, in seconds since 1970; None before that.
        ended: Time at which it ended, likewise.
    """

    number: int
    state: State
    value: float | None = None
    values: Mapping[str, Any]
    distributions: Mapping[str, str]
    attributes: Mapping[str, Any]
    began: float | None = None
    ended: float | None = None


class StudyTables:
    """The attributes and trials of a study, in a database whose tables `sweep.storage.schema.open_schema` has made.

    Attributes:
        next_number: The number of the next new trial.
    """

    def __init__(self, engine: sqlalchemy.Engine) -> None:
        self._engine = engine
        self.next_number = 1 + max((row.number for row in self.rows()), default=-1)

    @retried
    def attributes(self) -> dict[str, Any]:
        """The study's attributes, in the order in which they were first written."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(ATTRIBUTES.c.name, ATTRIBUTES.c.value)).all()
        return {name: json.loads(value) for name, value in rows}

    @retried
    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Writes attributes of the study, new or in place of those of the same names."""
        rows = [{"name": name, "value": json.dumps(value)} for name, value in attributes.items()]
        if rows:
            with writing(self._engine) as connection:
                connection.execute(ATTRIBUTES.delete().where(ATTRIBUTES.c.name.in_(attributes)))
                connection.execute(ATTRIBUTES.insert(), rows)

    @retried
    def put(self, rows: Sequence[TrialRow]) -> None:
        """Writes trials, new or in place of those of the same numbers."""
        if rows:
            with writing(self._engine) as connection:
                connection.execute(TRIALS.delete().where(TRIALS.c.number.in_([row.number for row in rows])))
                connection.execute(TRIALS.insert(), [_columns(row.__dict__) for row in rows])
            self.next_number = max(self.next_number, *(row.number + 1 for row in rows))

    @retried
    def update(self, number: int, columns: Mapping[str, Any]) -> None:
        """Writes columns of a trial that is there."""
        with writing(self._engine) as connection:
            connection.execute(TRIALS.update().where(TRIALS.c.number == number).values(**_columns(columns)))

    @retried
    def rows(self, numbers: Iterable[int] | None = None) -> list[TrialRow]:
        """The trials of these numbers, or all of them, by number."""
        query = select(*(TRIALS.c[name] for name in TrialRow.__dataclass_fields__)).order_by(TRIALS.c.number)
        if numbers is not None:
            query = query.where(TRIALS.c.number.in_(list(numbers)))
        with reading(self._engine) as connection:
            rows = connection.execute(query).mappings().all()
        return [TrialRow(**{**row, **{name: json.loads(row[name]) for name in _JSON}}) for row in rows]


_JSON = ("values", "distributions", "attributes")
"""Columns of trials that hold JSON."""


def _columns(columns: Mapping[str, Any]) -> dict[str, Any]:
    return {name: json.dumps(value) if name in _JSON else value for name, value in columns.items()}


@dataclass(frozen=True)
class StudyContent:
    """A study as its database has it: its name, its attributes, its trials by number."""

    name: str
    attributes: Mapping[str, Any]
    trials: Sequence[TrialRow]


def read_content(storage: RDBStorage) -> StudyContent:
    """Reads the one study of a database of this or an older version.

    Raises:
        StorageError: If the database holds no study, or several.
    """
    names = optuna.get_all_study_names(storage)
    if len(names) != 1:
        raise StorageError(f"a study's database holds one study, found {len(names)}")
    if has_columns(storage.engine, TRIALS):
        tables = StudyTables(storage.engine)
        attributes, trials = tables.attributes(), tables.rows()
        if attributes or trials:
            return StudyContent(names[0], attributes, trials)
    return import_content(storage, names[0])


def import_content(storage: RDBStorage, name: str) -> StudyContent:
    """Reads a study of a version in which Optuna's tables alone held its trials."""
    study = optuna.load_study(study_name=name, storage=storage)
    numbers = _read_old_numbers(storage.engine)
    rows = [import_trial(trial, numbers.get(trial.number)) for trial in study.get_trials(deepcopy=False)]
    return StudyContent(name, study.user_attrs, rows)


def import_trial(trial: FrozenTrial, stop_numbers: Mapping[str, Any] | None = None) -> TrialRow:
    """A trial of Optuna's tables, with the numbers behind its stop where they stood in a table of their own."""
    began, ended = trial.datetime_start, trial.datetime_complete
    return TrialRow(
        number=trial.number,
        state=cast(State, trial.state.name.lower()),
        value=trial.values[0] if trial.values else None,
        values=trial.params,
        distributions={name: distribution_to_json(known) for name, known in trial.distributions.items()},
        attributes={**trial.user_attrs, **({"stop_numbers": stop_numbers} if stop_numbers else {})},
        began=began.timestamp() if began else None,
        ended=ended.timestamp() if ended else None,
    )


@retried
def _read_old_numbers(engine: sqlalchemy.Engine) -> dict[int, Mapping[str, Any]]:
    """Numbers behind the stops of trials, by trial, from the time when these stood in a table of their own."""
    if not has_columns(engine, OLD_TRIALS):
        return {}
    with reading(engine) as connection:
        rows = connection.execute(select(OLD_TRIALS.c.trial, OLD_TRIALS.c.stop_numbers)).all()
    return {trial: numbers for trial, numbers in rows if numbers}

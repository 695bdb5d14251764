"""Study: a read-only view of a study at the moment when it was opened, for a command, a report or a notebook.

::

    from sweep import open_study

    study = open_study("studies/quickstart.toml")
    study.trials().sort_values("peak")
    study.evaluations().pivot(index="progress", columns="trial", values="value")

Neither torch nor pandas is loaded before it is needed: `sweep status` is to be quick.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from sweep.columns import COLUMNS
from sweep.errors import StorageError
from sweep.measures.benchmarks import slice_queries, split_means
from sweep.measures.score import Score
from sweep.progress import warmup_end
from sweep.run_folder import RunFolder
from sweep.settings.dimensions import Params
from sweep.settings.study_file import StudySpec
from sweep.stopping.recorded import RecordedRun
from sweep.storage.confirmations import list_winning
from sweep.storage.evaluations import AS_SAVED, UNTRAINED, EvaluationTable
from sweep.storage.failures import explain_failures
from sweep.storage.location import DatabaseLocation, StudyLocation, check_name, locate_study
from sweep.storage.lock import LockOwner
from sweep.storage.records import BUDGET_TRIALS, ENDED_BY, StudyRecord, TrialRecord, load_record
from sweep.storage.runs import RunRow, RunTable
from sweep.storage.schema import EVALUATIONS, HISTOGRAMS
from sweep.storage.study_tables import FINISHED

if TYPE_CHECKING:
    import pandas as pd

StudyState = Literal["running", "interrupted", "finished", "failed"]

LEAST_SHOWN = 0.0005
"""Overstatement of the best value below which nothing is said of it."""

CHOSEN_AMONG = 50
"""Trials with the highest peaks among whose measurements the best is taken to be chosen."""

TRIAL_COLUMNS: Mapping[str, str] = {column.key: column.dtype for column in COLUMNS if column.dtype}
"""Columns of `Study.trials` and their types."""


class StudyReader:
    """A study's database, open for reading alone until it is closed, at the latest with the end of this object.

    Raises:
        StorageError: If the study has not begun or cannot be read.
    """

    def __init__(self, database: DatabaseLocation) -> None:
        self._database = database
        self.storage = database.open_read_only()
        self.close = weakref.finalize(self, self.storage.engine.dispose)
        try:
            with self.reading():
                self.evaluations = EvaluationTable(self.storage.engine, writable=False)
                self.runs = RunTable(self.storage.engine)
        except StorageError:
            self.close()
            raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[Self]:
        """Reports the database within a ``with`` block.

        Raises:
            StorageError: If the database fails, in one line.
            ValueError: If it was closed.
        """
        if not self.close.alive:
            raise ValueError("study must be open to be read, got one that was closed")
        try:
            with explain_failures("cannot be read"):
                yield self
        except StorageError as error:
            raise StorageError(f"{self._database}: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study at the moment when it was opened; a ``with`` block closes it.

    Large tables are read when they are first asked for; rows that were written after the study was opened are left out.

    Attributes:
        location: The study's file and database.
        record: Its trials, as plain values.
        owner: The coordinator that runs it now, or None.
        tests: (Q,) value of each query on the test split of each model that was evaluated there, by trial.
        as_saved: Value on dev of the best model as it was saved, where that may differ from its peak; else None.
        reader: Its database, open.
    """

    location: StudyLocation
    record: StudyRecord
    owner: LockOwner | None
    tests: Mapping[int, NDArray[np.float32]]
    as_saved: float | None
    reader: StudyReader = field(repr=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.reader.close()

    @property
    def file(self) -> Path:
        """The study file."""
        return self.location.file

    @property
    def spec(self) -> StudySpec:
        """Content of the study file."""
        return self.location.spec

    @property
    def run_folder(self) -> RunFolder:
        """Paths of the study's output."""
        return self.location.run_folder

    @property
    def name(self) -> str:
        """Its name."""
        return self.record.name

    @property
    def budget(self) -> int:
        """Trials of the budget, as the last run had it."""
        return int(self.record.attributes.get(BUDGET_TRIALS, self.spec.budget.trials))

    @property
    def state(self) -> StudyState:
        """Its state: failed where trials that ended an earlier run are to run again, or none came to a result.

        A failed trial that is to run again since another one ended well after it did not end that run.
        """
        if self.owner is not None:
            return "running"
        is_spent = self.record.counted >= self.budget or self.record.attributes.get(ENDED_BY) is not None
        if is_spent and not any(trial.state in ("running", "paused") for trial in self.record.trials):
            return "finished" if self.record.best is not None else "failed"
        rerun = {trial.attributes.get("rerun_of") for trial in self.record.trials}
        failed = {trial.number for trial in self.record.trials if trial.is_excused and trial.state == "fail"}
        well = [trial.number for trial in self.record.trials if trial.state in ("complete", "pruned")]
        return "failed" if max(failed - rerun, default=-1) > max(well, default=-1) else "interrupted"

    @property
    def best_model(self) -> Path | None:
        """Folder of the best model, in Sentence Transformers format; None where it is not on disk."""
        return self.find_model(self.record.best.number if self.record.best else None)

    def find_model(self, number: int | None) -> Path | None:
        """Folder of the model of a trial, or of the untrained one, by number; None where it is not on disk."""
        if number is None:
            return None
        if number == UNTRAINED:
            folder = self.run_folder.base_model
        else:
            peak = self.record.trials[number].peak
            if peak is None:
                return None
            folder = self.run_folder.peak_model(number, peak.progress)
        return folder if folder.is_dir() else None

    def test_score(self, number: int) -> Score | None:
        """The score of a model on the test split, by number; None where it was not evaluated there."""
        values = self.tests.get(number)
        return None if values is None else Score(values, self.record.query_weights("test"))

    @cached_property
    def runs(self) -> Sequence[RunRow]:
        """Every process of every trial, in the order of the trials."""
        with self.reader.reading() as reader:
            return [row for row in reader.runs.runs() if row.trial < len(self.record.trials)]

    @cached_property
    def figures(self) -> Sequence[Mapping[str, Any]]:
        """Every column of every measurement on the dev split, the untrained model's under -1."""
        known = {(trial.number, row.progress) for trial in self.record.trials for row in trial.rows}
        with self.reader.reading() as reader:
            rows = reader.evaluations.figures()
        return [row for row in rows if row["trial"] == UNTRAINED or (row["trial"], row["progress"]) in known]

    @cached_property
    def per_query(self) -> Mapping[int, tuple[Sequence[int], NDArray[np.float32]]]:
        """Progress (T,) and values of each query (T, Q) of every measured trial; the untrained model's under -1."""
        known = {UNTRAINED: 1, **{trial.number: len(trial.rows) for trial in self.record.trials if trial.rows}}
        with self.reader.reading() as reader:
            read = {number: reader.evaluations.per_query(number) for number in known}
        return {number: (points[: known[number]], values[: known[number]]) for number, (points, values) in read.items()}

    @property
    def untrained(self) -> Mapping[str, Any] | None:
        """Every figure of the untrained model on the dev split, or None before it was measured."""
        return next((row for row in self.figures if row["trial"] == UNTRAINED), None)

    def trials(self) -> pd.DataFrame:
        """One row a trial, by number: its settings, its course and its end.

        ``peak``, ``last`` and ``retention`` (last over the highest, the untrained model's included) are values on the
        dev split, by which trials were chosen. ``warmup_end`` is a share of the trial, ``progress`` counts thousandths
        of it. ``ended_by`` is ``budget`` where it ran to its end, ``error``, ``equal``, or the rule that stopped it;
        ``stop_numbers`` is a dict with the numbers behind that. A trial that was not trained because it is equal to
        another has that one's number in ``equal_to``, its peak, and no example. Absent values are missing (NaN or NA).
        """
        return self._trial_frame.copy()

    @cached_property
    def _trial_frame(self) -> pd.DataFrame:
        import pandas as pd

        rows = [
            {column.key: column.value(trial, self.record) for column in COLUMNS if column.dtype}
            for trial in self.record.trials
        ]
        return pd.DataFrame(rows, columns=list(TRIAL_COLUMNS)).astype(dict(TRIAL_COLUMNS))

    def evaluations(self) -> pd.DataFrame:
        """One row an evaluation of a trial on the dev split, by trial and progress (in thousandths).

        ``validation_loss`` is that of the trial's own data format, ``validation_loss_retrieval`` that of query-document
        pairs. ``value`` is the study's metric; ``ndcg`` (at 10), the recalls and ``mrr_10`` are always there.
        The two histograms are tuples of counts in the bins of `sweep.measures.geometry.COSINE_BINS`, or None.
        ``seconds`` and ``evaluation_seconds`` count from the trial's beginning. The untrained model's figures stand in
        `untrained`.
        """
        import pandas as pd

        names = [column.name for column in EVALUATIONS.columns if column.name not in ("split", "per_query")]
        rows = [row for row in self.figures if row["trial"] != UNTRAINED]
        frame = pd.DataFrame(rows, columns=names)
        kinds = {name: "object" if name in HISTOGRAMS else "float64" for name in names}
        return frame.astype(kinds | dict.fromkeys(("trial", "progress", "step", "examples"), "int64"))

    def benchmarks(self) -> pd.DataFrame:
        """One row a measurement of a trial on a benchmark, the untrained model's first: ``value`` is its mean there.

        It is empty where the study has one collection.
        """
        import pandas as pd

        slices = slice_queries(self.record.benchmarks, "dev")
        untrained = self.per_query[UNTRAINED][1][:1] if UNTRAINED in self.per_query else None
        rows = [
            {"trial": number, "progress": point, "benchmark": name, "value": mean}
            for number, (points, values) in self.per_query.items()
            if slices and number != UNTRAINED and untrained is not None
            for point, per_query in zip([0, *points], np.concatenate([untrained, values]), strict=True)
            for name, mean in split_means(per_query, slices).items()
        ]
        return pd.DataFrame(rows, columns=["trial", "progress", "benchmark", "value"])

    @cached_property
    def overstatement(self) -> float | None:
        """By how much the highest value on dev is expected to be too good; None where four digits do not show it.

        It was chosen among all measurements; those of the trials with the highest peaks are the ones that matter.
        """
        from sweep.measures.selection import estimate_overstatement

        ranked = self.record.leaderboard()[:CHOSEN_AMONG]
        with self.reader.reading() as reader:
            known = [reader.evaluations.per_query(trial.number)[1][: len(trial.rows)] for trial in ranked]
        measured = [per_query for per_query in known if per_query.size]
        if not measured:
            return None
        overstated = estimate_overstatement(np.concatenate(measured), self.record.query_weights("dev"))
        return overstated if overstated >= LEAST_SHOWN else None

    def recorded_runs(self) -> list[RecordedRun]:
        """The measured trials of the search that have ended, for replay: the untrained model's measurement first."""
        untrained = self.per_query.get(UNTRAINED)
        if untrained is None:
            return []
        return [
            self._recorded_run(trial, trial.params, untrained[1][:1])
            for trial in self.record.trials
            if trial.state in FINISHED and trial.rows and trial.params and trial.is_searched
        ]

    def _recorded_run(self, trial: TrialRecord, params: Params, untrained: NDArray[np.float32]) -> RecordedRun:
        points, per_query = self.per_query[trial.number]
        return RecordedRun(
            name=f"{self.name}-{trial.number}",
            metric=self.record.measure.key,
            group=self.name,
            progress=np.array([0, *points]),
            per_query=np.concatenate([untrained, per_query]),
            warmup_end=warmup_end(params.warmup_ratio, int(trial.attributes["steps"])),
            scheduler=params.scheduler,
            examples=trial.planned_examples,
            params=params.as_dict(),
            weights=self.record.query_weights("dev"),
        )


def open_study(file: Path | str, *, storage: str | None = None) -> Study:
    """Opens a study while it runs or afterwards, with its trials and evaluations as pandas frames.

    Args:
        file: The study file, such as ``studies/quickstart.toml``.
        storage: Address of its database, if not the one in the environment or the file.

    Raises:
        SweepError: If the file is not valid, or the study has not begun or cannot be read.
    """
    return read_study(locate_study(file, storage=storage))


def read_study(location: StudyLocation) -> Study:
    """Opens a study that was located; see `open_study`."""
    reader = StudyReader(location.database)
    try:
        with reader.reading():
            record = load_record(reader.storage, reader.evaluations)
            check_name(location.file, location.spec, record.name)
            chosen = (record.best, record.default, *list_winning(record))
            numbers = {UNTRAINED, *(trial.number for trial in chosen if trial)}
            values = {number: reader.evaluations.model_values(number, "test") for number in numbers}
            saved = reader.evaluations.model_values(record.best.number, AS_SAVED) if record.best else None
            owner = location.database.find_owner()
    except BaseException:
        reader.close()
        raise
    tests = {number: per_query for number, per_query in values.items() if per_query is not None}
    as_saved = None if saved is None else Score(saved, record.query_weights("dev")).mean
    return Study(location=location, record=record, owner=owner, tests=tests, as_saved=as_saved, reader=reader)

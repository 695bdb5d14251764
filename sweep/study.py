"""Study: a study as it stood when it was opened, for a notebook or a report; nothing is written.

::

    from sweep import open_study

    study = open_study("studies/quickstart.toml")
    study.trials().sort_values("peak")
    study.evaluations().pivot(index="progress", columns="trial", values="ndcg")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sweep.columns import COLUMNS
from sweep.progress import warmup_end
from sweep.settings.dimensions import Params
from sweep.status import Standing, open_reading
from sweep.stopping.recorded import RecordedRun
from sweep.storage.evaluations import UNTRAINED
from sweep.storage.location import StudyLocation, locate_study
from sweep.storage.records import FINISHED, StudyRecord, TrialRecord
from sweep.storage.runs import RunRow, RunTable
from sweep.storage.schema import EVALUATIONS, HISTOGRAMS

TRIAL_COLUMNS: Mapping[str, str] = {column.key: column.dtype for column in COLUMNS if column.dtype}
"""Columns of `Study.trials` and their types."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study as it stood when it was opened.

    Attributes:
        location: Where the study is.
        standing: Where it stands: its record, what its file says, who runs it, and the test split's figures.
        runs: Every process of every trial, in the order of the trials.
        figures: Every column of every measurement on the dev split, the untrained model's under -1.
    """

    location: StudyLocation
    standing: Standing
    runs: Sequence[RunRow]
    figures: Sequence[Mapping[str, Any]] = field(repr=False)

    @property
    def file(self) -> Path:
        """The study file."""
        return self.location.file

    @property
    def name(self) -> str:
        """Its name."""
        return self.standing.record.name

    @property
    def record(self) -> StudyRecord:
        """Its trials, as plain values."""
        return self.standing.record

    @property
    def untrained(self) -> Mapping[str, Any] | None:
        """Every figure of the untrained model on the dev split, or None before it was measured."""
        return next((row for row in self.figures if row["trial"] == UNTRAINED), None)

    def trials(self) -> pd.DataFrame:
        """One row a trial, by number: its settings, how it went and how it ended.

        ``peak``, ``last`` and ``retention`` (last over the highest, the untrained model's included) are NDCG@10 on the
        dev split, by which trials were chosen. ``warmup_end`` is a share of the trial, ``progress`` counts thousandths
        of it. ``ended_by`` is ``budget`` where it went to its end, ``error``, or the rule that stopped it;
        ``stop_numbers`` is a dict with the numbers behind that. What does not exist is missing (NaN or NA).
        """
        return self._trial_frame.copy()

    @cached_property
    def _trial_frame(self) -> pd.DataFrame:
        rows = [
            {column.key: column.value(trial, self.record) for column in COLUMNS if column.dtype}
            for trial in self.record.trials
        ]
        return pd.DataFrame(rows, columns=list(TRIAL_COLUMNS)).astype(dict(TRIAL_COLUMNS))

    def evaluations(self) -> pd.DataFrame:
        """One row an evaluation of a trial on the dev split, by trial and progress (in thousandths).

        ``validation_loss`` is that of the trial's own data format, ``validation_loss_retrieval`` that of query-document
        pairs. The two histograms are tuples of counts in the bins of `sweep.measures.geometry.COSINE_BINS`, or None.
        ``seconds`` and ``evaluation_seconds`` count from the trial's beginning. The untrained model's figures
        stand in `untrained`.
        """
        names = [column.name for column in EVALUATIONS.columns if column.name not in ("split", "per_query")]
        rows = [row for row in self.figures if row["trial"] != UNTRAINED]
        frame = pd.DataFrame(rows, columns=names)
        kinds = {name: "object" if name in HISTOGRAMS else "float64" for name in names}
        return frame.astype(kinds | dict.fromkeys(("trial", "progress", "step", "examples"), "int64"))

    @cached_property
    def per_query(self) -> Mapping[int, tuple[Sequence[int], NDArray[np.float32]]]:
        """Progress (T,) and NDCG@10 of each query (T, Q) of every measured trial; the untrained model's under -1."""
        numbers = [UNTRAINED, *(trial.number for trial in self.record.trials if trial.rows)]
        with open_reading(self.location) as reading:
            return {number: reading.table.per_query(number) for number in numbers}

    def recorded_runs(self) -> list[RecordedRun]:
        """The measured trials that have ended, for replay: the untrained model's measurement first."""
        untrained = self.per_query.get(UNTRAINED)
        if untrained is None:
            return []
        return [
            self._recorded_run(trial, trial.params, untrained[1][:1])
            for trial in self.record.trials
            if trial.state in FINISHED and trial.rows and trial.params
        ]

    def _recorded_run(self, trial: TrialRecord, params: Params, untrained: NDArray[np.float32]) -> RecordedRun:
        points, per_query = self.per_query[trial.number]
        return RecordedRun(
            name=f"{self.name}-{trial.number}",
            group=self.name,
            progress=np.array([0, *points]),
            per_query=np.concatenate([untrained, per_query]),
            warmup_end=warmup_end(params.warmup_ratio, int(trial.attributes["steps"])),
            scheduler=params.scheduler,
            examples=trial.planned_examples,
            params=params.as_dict(),
        )


def open_study(file: Path | str, *, storage: str | None = None) -> Study:
    """Reads a study, while it runs or after; what happens later is not seen.

    Args:
        file: The study file, such as ``studies/quickstart.toml``.
        storage: Address of its database, where it is another than the environment or the file says.

    Returns:
        The study, with its trials and evaluations as pandas frames.

    Raises:
        SweepError: If the file does not hold, or the study has not begun or cannot be read.
    """
    return read_study(locate_study(file, storage=storage))


def read_study(location: StudyLocation) -> Study:
    """Reads a study that was located; see `open_study`."""
    with open_reading(location) as reading:
        standing = reading.standing()
        known = {UNTRAINED, *(trial.number for trial in standing.record.trials)}
        return Study(  # one statement after another: of a trial that has begun in the meantime nothing is seen
            location=location,
            standing=standing,
            runs=[row for row in RunTable(reading.storage.engine).runs() if row.trial in known],
            figures=[row for row in reading.table.figures() if row["trial"] in known],
        )

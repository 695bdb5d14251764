"""Ledger: the only writer of a study. A report and its attributes are one transaction, and only then answered."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import optuna
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage
from optuna.trial import Trial

from sweep.launch import Slot
from sweep.messages import Evaluation, Report
from sweep.settings.space import SearchSpace
from sweep.storage.evaluations import UNTRAINED, EvaluationRow, EvaluationTable, as_row
from sweep.storage.mirror import Mirror
from sweep.storage.notes import export_to_dashboard, save_study_note
from sweep.storage.records import EQUAL_TO, EXCUSED, SPEC, StudyRecord, TrialRecord, make_record, make_trial_record
from sweep.storage.retry import retry
from sweep.storage.runs import RunTable
from sweep.storage.study_tables import State, StudyContent, StudyTables, TrialRow, import_trial
from sweep.storage.transaction import write_together


class Measurement(NamedTuple):
    """A trial's report that is to be committed, by the trial's number, and user attributes that go with it."""

    trial: int
    report: Report
    attributes: Mapping[str, Any] = MappingProxyType({})


@dataclass
class _Open:
    """A trial that has not ended, with its measurements."""

    row: TrialRow
    measured: list[EvaluationRow] = field(default_factory=list)

    @property
    def record(self) -> TrialRecord:
        """The trial's record."""
        return make_trial_record(self.row, self.measured)


class Ledger:
    """Writes a study's trials, their measurements and their ends.

    Each method that writes of a trial is one transaction: once it returns, all of it is on the disk, and a crash leaves
    nothing half-written. Optuna's tables are written by `mirror`, when there is time for it.

    Args:
        storage: Optuna's storage of the study's database.
        name: The study's name.

    Attributes:
        table: The study's evaluations.
        attributes: The study's attributes.
    """

    def __init__(self, storage: RDBStorage, name: str) -> None:
        self._storage = storage
        self._name = name
        self._together = functools.partial(write_together, storage)
        self.table = EvaluationTable(storage.engine, writable=True)
        self._tables = StudyTables(storage.engine)
        self._runs = RunTable(storage.engine)
        self._mirror = Mirror(storage, name, tables=self._tables, evaluations=self.table)
        self.attributes = self._tables.attributes()
        self._open: dict[int, _Open] = {}  # by the trial's number
        self._ended: dict[int, TrialRecord] = {}  # until they are asked for

    @property
    def study(self) -> optuna.Study:
        """The study as Optuna shows it, up to date."""
        self._mirror.catch_up()
        return self._mirror.study()

    def record(self) -> StudyRecord:
        """The study's record, read anew."""
        return make_record(StudyContent(self._name, dict(self.attributes), self._tables.rows()), self.table)

    def update_record(self, record: StudyRecord, number: int) -> StudyRecord:
        """The record with trial ``number``, the only one that has ended or paused since, and all before it."""
        trials = list(record.trials)
        for begun in range(len(trials), number):
            if begun in self._open:
                trials.append(self._open[begun].record)
            else:  # somebody has enqueued it
                trials += [make_trial_record(row, ()) for row in self._tables.rows([begun])]
        last = self._ended.pop(number) if number in self._ended else self._open[number].record
        trials[number : number + 1] = [last]
        return dataclasses.replace(record, trials=tuple(trials))

    def values(self) -> dict[int, dict[str, Any]]:
        """Values of every trial by their names in the Optuna study."""
        return {row.number: dict(row.values) for row in self._tables.rows()}

    def values_of(self, number: int) -> dict[str, Any]:
        """Values of a trial by their names in the Optuna study."""
        return dict(self._tables.rows([number])[0].values)

    def begin_study(self, attributes: Mapping[str, Any], baseline: Evaluation, *, metric: str) -> None:
        """Writes down a study's beginning, or that it begins anew before anything was measured."""
        self.name_metric(metric)

        def begin() -> None:
            self.table.remove_model(UNTRAINED, "dev")
            self.table.add_model(UNTRAINED, "dev", baseline)
            for name, value in attributes.items():
                self.set_attribute(name, value)

        self._together(begin)

    def name_metric(self, metric: str) -> None:
        """Names the study's value for a person; the dashboard shows the name."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            self._together(lambda: self._mirror.study().set_metric_names([metric]))

    def has_begun(self) -> bool:
        """Whether the study's beginning was written down completely."""
        return SPEC in self.attributes

    def set_attribute(self, name: str, value: Any) -> None:
        """Writes an attribute of the study."""
        self._tables.set_attributes({name: value})
        self.attributes[name] = value
        self._mirror.mark_attribute(name, value)

    def remark(self, text: str) -> None:
        """Writes our part of the study's note, as Markdown."""
        self._together(lambda: save_study_note(self._storage, self._mirror.study_id, text))

    def exhibit(self, note: str, figures: Mapping[str, Any]) -> None:
        """Writes our part of the study's note, and Plotly figures by their names, together."""
        self._together(lambda: export_to_dashboard(self._storage, self._mirror.study(), note, figures))

    def next_number(self) -> int:
        """The number that the next new trial will have."""
        return self._tables.next_number

    def begin_trial(
        self, values: Mapping[str, Any], *, distributions: Mapping[str, BaseDistribution], attributes: Mapping[str, Any]
    ) -> int:
        """Writes down a new trial, as running."""
        row = TrialRow(
            number=self._tables.next_number,
            state="running",
            values=dict(values),
            distributions={name: distribution_to_json(distributions[name]) for name in values},
            attributes=dict(attributes),
            began=time.time(),
        )
        self._tables.put([row])
        self._keep_open(row)
        return row.number

    def add_trials(self, rows: Sequence[TrialRow]) -> None:
        """Writes down trials of another study, numbered from the next on; their measurements are there already."""
        self._tables.put(rows)
        for row in rows:
            self._mirror.mark(row.number)

    def adopt_trials(self, space: SearchSpace) -> StudyRecord:
        """Takes over the trials of an earlier run, and enqueued ones with their parameters; returns the record then."""
        self._mirror.catch_up()
        with warnings.catch_warnings():  # a setting stands as it was enqueued, in a range that was narrowed since too
            warnings.filterwarnings("ignore", "Fixed parameter", UserWarning)
            self._adopt_settings(space)
        for row in self._tables.rows():
            if row.state == "running":
                self._keep_open(row)
        return self.record()

    def excuse(self, numbers: Sequence[int]) -> None:
        """Writes down that trials no longer count, and run again."""
        if numbers:
            self.set_attribute(EXCUSED, sorted({*self.attributes.get(EXCUSED, ()), *numbers}))

    def reopen(self, numbers: Sequence[int]) -> None:
        """Has trials that failed for interruptions, or were not promoted, go on as if they had been paused."""
        if not numbers:
            return
        anew = {"paused": True, "without_progress": 0, "suspected": 0}
        reopened = [
            dataclasses.replace(row, state="running", ended=None, attributes=_without_end(row.attributes) | anew)
            for row in self._tables.rows(numbers)
        ]
        self._mirror.catch_up()

        def reopen() -> None:
            self._tables.put(reopened)
            self._mirror.make_anew()

        self._together(reopen)
        for row in reopened:
            self._keep_open(row)

    def last_began(self, number: int) -> float:
        """When the last process of a trial was started, in seconds since 1970."""
        return max((run.began for run in self._runs.runs() if run.trial == number), default=math.inf)

    def _adopt_settings(self, space: SearchSpace) -> None:
        study, rows = self._mirror.study(), self._tables.rows()
        theirs = {row.number: _own_distributions(space, row) for row in rows if row.state in ("waiting", "running")}
        lacking = [number for number, own in theirs.items() if not own.keys() <= rows[number].values.keys()]

        def settle() -> None:
            for _ in self._mirror.waiting:
                study.ask()  # takes the oldest waiting trial
            study.get_trials(deepcopy=False)  # which Optuna has to know before it changes one of them
            for number in lacking:
                space.suggest(Trial(study, self._mirror.find_id(number)), theirs[number])

        if lacking:
            write_together(self._storage, settle, before_again=self._mirror.look)
            retry(self._mirror.look)
        for number in lacking:
            imported = import_trial(self._mirror.trial(number))
            known = {**imported.attributes, **rows[number].attributes}
            self._tables.put([dataclasses.replace(imported, attributes=known)])

    def begin_run(self, number: int, *, slot: Slot, attempt: int) -> None:
        """Writes down that a process of a trial begins."""
        began = time.time()

        def begin() -> None:
            self._runs.begin_run(number, slot=slot.name, device=slot.label, began=began)
            self.note(number, device=slot.label, device_type=slot.device, attempt=attempt, paused=False)

        self._together(begin)

    def end_run(self, number: int) -> None:
        """Writes down that the last process of a trial has ended."""
        self._runs.end_run(number)

    def note(self, number: int, **attributes: Any) -> None:
        """Writes user attributes of a running trial."""
        if attributes:
            trial = self._open[number]
            known = dict(trial.row.attributes) | _storable(attributes)
            self._tables.update(number, {"attributes": known})
            trial.row = dataclasses.replace(trial.row, attributes=known)
            self._mirror.mark(number)

    def commit(self, measured: Sequence[Measurement]) -> None:
        """Commits measurements: once this returns all of them are on the disk.

        Raises:
            ValueError: If one of them was committed before; then none is now.
        """

        def commit() -> None:
            self.table.add([(trial, report) for trial, report, _ in measured])
            for trial, _, attributes in measured:
                self.note(trial, **attributes)

        self._together(commit)
        for trial, report, _ in measured:
            self._open[trial].measured.append(as_row(trial, report))
            self._mirror.mark(trial)

    def end_trial(self, number: int, *, value: float | None, pruned: bool, **attributes: Any) -> None:
        """Writes down the end of a trial: complete with a value, its peak; pruned; or failed, where that is None.

        The value of a pruned trial is its last measurement, as Optuna has it.
        """
        trial = self._open[number]
        final = (trial.measured or self.table.rows(UNTRAINED))[-1].value if pruned else value
        trial.row = dataclasses.replace(
            trial.row,
            state="pruned" if pruned else "fail" if value is None else "complete",
            value=final if final is not None and math.isfinite(final) else None,
            attributes=dict(trial.row.attributes) | _storable(attributes),
            ended=time.time(),
        )
        self._tables.put([trial.row])
        self._ended[number] = self._open.pop(number).record
        self._mirror.mark(number)

    def end_equal(self, number: int, known: TrialRecord) -> None:
        """Writes down that a trial was not trained: it ends as the one that has its settings did, with its curve."""
        trial = self._open.pop(number)
        ending = {"peak": known.peak.value, "peak_progress": known.peak.progress} if known.peak else {}
        row = dataclasses.replace(
            trial.row,
            state=cast(State, known.state),
            value=known.value,
            attributes=dict(trial.row.attributes) | {EQUAL_TO: known.number, **ending},
            ended=time.time(),
        )
        self._tables.put([row])
        self._ended[number] = make_trial_record(row, (), known=known.rows)
        self._mirror.mark(number)

    @property
    def is_behind(self) -> bool:
        """Whether Optuna's tables lag behind ours."""
        return self._mirror.is_behind

    def mirror(self, *, at_most_s: float = math.inf) -> bool:
        """Updates Optuna's tables, or as much of them as there is time for; returns whether that was all."""
        return self._mirror.catch_up(at_most_s=at_most_s)

    def _keep_open(self, row: TrialRow) -> None:
        self._open[row.number] = _Open(row, self.table.rows(row.number))
        self._mirror.mark(row.number)


def _own_distributions(space: SearchSpace, row: TrialRow) -> dict[str, BaseDistribution]:
    """The distributions of a trial's parameters, without dimensions that its recorded settings have no value of."""
    recorded = row.attributes.get("params")
    own = {each.parameter for each in space.dimensions if recorded is None or recorded.get(each.name) is not None}
    return {parameter: known for parameter, known in space.distributions.items() if parameter in own}


def _without_end(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if name not in _OF_AN_END}


_OF_AN_END = frozenset(
    {"error", "last_log_lines", "resumable"}
    | {"stop_reason", "stop_kind", "stop_numbers", "peak", "peak_progress", "retention"}
)
"""Trial attributes that are written when it ends."""


def _storable(value: Any) -> Any:
    """The value, with None for every number that is not finite, which JSON cannot hold."""
    if isinstance(value, dict):
        return {name: _storable(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""TrialRecord and StudyRecord: a study, read from its database into plain values."""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from optuna.storages import RDBStorage

from sweep.measures.benchmarks import Benchmark, read_benchmarks, weigh_queries
from sweep.measures.measures import DEFAULT_METRIC, Measure, find_measure
from sweep.progress import COMPLETE, warmup_end
from sweep.settings.dimensions import Params
from sweep.stopping.stop import Stop
from sweep.storage.evaluations import UNTRAINED, EvaluationRow, EvaluationTable, curves
from sweep.storage.study_tables import FINISHED, State, StudyContent, TrialRow, read_content

SPEC = "spec"
BASE_MODEL = "base_model"
COLLECTION_HASH = "collection_hash"
BENCHMARKS = "benchmarks"
SIMILARITY = "similarity"
EXCUSED = "excused"
ENDED_BY = "ended_by"
BUDGET_TRIALS = "budget_trials"
HISTORY = "history"
SPEC_NOW = "spec_now"
"""Names of the study's user attributes."""

RUNGS = "rungs"
"""Trial attribute: progress in thousandths at which it pauses, one a rung."""

PROMOTED = "promoted"
"""Trial attribute: the number of rungs that it was promoted from."""

RETRAINED = "retrained_examples"
"""Trial attribute: training pairs that it has seen twice, since its checkpoint had made room for those of others."""

CONFIRMS = "confirms"
"""Trial attribute: the number of the trial whose configuration it trains with another seed."""

LONGER_THAN = "longer_than"
"""Trial attribute: the number of the trial whose configuration it trains for twice as long."""

PAUSED_AT = "paused_at"
"""Trial attribute: progress in thousandths at which it is paused at a rung; None while it is not."""

EQUAL_TO = "equal_to"
"""Trial attribute: the number of the trial with equal settings whose curve it has, since it was not trained again."""

TO_ITS_END = "budget"
"""`TrialRecord.ended_by` of a trial that was neither stopped nor failed."""


TrialState = Literal[State, "paused"]
"""A trial's state: in Optuna's terms, or ``paused`` at a rung, where Optuna's study has it running."""


@dataclass(frozen=True)
class Peak:
    """The best evaluation of a run: its progress in thousandths and its value."""

    progress: int
    value: float


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One trial as it is recorded.

    Attributes:
        number: Its number in the study.
        state: Its state.
        value: Its value in the Optuna study, or None.
        params: Its settings, or None before they were recorded.
        rows: Its measurements, ascending by progress, without the untrained point.
        attributes: The user attributes that the coordinator wrote.
        is_excused: Whether it came to nothing and does not count; one that failed runs again as a new trial.
        known: The measurements of the trial that it is equal to, where it was not trained itself.
    """

    number: int
    state: TrialState
    value: float | None
    params: Params | None
    rows: tuple[EvaluationRow, ...]
    attributes: Mapping[str, Any]
    is_excused: bool = False
    known: tuple[EvaluationRow, ...] = ()

    @property
    def equal_to(self) -> int | None:
        """The trial that it is equal to, where it was not trained itself; it has no measurement of its own then."""
        return self.attributes.get(EQUAL_TO)

    @property
    def curve(self) -> tuple[EvaluationRow, ...]:
        """Its measurements, or those of the trial that it is equal to."""
        return self.rows or self.known

    @functools.cached_property
    def peak(self) -> Peak | None:
        """Its best finite evaluation after at least one optimizer step."""
        return find_peak(self.curve)

    @property
    def progress(self) -> int:
        """Progress of its last measurement, in thousandths."""
        return self.rows[-1].progress if self.rows else 0

    @property
    def examples(self) -> int:
        """Training pairs it had seen at its last measurement."""
        return self.rows[-1].examples if self.rows else 0

    @property
    def retrained_examples(self) -> int:
        """Training pairs of those that it has seen twice, since its checkpoint had made room for others."""
        return int(self.attributes.get(RETRAINED, 0))

    @property
    def planned_examples(self) -> int:
        """Training pairs of the complete trial, in full batches; none where it is not trained."""
        if self.equal_to is not None:
            return 0
        return int(self.attributes.get("steps", 0)) * (self.params.batch_size if self.params else 0)

    @functools.cached_property
    def stop(self) -> Stop | None:
        """Why it ended before its budget was spent."""
        return read_stop(self.attributes)

    @property
    def ended_by(self) -> str | None:
        """The rule that stopped it, ``error``, ``equal``, or ``budget``; None while it goes on."""
        if self.state not in FINISHED:
            return None
        if self.equal_to is not None:
            return "equal"
        if self.state == "fail":
            return "error"
        return self.stop.kind if self.stop else TO_ITS_END

    @property
    def confirms(self) -> int | None:
        """The number of the trial whose configuration it trains with another seed, or None."""
        return self.attributes.get(CONFIRMS)

    @property
    def longer_than(self) -> int | None:
        """The number of the trial whose configuration it trains for twice as long, or None."""
        return self.attributes.get(LONGER_THAN)

    @property
    def length(self) -> int:
        """How long it trains, in multiples of the study's examples."""
        return self.params.length if self.params else 1

    @property
    def is_searched(self) -> bool:
        """Whether the search proposed it: it trains no other trial's configuration, with a new seed or for longer."""
        return self.confirms is None and self.longer_than is None

    @property
    def rungs(self) -> tuple[int, ...]:
        """Progress in thousandths at which it pauses, one a rung; none where it goes to its end at once."""
        return tuple(self.attributes.get(RUNGS, ()))

    @property
    def promoted(self) -> int:
        """The number of rungs that it was promoted from."""
        return int(self.attributes.get(PROMOTED, 0))

    @property
    def is_unpromoted(self) -> bool:
        """Whether it ended only because it was not promoted: where the study goes on, it may be yet."""
        return self.state in FINISHED and self.stop is not None and self.stop.kind == "not promoted"

    @property
    def may_be_promoted(self) -> bool:
        """Whether it is paused at a rung, or was when its study ended, so that its checkpoint is kept."""
        return self.state == "paused" or (self.is_unpromoted and not self.is_excused)

    @property
    def is_counted(self) -> bool:
        """Whether it counts against the budget of trials."""
        return self.state in FINISHED and not self.is_excused and self.is_searched

    @property
    def is_resumable(self) -> bool:
        """Whether it failed for interruptions alone: the next run goes on with it from its last checkpoint."""
        return self.state == "fail" and bool(self.attributes.get("resumable")) and not self.is_excused

    def standing_at_rung(self, rung: int, baseline: float) -> float | None:
        """What it is ranked by at a rung, as `sweep.stopping.rungs` has it; None where it has no place there."""
        row = self.row_at_rung(rung)
        if row is None or self.params is None:
            return None
        from sweep.stopping.forecast import spent_rate  # loads scipy, which only studies with rungs need
        from sweep.stopping.rungs import carry_on

        end = warmup_end(self.params.warmup_ratio, int(self.attributes["steps"]))
        spent = float(spent_rate(np.array([row.progress / COMPLETE]), end, self.params.scheduler)[0])
        return carry_on(row.value - baseline, spent)

    def row_at_rung(self, rung: int) -> EvaluationRow | None:
        """Its measurement at a rung, by the rung's number; None where it was not let there, or takes no part."""
        has_run_out = bool(self.rows) and self.rows[-1].progress >= COMPLETE
        takes_part = self.state != "fail" and not self.is_excused and rung < len(self.rungs)
        if not takes_part or not self.rows or (self.promoted < rung and not has_run_out):
            return None
        reached = (row for row in self.rows if row.progress >= self.rungs[rung])
        return next(reached, self.rows[-1] if self.stop else None)

    def retention(self, baseline: float | None) -> float | None:
        """Last value over the highest so far, the untrained model's included; None where it was never measured."""
        if not self.curve or not math.isfinite(self.curve[-1].value):
            return None
        highest = max(row.value for row in self.curve if math.isfinite(row.value))
        highest = max(highest, baseline if baseline is not None else highest)
        return self.curve[-1].value / highest if highest > 0 else None


@dataclass(frozen=True, kw_only=True)
class StudyRecord:
    """A study as it is recorded: its user attributes, its trials by number.

    Attributes:
        baseline: Value of the untrained model on the dev split, or None before it was measured.
    """

    name: str
    attributes: Mapping[str, Any]
    trials: tuple[TrialRecord, ...]
    baseline: float | None

    @functools.cached_property
    def measure(self) -> Measure:
        """The metric that its file named when it began, which its values are measured in."""
        key = self._evaluation.get("metric", DEFAULT_METRIC)
        return find_measure(key, on_generated=self.generated_queries is not None)

    @property
    def generated_queries(self) -> str | None:
        """The data format whose generated queries dev and test are made of; None where they were judged."""
        name: str | None = self._evaluation.get("generated_queries")
        return name

    @property
    def _evaluation(self) -> Mapping[str, Any]:
        evaluation: Mapping[str, Any] = self.attributes.get(SPEC, {}).get("evaluation", {})
        return evaluation

    @functools.cached_property
    def rung_ranks(self) -> Mapping[int, tuple[int, int]]:
        """The rank of each trial that is paused at a rung, from 1, and the number of trials there, by its number.

        A trial that was stopped before the rung takes part with its last value.
        """
        paused = [trial for trial in self.trials if trial.state == "paused"]
        ranks: dict[int, tuple[int, int]] = {}
        for rung in {trial.promoted for trial in paused}:
            stands = {trial.number: trial.standing_at_rung(rung, self.baseline or 0.0) for trial in self.trials}
            known = {number: standing for number, standing in stands.items() if standing is not None}
            ranked = sorted(known, key=lambda number: (-known[number], number))
            places = {number: (place, len(ranked)) for place, number in enumerate(ranked, 1)}
            here = [trial.number for trial in paused if trial.promoted == rung and trial.number in places]
            ranks |= {number: places[number] for number in here}
        return ranks

    @functools.cached_property
    def benchmarks(self) -> tuple[Benchmark, ...]:
        """The benchmarks that its models are evaluated on; none where it has one collection."""
        return read_benchmarks(self.attributes.get(BENCHMARKS, ()))

    def query_weights(self, split: Literal["dev", "test"]) -> NDArray[np.float64] | None:
        """(Q,) weight of each query of a split in the objective; None where all count the same."""
        return weigh_queries(self.benchmarks, split)

    @functools.cached_property
    def counted(self) -> int:
        """Trials that count against the budget."""
        return sum(trial.is_counted for trial in self.trials)

    @property
    def is_cut_off_while_paused(self) -> bool:
        """Whether its budget ended it before its trials were done, and with trials at rungs that may go on yet."""
        is_early = self.attributes.get(ENDED_BY) not in (None, "trials")
        return is_early and any(trial.is_unpromoted and not trial.is_excused for trial in self.trials)

    def excuse(self, numbers: Collection[int]) -> StudyRecord:
        """The study with trials that no longer count."""
        trials = (replace(trial, is_excused=True) if trial.number in numbers else trial for trial in self.trials)
        return replace(self, trials=tuple(trials))

    @functools.cached_property
    def best(self) -> TrialRecord | None:
        """The finished trial with the highest peak among those whose value stands."""
        complete = [
            trial
            for trial in self.trials
            if trial.state == "complete" and trial.value is not None and trial.equal_to is None
        ]
        return max(complete, key=lambda trial: (trial.value, -trial.number), default=None)

    @property
    def default(self) -> TrialRecord | None:
        """The trial of the study file's first start point: the configuration that the best one is compared with."""
        started = (trial for trial in self.trials if trial.attributes.get("start") == 0)
        first = (trial if trial.equal_to is None else self.trials[trial.equal_to] for trial in started)
        return next((trial for trial in first if trial.state in ("complete", "pruned") and trial.peak), None)

    def leaderboard(self) -> list[TrialRecord]:
        """The trials that were measured, the highest peak first."""
        ranked = sorted(self.trials, key=lambda trial: (-trial.peak.value if trial.peak else math.inf, trial.number))
        return [trial for trial in ranked if trial.peak]


def find_peak(rows: Sequence[EvaluationRow]) -> Peak | None:
    """The highest finite measurement, the earliest of equals; None where there is none."""
    finite = [row for row in rows if math.isfinite(row.value)]
    best = max(finite, key=lambda row: (row.value, -row.progress), default=None)
    return None if best is None else Peak(best.progress, best.value)


def count_saved(trials: Sequence[TrialRecord]) -> tuple[int, float]:
    """Training pairs that stopping has saved, and their share of what the trials that ended would have seen."""
    ended = [
        trial
        for trial in trials
        if trial.state in ("complete", "pruned")
        and trial.rows
        and not (trial.stop and trial.stop.kind == "study ended")
    ]
    saved = sum(trial.planned_examples - trial.examples for trial in ended if trial.stop)
    saved -= sum(trial.retrained_examples for trial in ended)
    planned = sum(trial.planned_examples for trial in ended)
    return saved, saved / planned if planned else 0.0


def load_record(storage: RDBStorage, table: EvaluationTable) -> StudyRecord:
    """Reads the one study of a database; raises StorageError where it holds none or several."""
    return make_record(read_content(storage), table)


def make_record(content: StudyContent, table: EvaluationTable) -> StudyRecord:
    """The record of a study, with its measurements."""
    rows = curves(table.rows())
    untrained = table.rows(UNTRAINED)
    excused = set(content.attributes.get(EXCUSED, ()))
    return StudyRecord(
        name=content.name,
        attributes=content.attributes,
        trials=tuple(
            make_trial_record(
                trial,
                rows.get(trial.number, ()),
                is_excused=trial.number in excused,
                known=rows.get(trial.attributes.get(EQUAL_TO, UNTRAINED - 1), ()),
            )
            for trial in content.trials
        ),
        baseline=untrained[0].value if untrained else None,
    )


def describe_stop(stop: Stop | None) -> dict[str, Any]:
    """The user attributes of a trial that say why it was stopped."""
    if stop is None:
        return {"stop_reason": None}
    return {"stop_reason": stop.text, "stop_kind": stop.kind, "stop_numbers": dict(stop.numbers)}


def read_stop(attributes: Mapping[str, Any]) -> Stop | None:
    """Why a trial was stopped, by its user attributes; None where it was not."""
    text = attributes.get("stop_reason")
    if text is None:
        return None
    numbers, kind = attributes.get("stop_numbers", {}), attributes.get("stop_kind")
    if kind is None:  # before kinds were recorded, the kind began the text, and the incumbent was "rival"
        kind = text.partition(":")[0]
        numbers = {"incumbent" if name == "rival" else name: value for name, value in numbers.items()}
    return Stop(kind, text, numbers)


def make_trial_record(
    row: TrialRow,
    rows: Sequence[EvaluationRow],
    *,
    is_excused: bool = False,
    known: Sequence[EvaluationRow] = (),
) -> TrialRecord:
    """The record of a trial, with its measurements or those of the trial that it is equal to."""
    params = row.attributes.get("params")
    is_paused = row.state == "running" and row.attributes.get(PAUSED_AT) is not None
    return TrialRecord(
        number=row.number,
        state="paused" if is_paused else row.state,
        value=row.value,
        params=Params(**params) if params else None,
        rows=tuple(rows),
        attributes=row.attributes,
        is_excused=is_excused,
        known=tuple(known),
    )

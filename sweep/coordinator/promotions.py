"""Promotions: the trials that are paused at rungs, and which of them goes on next.

A study begins all of its trials before it promotes one: the first comparison is then one of all of them, on one device
as on eight. Afterwards trials are promoted rung by rung, the best first. A device that would idle takes the best trial
that is within the number that will be kept, though others are still on their way to the rung.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sweep.coordinator.checkpoint_pruning import saved_step
from sweep.coordinator.events import Tell
from sweep.coordinator.ledger import Ledger
from sweep.coordinator.running import RunningTrial, revive_trial
from sweep.plan import StudyPlan
from sweep.progress import COMPLETE
from sweep.settings.dimensions import Params
from sweep.settings.study_file import RungsSpec
from sweep.stopping.rungs import RungPlace, RungResult, compare
from sweep.stopping.stop import Stop
from sweep.storage.records import PAUSED_AT, PROMOTED, RETRAINED, RUNGS, Peak, StudyRecord, TrialRecord
from sweep.storage.study_tables import FINISHED


@dataclass(frozen=True, kw_only=True)
class Paused:
    """A trial that is paused: the rung, counted from 0, the progress in thousandths there, and its peak so far."""

    rung: int
    progress: int
    peak: Peak | None


class Promotions:
    """Pauses trials at rungs, compares them, and promotes them.

    Args:
        plan: The study.
        ledger: Its writer.
        baseline: (Q,) value of each query of the untrained model.
        tell: Tells of what happened.

    Attributes:
        paused: The trials that are paused, by number.
    """

    def __init__(self, plan: StudyPlan, ledger: Ledger, *, baseline: NDArray[np.float32], tell: Tell) -> None:
        self._plan = plan
        self._ledger = ledger
        self._baseline = baseline
        self._tell = tell
        self._spec = plan.spec.rungs or RungsSpec(at=(0.5,), keep=(1.0,))  # without rungs everybody goes on
        self._results: list[dict[int, RungResult]] = [{} for _ in self._spec.at]
        self._idle: object = None  # the state in which no trial was to be promoted
        self.paused: dict[int, Paused] = {}

    def reopen(self, record: StudyRecord, *, finish: Collection[int] = ()) -> StudyRecord:
        """The study as it is adopted: trials that were not promoted are paused again where there is more to come.

        A trial goes on at once where it is to be finished, or is paused at a rung that its study file has no longer.
        """
        is_cut_off = record.counted < self._plan.spec.budget.trials or record.is_cut_off_while_paused
        has_more = bool(self._plan.spec.rungs) and is_cut_off
        ended = [trial.number for trial in record.trials if trial.is_unpromoted and not trial.is_excused]
        self._ledger.reopen([number for number in ended if has_more or number in finish])
        for trial in self._ledger.record().trials:
            if trial.number in finish:
                self._ledger.note(trial.number, **{PAUSED_AT: None, PROMOTED: len(self._spec.at)})
            elif trial.state == "paused" and not self._is_at_rung(trial):
                self._ledger.note(trial.number, **{PAUSED_AT: None})
        return self._ledger.record()

    def _is_at_rung(self, trial: TrialRecord) -> bool:
        rungs = self._plan.rungs(trial.params) if trial.params else ()
        return trial.promoted < len(rungs) and rungs[trial.promoted] <= trial.progress

    def begin(self, record: StudyRecord, running: Sequence[RunningTrial]) -> None:
        """Takes over the trials of an earlier run: its record, and those that go on."""
        for trial in record.trials:
            if trial.state == "paused" or (trial.state in FINISHED and _took_part(trial)):
                self._read(trial)
        for adopted in running:
            self.note(adopted)

    def _read(self, trial: TrialRecord) -> None:
        points, per_query = self._ledger.table.per_query(trial.number)
        has_ended = trial.state in FINISHED
        if trial.params:
            self._note(
                trial.number,
                trial.params,
                trial.promoted,
                points=list(points),
                per_query=per_query,
                has_ended=has_ended,
            )
        if not has_ended:
            self.paused[trial.number] = Paused(rung=trial.promoted, progress=trial.progress, peak=trial.peak)

    def note(self, trial: RunningTrial, *, has_ended: bool = False) -> None:
        """Notes the rungs that a trial has reached; one that has ended is at the next with its last measurement.

        Those that the search did not propose are compared with nobody.
        """
        if not trial.is_searched:
            return
        points, per_query = trial.progress[1:], trial.per_query[1:]
        self._note(trial.number, trial.params, trial.promoted, points=points, per_query=per_query, has_ended=has_ended)

    def _note(
        self,
        number: int,
        params: Params,
        promoted: int,
        *,
        points: Sequence[int],
        per_query: Sequence[NDArray[np.float32]] | NDArray[np.float32],
        has_ended: bool,
    ) -> None:
        for rung, (at, results) in enumerate(zip(self._plan.rungs(params), self._results, strict=False)):
            if rung > promoted and not (has_ended and points[-1] >= COMPLETE):
                return  # it was not let past the rung before
            place = next((place for place, point in enumerate(points) if point >= at), None)
            if place is None and has_ended and points:
                place = len(points) - 1
            if place is not None and number not in results:
                gains = np.asarray(per_query[place], dtype=np.float64) - self._baseline
                results[number] = RungResult(
                    number=number,
                    gains=gains,
                    weights=self._plan.query_weights("dev"),
                    spent=self._plan.spent(params, points[place]),
                )

    def pause(self, trial: RunningTrial) -> None:
        """Writes down that a trial is paused at its next rung."""
        self.note(trial)
        where = {PAUSED_AT: trial.progress[-1], PROMOTED: trial.promoted, RUNGS: list(trial.rungs)}
        self._ledger.note(trial.number, **where, paused=True)
        self.paused[trial.number] = Paused(rung=trial.promoted, progress=trial.progress[-1], peak=trial.peak)
        place = self._places(trial.promoted)[trial.number]
        text = f"paused at {trial.progress[-1] / COMPLETE:.1%}, rank {place.rank} of {place.trials} there so far"
        self._tell("pause", text, trial.number, rank=place.rank, trials=place.trials, attempt=trial.attempt)

    def choose(self, going: Iterable[RunningTrial], *, leading: int | None) -> int | None:
        """The paused trial that goes on next, or None.

        Args:
            going: The trials that run or wait for a slot.
            leading: The trial with the highest peak.
        """
        under_way = {trial.number: trial.promoted for trial in going}
        state = (under_way, leading, set(self.paused))
        if state == self._idle:
            return None
        for rung, results in enumerate(self._results):
            candidates = [number for number, paused in self.paused.items() if paused.rung == rung]
            coming = sum(promoted == rung and number not in results for number, promoted in under_way.items())
            is_complete = all(promoted > rung for promoted in under_way.values())
            places = self._places(rung, coming=coming, is_complete=is_complete, leading=leading) if candidates else {}
            kept = [number for number in candidates if places[number].is_kept]
            if kept:
                return min(kept, key=lambda number: places[number].rank)
        self._idle = state
        return None

    def promote(self, number: int, record: TrialRecord) -> RunningTrial | None:
        """The trial, which goes on to its next rung or to its end; None where it is at the next rung already."""
        paused = self.paused.pop(number)
        place = self._places(paused.rung)[number]
        retrained = 0 if saved_step(self._plan.run_folder, number) else record.examples
        again = {RETRAINED: record.retrained_examples + retrained} if retrained else {}
        self._ledger.note(number, **{PAUSED_AT: None, PROMOTED: paused.rung + 1}, **again)
        values = self._ledger.values_of(number)
        trial = revive_trial(self._plan, self._ledger, record, values=values, baseline=self._baseline)
        trial.promoted = paused.rung + 1
        text = f"promoted from {paused.progress / COMPLETE:.1%}, rank {place.rank} of {place.trials}"
        if retrained:
            text += "; its checkpoint has made room for others, so it is trained again from the start"
        self._tell("promote", text, number, retrained_examples=retrained, **place.numbers)
        if trial.is_at_rung:
            self.pause(trial)
            return None
        return trial

    def end(self, number: int, record: TrialRecord) -> RunningTrial:
        """The trial, which is no longer paused and ends with the reason why it was not promoted."""
        values = self._ledger.values_of(number)
        trial = revive_trial(self._plan, self._ledger, record, values=values, baseline=self._baseline)
        trial.stop = self._explain(number)
        del self.paused[number]
        return trial

    def _explain(self, number: int) -> Stop:
        paused = self.paused[number]
        place = self._places(paused.rung)[number]
        text = f"not promoted: rank {place.rank} of {place.trials} with a gain of {place.gain:.4f}"
        if place.behind:
            behind, low, high = place.behind
            text += f", {behind:.4f} ({low:.4f} to {high:.4f}) behind the last one kept"
        return Stop("not promoted", text, place.numbers | {"rung": self._spec.at[paused.rung]})

    def _places(
        self, rung: int, *, coming: int = 0, is_complete: bool = True, leading: int | None = None
    ) -> dict[int, RungPlace]:
        """The place of each trial of a rung; who cannot be told apart is settled once all trials are there."""
        results = self._results[rung]
        return compare(
            [replace(each, is_leading=True) if number == leading else each for number, each in results.items()],
            keep=self._spec.keep[rung],
            undecided=self._spec.undecided if is_complete else 0.0,
            expected=len(results) + coming,
        )


def _took_part(trial: TrialRecord) -> bool:
    """Whether a trial that has ended counts among those of the rungs."""
    return trial.state != "fail" and trial.is_counted and trial.equal_to is None and bool(trial.rows)

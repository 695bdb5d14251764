"""TrialQueue: the trials without a slot, in the order in which they get one: those that wait, new ones, paused ones."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from sweep.coordinator.budget import BudgetTracker
from sweep.coordinator.confirmation import Replicate, begin_replicate, list_missing
from sweep.coordinator.equal_trials import find_known, list_ready
from sweep.coordinator.events import Tell
from sweep.coordinator.ledger import Ledger
from sweep.coordinator.lengthening import Longer, begin_longer, list_longer
from sweep.coordinator.promotions import Promotions
from sweep.coordinator.proposal_stock import ProposalStock
from sweep.coordinator.running import RunningTrial, begin_trial
from sweep.coordinator.trial_completion import TrialCompletion
from sweep.plan import StudyPlan
from sweep.storage.records import StudyRecord


class TrialQueue:
    """The trials of a study that have no slot.

    Args:
        plan: The study.
        ledger: Its writer.
        budget: Knows what is left of the study's totals.
        proposals: Proposes new trials.
        completion: Ends trials, and keeps the study's record.
        baseline: (Q,) value of each query of the untrained model.
        tell: Tells of what happened.

    Attributes:
        waiting: Begun trials; they come before new ones.
    """

    def __init__(
        self,
        plan: StudyPlan,
        ledger: Ledger,
        *,
        budget: BudgetTracker,
        proposals: ProposalStock,
        completion: TrialCompletion,
        baseline: NDArray[np.float32],
        tell: Tell,
    ) -> None:
        self._plan = plan
        self._ledger = ledger
        self._budget = budget
        self._proposals = proposals
        self._completion = completion
        self._baseline = baseline
        self._tell = tell
        self._promotions = Promotions(plan, ledger, baseline=baseline, tell=tell)
        self._looked: tuple[StudyRecord, set[int], Longer | Replicate | None] | None = None
        self.waiting: list[RunningTrial] = []
        self._awaits_proposal = False

    @property
    def peaks(self) -> list[float]:
        """The peaks of paused trials."""
        return [paused.peak.value for paused in self._promotions.paused.values() if paused.peak]

    def adopt(self, record: StudyRecord, *, finish: Collection[int]) -> StudyRecord:
        """The study with its paused trials, as the run before left them; those to ``finish`` go on."""
        return self._promotions.reopen(record, finish=finish)

    def begin(self, record: StudyRecord, running: Sequence[RunningTrial]) -> None:
        """Takes over the trials of an earlier run: its record, and those that go on."""
        self._promotions.begin(record, running)

    def has_trials(self, running: Collection[RunningTrial]) -> bool:
        """Whether trials are to be placed, though perhaps not at once."""
        is_begun = bool(self.waiting) or bool(self._promotions.paused)
        return is_begun or self.is_another_due(running) or self._find_more(running) is not None

    def is_another_due(self, running: Collection[RunningTrial]) -> bool:
        """Whether the budget has room for a trial besides those that have begun."""
        going = sum(trial.is_searched for trial in [*running, *self.waiting])
        begun = self._completion.record.counted + going + len(self._promotions.paused)
        return begun < self._plan.spec.budget.trials

    def end_known(self) -> bool:
        """Ends a waiting trial that is equal to one whose curve is known; False where there is none."""
        pair = find_known(self.waiting, self._completion.record.trials, self._proposals)
        if pair is None:
            return False
        self.waiting.remove(pair[0])
        self._completion.end_equal(*pair)
        return True

    def list_ready(self, running: Sequence[RunningTrial]) -> list[RunningTrial]:
        """The waiting trials that may be trained now."""
        return list_ready(self.waiting, running, self._proposals, paused=self._promotions.paused)

    def begin_another(self, *, largest_batch: int | None) -> RunningTrial | None:
        """A new trial, which waits, with no batch above what the device can hold; None while it is being proposed."""
        if self._plan.spec.rungs and not self._awaits_proposal:
            self._proposals.observe(self._completion.record, dimensions=len(self._plan.space.searched))
        proposal = self._proposals.propose(self._ledger.next_number(), largest_batch=largest_batch)
        self._awaits_proposal = proposal is None
        if proposal is None:
            return None
        trial = begin_trial(self._plan, self._ledger, proposal, baseline=self._baseline)
        self.waiting.append(trial)
        return trial

    def go_on(self, running: Sequence[RunningTrial]) -> bool:
        """Goes on where all trials of the budget have begun; False where it has to be waited for those that run.

        A paused trial is promoted; or they all end, where none is to go on any more; or, once the search has ended, the
        best configurations are trained for longer, and at last again with other seeds.
        """
        if self._promotions.paused:
            return self._promote(running)
        more, plan, ledger = self._find_more(running), self._plan, self._ledger
        if isinstance(more, Longer):
            trial = begin_longer(plan, ledger, more, baseline=self._baseline, tell=self._tell)
        elif more is not None:
            trial = begin_replicate(plan, ledger, more, baseline=self._baseline, tell=self._tell)
        else:
            return False
        self.waiting.append(trial)
        return True

    def _find_more(self, running: Collection[RunningTrial]) -> Longer | Replicate | None:
        """The training that follows the search, or None where there is none or it waits for trials under way.

        It is asked at every move, and looked for where trials have begun or ended since: what fitted into the totals
        was begun at once, and what did not fits no better later.
        """
        going, record = [*running, *self.waiting], self._completion.record
        if any(trial.is_searched for trial in going):
            return None
        numbers = {trial.number for trial in going}
        if self._looked is None or self._looked[0] is not record or self._looked[1] != numbers:
            self._looked = record, numbers, self._look_for_more(going, record)
        return self._looked[2]

    def _look_for_more(self, going: Sequence[RunningTrial], record: StudyRecord) -> Longer | Replicate | None:
        room = self._budget.find_room(record, going)
        longer = list_longer(self._plan, self._ledger, record, room, going)
        if longer or any(trial.longer_than is not None for trial in going):
            return longer[0] if longer else None
        return next(iter(list_missing(self._plan, record, going)), None)

    def _promote(self, running: Sequence[RunningTrial]) -> bool:
        going, record = [*running, *self.waiting], self._completion.record
        peaks = {trial.number: trial.peak.value for trial in record.trials if trial.peak}
        peaks |= {trial.number: trial.peak.value for trial in going if trial.peak}
        number = self._promotions.choose(going, leading=max(peaks, key=lambda one: (peaks[one], -one), default=None))
        if number is not None:
            trial = self._promotions.promote(number, record.trials[number])
            self._completion.refresh(number)
            self.waiting += [trial] if trial else []
        elif not running:
            self.end_paused()
        return number is not None or not running

    def pause(self, trial: RunningTrial) -> None:
        """Notes that a trial is paused at a rung."""
        trial.slot = None
        self._promotions.pause(trial)
        self._completion.refresh(trial.number)
        self._proposals.conclude(trial.number, trial.peak.value if trial.peak else None)

    def note_end(self, trial: RunningTrial) -> None:
        """Notes that a trial has ended by itself or by its own curve: at the rungs it is compared with others."""
        self._promotions.note(trial, has_ended=True)

    def end_paused(self) -> None:
        """Ends the paused trials, which are not promoted any more."""
        for number in sorted(self._promotions.paused):
            self._completion.end(self._promotions.end(number, self._completion.record.trials[number]))

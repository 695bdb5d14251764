"""ProposalStock: proposals that lie in stock before a slot asks for one, made beside the coordinator's loop.

A proposal of a large study takes tens of milliseconds, in which no report is answered. With few slots it is made when
it is asked for: each then knows every result, and the same study makes the same decisions again. With many, the sampler
works in a thread of its own, through orders that it is given one after the other, and a proposal knows the results from
before it was made: those of one or two trials, of hundreds, are missing.
"""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from sweep.coordinator.proposals import Proposal, Proposer, find_equals, see_trials
from sweep.plan import StudyPlan
from sweep.storage.records import StudyRecord

MANY_SLOTS = 8
"""Slots from which on proposals are made beforehand."""

DEPTH = 2
"""Proposals in stock."""

WAIT_S = 0.005
"""Seconds after which it is looked again for a proposal that is being made."""

_SWITCH_S = 0.001
"""Seconds for which one thread of Python keeps the others waiting at most; by default 5 ms."""


@dataclass
class _Ordered:
    """A proposal that was ordered.

    Attributes:
        largest_batch: Largest batch that it was to have.
        proposal: The proposal, once it is made.
        error: What was raised in its place.
    """

    largest_batch: int | None
    proposal: Proposal | None = None
    error: Exception | None = None

    @property
    def is_made(self) -> bool:
        """Whether it is there, or will never be."""
        return self.proposal is not None or self.error is not None

    def fits(self, largest_batch: int | None) -> bool:
        """Whether it may be used where a batch has a limit now; what the search did not draw always may."""
        if self.proposal is None or self.proposal.origin or largest_batch is None:
            return True
        return self.proposal.params.batch_size <= largest_batch


class ProposalStock:
    """A study's proposer, whose answers may be made beforehand.

    Args:
        plan: The study.
        slots: Its slots.
        tell: Told of a start point that was tried before.
    """

    def __init__(self, plan: StudyPlan, *, slots: int, tell: Callable[[str], None]) -> None:
        self._trained_as = plan.trained_as
        self._tell = tell
        self._proposer = Proposer(
            plan.space,
            seed=plan.spec.seed,
            trials=plan.spec.budget.trials,
            trained_as=plan.trained_as,
            tell=self._note,
        )
        self._tried: dict[int, Hashable] = {}  # by number, of trials that run or ended well
        self._stock: dict[int, _Ordered] = {}  # by the number of the trial
        self._orders: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._told: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._usual_switch_s = sys.getswitchinterval()
        if slots >= MANY_SLOTS:
            sys.setswitchinterval(_SWITCH_S)
            self._thread = threading.Thread(target=self._work, daemon=True, name="sampler")
            self._thread.start()

    def close(self) -> None:
        """Ends the thread, if there is one, after what it is doing."""
        if self._thread is not None:
            self._orders.put(None)
            self._thread.join()
            self._thread = None
            sys.setswitchinterval(self._usual_switch_s)

    def rebuild(self, record: StudyRecord, values: Mapping[int, Mapping[str, Any]]) -> None:
        """Shows the sampler a study's trials; see `Proposer.rebuild`."""
        self._proposer.rebuild(record, values)
        self._tried = dict(self._proposer.tried)

    def add_rerun(self, number: int, values: Mapping[str, Any]) -> None:
        """Proposes the point of a failed trial again."""
        self._do(lambda: self._proposer.add_rerun(number, values))

    def conclude(self, number: int, value: float | None) -> None:
        """Shows the sampler the value of a trial that has ended; None for one it must not learn from."""
        if value is None:
            self._tried.pop(number, None)
        self._do(lambda: self._proposer.conclude(number, value))

    def observe(self, record: StudyRecord, *, dimensions: int) -> None:
        """Shows the sampler the values that trials have by now; see `see_trials`."""
        self._do(lambda: self._proposer.observe(see_trials(record, dimensions=dimensions)))

    def equals(self, number: int) -> list[int]:
        """The other trials that train as a trial does, run now or ended well, by number."""
        return find_equals(self._tried, number)

    def propose(self, number: int, *, largest_batch: int | None = None) -> Proposal | None:
        """The point of the next trial, or None while it is being made; see `Proposer.propose`.

        Raises:
            SweepError: If no point of the space is allowed.
        """
        if self._thread is None:
            proposal = self._proposer.propose(number, largest_batch=largest_batch)
        else:
            found = self._take(number, largest_batch)
            if found is None:
                return None
            proposal = found
        self._tried[number] = self._trained_as(proposal.params)
        return proposal

    def _take(self, number: int, largest_batch: int | None) -> Proposal | None:
        """A proposal out of the stock, in whose place the next one is ordered."""
        self._renumber(number)
        first = self._stock.get(number)
        if first is not None and first.is_made and not first.fits(largest_batch):
            del self._stock[number]
            self._do(lambda: self._proposer.conclude(number, None))
            first = None
        for wanted in range(number, number + DEPTH):
            if wanted not in self._stock:
                self._order(wanted, largest_batch)
        if first is None or not first.is_made:
            return None
        del self._stock[number]
        while not self._told.empty():
            self._tell(self._told.get())
        if first.error is not None:
            raise first.error
        return first.proposal

    def _renumber(self, number: int) -> None:
        """Gives what is in stock the numbers of the next trials: others may have begun meanwhile."""
        for place, old in reversed(list(enumerate(sorted(self._stock)))):
            new = number + place
            if old != new:
                self._stock[new] = self._stock.pop(old)
                self._do(partial(self._proposer.renumber, old, new))

    def _order(self, number: int, largest_batch: int | None) -> None:
        ordered = self._stock[number] = _Ordered(largest_batch)

        def make() -> None:
            try:
                ordered.proposal = self._proposer.propose(number, largest_batch=largest_batch)
            except Exception as error:  # noqa: BLE001 - raised where the proposal is asked for
                ordered.error = error

        self._do(make)

    def _do(self, order: Callable[[], None]) -> None:
        """Has the sampler's thread do something, after what it was given before; where there is none it is done now."""
        if self._thread is None:
            order()
        else:
            self._orders.put(order)

    def _work(self) -> None:
        while (order := self._orders.get()) is not None:
            order()

    def _note(self, text: str) -> None:
        """Passes on what the proposer tells: at once, or from a thread of its own with the next proposal."""
        if self._thread is None:
            self._tell(text)
        else:
            self._told.put(text)

"""Proposer: the next trial's settings, by a sampler whose study in memory has every trial at its peak.

Optuna ranks a pruned trial below every complete one and by its last value, so a run that peaked at 0.62 and was stopped
at 0.41 would teach the sampler nothing. The sampler is therefore asked about a study of its own, in memory, in which
every finished trial is complete with its peak; what it proposes then enters the real study. That study knows no seeds:
runs that differ in their seed alone are replicates of one point there, and a trial's seed is drawn by chance.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweep.errors import SweepError
from sweep.settings.dimensions import Params
from sweep.settings.space import LOG2_BATCH_SIZE, SearchSpace, holds
from sweep.storage.records import StudyRecord, TrialRecord, find_peak
from sweep.storage.study_tables import FINISHED

MAX_REJECTED = 1000

MAX_EQUAL = 8
"""Proposals in a row that were tried before, after which the points of a small space are counted."""

MAX_DRAWN = 64
"""Such proposals after which a space is taken for exhausted that has too many points to be counted."""

MODEL_TRIALS = 3
"""Trials above the number of dimensions of which the sampler's model is made, at least."""

MAX_COUNTED = 4096
"""Points of a space that are counted."""

_SEEDS = 1
"""Sets the draws of seeds apart from those of the sampler."""


@dataclass(frozen=True)
class Proposal:
    """A point to try.

    Attributes:
        values: Its values by their names in the Optuna study.
        params: Its settings for training.
        origin: User attributes: ``start``, the index of a start point, with ``start_values``, the values that it fixes;
            or ``rerun_of``, the number of an excused trial; or for what the search did not propose, ``confirms`` or
            ``longer_than``, the number of the trial whose configuration it is.
    """

    values: Mapping[str, Any]
    params: Params
    origin: Mapping[str, Any] = field(default_factory=dict)


def find_equals(tried: Mapping[int, Hashable], number: int) -> list[int]:
    """The other trials that train as a trial does, ascending, by what training makes of each."""
    own = tried.get(number)
    return sorted(other for other, one in tried.items() if one == own and other != number)


class Proposer:
    """Proposes points: start points first, once each; then reruns; then the sampler's.

    Args:
        space: The search space.
        seed: The study's seed; each proposal's own follows from it and the trial's number, so that a study that is
            resumed does not draw the same points again.
        trials: The budget, by which the number of random trials at the beginning is set.
        trained_as: What training makes of settings: points for which it is equal are one, and proposed once.
        tell: Told of a start point that was tried before.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        seed: int,
        trials: int,
        trained_as: Callable[[Params], Hashable] = lambda params: tuple(params.as_dict().values()),
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._space = space
        self._trained_as = trained_as
        self._tell = tell
        self._tried: dict[int, Hashable] = {}  # by the number in the real study
        self._seed = seed
        self._startup_trials = max(4, trials // 5)
        self._study = optuna.create_study(direction="maximize")
        self._numbers: dict[int, int] = {}  # number in the real study -> in this one, of those that run
        self._points: dict[int, FrozenTrial] = {}  # by the number in the real study
        self._values: dict[int, float] = {}  # that the sampler has seen, likewise
        self._starts = deque((index, space.start_values(start)) for index, start in enumerate(space.spec.start))
        self._reruns: deque[tuple[int, dict[str, Any]]] = deque()

    def rebuild(self, record: StudyRecord, values: Mapping[int, Mapping[str, Any]]) -> None:
        """Shows the sampler a study's trials, and the values of each by their names in the Optuna study."""
        rerun = {trial.attributes.get("rerun_of") for trial in record.trials}
        for trial in record.trials:
            self._strike_start(trial.attributes.get("start_values"))
            complete = self._space.complete(values[trial.number])
            if complete and _is_tried(trial) and trial.is_searched:
                self._tried[trial.number] = self._trained_as(self._space.params(complete))
            if trial.is_excused and trial.state == "fail":
                if trial.number not in rerun:
                    self._reruns.append((trial.number, complete))
            elif complete and trial.state != "fail" and trial.equal_to is None and trial.is_searched:
                searched = {name: value for name, value in complete.items() if name in self._space.searched}
                self._show(trial, searched, seen_value(trial, record.baseline))

    def add_rerun(self, number: int, values: Mapping[str, Any]) -> None:
        """Proposes the point of a failed trial again, by the names of its values in the Optuna study."""
        self._reruns.append((number, self._space.complete(values)))

    def propose(self, number: int, *, largest_batch: int | None = None) -> Proposal:
        """The point of the next trial.

        Args:
            number: The trial's number in the real study.
            largest_batch: Largest batch that the device can hold, where that is known.

        Raises:
            SweepError: If no point of the space is allowed.
        """
        while self._starts:
            index, values = self._starts.popleft()
            proposal = self._ask(number, values, {"start": index, "start_values": values}, largest_batch)
            equal = find_equals(self._tried, number)
            if not equal:
                return proposal
            self._tell(f"space.start[{index}] is equal to trial {equal[0]}, and is not trained again")
            self.conclude(number, None)
        if self._reruns:
            failed, values = self._reruns.popleft()
            fixed = values if self._space.accepts(self._space.params(values)) else {}  # it may be narrower by now
            return self._ask(number, fixed, {"rerun_of": failed}, largest_batch)
        return self._ask(number, {}, {}, largest_batch)

    @property
    def tried(self) -> Mapping[int, Hashable]:
        """What training makes of the trials that run now or ended well, by number."""
        return self._tried

    def renumber(self, number: int, new: int) -> None:
        """Gives a trial that was proposed another number."""
        self._numbers[new] = self._numbers.pop(number)
        self._tried[new] = self._tried.pop(number)
        self._points[new] = self._points.pop(number)

    @property
    def seen(self) -> list[FrozenTrial]:
        """The trials that the sampler knows: those of its own study, except points that were not tried."""
        return [trial for trial in self._study.get_trials() if trial.state != TrialState.FAIL]

    def conclude(self, number: int, value: float | None) -> None:
        """Shows the sampler the value of a trial that has ended; None for one it must not learn from."""
        if value is None:
            self._tried.pop(number, None)
        place = self._numbers.pop(number, None)
        if place is None:
            return
        if value is None:
            self._study.tell(place, state=TrialState.FAIL)
        else:
            self._study.tell(place, value)
            self._values[number] = value

    def observe(self, values: Mapping[int, float]) -> None:
        """Shows the sampler these values, by number, where they are not those that it has seen.

        A trial that was paused has another value once it goes on, and Optuna's studies cannot change one: the sampler's
        study is made anew then.
        """
        if values == self._values:
            return
        self._values = dict(values)
        self._study = optuna.create_study(direction="maximize")
        running = dict(self._numbers)
        self._numbers.clear()
        for number, point in sorted(self._points.items()):
            if number in running:
                self._add(number, point.params, point.distributions, None)
            elif number in values:
                self._add(number, point.params, point.distributions, values[number])

    def _ask(
        self, number: int, fixed: Mapping[str, Any], origin: Mapping[str, Any], largest_batch: int | None
    ) -> Proposal:
        distributions = _limited(self._space.searched, largest_batch)
        everywhere = {name: known for name, known in distributions.items() if name in self._space.unconditional}
        fixed = {
            name: value
            for name, value in fixed.items()
            if self._space.holds(name, value) and (name not in distributions or holds(distributions[name], value))
        }
        equal = 0
        for attempt in range(MAX_REJECTED):
            self._study.sampler = self._make_sampler(number, attempt)
            untried = self._draw_untried(distributions, fixed, attempt) if equal == MAX_EQUAL else None
            if chosen := {name: value for name, value in (untried or fixed).items() if name in distributions}:
                self._study.enqueue_trial(chosen)
            trial = self._study.ask(everywhere)
            self._space.suggest(trial, distributions)
            values = trial.params | self._draw_seeds(number, attempt, given=untried or fixed)
            params = self._space.params(values)
            if self._space.accepts(params):
                trained_as = self._trained_as(params)
                is_equal = trained_as in self._tried.values()
                if not is_equal or equal >= (MAX_EQUAL if untried == {} else MAX_DRAWN):
                    self._numbers[number], self._tried[number] = trial.number, trained_as
                    self._points[number] = self._study.get_trials(deepcopy=False)[trial.number]
                    return Proposal(values, params, origin)
                equal += 1
            self._study.tell(trial, state=TrialState.FAIL)
        raise SweepError(
            f"space.max_learning_rate rejected {MAX_REJECTED} proposals in a row: widen it or lower space.learning_rate"
        )

    def _draw_untried(
        self, distributions: Mapping[str, BaseDistribution], fixed: Mapping[str, Any], attempt: int
    ) -> dict[str, Any] | None:
        """An untried point of a space whose points can be counted; {} where none is left, None in other spaces."""
        choices = {name: _list_values(known) for name, known in distributions.items()} | self._space.replicates
        values = list(choices.values())
        if math.prod(map(len, values)) not in range(1, MAX_COUNTED + 1):
            return None
        tried, untried = set(self._tried.values()), {}
        for chosen in itertools.product(*values):
            point = dict(zip(choices, chosen, strict=True)) | dict(fixed)
            settings = self._space.settings(point)
            point = {
                each.parameter: point[each.parameter]
                for each in self._space.dimensions
                if settings[each.name] is not None
            }
            params = self._space.params(point)
            if self._space.accepts(params) and self._trained_as(params) not in tried:
                untried[self._trained_as(params)] = point
        drawn = np.random.default_rng([self._seed, len(self._tried), attempt])
        return list(untried.values())[drawn.integers(len(untried))] if untried else {}

    def _draw_seeds(self, number: int, attempt: int, *, given: Mapping[str, Any]) -> dict[str, int]:
        """A seed of those that the space lists, where it lists some: the one that is given, or any."""
        drawn = np.random.default_rng([self._seed, number, attempt, _SEEDS])
        seeds = {name: listed[drawn.integers(len(listed))] for name, listed in self._space.replicates.items()}
        return {name: given.get(name, seed) for name, seed in seeds.items()}

    def _strike_start(self, values: Mapping[str, Any] | None) -> None:
        """Removes the start point with the values of one that was tried; its index may have changed."""
        done = next((start for start in self._starts if start[1] == values), None)
        if done is not None:
            self._starts.remove(done)

    def _make_sampler(self, number: int, attempt: int) -> TPESampler:
        seed = int(np.random.SeedSequence([self._seed, number, attempt]).generate_state(1)[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # multivariate, group and constant_liar are
            startup = self._startup_trials
            return TPESampler(seed=seed, n_startup_trials=startup, multivariate=True, group=True, constant_liar=True)

    def _show(self, trial: TrialRecord, values: Mapping[str, Any], value: float | None) -> None:
        if trial.state != "running" and value is None:
            return
        distributions = dict(_widened(self._space.distributions, values))
        self._add(trial.number, values, distributions, None if trial.state == "running" else value)

    def _add(
        self, number: int, params: Mapping[str, Any], distributions: Mapping[str, BaseDistribution], value: float | None
    ) -> None:
        """Adds a trial to the sampler's study: complete with a value, or running."""
        state = TrialState.RUNNING if value is None else TrialState.COMPLETE
        point = create_trial(state=state, value=value, params=dict(params), distributions=dict(distributions))
        self._study.add_trial(point)
        self._points[number] = point
        if value is None:
            self._numbers[number] = len(self._study.get_trials(deepcopy=False)) - 1
        else:
            self._values[number] = value


def _is_tried(trial: TrialRecord) -> bool:
    """Whether a point need not be tried again: it goes on, or has a curve that was not cut by the study's end."""
    is_cut = trial.stop is not None and trial.stop.kind == "study ended"
    return trial.state in ("running", "paused") or (trial.state != "fail" and trial.curve != () and not is_cut)


def _list_values(distribution: BaseDistribution) -> Sequence[Any]:
    """The values that a distribution can give; none where they cannot be counted."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    if isinstance(distribution, IntDistribution):
        return range(distribution.low, distribution.high + 1)
    return [distribution.low] if isinstance(distribution, FloatDistribution) and distribution.single() else []


def see_trials(record: StudyRecord, *, dimensions: int) -> dict[int, float]:
    """The values of a study's trials for the sampler, by number, where trials pause at rungs.

    A trial that has ended by itself or by its own curve counts with its peak. The others are compared where they can
    be: with their peaks up to the highest rung that enough trials have reached to make a model of them (the dimensions
    and 3; Falkner and others, BOHB, ICML 2018), and not at all where they have not reached it.

    Args:
        record: The study.
        dimensions: Dimensions that are searched.
    """
    known = [
        trial
        for trial in record.trials
        if trial.rows and trial.params and trial.state != "fail" and not trial.is_excused and trial.is_searched
    ]
    reached = {trial.number: sum(trial.progress >= rung for rung in trial.rungs) for trial in known}
    reached |= {trial.number: len(trial.rungs) for trial in known if _has_ended(trial)}
    counts = [sum(rungs > level for rungs in reached.values()) for level in range(max(reached.values(), default=0))]
    level = max((level for level, count in enumerate(counts) if count >= dimensions + MODEL_TRIALS), default=0)
    values: dict[int, float | None] = {}
    for trial in known:
        if _has_ended(trial):
            values[trial.number] = seen_value(trial, record.baseline)
        elif reached[trial.number] > level:
            peak = find_peak([row for row in trial.rows if row.progress <= trial.rungs[level]])
            values[trial.number] = peak.value if peak else None
    return {number: value for number, value in values.items() if value is not None}


def _has_ended(trial: TrialRecord) -> bool:
    """Whether a trial ended by itself or by its own curve."""
    return trial.state in FINISHED and not trial.is_unpromoted


def seen_value(trial: TrialRecord, baseline: float | None) -> float | None:
    """The value of a trial for the sampler: its peak; the untrained model's value for one that diverged."""
    if trial.stop is not None and trial.stop.kind == "diverged":
        return baseline
    return trial.peak.value if trial.peak else None


def _limited(distributions: Mapping[str, BaseDistribution], largest_batch: int | None) -> dict[str, BaseDistribution]:
    """The distributions with no batch above the largest that the device can hold."""
    limited = dict(distributions)
    batch = limited[LOG2_BATCH_SIZE]
    if largest_batch is not None and isinstance(batch, IntDistribution):
        high = max(batch.low, min(batch.high, largest_batch.bit_length() - 1))
        limited[LOG2_BATCH_SIZE] = IntDistribution(batch.low, high)
    return limited


def _widened(
    distributions: Mapping[str, BaseDistribution], values: Mapping[str, Any]
) -> Iterator[tuple[str, BaseDistribution]]:
    """The distributions, made wide enough to hold values of trials from before the space was narrowed."""
    for name, value in values.items():
        distribution = distributions[name]
        if not holds(distribution, value):
            low, high = min(distribution.low, value), max(distribution.high, value)  # type: ignore[attr-defined]
            if isinstance(distribution, FloatDistribution):
                distribution = FloatDistribution(low, high, log=distribution.log)
            else:
                distribution = IntDistribution(low, high)
        yield name, distribution

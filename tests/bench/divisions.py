"""How a total of training pairs is divided between breadth and length, replayed on recorded runs of several lengths.

``rungs, then length``: the rule of `sweep.stopping.doubling`, with other widths beside its own. ``all in breadth``:
rungs over as many configurations as the total pays for. ``Hyperband's brackets``: with a factor of 2, every length a
new training, the brackets one after the other. ``plain``: the library's documented advice, once, for the whole total,
or as near below it as was recorded. Every rule sees 200 of the queries; what it found is the value on all of them of
the checkpoint that it chose.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sweep.measures.score import Score
from sweep.settings.study_file import RungsSpec
from sweep.stopping.doubling import WIDTH, has_paid
from sweep.stopping.halving import promote_in_waves
from sweep.stopping.outcome import find_stops
from sweep.stopping.policy import StopPolicy
from sweep.stopping.recorded import RecordedRun, load_bank
from sweep.stopping.replay import look_at_run

BANK = Path(__file__).resolve().parent / "lengths.npz"
SHORTEST = 1280
ADVICE = {"learning_rate": 2e-5, "batch_size": 64, "data_format": "query-document"}
QUERIES = 200
TRIALS = 12
TOTALS = (10, 14, 20)
"""Totals, in trials of the shortest length."""

Configuration = tuple[object, ...]


@dataclass
class Spending:
    """What a rule has trained so far: its pairs, in trials of the shortest length, and its best checkpoint.

    Attributes:
        total: Pairs that it may spend.
        spent: Pairs that it has spent.
        best: (value seen, value on all queries) of the best checkpoint.
    """

    total: float
    spent: float = 0.0
    best: tuple[float, float] = field(default=(-math.inf, -math.inf))

    def train(self, seen: RecordedRun, truth: RecordedRun, stop: int | None = None) -> int:
        """Trains a run up to a measurement; the place of its peak as it was seen."""
        place = len(seen.progress) - 1 if stop is None else stop
        self.spent += seen.progress[place] / 1000 * length_of(seen)
        peak = 1 + int(seen.means[1 : place + 1].argmax())
        self.best = max(self.best, (float(seen.means[peak]), float(truth.means[peak])))
        return peak


def length_of(run: RecordedRun) -> int:
    """The length of a run, in multiples of the shortest."""
    return round(run.examples / SHORTEST)


def name_configuration(run: RecordedRun) -> Configuration:
    """What a run has in common with the runs of other lengths."""
    return tuple(run.params[name] for name in ("learning_rate", "batch_size", "data_format"))


class Bank:
    """Recorded runs by configuration and length, on all queries and on those that the rules see."""

    def __init__(self, runs: Sequence[RecordedRun], random: np.random.Generator) -> None:
        chosen = np.sort(random.permutation(runs[0].per_query.shape[1])[:QUERIES])
        self.truth = {(name_configuration(run), length_of(run)): run for run in runs}
        self.seen = {key: run.on_queries(chosen) for key, run in self.truth.items()}
        self.policy = StopPolicy()

    def has(self, name: Configuration, length: int) -> bool:
        """Whether a configuration was recorded at a length."""
        return (name, length) in self.truth

    def stop(self, name: Configuration, length: int, *, best: float) -> int | None:
        """The measurement at which a run's own curve stops it; None where it goes to its end."""
        looks = look_at_run(self.seen[name, length], self.policy)
        stops = (place for place, look in enumerate(looks) if self.policy.decide(look, incumbent=best))
        return next((place for place in stops if place), None)


def search_with_rungs(bank: Bank, order: Sequence[Configuration], spending: Spending) -> list[tuple[float, int]]:
    """A search whose trials pause at rungs: the peak of each that was not left paused, with its place in the order."""
    runs = [bank.seen[name, 1] for name in order]
    looks = {run.name: look_at_run(run, bank.policy) for run in runs}
    stops = find_stops(promote_in_waves(runs, looks, bank.policy, RungsSpec(), grace=bank.policy.grace))
    whole = []
    for place, (name, stop) in enumerate(zip(order, stops, strict=True)):
        run = runs[place]
        peak = spending.train(run, bank.truth[name, 1], stop)
        if stop == len(run.progress) - 1 or bank.policy.decide(looks[run.name][stop], incumbent=math.inf):
            whole.append((float(run.means[peak]), place))
    return sorted(whole, reverse=True)


def lengthen(
    bank: Bank, order: Sequence[Configuration], total: float, *, width: int, always: bool = False, slower: float = 1.0
) -> Spending:
    """Rungs, then the best of each length for twice as long.

    Args:
        bank: The recorded runs.
        order: The configurations in the order in which they are begun.
        total: Pairs that may be spent, in trials of the shortest length.
        width: Configurations of each length that are trained longer, at most.
        always: Whether all of these are, and not the next one only where the one before is not proved to have paid.
        slower: Factor by which the rate is divided at each doubling.
    """
    spending = Spending(total)
    ranked = [(value, order[place]) for value, place in search_with_rungs(bank, order, spending)]
    length = 1
    while ranked:
        best, length = _score_peak(bank, ranked[0][1], length), 2 * length
        longer: list[tuple[float, Configuration]] = []
        paid: bool | None = None
        for _, name in ranked[:width]:
            slowed = _slow(bank, name, length, slower)
            if (paid and not always) or slowed is None or spending.spent + length > total:
                break
            stop = bank.stop(slowed, length, best=spending.best[0])
            peak = spending.train(bank.seen[slowed, length], bank.truth[slowed, length], stop)
            longer = sorted([*longer, (float(bank.seen[slowed, length].means[peak]), slowed)], reverse=True)
            paid = has_paid(_score_peak(bank, longer[0][1], length), best)
        ranked = longer if paid is not False else []
    return spending


def _score_peak(bank: Bank, name: Configuration, length: int) -> Score:
    run = bank.seen[name, length]
    return Score(run.per_query[1 + int(run.means[1:].argmax())])


def _slow(bank: Bank, name: Configuration, length: int, factor: float) -> Configuration | None:
    """The recorded configuration with the rate divided by the factor, or the nearest to it."""
    rate, *rest = name
    others = [one for one, at in bank.truth if at == length and list(one[1:]) == rest]
    wanted = math.log(float(str(rate)) / factor)
    return min(others, key=lambda one: abs(math.log(float(str(one[0]))) - wanted), default=None)


def go_broad(bank: Bank, order: Sequence[Configuration], total: float) -> Spending:
    """Rungs over as many configurations as the total pays for, of those that there are."""
    best = Spending(total)
    for count in range(4, len(order) + 1):
        spending = Spending(total)
        search_with_rungs(bank, order[:count], spending)
        if spending.spent > total:
            break
        best = spending
    return best


def run_brackets(bank: Bank, order: Sequence[Configuration], total: float, *, longest: int) -> Spending:
    """Hyperband with a factor of 2: brackets from many short to few long trainings, each a new one."""
    spending, left = Spending(total), list(order)
    highest = int(math.log2(longest))
    for bracket in reversed(range(highest + 1)):
        count = math.ceil((highest + 1) / (bracket + 1) * 2**bracket)
        going, left = left[:count], left[count:]
        for rung in range(bracket + 1):
            length = 2 ** (highest - bracket + rung)
            ranked = []
            for name in going:
                if bank.has(name, length) and spending.spent + length <= total:
                    peak = spending.train(bank.seen[name, length], bank.truth[name, length])
                    ranked.append((float(bank.seen[name, length].means[peak]), name))
            going = [name for _, name in sorted(ranked, reverse=True)[: max(1, len(ranked) // 2)]]
    return spending


def train_plainly(bank: Bank, total: float) -> Spending:
    """One training at the library's documented advice, as long as the total pays for and was recorded."""
    spending = Spending(total)
    name = tuple(ADVICE.values())
    lengths = [length for one, length in bank.truth if one == name and length <= total]
    spending.train(bank.seen[name, max(lengths)], bank.truth[name, max(lengths)])
    return spending


def _replay(bank: Bank, order: Sequence[Configuration], total: float, longest: int) -> Iterator[tuple[str, Spending]]:
    trials = order[:TRIALS]
    yield "rungs, then length", lengthen(bank, trials, total, width=WIDTH)
    for width in (1, 2, 3):
        label = f"the best {width} of each length in any case"
        yield f"rungs, then length, {label}", lengthen(bank, trials, total, width=width, always=True)
    for slower in (math.sqrt(2.0), 2.0):
        label = f"the rate divided by {slower:.2g} at each doubling"
        yield f"rungs, then length, {label}", lengthen(bank, trials, total, width=WIDTH, slower=slower)
    yield "all in breadth", go_broad(bank, order, total)
    yield "Hyperband's brackets", run_brackets(bank, order, total, longest=longest)
    yield "plain", train_plainly(bank, total)


def measure_divisions(orders: int, *, bank: Path = BANK) -> None:
    """Prints what each division of a total finds and spends, in random orders of the recorded configurations."""
    runs, random = load_bank(bank), np.random.default_rng(0)
    print_lengths(runs)
    lengths: Mapping[Configuration, set[int]] = {}
    for run in runs:
        lengths = {**lengths, name_configuration(run): lengths.get(name_configuration(run), set()) | {length_of(run)}}
    longest = max(length for known in lengths.values() for length in known)
    complete = [name for name, known in lengths.items() if {1, 2, 4} <= known]
    if len(complete) < TRIALS:
        print(f"\nRecorded at the lengths 1, 2 and 4: {len(complete)} configurations of the {TRIALS} of a study.")
        return
    for total in TOTALS:
        print(
            f"\n## A total of {total} trials of {SHORTEST:,} pairs, {len(complete)} configurations, {orders} orders\n"
        )
        print("| division | found | standard deviation | spent |\n| --- | --- | --- | --- |")
        found: dict[str, list[Spending]] = {}
        for _ in range(orders):
            order = [complete[place] for place in random.permutation(len(complete))]
            for label, spending in _replay(Bank(runs, random), order, total, min(4, longest)):
                found.setdefault(label, []).append(spending)
        for label, spendings in found.items():
            values = np.array([spending.best[1] for spending in spendings])
            spent = np.mean([spending.spent for spending in spendings])
            print(f"| {label} | {values.mean():.4f} | {values.std(ddof=1):.4f} | {spent:.1f} |", flush=True)


def print_lengths(runs: Sequence[RecordedRun]) -> None:
    """Prints the peak of every configuration at every length."""
    known = {(name_configuration(run), length_of(run)): float(run.means[1:].max()) for run in runs}
    lengths = sorted({length for _, length in known})
    print("\n## Peaks by length\n\n| rate | batch | format | " + " | ".join(f"{one} times" for one in lengths) + " |")
    print("| --- |" + " --- |" * (2 + len(lengths)))
    for rate, batch, name in sorted(
        {configuration for configuration, _ in known}, key=lambda one: (str(one[2]), one[1], one[0])
    ):
        cells = [known.get(((rate, batch, name), length)) for length in lengths]
        shown = " | ".join("-" if cell is None else f"{cell:.4f}" for cell in cells)
        print(f"| {float(str(rate)):.1e} | {batch} | {name} | {shown} |")

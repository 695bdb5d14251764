"""Surface: the effects of settings on an outcome, from trials that a sampler chose, with honest intervals.

The outcome of a trial is a smooth function of its settings plus noise whose size is known up to a factor. The function
is a Gaussian process: a level, the terms of the suspected causes (a shift by data format, a curve over the learning
rate and straight lines over warm-up and loss scale, in part shared by the formats, a line over the share of false
negatives), and a smooth rest. A contrast is a difference of that function between settings. Draws from the posterior
are joint over all contrasts, so that bounds can hold for all of them at once.

Reasons for this rather than permutations or least squares with Holm's correction:

- Permuting labels is exact where they were drawn by chance. TPE draws settings from what it has seen, so they are not
  exchangeable; and a 2 x 2 of trials has too few permutations to reach 5 % at all.
- Least squares on these terms has 11 coefficients: 12 trials leave one degree of freedom for the noise, 4 trials none.
- Here each trial brings its own noise, the standard error of its paired differences over queries, and the trials only
  correct the factor between that and the noise from run to run. So a 2 x 2 of trials can already tell what is far
  beyond the noise, and where nothing was tried the prior's width remains, which is "cannot tell".
- A posterior does not depend on why a trial was chosen or stopped, as long as that rests on what was seen, as TPE and
  the drop-off rule do. That the errors it makes stay below 5 % of studies was counted on studies that were sampled and
  stopped by the coordinator's own code (tests/bench/diagnosis.py).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtri_exp

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

DATA_FORMAT = "data_format"
"""Name of the axis of the formats."""

LEVEL, SLOPE = 0.5, 0.1
"""Prior standard deviations of a value: of the level, and of a setting over its whole range."""

CURVE_LENGTH, REST_LENGTH = 0.4, 0.5
"""Part of a setting's range over which the curve over the learning rate and the smooth rest may turn."""

NOISE_FACTORS = {0.6: 0.1, 0.85: 0.2, 1.2: 0.3, 1.7: 0.25, 2.4: 0.1, 3.4: 0.05}
"""Prior of the noise from run to run over the paired standard error over queries."""

RESTS = (0.004, 0.015, 0.05)
"""Standard deviations of the smooth rest that are weighed."""

DRAWS, DRAWS_A_CHAIN, SWEEPS = 8000, 8, 20
"""Draws in all, draws that share their values of stopped runs, and passes over those before they are used."""

MIN_WEIGHT = 0.02
"""Share of the posterior below which a size of the noise is not drawn from."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of N trials: (N,) values of each axis by its name, mostly scaled to a range of 1 in the study.

    Under `DATA_FORMAT` stands the index of the format.
    """

    values: Mapping[str, FloatArray]

    def __len__(self) -> int:
        return len(self.values[DATA_FORMAT])

    def at(self, **values: float) -> Settings:
        """The same trials with some axes at other values."""
        return Settings(values={**self.values, **{name: np.full(len(self), value) for name, value in values.items()}})

    def take(self, rows: IntArray) -> Settings:
        """Some of the trials."""
        return Settings(values={name: value[rows] for name, value in self.values.items()})


def join_settings(parts: Sequence[Settings]) -> Settings:
    """The trials of all parts, one part after the other."""
    return Settings(values={name: np.concatenate([part.values[name] for part in parts]) for name in parts[0].values})


Shape = Callable[[FloatArray, FloatArray], FloatArray]
"""Prior covariance (N, M) of an axis' effect between its values (N, 1) and (1, M), for a standard deviation of 1."""


@dataclass(frozen=True, kw_only=True)
class Term:
    """A part of the outcome's smooth function.

    Attributes:
        axis: Name of its axis.
        shape: Its covariance.
        deviation: Its prior standard deviation.
        by_format: Whether half of its variance is each format's own; else all formats share it.
    """

    axis: str
    shape: Shape
    deviation: float = SLOPE
    by_format: bool = True


@dataclass(frozen=True, kw_only=True)
class Prior:
    """The prior of an outcome: the terms, and the names of the axes over which the smooth rest may turn."""

    terms: Sequence[Term]
    rest: Sequence[str]

    def covariance(self, one: Settings, other: Settings, *, rest: float) -> FloatArray:
        """(N, M) prior covariance of the outcome's smooth part."""
        pairs = {name: (value[:, None], other.values[name][None, :]) for name, value in one.values.items()}
        shared = 0.5 + 0.5 * equal(*pairs[DATA_FORMAT])  # half of an effect's variance is common to the formats
        smooth = math.prod((bump(*pairs[name], length=REST_LENGTH) for name in self.rest), start=rest**2)
        level = LEVEL**2 + _add_up([term for term in self.terms if term.axis == DATA_FORMAT], pairs)
        by_format = _add_up([term for term in self.terms if term.by_format], pairs)
        others = _add_up([term for term in self.terms if not (term.by_format or term.axis == DATA_FORMAT)], pairs)
        covariance: FloatArray = level + shared * (by_format + smooth) + others
        return covariance


def _add_up(terms: Sequence[Term], pairs: Mapping[str, tuple[FloatArray, FloatArray]]) -> FloatArray:
    """The covariance of some terms, between the values (N, 1) and (1, M) of each axis."""
    like = itertools.groupby(terms, key=lambda term: (term.deviation, term.shape))
    parts = [deviation**2 * sum(shape(*pairs[term.axis]) for term in group) for (deviation, shape), group in like]
    total: FloatArray = sum(parts, start=np.zeros(()))
    return total


def equal(one: FloatArray, other: FloatArray) -> FloatArray:
    """The shape of values of which none tells anything about another."""
    return np.asarray(one == other, dtype=np.float64)


def line(one: FloatArray, other: FloatArray) -> FloatArray:
    """The shape of a straight line through the middle of a range."""
    return (one - 0.5) * (other - 0.5)


def curve(one: FloatArray, other: FloatArray) -> FloatArray:
    """The shape of a line that may bend."""
    return line(one, other) + 0.5 * bump(one, other, length=CURVE_LENGTH)


def bump(one: FloatArray, other: FloatArray, *, length: float) -> FloatArray:
    """The shape of a smooth function that may turn over a length."""
    return np.asarray(np.exp(-0.5 * ((one - other) / length) ** 2))


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """A question to the surface: the mean difference of the outcome, better settings minus worse ones."""

    better: Settings
    worse: Settings


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """The outcomes of N trials.

    Attributes:
        value: (N,) the outcome; of a run that was stopped, at its stop.
        noise: (N,) its standard error over queries, positive.
        stopped: (N,) whether the run was stopped before, so that its outcome is not known.
        max_value: (N,) the highest that an unknown outcome can be.
        min_value: (N,) the lowest.
    """

    value: FloatArray
    noise: FloatArray
    stopped: NDArray[np.bool_]
    max_value: FloatArray
    min_value: FloatArray


def draw_effects(
    prior: Prior, settings: Settings, outcomes: Outcomes, contrasts: Sequence[Contrast], *, seed: int = 0
) -> FloatArray:
    """(M, K) draws from the joint posterior of K contrasts, given the settings and outcomes of N trials.

    A stopped run's outcome is drawn too, from the posterior below the highest that it can be; so two stopped runs say
    little about each other, and a fallen and a complete one say that the difference is at least the one seen.
    """
    random = np.random.default_rng(seed)
    middle = float(np.mean(outcomes.value))
    points, weights = _stack(contrasts)
    weighed = _weigh(prior, settings, outcomes, middle=middle)
    counts = [max(1, round(weight * DRAWS / DRAWS_A_CHAIN)) for _, _, weight in weighed]
    precisions = np.stack(
        [
            np.linalg.inv(prior.covariance(settings, settings, rest=rest) + np.diag((factor * outcomes.noise) ** 2))
            for factor, rest, _ in weighed
        ]
    )
    owners = np.repeat(np.arange(len(weighed)), counts)
    chains = _draw_stopped(precisions, owners, outcomes, middle=middle, random=random)
    pieces = []
    for place, (_, rest, _) in enumerate(weighed):
        values = np.repeat(chains[owners == place], DRAWS_A_CHAIN, axis=0)
        across = weights @ prior.covariance(points, settings, rest=rest)  # (K, N)
        before = weights @ prior.covariance(points, points, rest=rest) @ weights.T  # (K, K)
        spread = before - across @ precisions[place] @ across.T
        eigenvalues, vectors = np.linalg.eigh((spread + spread.T) / 2)
        root = vectors * np.sqrt(np.clip(eigenvalues, 0.0, None))
        noise = random.standard_normal((len(values), len(contrasts)))
        pieces.append(values @ precisions[place] @ across.T + noise @ root.T)
    return np.concatenate(pieces)


def estimate_effects(prior: Prior, settings: Settings, outcomes: Outcomes, contrasts: Sequence[Contrast]) -> FloatArray:
    """(K,) posterior means of contrasts with every stopped run taken at its last value, carried forward.

    These are the effects as seen, too small where stopped runs would have fallen further.
    """
    middle = float(np.mean(outcomes.value))
    points, weights = _stack(contrasts)
    means = np.zeros(len(contrasts))
    for factor, rest, weight in _weigh(prior, settings, outcomes, middle=middle):
        covariance = prior.covariance(settings, settings, rest=rest) + np.diag((factor * outcomes.noise) ** 2)
        explained = np.linalg.solve(covariance, outcomes.value - middle)
        means += weight * (weights @ prior.covariance(points, settings, rest=rest) @ explained)
    return means


def bound(draws: FloatArray, *, alpha: float, weights: FloatArray | None = None) -> FloatArray:
    """(K,) lower bounds above which all columns of joint draws lie at once with probability 1 - alpha.

    The bounds are quantiles of the columns at levels in proportion to their weights, so that a long tail of one widens
    no other's (the simultaneous band by ranks of Besag, Green, Higdon and Mengersen 1995, on one side and weighted).

    Args:
        draws: (M, K) joint draws.
        alpha: Chance that any column's value lies below its bound, in (0, 1).
        weights: (K,) share of the chance that a column gets, in proportion; None for equal shares.
    """
    share = np.ones(draws.shape[1]) if weights is None else weights
    ranks = np.argsort(np.argsort(draws, axis=0), axis=0) / share
    level = np.sort(ranks.min(axis=1))[int(alpha * len(draws))]  # how low a draw lies in its lowest column
    places = np.minimum((level * share).astype(np.int64), len(draws) - 1)
    return np.asarray(np.sort(draws, axis=0)[places, np.arange(draws.shape[1])])


def _weigh(prior: Prior, settings: Settings, outcomes: Outcomes, *, middle: float) -> list[tuple[float, float, float]]:
    """(noise factor, rest, weight) by the evidence of the outcomes, without those of little weight."""
    centred = outcomes.value - middle
    cases = []
    for rest in RESTS:
        smooth = prior.covariance(settings, settings, rest=rest)
        for factor, likely in NOISE_FACTORS.items():
            lower = np.linalg.cholesky(smooth + np.diag((factor * outcomes.noise) ** 2))
            white = np.linalg.solve(lower, centred)
            evidence = np.log(likely) - 0.5 * white @ white - np.log(np.diag(lower)).sum()
            cases.append((factor, rest, float(evidence)))
    highest = max(evidence for _, _, evidence in cases)
    weights = [(factor, rest, float(np.exp(evidence - highest))) for factor, rest, evidence in cases]
    total = sum(weight for _, _, weight in weights)
    kept = [(factor, rest, weight) for factor, rest, weight in weights if weight / total >= MIN_WEIGHT]
    total = sum(weight for _, _, weight in kept)
    return [(factor, rest, weight / total) for factor, rest, weight in kept]


def _draw_stopped(
    precisions: FloatArray, owners: IntArray, outcomes: Outcomes, *, middle: float, random: np.random.Generator
) -> FloatArray:
    """(C, N) centred outcomes of C chains, those of stopped runs drawn below their maximum (Gibbs, run by run).

    Args:
        precisions: (S, N, N) inverse covariances.
        owners: (C,) index of each chain's inverse covariance.
        outcomes: The outcomes of N trials.
        middle: The centre of the outcomes.
        random: Source of the draws.
    """
    values = np.tile(outcomes.value - middle, (len(owners), 1))
    stopped = np.flatnonzero(outcomes.stopped)
    rows = {run: precisions[owners, run] for run in stopped.tolist()}  # (C, N) each
    for _ in range(SWEEPS if rows else 0):
        for run, row in rows.items():
            deviation = 1.0 / np.sqrt(row[:, run])
            expected = values[:, run] - np.einsum("cn,cn->c", values, row) * deviation**2
            ceiling = (outcomes.max_value[run] - middle - expected) / deviation
            drawn = expected + deviation * ndtri_exp(log_ndtr(ceiling) + np.log(random.random(len(owners))))
            values[:, run] = np.clip(drawn, outcomes.min_value[run] - middle, outcomes.max_value[run] - middle)
    return values


def _stack(contrasts: Sequence[Contrast]) -> tuple[Settings, FloatArray]:
    """All points of K contrasts, P of them, and their weights (K, P) in each contrast."""
    parts = [part for contrast in contrasts for part in (contrast.better, contrast.worse)]
    points = join_settings(parts)
    weights = np.zeros((len(contrasts), len(points)))
    place = 0
    for index, part in enumerate(parts):
        weights[index // 2, place : place + len(part)] = (1.0, -1.0)[index % 2] / len(part)
        place += len(part)
    return points, weights

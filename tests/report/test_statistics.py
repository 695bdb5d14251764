"""The statistics of the diagnosis against exact posteriors, long reference chains, and studies whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from test_diagnosis import QUICKSTART, outcome
from test_surface import HIGH_IN_FIRST, HIGH_IN_SECOND, RATE, outcomes_of, settings_of
from test_surface import TWO_BY_TWO as SETTINGS

from sweep.report.diagnosis import effects, surface
from sweep.report.diagnosis.findings import PRIOR, diagnose_runs
from sweep.report.diagnosis.surface import Contrast, FloatArray, Outcomes, Settings, draw_effects, estimate_effects

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
STUDIES = 40
"""Simulated studies of the calibration."""


def weigh_exactly(settings: Settings, outcomes: Outcomes) -> list[tuple[float, FloatArray, FloatArray]]:
    """(weight, covariance of the smooth part, of the whole) of each noise and rest, by the density of the outcomes."""
    centred, parts = outcomes.value - outcomes.value.mean(), []
    for rest in surface.RESTS:
        smooth = PRIOR.covariance(settings, settings, rest=rest)
        for factor, prior in surface.NOISE_FACTORS.items():
            whole = smooth + np.diag((factor * outcomes.noise) ** 2)
            density = stats.multivariate_normal(np.zeros(len(centred)), whole, allow_singular=True).pdf(centred)
            parts.append((prior * density, smooth, whole))
    total = sum(weight for weight, _, _ in parts)
    return [(weight / total, smooth, whole) for weight, smooth, whole in parts]


def draw_between(settings: Settings, outcomes: Outcomes, better: int, worse: int, *, steps: int) -> FloatArray:
    """The difference of two of the trials: drawn exactly, stopped runs by rejection instead of by Gibbs."""
    random, drawn = np.random.default_rng(11), []
    stopped, middle = outcomes.stopped, outcomes.value.mean()
    centred = outcomes.value - middle
    for weight, smooth, whole in weigh_exactly(settings, outcomes):
        count = round(weight * steps)
        if count == 0:
            continue
        values = np.tile(centred, (count, 1))
        if stopped.any():
            known = ~stopped
            gain = whole[np.ix_(stopped, known)] @ np.linalg.inv(whole[np.ix_(known, known)])
            spread = whole[np.ix_(stopped, stopped)] - gain @ whole[np.ix_(known, stopped)]
            kept = np.empty((0, int(stopped.sum())))
            while len(kept) < count:
                tried = random.multivariate_normal(gain @ centred[known], spread, size=200_000)
                kept = np.concatenate([kept, tried[(tried <= outcomes.max_value[stopped] - middle).all(axis=1)]])
            values[:, stopped] = np.clip(kept[:count], outcomes.min_value[stopped] - middle, None)
        inverse = np.linalg.inv(whole)
        rows = smooth[[better, worse]]
        mean = values @ inverse @ rows.T
        spread = smooth[np.ix_([better, worse], [better, worse])] - rows @ inverse @ rows.T
        both = mean + random.multivariate_normal([0.0, 0.0], (spread + spread.T) / 2, size=count)
        drawn.append(both[:, 0] - both[:, 1])
    return np.concatenate(drawn)


@pytest.mark.parametrize(
    "outcomes",
    [
        outcomes_of([0.0, -0.1, 0.01, -0.03]),
        outcomes_of([0.0, -0.02, 0.01, -0.03], noise=0.02),
        outcomes_of([0.0, -0.05, 0.0, 0.0], stopped=[1]),
        outcomes_of([-0.02, -0.03, 0.0, -0.04], noise=0.01, stopped=[0, 1, 3]),
    ],
    ids=["whole", "noisy", "one stopped", "three stopped"],
)
def test_the_posteriors_quantiles_are_those_of_draws_that_need_no_chain(outcomes: Outcomes) -> None:
    exact = draw_between(SETTINGS, outcomes, 0, 1, steps=60_000)
    draws = draw_effects(PRIOR, SETTINGS, outcomes, [HIGH_IN_FIRST])[:, 0]
    wanted = np.quantile(exact, LEVELS)
    spread = wanted[-1] - wanted[0]
    assert np.quantile(draws, LEVELS) == pytest.approx(wanted, abs=0.09 * spread)


def test_stopped_runs_that_hang_together_are_drawn_from_a_chain_that_has_mixed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = settings_of(np.linspace(0.5, 1.0, 8).tolist(), [0] * 8)
    outcomes = outcomes_of([0.0] * 4 + [-0.05] * 4, stopped=[4, 5, 6, 7])
    contrast = Contrast(better=settings.take(np.array([0])), worse=settings.take(np.array([7])))
    found = np.quantile(draw_effects(PRIOR, settings, outcomes, [contrast])[:, 0], LEVELS)
    monkeypatch.setattr(surface, "SWEEPS", 400)
    wanted = np.quantile(draw_effects(PRIOR, settings, outcomes, [contrast], seed=5)[:, 0], LEVELS)
    assert found == pytest.approx(wanted, abs=0.1 * (wanted[-1] - wanted[0]))


def test_a_format_of_few_runs_borrows_from_the_other() -> None:
    high, low = settings_of([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0] * 6), settings_of([0.5], [1])
    settings = surface.join_settings([high, low])
    falling = outcomes_of([0.0, -0.02, -0.04, -0.06, -0.08, -0.1, -0.05])
    flat = outcomes_of([-0.05] * 7)
    contrast = Contrast(better=low.at(**{RATE: 0.0}), worse=low.at(**{RATE: 1.0}))
    borrowed = estimate_effects(PRIOR, settings, falling, [contrast])[0]
    assert borrowed == pytest.approx(0.5 * 0.1, abs=0.015)  # half of what acts is common to the formats
    assert estimate_effects(PRIOR, settings, flat, [contrast])[0] == pytest.approx(0.0, abs=1e-6)
    alone = draw_effects(PRIOR, low, outcomes_of([-0.05]), [contrast])[:, 0]
    helped = draw_effects(PRIOR, settings, falling, [contrast])[:, 0]
    assert np.std(helped) < 0.9 * np.std(alone)


def test_the_draws_of_two_outcomes_are_joined_without_the_order_of_their_noise() -> None:
    draws = np.sort(np.random.default_rng(0).normal(size=4000))[:, None]
    one, other = (effects._shuffled(draws, seed)[:, 0] for seed in (0, 1))
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.06
    assert abs(np.corrcoef(one, np.arange(4000))[0, 1]) < 0.06


def test_a_fall_that_was_stopped_is_not_taken_for_the_last_word() -> None:
    whole = [outcome(0, "title-content", 5e-5), outcome(1, "title-content", 5e-4, fall=0.05)]
    cut = [whole[0], outcome(1, "title-content", 5e-4, fall=0.05, stopped=True)]
    ends = []
    for runs in (whole, cut):
        finding = next(one for one in diagnose_runs(runs, space=QUICKSTART) if one.interval and one.effect > 0.03)
        ends.append(finding.interval[1])
    assert ends[1] > ends[0] + 0.02


@pytest.mark.parametrize("factor", [1.0, 10.0])
def test_a_run_of_more_noise_says_less(factor: float) -> None:
    outcomes = replace(outcomes_of([0.0, -0.05, 0.0, 0.0]), noise=np.full(4, 0.004 * factor))
    draws = draw_effects(PRIOR, SETTINGS, outcomes, [HIGH_IN_FIRST, HIGH_IN_SECOND])
    assert (np.quantile(draws[:, 0], 0.02) > 0) == (factor == 1.0)


def test_bounds_of_all_causes_are_wider_than_of_one_alone() -> None:
    """One column alone has the 4 % quantile as its lower bound; of many at once each has less of the chance."""
    draws = np.random.default_rng(0).normal(size=(8000, 40))
    nothing = np.zeros(40, dtype=bool)
    alone, _ = effects._bound_both(draws[:, :1], nothing[:1], weights=np.ones(1))
    together, _ = effects._bound_both(draws, nothing, weights=np.ones(40))
    assert alone[0] == pytest.approx(stats.norm.ppf(0.04), abs=0.06)
    assert together.mean() == pytest.approx(stats.norm.ppf(1 - 0.96 ** (1 / 40)), abs=0.1)


def simulate_surface(random: np.random.Generator) -> tuple[Settings, Outcomes, FloatArray, list[Contrast]]:
    """A study drawn from the prior: twelve trials, those of a fall below a line stopped; and the true effects."""
    count = 12
    settings = settings_of(random.random(count).tolist(), [place % 2 for place in range(count)])
    ends = [settings.take(np.array([place])) for place in (0, 1)]
    contrasts = [Contrast(better=end.at(**{RATE: 0.1}), worse=end.at(**{RATE: 0.9})) for end in ends]
    points = surface.join_settings([settings, *(part for one in contrasts for part in (one.better, one.worse))])
    rest = float(random.choice(surface.RESTS))
    factor = float(random.choice(list(surface.NOISE_FACTORS), p=list(surface.NOISE_FACTORS.values())))
    covariance = PRIOR.covariance(points, points, rest=rest)
    truth = random.multivariate_normal(np.zeros(len(points)), covariance, check_valid="ignore")
    noise = np.full(count, 0.01)
    value = truth[:count] + factor * noise * random.standard_normal(count)
    line = np.quantile(value, 0.3)
    outcomes = Outcomes(
        value=np.maximum(value, line), noise=noise, stopped=value < line, max_value=np.full(count, line),
        min_value=np.full(count, -9.0),
    )  # fmt: skip
    return settings, outcomes, truth[count::2] - truth[count + 1 :: 2], contrasts


def test_the_truth_of_simulated_studies_lies_in_their_posteriors_as_often_as_these_say() -> None:
    """Ranks of the truth among draws are uniform where a posterior is right (simulation-based calibration)."""
    random, ranks = np.random.default_rng(7), []
    for _ in range(STUDIES):
        settings, outcomes, truth, contrasts = simulate_surface(random)
        ranks.append((draw_effects(PRIOR, settings, outcomes, contrasts) < truth).mean(axis=0))
    found = np.array(ranks)
    inside = int(((found[:, 0] > 0.05) & (found[:, 0] < 0.95)).sum())
    assert stats.binomtest(inside, STUDIES, 0.9).pvalue > 0.01
    assert stats.kstest(found[:, 0], "uniform").pvalue > 0.01

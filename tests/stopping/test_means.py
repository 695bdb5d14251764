from __future__ import annotations

import numpy as np
import pytest

from sweep.stopping.means import estimate_step, explain_means
from sweep.stopping.rules import DropOff


def walk(*, steps: int, spread: float, seed: int = 0) -> np.ndarray:
    return np.cumsum(np.random.default_rng(seed).normal(0.0, spread, steps))


def test_the_noise_of_a_walk_is_found_in_its_bends_whatever_its_slope() -> None:
    estimates = [
        estimate_step(0.01 * np.arange(200) + walk(steps=200, spread=0.02, seed=seed))[0] for seed in range(20)
    ]
    assert np.mean(estimates) == pytest.approx(0.02, rel=0.1)
    assert estimate_step(np.array([0.5, 0.6, 0.7])) == (0.0, 0)


@pytest.mark.parametrize(
    ("means", "fallen"),
    [
        pytest.param([0.5, 0.55, 0.6, *[0.62] * 3, *np.linspace(0.6, 0.3, 8)], True, id="fell far"),
        pytest.param([0.5, 0.55, 0.6, 0.61, 0.615, 0.617, 0.616, 0.617, 0.616], False, id="a plateau"),
        pytest.param([0.5, 0.6, 0.3], False, id="too few to know the noise"),
    ],
)
def test_a_curve_of_means_is_judged_by_its_own_noise(means: list[float], fallen: bool) -> None:
    noisy = np.array(means) + np.random.default_rng(1).normal(0.0, 0.001, len(means))
    assert explain_means(DropOff(), np.linspace(0.0, 1.0, len(means)), noisy).fallen is fallen


def test_runs_that_have_not_fallen_are_rarely_stopped() -> None:
    progress, stopped = np.linspace(0.0, 1.0, 21), 0
    for seed in range(200):
        means = 0.6 + walk(steps=21, spread=0.004, seed=seed)
        stopped += any(explain_means(DropOff(margin=0.0), progress[:n], means[:n]).fallen for n in range(2, 22))
    assert stopped <= 0.05 * 200 + 2 * np.sqrt(0.05 * 0.95 * 200)


@pytest.mark.parametrize(
    ("progress", "means", "said"),
    [
        ([0.0, 0.5], [0.5], r"means must be \(T,\) with T = 2, got shape \(1,\)"),
        ([], [], r"means must be \(T,\) with T = 0, got shape \(0,\)"),
        ([0.5, 0.5], [0.5, 0.6], "progress must ascend"),
    ],
)
def test_what_is_no_curve_is_refused(progress: list[float], means: list[float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        explain_means(DropOff(), np.array(progress), np.array(means))

from __future__ import annotations

import numpy as np
import pytest
from simulate import SHAPES, Noise, correlated, simulate_run, true_means

PROGRESS = np.linspace(0.0, 1.0, 11)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("noise", [correlated(0.0), correlated(0.95), Noise(shared=0.6, look=0.1, wander=0.3)])
def test_the_mean_over_many_queries_is_the_truth(shape: str, noise: Noise) -> None:
    truth = true_means(shape, PROGRESS)
    values = simulate_run(truth, PROGRESS, queries=40_000, noise=noise, random=np.random.default_rng(0))
    np.testing.assert_allclose(values.mean(axis=1), truth, atol=0.008)  # four standard errors
    assert set(np.unique(values)) <= {0.0, *(1.0 / np.log2(np.arange(2, 12)))}


def test_queries_agree_between_looks_as_the_noise_says() -> None:
    def agreement(noise: Noise, one: int, other: int) -> float:
        random = np.random.default_rng(0)
        values = simulate_run(np.full(11, 0.7), PROGRESS, queries=20_000, noise=noise, random=random)
        return float(np.corrcoef(values[one], values[other])[0, 1])

    assert abs(agreement(correlated(0.0), 1, 2)) < 0.03
    assert agreement(correlated(1.0), 1, 9) == pytest.approx(1.0)
    wandering = Noise(shared=0.5, look=0.0, wander=0.5)
    assert agreement(wandering, 1, 2) > agreement(wandering, 1, 9) + 0.1


def test_parts_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ValueError, match="must be at least 0 and add up to 1"):
        Noise(shared=0.5, look=0.2)

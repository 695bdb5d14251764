from __future__ import annotations

import numpy as np
import pytest

from sweep.settings.study_file import DropOffSpec, StoppingSpec
from sweep.stopping.policy import make_policy, take_look
from sweep.stopping.stop import Stop

QUERIES = 60


def curve(*means: float) -> np.ndarray:
    """(T, Q) NDCG per query with these means, and noise that differs between any two measurements."""
    noise = np.random.default_rng(0).normal(0.0, 0.02, (len(means), QUERIES))
    return (np.array(means)[:, None] + noise - noise.mean(axis=1, keepdims=True)).astype(np.float32)


PROVED = StoppingSpec(drop_off=DropOffSpec(forecast=False))
"""Stops a run once its fall is proved, whether it may come back or not."""


def decide(
    progress: list[int],
    means: list[float],
    *,
    stopping: StoppingSpec | None = None,
    warmup_end: float = 0.0,
    incumbent: float | None = 0.99,  # it does not lead
) -> tuple[Stop | None, str]:
    policy = make_policy(stopping or StoppingSpec())
    look = take_look(policy, progress=progress, per_query=curve(*means), warmup_end=warmup_end)
    stop = policy.decide(look, incumbent=incumbent)
    return stop, policy.describe(look, stop=stop)


@pytest.mark.parametrize(
    ("progress", "means", "warmup_end", "stops"),
    [
        pytest.param([0, 100, 200], [0.5, 0.6, 0.5], 0.0, True, id="it fell from its own peak"),
        pytest.param([0, 100, 200], [0.5, 0.6, 0.595], 0.0, False, id="it fell by less than the margin"),
        pytest.param([0, 100, 200], [0.5, 0.6, 0.7], 0.0, False, id="it rises"),
        pytest.param([0, 100], [0.6, 0.5], 0.0, True, id="the untrained point is a peak"),
        pytest.param([0, 100, 200], [0.6, 0.5, 0.55], 0.0, True, id="it stays below the untrained point"),
        pytest.param([0, 100, 200], [0.5, 0.6, 0.5], 0.3, False, id="within its warm-up"),
        pytest.param([0, 100, 300], [0.5, 0.6, 0.5], 0.3, False, id="at the end of its warm-up"),
        pytest.param([0, 100, 310], [0.5, 0.6, 0.5], 0.3, False, id="within the grace"),
        pytest.param([0, 100, 320], [0.5, 0.6, 0.5], 0.3, True, id="after the grace, from a peak within the warm-up"),
        pytest.param([0, 100, 1000], [0.5, 0.6, 0.3], 0.0, False, id="at its end there is nothing left to stop"),
    ],
)
def test_a_run_is_stopped_for_drop_off(progress: list[int], means: list[float], warmup_end: float, stops: bool) -> None:
    stop, _ = decide(progress, means, warmup_end=warmup_end, stopping=PROVED)
    assert (stop.kind if stop else None) == ("drop-off" if stops else None)


def test_the_text_says_from_where_to_where_and_beyond_what() -> None:
    stop, _ = decide([0, 100, 200], [0.5, 0.6, 0.5], stopping=PROVED)
    assert stop is not None
    assert stop.text.startswith(
        "drop-off: NDCG@10 0.5000 is 0.1000 below the peak at 10.0%, beyond the margin of 0.01 by "
    )


def test_without_a_drop_off_rule_every_finite_run_goes_on() -> None:
    stopping = StoppingSpec(drop_off=False)
    assert decide([0, 100, 200], [0.5, 0.9, 0.1], stopping=stopping) == (None, "goes on")


@pytest.mark.parametrize("settings", [{"margin": 0.2}, {"grace": 0.3}])
def test_margin_and_grace_of_the_study_are_obeyed(settings: dict[str, float]) -> None:
    stopping = StoppingSpec(drop_off=DropOffSpec(**settings, forecast=False))
    assert decide([0, 100, 200], [0.5, 0.6, 0.5], stopping=PROVED)[0]
    assert not decide([0, 100, 200], [0.5, 0.6, 0.5], stopping=stopping)[0]


FLAT = ([0, 200, 400, 600, 700], [0.58, 0.6, 0.598, 0.597, 0.596])
FALLEN = ([0, 200, 400, 600, 700], [0.58, 0.6, 0.56, 0.5, 0.45])


def test_a_run_past_its_peak_is_stopped_where_it_has_no_way_back() -> None:
    stop, _ = decide(*FLAT)
    assert stop is not None
    assert stop.kind == "forecast"
    assert stop.text.startswith("forecast: from NDCG@10 0.5960 it will reach 0.")
    assert stop.text.endswith("and 0.6100 would be needed to beat its peak of 0.6000 at 20.0% by the margin")
    assert not decide(*FLAT, stopping=PROVED)[0]
    assert not decide([*FLAT[0][:-1], 1000], FLAT[1])[0]


def test_a_run_that_has_fallen_goes_on_while_it_may_come_back() -> None:
    stop, words = decide([0, 100, 200], [0.5, 0.6, 0.5])
    assert stop is None
    assert words.endswith("; it may come back")
    stop, words = decide(*FALLEN)
    assert stop is not None
    assert stop.kind == "drop-off"
    assert {"highest", "needed", "difference", "standard_error", "interval", "looks"} <= set(stop.numbers)
    assert words.startswith("0.150 below its peak, noise ")
    assert not words.endswith("; it may come back")


def test_the_run_that_leads_is_not_given_up_on_a_forecast_alone() -> None:
    assert not decide(*FLAT, incumbent=None)[0]
    assert not decide(*FLAT, incumbent=0.55)[0]
    assert decide(*FLAT, incumbent=0.65)[0]
    assert decide(*FALLEN, incumbent=None)[0]


def test_a_run_that_is_level_with_the_best_does_not_lead() -> None:
    look = take_look(make_policy(StoppingSpec()), progress=FLAT[0], per_query=curve(*FLAT[1]), warmup_end=0.0)
    assert not look.leads(look.peak)
    assert look.leads(float(np.nextafter(look.peak, 0.0)))
    assert look.leads(None)


@pytest.mark.parametrize("incumbent", [None, 0.53, 0.9])
def test_a_slow_rise_is_never_stopped(incumbent: float | None) -> None:
    assert not decide([0, 100, 200, 300, 400], [0.5, 0.51, 0.52, 0.53, 0.54], incumbent=incumbent)[0]


@pytest.mark.parametrize("stopping", [StoppingSpec(), StoppingSpec(drop_off=False)])
@pytest.mark.parametrize("place", [100, 1000])
def test_a_run_that_is_not_finite_is_stopped_at_once(stopping: StoppingSpec, place: int) -> None:
    per_query, policy = curve(0.5, 0.6), make_policy(stopping)
    per_query[1, 7] = np.nan
    look = take_look(policy, progress=[0, place], per_query=per_query, warmup_end=0.9)
    text = f"diverged: the embeddings are not finite at {place / 1000:.1%} of its budget"
    assert policy.decide(look, incumbent=None) == Stop("diverged", text)
    assert policy.describe(look, stop=None) == "diverged"

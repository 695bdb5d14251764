from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from dimensions import CYCLES, ToyParams, ToyStart, toy_space
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from sweep.errors import StudyFileError
from sweep.settings.space import LOG2_BATCH_SIZE, SearchSpace, holds
from sweep.settings.study_file import SpaceSpec

FILE = Path("toy.toml")
VALUES: dict[str, Any] = {
    "learning_rate": 5e-5,
    "warmup_ratio": 0.1,
    LOG2_BATCH_SIZE: 7,
    "data_format": "title-content",
    "scale": 20.0,
    "scheduler": "linear",
}


def make_space(**settings: Any) -> SearchSpace:
    return SearchSpace(SpaceSpec.model_validate(settings))


@pytest.mark.parametrize(
    ("rule", "batch_size", "effective"),
    [
        ("none", 8192, 5e-5),
        ("sqrt", 64, 5e-5),
        ("sqrt", 8192, 5.66e-4),
        ("sqrt", 16, 2.5e-5),
        ("linear", 64, 5e-5),
        ("linear", 8192, 6.4e-3),
        ("linear", 16, 1.25e-5),
    ],
)
def test_the_rule_scales_the_rate_from_batch_64(rule: str, batch_size: int, effective: float) -> None:
    space = make_space(learning_rate_rule=rule)
    assert space.effective_learning_rate(5e-5, batch_size) == pytest.approx(effective, rel=1e-3)


def test_a_point_carries_the_proposed_and_the_effective_rate() -> None:
    params = make_space(learning_rate_rule="sqrt").params(VALUES)
    assert params.learning_rate == 5e-5
    assert params.effective_learning_rate == pytest.approx(5e-5 * math.sqrt(2))
    assert params.batch_size == 128
    assert (params.warmup_ratio, params.scale) == (0.1, 20.0)
    assert (params.data_format, params.scheduler) == ("title-content", "linear")


def test_every_setting_is_a_parameter_and_a_fixed_one_a_range_of_one_value() -> None:
    found = make_space(learning_rate=3e-5, warmup_ratio=0.1, batch_size=32, data_format="title-content").distributions
    first = {
        "learning_rate": FloatDistribution(3e-5, 3e-5, log=True),
        "warmup_ratio": FloatDistribution(0.1, 0.1),
        LOG2_BATCH_SIZE: IntDistribution(5, 5),
        "data_format": CategoricalDistribution(("title-content",)),
        "scale": FloatDistribution(20.0, 20.0),
        "scheduler": CategoricalDistribution(("linear",)),
    }
    assert list(found.items())[: len(first)] == list(first.items())
    assert all(distribution.single() for distribution in found.values())


def test_a_range_is_searched_as_it_is_written() -> None:
    found = make_space(
        learning_rate={"low": 1e-5, "high": 1e-4}, scale={"low": 10.0, "high": 40.0, "log": True}
    ).distributions
    assert found["learning_rate"] == FloatDistribution(1e-5, 1e-4, log=False)
    assert found["scale"] == FloatDistribution(10.0, 40.0, log=True)


@pytest.mark.parametrize(
    ("low", "high", "sizes"),
    [(16, 64, (16, 32, 64)), (17, 64, (32, 64)), (16, 63, (16, 32)), (2, 2, (2,)), (5000, 9000, (8192,))],
)
def test_the_batches_of_a_range_are_its_powers_of_two(low: int, high: int, sizes: tuple[int, ...]) -> None:
    space = make_space(batch_size={"low": low, "high": high})
    assert space.spec.batch_sizes == sizes
    exponents = space.distributions[LOG2_BATCH_SIZE]
    assert isinstance(exponents, IntDistribution)
    assert tuple(2**exponent for exponent in range(exponents.low, exponents.high + 1)) == sizes


def test_a_start_point_fixes_what_it_names_and_nothing_else() -> None:
    space = make_space(start=[{"learning_rate": 5e-5, "batch_size": 64}, {"data_format": "query-document"}])
    assert space.start_values(space.spec.start[0]) == {"learning_rate": 5e-5, LOG2_BATCH_SIZE: 6}
    assert space.start_values(space.spec.start[1]) == {"data_format": "query-document"}
    space.check(FILE)


@pytest.mark.parametrize("value", [5e-6, 6e-4])
def test_a_start_point_may_lie_on_the_edge_of_its_range(value: float) -> None:
    make_space(start=[{"learning_rate": value}]).check(FILE)


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ({"learning_rate": 1e-3}, r"learning_rate: 0\.001 lies outside space\.learning_rate \(5e-06 to 0\.0006\)"),
        ({"learning_rate": 1e-6}, r"learning_rate: 1e-06 lies outside space\.learning_rate \(5e-06 to 0\.0006\)"),
        ({"warmup_ratio": 0.5}, r"warmup_ratio: 0\.5 lies outside space\.warmup_ratio \(0 to 0\.3\)"),
        ({"batch_size": 128}, r"batch_size: 128 lies outside space\.batch_size \(16, 32, 64\)"),
        ({"batch_size": 48}, r"batch_size: 48 lies outside space\.batch_size \(16, 32, 64\)"),
        ({"data_format": "pairs"}, r"data_format: 'pairs' lies outside space\.data_format \(title-content, query-docu"),
        ({"scale": 30.0}, r"scale: 30\.0 lies outside space\.scale \(20\)"),
        ({"scheduler": "cosine"}, r"scheduler: 'cosine' lies outside space\.scheduler \(linear\)"),
        ({"seed": 0}, r"seed: 0 lies outside space\.seed \(which is left out: list the seeds there\)"),
    ],
)
def test_a_start_point_outside_its_range_is_refused(start: dict[str, Any], said: str) -> None:
    space = make_space(start=[{"warmup_ratio": 0.1}, start])
    with pytest.raises(StudyFileError, match=rf"^toy\.toml: space\.start\[1\]\.{said}"):
        space.check(FILE)


def test_a_start_point_names_a_seed_that_is_listed() -> None:
    make_space(seed=[2, 7], start=[{"seed": 7}]).check(FILE)
    with pytest.raises(StudyFileError, match=r"space\.start\[0\]\.seed: 5 lies outside space\.seed \(2, 7\)"):
        make_space(seed=[2, 7], start=[{"seed": 5}]).check(FILE)


def test_a_trial_has_the_studys_seed_of_its_own_only_where_the_space_lists_seeds() -> None:
    plain, listed = (SearchSpace(SpaceSpec.model_validate(known), seed=4) for known in ({}, {"seed": [4, 5]}))
    assert "seed" not in plain.complete(VALUES)
    assert "seed" not in plain.complete({**VALUES, "seed": 4})
    assert plain.complete({**VALUES, "seed": 5})["seed"] == 5
    assert listed.complete(VALUES)["seed"] == 4
    assert listed.complete({**VALUES, "seed": 5})["seed"] == 5
    assert plain.params(VALUES).seed is None
    assert listed.params({**VALUES, "seed": 5}).seed == 5
    assert not plain.holds("seed", 5)
    assert [listed.holds("seed", seed) for seed in (4, 5, 6)] == [True, True, False]


def test_a_point_above_the_largest_rate_is_not_tried() -> None:
    space = make_space(learning_rate_rule="sqrt", max_learning_rate=1e-4)
    assert space.accepts(space.params(VALUES))
    assert space.accepts(space.params({**VALUES, "learning_rate": 1e-4, LOG2_BATCH_SIZE: 6}))
    assert not space.accepts(space.params({**VALUES, "learning_rate": 1e-4}))
    assert make_space().accepts(space.params({**VALUES, "learning_rate": 1.0}))


def test_a_start_point_above_the_largest_rate_is_refused() -> None:
    start = [{"learning_rate": 1e-4, "batch_size": 64}]
    space = make_space(batch_size={"low": 16, "high": 256}, max_learning_rate=5e-5, start=start)
    with pytest.raises(
        StudyFileError, match=r"space\.start\[0\]: its effective learning rate 0\.0001 is above max_lea"
    ):
        space.check(FILE)


def test_a_largest_rate_below_every_point_is_refused() -> None:
    space = make_space(learning_rate={"low": 1e-4, "high": 1e-3}, learning_rate_rule="sqrt", max_learning_rate=4e-5)
    with pytest.raises(StudyFileError, match=r"space\.max_learning_rate: 4e-05 rejects every point: .* is 5e-05"):
        space.check(FILE)


@pytest.mark.parametrize(
    ("distribution", "value", "held"),
    [
        (FloatDistribution(0.0, 1.0), 1.0, True),
        (FloatDistribution(0.0, 1.0), 1.5, False),
        (FloatDistribution(0.0, 1.0), 0.0, True),
        (FloatDistribution(0.0, 1.0), -0.5, False),
        (IntDistribution(2, 4), 1, False),
        (IntDistribution(2, 4), 4, True),
        (IntDistribution(2, 4), 3.5, False),
        (CategoricalDistribution(("a", "b")), "b", True),
        (CategoricalDistribution(("a", "b")), "c", False),
    ],
)
def test_a_distribution_holds_what_it_can_give(distribution: Any, value: Any, held: bool) -> None:
    assert holds(distribution, value) is held


def test_a_dimension_that_does_not_matter_is_none_of_a_point() -> None:
    space = toy_space(scheduler=("linear", "cosine"))
    linear, cosine = ({**VALUES, "scheduler": name, "cycles": 2.0} for name in ("linear", "cosine"))
    assert (space.settings(linear)["cycles"], space.settings(cosine)["cycles"]) == (None, 2.0)
    params = space.params({name: value for name, value in linear.items() if name != "cycles"})
    assert isinstance(params, ToyParams)
    assert (params.cycles, CYCLES.say(params)) == (None, "-")
    assert "cycles" not in space.lowest()
    assert "cycles" in space.distributions
    assert "cycles" not in space.unconditional


def test_a_start_point_that_sets_what_does_not_matter_there_is_refused() -> None:
    toy_space(ToyStart(cycles=1.0), ToyStart(cycles=1.0, scheduler="cosine"), scheduler=("linear", "cosine")).check(
        FILE
    )
    space = toy_space(ToyStart(cycles=1.0, scheduler="linear"), scheduler=("linear", "cosine"))
    with pytest.raises(StudyFileError, match=r"space\.start\[0\]\.cycles: matters only where scheduler is cosine"):
        space.check(FILE)


def test_what_an_older_trial_lacks_has_its_value_from_before_and_an_empty_one_stays_so() -> None:
    space = make_space()
    assert (VALUES | {"weight_decay": 0.0}).items() <= space.complete(VALUES).items()
    assert space.params(VALUES).weight_decay == 0.0
    assert space.complete({}) == {}

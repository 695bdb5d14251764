"""The table of dimensions and the typed lines beside it: a dimension that stands in one stands in all."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any, get_args

import pytest

from sweep.settings.dimension import Dimension
from sweep.settings.dimensions import DIMENSIONS, SHOWN, Params, SpaceSettings, StartSpec, add_older
from sweep.settings.ranges import FloatRange, PowerRange
from sweep.settings.study_file import SpaceSpec

NAMES = [dimension.name for dimension in DIMENSIONS]
TYPES: dict[str, tuple[type, ...]] = {"real": (float,), "power of two": (int,), "choice": (str,), "seed": (int,)}


def leaves(annotation: Any) -> set[Any]:
    """The types that an annotation is made of; those of its values where it lists them."""
    parts = get_args(annotation)
    found = {leaf for part in parts for leaf in leaves(part)} if parts else {annotation}
    return {leaf if isinstance(leaf, type) else type(leaf) for leaf in found}


def test_every_dimension_has_its_typed_lines_and_every_line_its_dimension() -> None:
    assert list(SpaceSettings.model_fields) == NAMES
    assert list(StartSpec.model_fields) == NAMES
    fields = [field.name for field in dataclasses.fields(Params)]
    assert [name for name in fields if name not in ("effective_learning_rate", "length")] == NAMES
    assert sorted(one.name for one in SHOWN) == sorted(NAMES)


@pytest.mark.parametrize("dimension", DIMENSIONS, ids=NAMES)
def test_the_typed_lines_of_a_dimension_are_of_its_kind(dimension: Dimension) -> None:
    kinds = TYPES[dimension.kind]
    ranges = {"real": {FloatRange}, "power of two": {PowerRange}}.get(dimension.kind, set())
    space = leaves(SpaceSettings.model_fields[dimension.name].annotation)
    assert {*kinds, *ranges} <= space
    assert not {FloatRange, PowerRange} - ranges & space
    assert set(kinds) <= leaves(StartSpec.model_fields[dimension.name].annotation)
    assert set(kinds) <= leaves(inspect.get_annotations(Params, eval_str=True)[dimension.name])


@pytest.mark.parametrize("dimension", DIMENSIONS, ids=NAMES)
def test_a_dimension_has_one_default_and_a_newer_one_its_value_from_before(dimension: Dimension) -> None:
    assert getattr(SpaceSpec(), dimension.name) == dimension.default
    assert getattr(StartSpec(), dimension.name) is None
    (field,) = [field for field in dataclasses.fields(Params) if field.name == dimension.name]
    if dimension.makes_replicates:
        assert (field.default, dimension.default, dimension.before) == (None, None, None)
        assert dimension.name not in add_older({})
        return
    before = dimension.before if dimension.needs is None else None
    assert field.default == (dataclasses.MISSING if dimension.before is None else before)
    assert field.default is dataclasses.MISSING or add_older({})[dimension.name] == field.default
    assert dimension.default is not None
    dimension.check(dimension.default)


@pytest.mark.parametrize("dimension", DIMENSIONS, ids=NAMES)
def test_a_value_is_what_its_parameter_says(dimension: Dimension) -> None:
    value = dimension.lowest((7, 3) if dimension.default is None else dimension.default)
    assert dimension.from_parameter(dimension.to_parameter(value)) == value
    assert dimension.parameter == ("log2_batch_size" if dimension.name == "batch_size" else dimension.name)


@pytest.mark.parametrize(
    ("name", "setting", "said"),
    [
        ("learning_rate", 0.0, r"must be above 0, got 0\.0"),
        ("warmup_ratio", FloatRange(low=0.0, high=1.0), r"must be below 1, got 1\.0"),
        ("warmup_ratio", -0.1, r"must be at least 0, got -0\.1"),
        ("batch_size", 48, "must be a power of two from 2, got 48"),
        ("scheduler", ("linear", "linear"), r"names a choice twice, got \['linear', 'linear'\]"),
        ("seed", (1, 1), r"names a seed twice, got \[1, 1\]"),
        ("seed", (3, -1), "must be at least 0, got -1"),
        ("seed", (3, 2**32), "must be below 4.29497e\\+09, got 4294967296"),
    ],
)
def test_a_setting_outside_the_bounds_is_refused(name: str, setting: Any, said: str) -> None:
    (dimension,) = [one for one in DIMENSIONS if one.name == name]
    with pytest.raises(ValueError, match=said):
        dimension.check(setting)


@pytest.mark.parametrize(("names", "can"), [(("query-document",), False), (("query-document", "a+b"), True)])
def test_a_conditional_dimension_is_shown_where_some_trial_can_have_it(names: tuple[str, ...], can: bool) -> None:
    space = SpaceSpec(data_format=names)
    mixture = next(each for each in DIMENSIONS if each.name == "mixture")
    assert mixture.can_matter(space) is can
    assert all(each.can_matter(space) for each in DIMENSIONS if each.needs is None and not each.makes_replicates)


def test_a_seed_is_shown_where_the_space_lists_some() -> None:
    seed = next(each for each in DIMENSIONS if each.makes_replicates)
    assert not seed.can_matter(SpaceSpec())
    assert seed.can_matter(SpaceSpec(seed=(4,)))

from __future__ import annotations

from typing import Any

import pytest

from sweep.settings.begun import keep_defaults, names_all_defaults, read_begun
from sweep.settings.study_file import StudySpec

OLDER = {"collection": "beir:toy", "split": {"dev": 0.2, "test": 0.2, "seed": 0}, "document": "text"}
"""The table of the data as a study stored it that knew no newer setting of it."""


def make(*, evaluation: dict[str, Any] | None = None, **data: Any) -> StudySpec:
    tables = {"name": "toy", "model": {"base": "./model"}, "budget": {"trials": 1, "examples": 2000}}
    tables |= {} if evaluation is None else {"evaluation": evaluation}
    return StudySpec.model_validate({**tables, "data": {"collection": "beir:toy", **data}})


def begun(data: dict[str, Any]) -> StudySpec:
    return read_begun({**make().model_dump(mode="json"), "data": data})


def test_an_older_study_has_the_rules_from_before() -> None:
    data = begun(OLDER).data
    assert (data.rules, data.document, data.split.leaks, data.split.group) == (1, "text", "keep", None)


def test_a_study_of_today_is_read_as_it_was_written() -> None:
    spec = make(document="text", split={"leaks": "keep"})
    assert read_begun(spec.model_dump(mode="json")) == spec


def test_what_a_file_leaves_out_is_as_the_study_began() -> None:
    assert keep_defaults(make(), begun(OLDER)) == begun(OLDER)
    assert keep_defaults(make(), make()) == make()


@pytest.mark.parametrize(
    "named", [{"document": "title-and-text"}, {"rules": 2}, {"split": {"leaks": "leave-out"}}], ids=str
)
def test_what_a_file_names_is_as_it_says(named: dict[str, Any]) -> None:
    ((key, value),) = named.items()
    kept = keep_defaults(make(**named), begun(OLDER)).model_dump()["data"]
    assert kept[key] == value or kept[key]["leaks"] == "leave-out"
    others = begun(OLDER).model_dump()["data"]
    assert {name: kept[name] for name in kept if name != key} == {name: others[name] for name in kept if name != key}


GRID = (0.01, 0.02, 0.5, 1.0)
"""A grid that was the default once."""


@pytest.mark.parametrize("evaluation", [None, {"metric": "ndcg@10"}])
def test_a_grid_that_a_file_leaves_out_is_that_of_the_beginning(evaluation: dict[str, Any] | None) -> None:
    older = read_begun(make(evaluation={"grid": GRID}).model_dump(mode="json"))
    assert keep_defaults(make(evaluation=evaluation), older).evaluation.grid == GRID
    named = make(evaluation={"grid": [0.1, 1.0]})
    assert keep_defaults(named, older).evaluation.grid == (0.1, 1.0)


def test_only_a_file_that_names_all_of_them_needs_no_look_at_its_study() -> None:
    complete: dict[str, Any] = {
        **{"document": "text", "rules": 2, "split": {"leaks": "keep"}},
        "evaluation": {"grid": [1.0]},
    }
    assert names_all_defaults(make(**complete))
    for key in complete:
        assert not names_all_defaults(make(**{name: value for name, value in complete.items() if name != key}))


def test_a_study_that_is_older_than_rungs_may_have_stopped_what_was_outclassed() -> None:
    older = make().model_dump(mode="json")
    older["stopping"] |= {"outclassed": True}
    assert read_begun(older) == make()

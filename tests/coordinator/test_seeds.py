"""Training seeds that a study lists: runs that differ in them alone are replicates, and no sampler searches them."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from ledgers import make_evaluation
from scripted import check_finished, open_study, rewrite, run

from sweep import open_study as open_frames
from sweep.columns import choose_settings
from sweep.coordinator.events import describe_params
from sweep.coordinator.fork import fork_study
from sweep.coordinator.ledger import Ledger
from sweep.coordinator.proposals import Proposal, Proposer
from sweep.coordinator.running import begin_trial
from sweep.plan import plan_study
from sweep.report.tables import tabulate_importances
from sweep.run_folder import RunFolder
from sweep.settings.space import SearchSpace
from sweep.settings.study_file import SpaceSpec
from sweep.status import describe_study
from sweep.storage.database import open_storage
from sweep.storage.location import locate_study
from sweep.storage.records import StudyRecord
from sweep.testing import write_toy_study

POINT = {"learning_rate": 5e-5, "warmup_ratio": 0.1, "batch_size": 8, "data_format": "query-document"}
FOUR_POINTS = {"learning_rate": 1e-4, "warmup_ratio": 0.1, "batch_size": {"low": 4, "high": 8}}
WIDE: dict[str, Any] = {"batch_size": {"low": 4, "high": 64}}


def make_space(**settings: Any) -> SearchSpace:
    return SearchSpace(SpaceSpec.model_validate({**WIDE, **settings}), seed=3)


def search(space: SearchSpace, count: int, value: Callable[[Proposal], float]) -> tuple[Proposer, list[Proposal]]:
    proposer = Proposer(space, seed=3, trials=20)
    found = []
    for number in range(count):
        found.append(proposer.propose(number))
        proposer.conclude(number, value(found[-1]))
    return proposer, found


def without_seed(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != "seed"}


def write_study(folder: Path, *, trials: int, space: dict[str, Any], **tables: Any) -> Path:
    usual = {"script": {}, "stopping": {"drop_off": False}, "space": space, "budget": {"trials": trials}}
    return write_toy_study(folder, **{**usual, **tables})


def seeds_of(record: StudyRecord) -> list[Any]:
    return [trial.attributes["seed"] for trial in record.trials]


# ---- what is proposed


def test_a_space_without_seeds_has_no_such_parameter() -> None:
    space = make_space()
    assert "seed" not in space.distributions
    _, found = search(space, 6, lambda one: one.params.warmup_ratio)
    assert all("seed" not in one.values and one.params.seed is None for one in found)
    assert "seed" not in describe_params(found[0].params)


@pytest.mark.parametrize("seeds", [5, [5], [5, 0, 7]])
def test_listing_seeds_changes_nothing_of_what_is_searched(seeds: Any) -> None:
    def value(proposal: Proposal) -> float:
        return proposal.params.warmup_ratio - abs(proposal.params.batch_size - 16) / 100

    _, plain = search(make_space(), 24, value)
    _, listed = search(make_space(seed=seeds), 24, value)
    assert [without_seed(one.values) for one in listed] == [one.values for one in plain]
    wanted = {seeds} if isinstance(seeds, int) else {*seeds}
    assert {one.values["seed"] for one in listed} == {one.params.seed for one in listed} == wanted
    assert f"seed {listed[0].params.seed}" in describe_params(listed[0].params)


def test_seeds_are_drawn_evenly_whatever_came_of_them() -> None:
    _, found = search(make_space(seed=[0, 1, 2]), 90, lambda one: 1.0 if one.params.seed == 1 else 0.0)
    counts = Counter(one.params.seed for one in found)
    assert all(15 <= counts[seed] <= 45 for seed in (0, 1, 2)), counts


def test_the_sampler_sees_replicates_as_one_point() -> None:
    starts = [{**POINT, "seed": seed} for seed in (0, 1, 2)]
    proposer, found = search(make_space(seed=[0, 1, 2], start=starts), 3, lambda one: 0.5 + (one.params.seed or 0) / 10)
    assert [one.params.seed for one in found] == [0, 1, 2]
    assert [trial.value for trial in proposer.seen] == [0.5, 0.6, 0.7]
    assert all("seed" not in trial.params for trial in proposer.seen)
    assert len({json.dumps(trial.params) for trial in proposer.seen}) == 1


# ---- whole studies


def test_replicates_are_trained_each_and_the_same_seed_once(tmp_path: Path) -> None:
    starts = [{**POINT, "seed": seed} for seed in (0, 1, 0, 4)]
    file = write_study(tmp_path, trials=3, space={"seed": [0, 1, 4], "batch_size": 8, "start": starts})
    record, recorder = run(file)
    check_finished(file)
    assert seeds_of(record) == [0, 1, 4]
    assert recorder.trials("start") == [0, 1, 2]
    assert "space.start[2] is equal to trial 0, and is not trained again" in recorder.texts("study")
    tried = [trial.params for trial in open_study(file)[0].trials]
    assert [known.pop("seed") for known in tried] == [0, 1, 4]
    assert tried == [tried[0]] * 3


def test_a_small_space_holds_each_of_its_points_with_each_seed(tmp_path: Path) -> None:
    file = write_study(tmp_path, trials=9, space={**FOUR_POINTS, "seed": [0, 1]})
    record, recorder = run(file)
    assert len(recorder.trials("start")) == 8
    assert Counter(seeds_of(record)[:8]) == {0: 4, 1: 4}
    assert record.trials[8].equal_to is not None


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study of two trials that lists no seeds; to be copied."""
    space = {"batch_size": 8, "start": [POINT, {**POINT, "data_format": "title-content"}]}
    file = write_study(tmp_path_factory.mktemp("plain"), trials=2, space=space)
    run(file)
    return file


@pytest.fixture
def file(plain: Path, tmp_path: Path) -> Path:
    shutil.copytree(plain.parent, tmp_path / "copy")
    return tmp_path / "copy" / plain.name


def list_seeds(file: Path, seeds: list[int], *, trials: int) -> None:
    """Gives a study seeds, and before its start points the first of them with each seed."""
    rewrite(file, "trials = 2", f"trials = {trials}")
    rewrite(file, "[space]", f"[space]\nseed = {seeds}")
    point = ", ".join(f"{name} = {json.dumps(value)}" for name, value in POINT.items())
    starts = ", ".join(f"{{ {point}, seed = {seed} }}" for seed in seeds)
    rewrite(file, "start = [", f"start = [{starts}, ")


def test_a_study_without_seeds_shows_its_own_and_lists_none(plain: Path) -> None:
    with open_frames(plain) as study:
        assert list(study.trials()["seed"]) == [0, 0]
        assert "seed" not in choose_settings(study.record, study.spec.space)
        assert [trial["params"]["seed"] for trial in describe_study(study)["trials"]] == [0, 0]
    assert all("seed" not in trial.params for trial in open_study(plain)[0].trials)


def test_seeds_may_be_listed_and_added_later_and_the_studys_own_is_not_trained_again(file: Path) -> None:
    list_seeds(file, [0, 1], trials=3)
    record, recorder = run(file)
    assert seeds_of(record) == [0, 0, 1]
    assert recorder.trials("start") == [2]
    assert "space.start[0] is equal to trial 0, and is not trained again" in recorder.texts("study")
    rewrite(file, "seed = [0, 1]", "seed = [0, 1, 9]")
    rewrite(file, "trials = 3", "trials = 12")
    record, recorder = run(file)
    check_finished(file)
    assert record.counted == 12
    assert 9 in seeds_of(record)[3:]
    assert any(text.startswith("space.seed: ") for text in recorder.texts("change"))
    with open_frames(file) as study:
        assert "seed" in choose_settings(study.record, study.spec.space)
        importances = tabulate_importances(study)
        assert len(importances)
        assert "seed" not in set(importances["setting"])


def test_an_interrupted_trial_keeps_the_studys_seed_when_its_file_lists_others(file: Path) -> None:
    rewrite(file, "trials = 2", "trials = 3")
    plan = plan_study(locate_study(file))
    storage = open_storage(RunFolder.beside(file).database)
    proposal = Proposer(plan.space, seed=0, trials=3).propose(2)
    trial = begin_trial(plan, Ledger(storage, "toy"), proposal, baseline=make_evaluation(0.5, queries=60).per_query)
    storage.engine.dispose()
    rewrite(file, "[space]", "[space]\nseed = [4, 5]")
    record, _ = run(file)
    assert trial.number == 2
    assert record.trials[2].attributes["seed"] == 0
    assert "seed" not in open_study(file)[0].trials[2].params


@pytest.mark.parametrize(("seeds", "taken"), [([0, 1], 2), ([1, 2], 0)])
def test_a_fork_takes_trials_whose_seed_its_file_lists(file: Path, seeds: list[int], taken: int) -> None:
    new = file.with_name("new.toml")
    new.write_text(file.read_text())
    rewrite(new, "[space]", f"[space]\nseed = {seeds}")
    fork = fork_study(plan_study(locate_study(file)), plan_study(locate_study(new)))
    assert len(fork.taken) == taken
    assert [trial.attributes["seed"] for trial in open_study(new)[2].trials] == [0] * taken
    back = file.with_name("back.toml")
    back.write_text(file.read_text())
    assert len(fork_study(plan_study(locate_study(new)), plan_study(locate_study(back))).taken) == taken

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from curves import save_bank
from optuna.pruners import PatientPruner, ThresholdPruner
from simulate import Noise, simulate_run, true_means

from sweep.errors import SweepError
from sweep.settings.dimensions import add_older
from sweep.settings.study_file import RungsSpec
from sweep.stopping.outcome import find_stops, score_stops, trace_best, train_in_turn
from sweep.stopping.policy import StopPolicy
from sweep.stopping.recorded import RecordedRun, load_bank
from sweep.stopping.replay import SHARES, look_at_run, replay_runs, stop_by_policy, stop_by_pruner, stop_by_wilcoxon
from sweep.stopping.rules import DropOff

PROGRESS = np.arange(0, 1001, 100)
NOISE = Noise(shared=0.8, look=0.02, wander=0.18)


def record(shape: str, *, size: float = 0.1, seed: int = 0, examples: int = 1000, group: str = "one") -> RecordedRun:
    random = np.random.default_rng([seed, len(shape)])
    points = PROGRESS / 1000
    truth = true_means(shape, points, base=0.6, size=size)
    values = simulate_run(truth, points, queries=300, noise=NOISE, random=random)
    return RecordedRun(
        name=f"{shape}-{seed}",
        group=group,
        progress=PROGRESS,
        per_query=values.astype(np.float32),
        warmup_end=0.1,
        scheduler="linear",
        examples=examples,
        params={"data_format": "query-document", "learning_rate": 1e-4, "weight_decay": 0.0},
    )


@pytest.fixture(scope="module")
def runs() -> list[RecordedRun]:
    return [
        record("rise", size=0.2),
        record("hard fall"),
        record("slow rise"),
        record("rise", size=0.15),
        record("collapse"),
    ]


def flat_run(name: str, means: list[float], *, examples: int = 1000) -> RecordedRun:
    """A run whose queries all have the mean."""
    return RecordedRun(
        name=name,
        group="one",
        progress=np.linspace(0, 1000, len(means)).astype(np.int64),
        per_query=np.repeat(np.array(means, dtype=np.float32)[:, None], 4, axis=1),
        warmup_end=0.0,
        scheduler="linear",
        examples=examples,
        params={},
    )


def test_what_stops_saved_and_cost_is_counted_on_the_whole_runs() -> None:
    runs = [
        flat_run("falls", [0.5, 0.6, 0.5, 0.4, 0.3]),
        flat_run("rises", [0.5, 0.6, 0.7, 0.8, 0.9], examples=3000),
        flat_run("comes back", [0.5, 0.6, 0.4, 0.6, 0.75]),
    ]
    found = score_stops(runs, [2, 4, 2], truth=runs, margin=0.01)
    assert (found.fallen, found.fallen_stopped, found.healthy, found.healthy_stopped) == (1, 1, 2, 1)
    assert found.wrong == 1
    assert found.lost == pytest.approx(0.15)
    assert found.budget == pytest.approx((500 + 3000 + 500) / 5000)
    assert found.fallen_budget == pytest.approx(0.5)
    assert found.best == pytest.approx(0.9)
    assert found.best_lost == 0.0
    spent, best = trace_best(runs, train_in_turn([2, 4, 2]))
    np.testing.assert_allclose(spent, [250, 500, 1250, 2000, 2750, 3500, 3750, 4000])
    np.testing.assert_allclose(best, [0.6, 0.6, 0.6, 0.7, 0.8, 0.9, 0.9, 0.9])


def test_a_run_that_pauses_is_traced_in_the_order_in_which_it_is_trained() -> None:
    runs = [flat_run("one", [0.5, 0.6, 0.7, 0.8, 0.9]), flat_run("two", [0.5, 0.55, 0.6, 0.95, 0.7], examples=2000)]
    legs = [(0, 1), (1, 2), (0, 3), (0, 3)]
    assert find_stops(legs) == [3, 2]
    spent, best = trace_best(runs, legs)
    np.testing.assert_allclose(spent, [250, 750, 1250, 1500, 1750])
    np.testing.assert_allclose(best, [0.6, 0.6, 0.6, 0.7, 0.8])
    found = score_stops(runs, find_stops(legs), truth=runs, margin=0.01)
    assert found.best == pytest.approx(0.8)
    assert found.best_lost == pytest.approx(0.15)
    assert found.budget == pytest.approx(1750 / 3000)


FORECAST = StopPolicy()
PROVED = StopPolicy(forecast=False)


def test_a_policy_knows_of_the_runs_before() -> None:
    flat = [0.595, 0.6, 0.599, 0.598, 0.598, 0.598, 0.597]
    first, second = flat_run("first", flat), flat_run("second", flat)
    looks = {run.name: look_at_run(run, FORECAST) for run in (first, second)}
    assert not any(look.fall.fallen for look in looks["first"])
    settled = [look.recovery.cannot_recover for look in looks["first"]].index(True)
    assert settled < 6
    assert stop_by_policy([first, second], looks, FORECAST) == [6, settled]  # the first one leads
    assert stop_by_policy([first], looks, FORECAST, incumbent=0.7) == [settled]
    assert stop_by_policy([first, second], looks, PROVED) == [6, 6]


def test_the_incumbent_is_the_best_of_all_runs_before_and_not_the_last_of_them() -> None:
    flat = [0.595, 0.6, 0.599, 0.598, 0.598, 0.598, 0.597]
    runs = [
        flat_run("high", [0.5, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7]),
        flat_run("low", [0.5, 0.51, 0.52, 0.53, 0.53, 0.54, 0.55]),
        flat_run("flat", flat),
    ]
    looks = {run.name: look_at_run(run, FORECAST) for run in runs}
    assert stop_by_policy(runs, looks, FORECAST)[2] < 6
    assert stop_by_policy(runs[1:], looks, FORECAST)[1] == 6  # it leads


def test_every_rule_is_replayed_in_every_order(runs: list[RecordedRun]) -> None:
    replayed = replay_runs(runs, DropOff(), orders=3)
    by_name = {found.rule: found for found in replayed}
    assert list(by_name) == [
        *("drop-off, by forecast", "drop-off, proved", "Nop", "Patient(None, 3, 0.01)"),
        *("Median", "SuccessiveHalving", "Hyperband", "Wilcoxon", "rungs", "ASHA, pausing"),
    ]
    assert by_name["Nop"].mean("budget") == 1.0
    assert by_name["Nop"].mean("wrong") == 0.0
    for name in ("drop-off, by forecast", "drop-off, proved"):
        assert by_name[name].mean("fallen_stopped") == by_name[name].outcomes[0].fallen == 2
        assert by_name[name].mean("wrong") == 0.0
    for found in replayed:
        assert found.best.shape == (3, len(SHARES))
        assert (np.diff(found.best, axis=1) >= 0).all()


def test_rungs_are_replayed_as_they_are_asked_for(runs: list[RecordedRun]) -> None:
    def budget(rungs: RungsSpec | None) -> float:
        replayed = {found.rule: found for found in replay_runs(runs, DropOff(), rungs=rungs, orders=3)}
        assert replayed["rungs"].mean("best_lost") == 0.0
        return replayed["rungs"].mean("budget")

    assert budget(RungsSpec(at=(0.9,), keep=(1.0,))) > budget(RungsSpec(at=(0.15,), keep=(0.25,))) == budget(None)


def test_a_run_is_judged_on_some_queries_and_held_against_all_of_them(runs: list[RecordedRun]) -> None:
    few = replay_runs(runs, DropOff(), queries=20, orders=2)
    assert few[0].outcomes[0].fallen == 2  # as on all of them
    again = replay_runs(runs, DropOff(), queries=20, orders=2)
    assert few[0].outcomes == again[0].outcomes


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_optunas_pruners_see_the_runs_one_after_the_other(runs: list[RecordedRun]) -> None:
    assert stop_by_pruner(runs, ThresholdPruner(lower=0.0)) == [10] * 5
    stops = stop_by_pruner(runs, PatientPruner(None, patience=2, min_delta=0.01))
    assert [stop < 10 for stop in stops] == [False, True, False, False, True]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_wilcoxon_stops_what_is_worse_than_the_best_model_so_far(runs: list[RecordedRun]) -> None:
    assert stop_by_wilcoxon(runs)[0] == 10
    assert stop_by_wilcoxon(runs)[-1] < 10
    elsewhere = record("collapse", group="another")
    assert stop_by_wilcoxon([runs[0], elsewhere])[1] == 10  # other queries, nothing to compare with


def test_a_bank_gives_back_what_it_was_given(tmp_path: Path, runs: list[RecordedRun]) -> None:
    save_bank(tmp_path / "bank.npz", runs)
    found = load_bank(tmp_path / "bank.npz")
    assert [run.name for run in found] == [run.name for run in runs]
    for theirs, ours in zip(found, runs, strict=True):
        np.testing.assert_array_equal(theirs.progress, ours.progress)
        np.testing.assert_allclose(theirs.per_query, ours.per_query, atol=5e-4)  # half precision
        assert theirs.params == add_older(ours.params)  # as a bank from before a dimension is read
        assert theirs.params["weight_decay"] == 0.0
        assert (theirs.warmup_end, theirs.examples) == (ours.warmup_end, ours.examples)
    assert [file.name for file in tmp_path.iterdir()] == ["bank.npz"]


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "cannot be read: No such file"), (b"no bank", "is no bank of recorded runs"), (b"", "no bank of recorded")],
)
def test_what_is_no_bank_is_refused(tmp_path: Path, content: bytes | None, said: str) -> None:
    file = tmp_path / "bank.npz"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SweepError, match=said):
        load_bank(file)


def test_a_bank_that_would_run_code_is_not_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "bank.npz", header=np.array([{"version": 1}], dtype=object))
    with pytest.raises(SweepError, match="is no bank of recorded runs"):
        load_bank(tmp_path / "bank.npz")

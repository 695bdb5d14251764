"""Studies whose trials pause at rungs: who goes on, exactly as if it had not paused, and who does not."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import Start, check_gone, read_until, run_through_kills
from scripted import check_finished, open_study, points, rewrite, run

from sweep.coordinator.checkpoint_pruning import folder_bytes
from sweep.coordinator.proposals import see_trials
from sweep.errors import SweepError
from sweep.plan import plan_study
from sweep.progress import COMPLETE
from sweep.run_folder import RunFolder
from sweep.storage.evaluations import UNTRAINED
from sweep.storage.location import locate_study
from sweep.storage.records import StudyRecord
from sweep.testing import write_toy_study

RUNGS = {"at": [0.15, 0.5], "keep": [0.25, 0.5]}


def write_study(folder: Path, *, trials: int = 12, noise: float = 0.05, **tables: Any) -> Path:
    script = {"noise": noise, **tables.pop("script", {})}
    tables = {"budget": {"trials": trials, "examples": 640}, "rungs": RUNGS, **tables}
    return write_toy_study(folder, script=script, **tables)


def describe(record: StudyRecord) -> list[tuple[Any, ...]]:
    """All that was decided: the points, the measurements, and how each trial ended."""
    return [
        (trial.number, trial.params, trial.state, trial.promoted, trial.ended_by, points(trial), trial.value)
        for trial in record.trials
    ]


def gains_at(record: StudyRecord, rung: int) -> dict[int, float]:
    assert record.baseline is not None
    rows = {trial.number: trial.row_at_rung(rung) for trial in record.trials}
    return {number: row.value - record.baseline for number, row in rows.items() if row is not None}


def standings(file: Path, record: StudyRecord) -> dict[int, float]:
    """The gain of each trial at the first rung, carried on over a tenth of the learning rate at its pace so far."""
    plan, gains = plan_study(locate_study(file)), gains_at(record, 0)
    found = {}
    for trial in record.trials:
        assert trial.params is not None
        spent = plan.spent(trial.params, trial.rungs[0])
        found[trial.number] = gains[trial.number] * (1.0 + min(0.1, 1.0 - spent) / spent)
    return found


def test_the_best_of_each_rung_go_on_and_the_others_end_paused(tmp_path):
    file = write_study(tmp_path)
    record, told = run(file)
    check_finished(file)
    study, _, _ = open_study(file)
    assert {trial.state.name for trial in study.trials} == {"COMPLETE", "PRUNED"}
    promoted = [trial.number for trial in record.trials if trial.promoted]
    places = standings(file, record)
    ranked = sorted(places, key=lambda number: -places[number])
    assert sorted(ranked[:3]) == promoted
    for trial in record.trials:
        point = trial.rungs[trial.promoted] if trial.promoted < len(trial.rungs) else COMPLETE
        assert trial.progress == point
        assert trial.ended_by == ("budget" if trial.promoted == 2 else "not promoted")
    assert sum(trial.promoted == 2 for trial in record.trials) == 3  # three at least
    starts = [event.trial for event in told.events if event.kind == "start"]
    assert starts[:12] == list(range(12))  # all are begun before one goes on
    assert told.trials("promote")[:3] == ranked[:3]


def test_a_trial_that_was_not_promoted_says_why(tmp_path):
    record, _ = run(write_study(tmp_path))
    last = next(trial for trial in record.trials if trial.ended_by == "not promoted" and not trial.promoted)
    assert last.stop is not None
    assert last.stop.text.startswith(f"not promoted: rank {last.stop.numbers['rank']} of 12 with a gain of ")
    assert last.stop.numbers["gain"] == pytest.approx(gains_at(record, 0)[last.number], abs=1e-6)
    assert last.stop.numbers["rung"] == 0.15


def test_the_rank_that_is_shown_is_the_one_that_decides(tmp_path):
    record, _ = run(write_study(tmp_path))
    assert record.baseline is not None
    for rung in (0, 1):
        stands = {trial.number: trial.standing_at_rung(rung, record.baseline) for trial in record.trials}
        ranked = sorted((number for number in stands if stands[number] is not None), key=lambda n: -(stands[n] or 0.0))
        left = [trial for trial in record.trials if trial.is_unpromoted and trial.promoted == rung]
        assert {trial.number: 1 + ranked.index(trial.number) for trial in left} == {
            trial.number: trial.stop.numbers["rank"] for trial in left if trial.stop
        }


def test_rungs_lie_after_the_warm_up_by_the_learning_rate_that_is_spent(tmp_path):
    record, _ = run(write_study(tmp_path))
    late = max(record.trials, key=lambda trial: trial.params.warmup_ratio if trial.params else 0.0)
    assert late.params is not None
    assert late.rungs[0] / COMPLETE >= late.params.warmup_ratio + 0.02
    early = min(record.trials, key=lambda trial: trial.params.warmup_ratio if trial.params else 1.0)
    assert early.rungs[0] == 100  # 19 % of its rate is spent at a tenth of its steps


@pytest.mark.parametrize("devices", ["cpu:3", "cpu:8"])
def test_many_slots_keep_every_promise(tmp_path, devices):
    file = write_study(tmp_path, workers={"devices": devices}, script={"step_s": 0.002})
    run(file)
    record = check_finished(file)
    assert sum(trial.promoted > 0 for trial in record.trials) >= 3
    ended = [trial for trial in record.trials if trial.peak]
    assert record.best is not None
    assert record.best.promoted == len(record.best.rungs)
    assert max(trial.peak.value for trial in ended if trial.peak) == record.best.value


def test_a_larger_budget_compares_anew_and_may_promote_a_trial_of_the_wave_before(tmp_path):
    file = write_study(tmp_path, trials=8)
    before, _ = run(file)
    paused = {trial.number for trial in before.trials if trial.ended_by == "not promoted"}
    assert all(RunFolder.beside(file).checkpoint_folders(number) for number in paused)
    rewrite(file, "trials = 8", "trials = 9")
    rewrite(file, "keep = [0.25, 0.5]", "keep = [0.6, 0.5]")
    after, told = run(file)
    check_finished(file)
    adopted = [number for number in told.trials("promote") if number in paused]
    assert adopted, "six of nine go on, and only two of the first eight did"
    resumed = [event for event in told.events if event.kind == "start" and event.trial in adopted]
    assert {event.trial for event in resumed} == set(adopted)
    for number in adopted:
        old, new = before.trials[number], after.trials[number]
        assert [row.value for row in new.rows[: len(old.rows)]] == [row.value for row in old.rows]


@pytest.mark.parametrize("moment", ["pause", "promote", "start"])
def test_a_study_that_is_killed_while_trials_are_paused_decides_as_if_it_had_not_been(
    tmp_path: Path, start: Start, moment: str
) -> None:
    calm = write_study(tmp_path / "calm", script={"step_s": 0.001})
    expected, _ = run(calm)
    file = write_study(tmp_path / "shaken", script={"step_s": 0.001})
    out = run_through_kills(start, file, moment, moment, moment, kills=4)
    assert describe(check_finished(file)) == describe(expected), out


def test_the_worst_paused_trial_makes_room_and_is_trained_again_from_the_start_if_it_is_promoted(tmp_path):
    file = write_study(tmp_path, trials=8)
    first, _ = run(file)
    folder = RunFolder.beside(file)
    paused = [trial for trial in first.trials if trial.may_be_promoted]
    ranked = sorted(paused, key=lambda trial: -trial.peak.value if trial.peak else 0.0)
    room = 10 * folder_bytes(folder.base_model) + sum(folder_bytes(folder.trial(trial.number)) for trial in ranked[:2])
    file.write_text(file.read_text() + f"\n[checkpoints]\nmax_gib = {(room + 1) / 2**30:.15f}\n")
    rewrite(file, "keep = [0.25, 0.5]", "keep = [1.0, 1.0]")
    rewrite(file, "trials = 8", "trials = 9")
    second, told = run(file)
    check_finished(file)
    assert set(told.trials("delete")[: len(ranked) - 2]) == {trial.number for trial in ranked[2:]}
    again = [event for event in told.events if event.kind == "promote" and "again from the start" in event.text]
    assert {trial.number for trial in ranked[2:]} <= {event.trial for event in again}
    for trial in ranked:
        now = second.trials[trial.number]
        lost = [event.numbers["retrained_examples"] for event in again if event.trial == trial.number]
        assert now.retrained_examples == sum(lost)
        assert now.progress == COMPLETE or now.ended_by == "drop-off"
        assert [row.value for row in now.rows[: len(trial.rows)]] == [row.value for row in trial.rows]


def test_rungs_may_be_switched_on_and_off_between_runs(tmp_path):
    file = write_study(tmp_path, trials=4, rungs={})
    text = file.read_text()
    file.write_text(text.replace("[rungs]", ""))
    plain, _ = run(file)
    assert {trial.ended_by for trial in plain.trials} <= {"budget", "drop-off", "forecast"}
    file.write_text(text.replace("trials = 4", "trials = 12") + "\nat = [0.15, 0.5]\nkeep = [0.25, 0.5]\n")
    record, told = run(file)
    check_finished(file)
    assert any(trial.ended_by == "not promoted" for trial in record.trials[4:])
    assert any("trials that have ended take part at each rung" in text for text in told.texts("change"))
    file.write_text(text.replace("[rungs]", "").replace("trials = 4", "trials = 13"))
    check = run(file)[0]
    check_finished(file)
    assert check.trials[12].state in ("complete", "pruned")
    assert check.trials[12].ended_by != "not promoted"


def test_paused_trials_go_on_at_once_where_the_file_has_no_rungs_any_more(tmp_path: Path, start: Start) -> None:
    file = write_study(tmp_path / "study", script={"step_s": 0.002})
    process = start(file)
    for _ in range(5):
        read_until(process, "pause")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    check_gone(process)
    text = file.read_text()
    file.write_text(text[: text.index("[rungs]")])
    record, _ = run(file)
    check_finished(file)
    assert all(trial.progress == COMPLETE or trial.ended_by in ("drop-off", "forecast") for trial in record.trials)


def test_the_sampler_sees_paused_trials_at_the_rung_that_enough_have_reached(tmp_path):
    record, _ = run(write_study(tmp_path))
    seen = see_trials(record, dimensions=4)
    assert record.baseline is not None
    for trial in record.trials:
        assert trial.peak is not None
        up_to = [row.value for row in trial.rows if row.progress <= trial.rungs[0]]
        expected = max(up_to) if trial.is_unpromoted else trial.peak.value
        assert seen[trial.number] == pytest.approx(expected)


def test_trials_pause_and_go_on_bit_for_bit(tiny_model, tmp_path):
    tables: dict[str, Any] = {"budget": {"trials": 4, "examples": 320}, "stopping": {"drop_off": False}}
    settings = {"base": str(tiny_model)}
    plain = write_toy_study(tmp_path / "plain", model_settings=settings, **tables)
    halved = write_toy_study(tmp_path / "halved", model_settings=settings, rungs=RUNGS, **tables)
    whole, _ = run(plain, jobs="sweep.trial")
    record, told = run(halved, jobs="sweep.trial")
    assert [trial.params for trial in record.trials] == [trial.params for trial in whole.trials]
    promoted = [trial.number for trial in record.trials if trial.promoted == 2]
    assert promoted
    assert len(told.trials("start")) > 4
    first, second = open_tables(plain), open_tables(halved)
    for trial in record.trials:
        length = len(trial.rows)
        ours, theirs = second.per_query(trial.number)[1], first.per_query(trial.number)[1][:length]
        assert np.array_equal(ours, theirs)
    best = record.best
    assert best is not None
    assert best.number in promoted
    assert second.model_values(best.number, "test") is not None
    assert np.array_equal(second.per_query(UNTRAINED)[1], first.per_query(UNTRAINED)[1])


def open_tables(file: Path) -> Any:
    from sweep.storage.database import open_storage_read_only
    from sweep.storage.evaluations import EvaluationTable

    return EvaluationTable(open_storage_read_only(RunFolder.beside(file).database).engine, writable=False)


def test_trials_that_were_not_promoted_are_finished_when_that_is_asked_for(tmp_path):
    file = write_study(tmp_path, trials=8)
    first, _ = run(file)
    paused = [trial for trial in first.trials if trial.may_be_promoted]
    asked = [trial.number for trial in paused[:2]]
    second, told = run(file, finish=asked)
    check_finished(file)
    assert told.trials("start") == asked
    for before, after in zip(first.trials, second.trials, strict=True):
        if before.number in asked:
            assert after.progress == COMPLETE or after.ended_by == "drop-off"
            assert [row.value for row in after.rows[: len(before.rows)]] == [row.value for row in before.rows]
        else:
            assert points(after) == points(before)
            assert after.ended_by == before.ended_by


@pytest.mark.parametrize(("number", "problem"), [(99, "there is no such trial"), (-1, "there is no such trial")])
def test_a_trial_that_is_not_paused_cannot_be_finished(tmp_path, number, problem):
    file = write_study(tmp_path, trials=4)
    record, _ = run(file)
    with pytest.raises(SweepError, match=f"trial {number} cannot be finished: {problem}; paused are: "):
        run(file, finish=[number])
    assert record.best is not None
    with pytest.raises(SweepError, match="it is complete and paused at no rung"):
        run(file, finish=[record.best.number])


def test_trials_that_were_paused_when_the_budget_ended_go_on_where_it_is_raised(tmp_path):
    early = 12 * 640 * 3 // 10  # all have begun by then, and one has gone on
    file = write_study(tmp_path, budget={"trials": 12, "examples": 640, "total_examples": early, "doublings": 0})
    cut, _ = run(file)
    assert cut.attributes["ended_by"] == "total_examples"
    assert cut.counted == 12
    _, told = run(file)
    assert told.events == []
    rewrite(file, f"total_examples = {early}", "total_examples = 1000000")
    more, _ = run(file)
    assert more.attributes["ended_by"] == "trials"
    assert sum(trial.promoted for trial in cut.trials) < sum(trial.promoted for trial in more.trials)
    assert sum(trial.progress == COMPLETE for trial in more.trials) >= 2  # of three, one of which was cut off

from __future__ import annotations

import json
import math
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bench.diagnosis import SPACE, Planted, simulate
from scipy import stats
from scripted import run as run_scripted

from sweep import open_study
from sweep.cli import main
from sweep.report.diagnosis import Finding, diagnose
from sweep.report.diagnosis.advice import find_best_runs
from sweep.report.diagnosis.cause import OVERALL, Effect, Evidence, Question
from sweep.report.diagnosis.causes import CAUSES
from sweep.report.diagnosis.findings import AXES, decide, diagnose_runs
from sweep.report.diagnosis.run_outcomes import COMMON, Reached, RunOutcome
from sweep.settings.dimensions import Params
from sweep.settings.ranges import FloatRange
from sweep.settings.space import SearchSpace
from sweep.settings.study_file import SpaceSpec, load_study
from sweep.testing import write_toy_study

FORMATS = ("title-content", "query-document")
QUICKSTART = SpaceSpec()
TOO_HIGH, TOO_LOW, FORMAT, WARMUP, SCALE, NEGATIVES, OVERFITTING, LENGTH = (cause.name for cause in CAUSES)


def outcome(
    trial: int,
    data_format: str,
    rate: float,
    *,
    fall: float = 0.0,
    held: float = 0.75,
    stopped: bool = False,
    losses: tuple[float, float] | None = None,
    seed: int | None = None,
    **settings: float,
) -> RunOutcome:
    params = Params(
        learning_rate=rate,
        effective_learning_rate=rate,
        warmup_ratio=settings.get("warmup_ratio", 0.1),
        batch_size=int(settings.get("batch_size", 64)),
        data_format=data_format,
        scale=settings.get("scale", 20.0),
        scheduler="linear",
        seed=seed,
        length=int(settings.get("length", 1)),
    )
    return RunOutcome(
        trial=trial,
        params=params,
        warmup_end=params.warmup_ratio,
        share=settings.get("share", 0.001),
        reached=(
            *(
                Reached(
                    peak=held + fall,
                    peak_progress=300,
                    held=held + fall,
                    held_noise=0.008,
                    fall_noise=0.004,
                    max_held=held + fall,
                )
                for _ in COMMON[:-1]
            ),
            Reached(
                peak=held + fall,
                peak_progress=300,
                held=held,
                held_noise=0.009,
                fall_noise=0.005,
                max_held=held,
                is_stopped=stopped,
            ),
        ),
        losses=losses,
    )


TWO_BY_TWO = [
    outcome(0, "title-content", 5e-5, held=0.747),
    outcome(1, "query-document", 5e-5, held=0.815),
    outcome(2, "title-content", 5.6e-4, held=0.717, fall=0.032, stopped=True),
    outcome(3, "query-document", 5.6e-4, held=0.890),
]
"""A 2 x 2 like the quickstart's start trials, of the size of what they did at batch 64 and 5,120 examples."""


def by_cause(findings: list[Finding]) -> dict[tuple[str, str], Finding]:
    return {(one.cause, one.scope): one for one in findings}


def test_the_quickstarts_start_trials_tell_the_format_and_the_rate_for_titles() -> None:
    found = by_cause(diagnose_runs(TWO_BY_TWO, space=QUICKSTART))
    supported = {place for place, one in found.items() if one.verdict == "supported"}
    assert {(FORMAT, OVERALL), (TOO_HIGH, "title-content")} <= supported
    assert supported <= {(FORMAT, OVERALL), (TOO_HIGH, "title-content"), (TOO_HIGH, OVERALL)}
    too_high = found[TOO_HIGH, "title-content"]
    assert too_high.effect == pytest.approx(0.032, abs=0.005)
    assert too_high.trials == (0, 2)
    assert "too high for title-content" in too_high.sentence
    assert "1 of the 2 runs had been stopped before" in too_high.sentence


def test_an_effect_in_one_format_alone_is_named_as_an_interaction() -> None:
    found = by_cause(diagnose_runs(TWO_BY_TWO, space=QUICKSTART))
    sentence = found[TOO_HIGH, OVERALL].sentence
    assert "An interaction: supported for title-content, cannot tell for query-document." in sentence


def test_where_formats_differ_there_is_no_advice_for_the_whole_and_none_against_the_best_run() -> None:
    found = by_cause(diagnose_runs(TWO_BY_TWO, space=QUICKSTART))
    assert found[TOO_HIGH, OVERALL].next_steps.startswith("No overall advice, because formats differ")
    advice = found[TOO_HIGH, "title-content"].next_steps
    assert "With title-content pairs keep learning_rate at 5e-05 (at batch 64) or less." in advice
    assert "trial 3 (the best, query-document, 0.00056) lies above" in advice
    assert "Lower space.learning_rate.high" not in advice
    assert found[FORMAT, OVERALL].next_steps.startswith("Train on query-document pairs; where")


def test_an_end_of_a_range_is_moved_where_the_best_runs_stay_within() -> None:
    space = SpaceSpec(data_format="title-content")
    runs = [outcome(0, "title-content", 5e-5, held=0.8), outcome(1, "title-content", 5e-4, held=0.6, fall=0.05)]
    advice = by_cause(diagnose_runs(runs, space=space))[TOO_HIGH, OVERALL].next_steps
    assert advice.startswith("Lower space.learning_rate.high towards 5e-05 (at batch 64): all of the best")


def test_no_end_is_moved_past_a_run_that_cannot_be_told_from_the_best() -> None:
    space = SpaceSpec(data_format="title-content")
    runs = [outcome(0, "title-content", 5e-5, held=0.8), outcome(1, "title-content", 5e-4, held=0.7, fall=0.09)]
    advice = by_cause(diagnose_runs(runs, space=space))[TOO_HIGH, OVERALL].next_steps
    assert advice.startswith("Leave space.learning_rate.high where it is, or move it no further than trial 1 (one of")


def test_advice_within_a_format_spares_the_best_runs_of_that_format_as_well() -> None:
    runs = [*TWO_BY_TWO[:2], outcome(2, "title-content", 5.6e-4, held=0.8, fall=0.09), TWO_BY_TWO[3]]
    advice = by_cause(diagnose_runs(runs, space=QUICKSTART))[TOO_HIGH, "title-content"].next_steps
    assert advice.startswith("Leave space.learning_rate.high where it is, or move it no further than trial 2")


def test_a_run_that_never_beat_the_untrained_model_is_none_of_the_best() -> None:
    below = outcome(0, "title-content", 5e-5, held=0.8)
    below = replace(below, reached=tuple(replace(one, peak_progress=0) for one in below.reached))
    above = outcome(1, "title-content", 5e-5, held=0.79)
    assert find_best_runs([below, above]) == [above]
    assert find_best_runs([below]) == []


@pytest.mark.parametrize(
    ("cause", "held", "advice"),
    [
        ("FORMAT", 0.9, "keep the other format too, because of trial 9 (the best, title-content"),
        ("NEGATIVES", 0.9, "leave space.batch_size, of which the best runs use the upper end"),
        ("OVERFITTING", 0.9, "Train on more or other pairs, or on fewer examples"),
    ],
)
def test_advice_spares_the_best_run(cause: str, held: float, advice: str) -> None:
    best = outcome(9, "title-content", 1e-4, held=held, batch_size=64)
    evidence = Evidence(runs=[best], space=QUICKSTART, margin=0.01, axes=AXES)
    entry = next(one for one in CAUSES if one.name == globals()[cause])
    question = Question(scope=OVERALL, rows=np.array([0]))
    assert advice in entry.advise(question, Effect(seen=0.1, interval=(0.05, 0.2)), evidence)


def test_every_cause_gets_a_finding_and_rate_warm_up_and_scale_one_in_each_format() -> None:
    findings = diagnose_runs(TWO_BY_TWO, space=QUICKSTART)
    scopes = {cause.name: [one.scope for one in findings if one.cause == cause.name] for cause in CAUSES}
    for cause in (TOO_HIGH, TOO_LOW, WARMUP, SCALE, LENGTH):
        assert scopes[cause] == [OVERALL, *FORMATS]
    for cause in (FORMAT, NEGATIVES, OVERFITTING):
        assert scopes[cause] == [OVERALL]


def test_what_was_never_varied_cannot_be_told_and_says_so() -> None:
    found = by_cause(diagnose_runs(TWO_BY_TWO, space=QUICKSTART))
    scale = found[SCALE, OVERALL]
    assert (scale.verdict, scale.effect, scale.interval) == ("cannot tell", None, None)
    assert "every scale that was tried is about 20" in scale.sentence
    assert "Make space.scale a range" in scale.next_steps
    assert found[TOO_LOW, OVERALL].verdict == "cannot tell"


def test_a_share_of_false_negatives_that_is_next_to_none_is_no_cause() -> None:
    negatives = by_cause(diagnose_runs(TWO_BY_TWO, space=QUICKSTART))[NEGATIVES, OVERALL]
    assert negatives.verdict == "not supported"
    unknown = [replace(run, share=None) for run in TWO_BY_TWO]
    negatives = by_cause(diagnose_runs(unknown, space=QUICKSTART))[NEGATIVES, OVERALL]
    assert negatives.verdict == "cannot tell"
    assert "was not recorded" in negatives.sentence


def test_a_study_of_one_format_is_judged_as_a_whole() -> None:
    space = SpaceSpec(data_format="title-content")
    runs = [run for run in TWO_BY_TWO if run.params.data_format == "title-content"]
    found = by_cause(diagnose_runs(runs, space=space))
    assert {scope for _, scope in found} == {OVERALL}
    assert "only title-content was tried" in found[FORMAT, OVERALL].sentence
    assert "Make space.data_format a list" in found[FORMAT, OVERALL].next_steps


def test_a_study_without_a_run_that_ended_has_no_finding() -> None:
    assert diagnose_runs([], space=QUICKSTART) == []


def test_one_run_tells_nothing() -> None:
    findings = diagnose_runs(TWO_BY_TWO[:1], space=QUICKSTART)
    assert {one.verdict for one in findings if one.cause != NEGATIVES} == {"cannot tell"}


def test_a_scale_that_is_too_low_supports_the_cause_as_well() -> None:
    space = SpaceSpec(scale=FloatRange(low=20.0, high=100.0, log=True))
    runs = [
        outcome(trial, FORMATS[trial % 2], 1e-4 * (1 + trial), scale=20.0 if trial < 6 else 100.0,
                fall=0.1 if trial < 6 else 0.0, batch_size=64)
        for trial in range(12)
    ]  # fmt: skip
    runs = [replace(run, params=replace(run.params, learning_rate=2e-4, effective_learning_rate=2e-4)) for run in runs]
    scale = by_cause(diagnose_runs(runs, space=space))[SCALE, OVERALL]
    assert scale.verdict == "supported"
    assert scale.effect is not None
    assert scale.effect < -0.05
    assert scale.sentence.startswith("A low loss scale makes runs fall")
    # the peaks of the runs that fell are the best there are, and they had 20
    assert "Leave space.scale.low where it is, or move it no further than trial 0 (the best" in scale.next_steps


@pytest.mark.parametrize(
    ("effect", "interval", "either_way", "answer"),
    [
        (0.05, (0.02, 0.09), False, "supported"),
        (0.05, (-0.01, 0.09), False, "cannot tell"),
        (0.005, (0.001, 0.009), False, "not supported"),  # there, and too small to matter
        (0.005, (0.001, 0.02), False, "cannot tell"),
        (0.0, (-0.009, 0.009), False, "not supported"),
        (0.0, (-0.05, 0.05), False, "cannot tell"),
        (-0.05, (-0.09, -0.02), False, "not supported"),
        (-0.05, (-0.09, -0.02), True, "supported"),
        (0.0, (-0.05, 0.005), True, "cannot tell"),
    ],
)
def test_the_interval_decides(effect: float, interval: tuple[float, float], either_way: bool, answer: str) -> None:
    assert decide(effect, interval, matters=0.01, either_way=either_way) == answer


def test_the_rise_of_the_loss_has_the_t_interval_over_the_runs_that_fell() -> None:
    rises = [0.05, 0.08, 0.02, 0.06]
    runs = [outcome(trial, FORMATS[0], 1e-4, fall=0.05, losses=(2.0, 2.0 * math.exp(rise)))
            for trial, rise in enumerate(rises)]  # fmt: skip
    runs.append(outcome(9, FORMATS[0], 1e-4, fall=0.0, losses=(2.0, 4.0)))
    rise = by_cause(diagnose_runs(runs, space=QUICKSTART))[OVERFITTING, OVERALL]
    expected = stats.ttest_1samp(rises, 0.0).confidence_interval(0.99)
    assert rise.interval == pytest.approx((expected.low, expected.high))
    assert rise.effect == pytest.approx(np.mean(rises))
    assert rise.trials == (0, 1, 2, 3)


def test_overfitting_is_told_where_the_loss_rises_and_excluded_where_it_falls() -> None:
    for change, answer in ((0.2, "supported"), (-0.2, "not supported")):
        runs = [
            outcome(trial, FORMATS[0], 1e-4, fall=0.05, losses=(2.0, 2.0 + change + 0.01 * trial)) for trial in range(5)
        ]
        finding = by_cause(diagnose_runs(runs, space=QUICKSTART))[OVERFITTING, OVERALL]
        assert finding.verdict == answer


def test_without_a_run_that_fell_there_is_no_fall_to_explain() -> None:
    runs = [outcome(trial, FORMATS[0], 1e-4, losses=(2.0, 2.5)) for trial in range(5)]
    finding = by_cause(diagnose_runs(runs, space=QUICKSTART))[OVERFITTING, OVERALL]
    assert finding.verdict == "cannot tell"
    assert "there is no fall to explain" in finding.sentence


@pytest.mark.parametrize(
    "space",
    [
        QUICKSTART,
        SpaceSpec(learning_rate=1e-4, warmup_ratio=0.1, batch_size=64, scale=FloatRange(low=20.0, high=50.0)),
        SpaceSpec(learning_rate_rule="sqrt", max_learning_rate=2e-4),
        SpaceSpec(data_format="query-document", scale=FloatRange(low=20.0, high=50.0, log=True)),
    ],
)
def test_every_trial_that_is_proposed_is_one_that_the_study_file_may_have(space: SpaceSpec) -> None:
    runs = [replace(run, share=0.0) for run in TWO_BY_TWO]
    proposed = 0
    for finding in diagnose_runs(runs, space=space):
        _, mark, table = finding.next_steps.partition("[[space.start]]")
        if mark:
            start = tomllib.loads(mark + table)["space"]["start"]
            proposed += len(start)
            SearchSpace(SpaceSpec.model_validate(space.model_dump() | {"start": start})).check(Path("study.toml"))
    assert proposed


def test_a_trial_that_was_run_before_is_not_proposed_again() -> None:
    proposed = [
        start
        for finding in diagnose_runs(TWO_BY_TWO, space=QUICKSTART)
        if "[[space.start]]" in finding.next_steps
        for start in tomllib.loads("[[space.start]]" + finding.next_steps.split("[[space.start]]", 1)[1])["space"][
            "start"
        ]
    ]
    tried = [(run.params.learning_rate, run.params.warmup_ratio, run.params.data_format) for run in TWO_BY_TWO]
    assert proposed
    assert not [one for one in proposed if (one["learning_rate"], one["warmup_ratio"], one["data_format"]) in tried]


def test_runs_that_differ_in_their_seed_alone_are_replicates_and_a_seed_is_no_cause() -> None:
    def replicate(*noise: float) -> dict[tuple[str, str], Finding]:
        runs = [
            replace(run, trial=4 * seed + run.trial, params=replace(run.params, seed=seed), reached=shift(run, extra))
            for seed, extra in enumerate(noise)
            for run in TWO_BY_TWO
        ]
        return by_cause(diagnose_runs(runs, space=SpaceSpec(seed=tuple(range(len(noise))))))

    def shift(run: RunOutcome, extra: float) -> tuple[Reached, ...]:
        sign = 1 if run.params.data_format == "query-document" else -1
        *before, end = run.reached
        held = end.held + sign * extra
        return (*before, replace(end, held=held, max_held=held, peak=max(end.peak, held)))

    alone, alike, apart = replicate(0.0), replicate(0.0, 0.001, -0.001), replicate(0.0, -0.15, -0.2)
    assert all("seed" not in cause for cause, _ in alike)
    assert "seed" not in [axis.name for axis in AXES]
    for found in (alone, alike):
        assert found[FORMAT, OVERALL].verdict == "supported"
    assert width(alike[FORMAT, OVERALL]) < width(alone[FORMAT, OVERALL])
    assert apart[FORMAT, OVERALL].verdict != "supported"  # a format that is better with one seed and worse with others


def width(finding: Finding) -> float:
    assert finding.interval is not None
    return finding.interval[1] - finding.interval[0]


def test_where_every_trial_was_run_replicates_would_settle_it() -> None:
    fixed = {"learning_rate": 5e-5, "warmup_ratio": 0.1, "batch_size": 64, "data_format": list(FORMATS)}
    runs = [outcome(place, name, 5e-5, held=0.75 + 0.01 * place, seed=0) for place, name in enumerate(FORMATS)]
    more = by_cause(diagnose_runs(runs, space=SpaceSpec.model_validate({**fixed, "seed": [0, 7]})))[FORMAT, OVERALL]
    assert more.verdict == "cannot tell"
    _, mark, table = more.next_steps.partition("[[space.start]]")
    starts = tomllib.loads(mark + table)["space"]["start"]
    assert [(start["data_format"], start["seed"]) for start in starts] == [("query-document", 7), ("title-content", 7)]
    none = by_cause(diagnose_runs(runs, space=SpaceSpec.model_validate({**fixed, "seed": 0})))[FORMAT, OVERALL]
    assert none.next_steps.startswith("Every such trial was run: add seeds to space.seed")


def lengthened(*, fall: float, held: float) -> list[RunOutcome]:
    """A search of query-document pairs at three rates, and longer runs of its best that end with a value."""
    rates = ((5e-5, 0.82), (2e-4, 0.88), (4e-4, 0.87))
    search = [outcome(place, "query-document", rate, held=value) for place, (rate, value) in enumerate(rates)]
    longer = [outcome(3, "query-document", 2e-4, length=2, fall=0.5 * fall, held=0.88 + 0.5 * (held - 0.88))]
    return [*search, *longer, outcome(4, "query-document", 2e-4, length=4, fall=fall, held=held)]


def test_training_for_too_long_is_told_within_the_format_in_which_it_does_harm() -> None:
    titles = [outcome(place, "title-content", rate, held=0.8) for place, rate in ((5, 5e-5), (6, 2e-4), (7, 4e-4))]
    runs = [*titles, *lengthened(fall=0.1, held=0.7)]
    found = by_cause(diagnose_runs(runs, space=QUICKSTART))
    too_long = found[LENGTH, "query-document"]
    assert too_long.verdict == "supported"
    assert "Training for longer makes runs fall for query-document: 4 times budget.examples" in too_long.sentence
    assert too_long.next_steps.startswith("Set budget.doublings to 0: longer trials end lower")
    titles_alone = found[LENGTH, "title-content"]
    assert titles_alone.verdict == "cannot tell"
    assert "every run was to be trained for as long as the others" in titles_alone.sentence
    assert titles_alone.next_steps.startswith("Set budget.total_examples")
    others = {place: one.verdict for place, one in found.items() if place[0] != LENGTH}
    assert "supported" not in others.values()  # what is the length's fault is not blamed on the rate


def test_longer_runs_that_end_higher_are_not_trained_too_long() -> None:
    space = SpaceSpec(data_format="query-document")
    found = by_cause(diagnose_runs(lengthened(fall=0.0, held=0.93), space=space))[LENGTH, OVERALL]
    assert found.verdict != "supported"
    assert found.effect is not None
    assert found.effect < 0.01


def test_the_length_of_the_best_run_is_not_advised_against() -> None:
    runs = lengthened(fall=0.2, held=0.8)  # it fell from 1.0, the highest peak
    evidence = Evidence(runs=runs, space=QUICKSTART, margin=0.01, axes=AXES)
    entry = next(one for one in CAUSES if one.name == LENGTH)
    question = Question(scope=OVERALL, rows=np.arange(5), better=0.0, worse=2.0)
    advice = entry.advise(question, Effect(seen=0.2, interval=(0.1, 0.3)), evidence)
    assert advice.startswith(
        "Leave budget.doublings, because of trial 4 (the best, query-document, 4) times the length"
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_simulated_study_without_a_cause_supports_none(seed: int) -> None:
    runs = simulate(Planted((), 0.0, 1.3), trials=12, seed=seed)
    assert [one for one in diagnose_runs(runs, space=SPACE) if one.verdict == "supported"] == []


def test_a_simulated_study_with_a_format_that_does_not_fit_tells_it() -> None:
    runs = simulate(Planted((FORMAT,), 1.0, 1.3), trials=30, seed=0)
    supported = {one.cause for one in diagnose_runs(runs, space=SPACE) if one.verdict == "supported"}
    assert supported == {FORMAT}


START = [
    {"learning_rate": rate, "warmup_ratio": 0.1, "batch_size": 8, "data_format": name}
    for rate in (5e-5, 6e-4)
    for name in FORMATS
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished scripted study of 2 x 2 trials; to be read, not written."""
    file = write_toy_study(tmp_path_factory.mktemp("diagnosed"), script={}, space={"start": START})
    run_scripted(file)
    return file


def test_a_finished_study_is_diagnosed(finished: Path) -> None:
    found = by_cause(diagnose(open_study(finished)))
    assert found[FORMAT, OVERALL].verdict == "supported"
    assert found[TOO_HIGH, "title-content"].trials == (0, 2)
    assert found[NEGATIVES, OVERALL].verdict == "not supported"  # 0.8 % in every run


def test_the_command_prints_a_row_for_every_finding(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", str(finished)]) == 0
    printed = capsys.readouterr().out
    for finding in diagnose(open_study(finished)):
        assert any(
            line.startswith(finding.cause) and finding.scope in line and finding.verdict in line
            for line in printed.splitlines()
        )
    assert "[[space.start]]" not in printed
    assert main(["diagnose", str(finished), "--next"]) == 0
    assert "[[space.start]]" in capsys.readouterr().out


def test_the_machines_view_is_the_same_findings(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", str(finished), "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert (described["version"], described["study"]) == (1, "toy")
    findings = diagnose(open_study(finished))
    assert [one["sentence"] for one in described["verdicts"]] == [one.sentence for one in findings]
    assert set(described["verdicts"][0]) == set(Finding.__dataclass_fields__)


def test_what_is_proposed_can_be_pasted_into_the_study_file(finished: Path, tmp_path: Path) -> None:
    text = finished.read_text()
    for finding in diagnose(open_study(finished)):
        _, mark, table = finding.next_steps.partition("[[space.start]]")
        file = tmp_path / "toy.toml"
        file.write_text(text.replace("start = [", "# start = [") + "\n" + mark + table)
        SearchSpace(load_study(file).space).check(file)


def test_a_study_that_has_not_begun_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_toy_study(tmp_path, script={})
    assert main(["diagnose", str(file)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1

from __future__ import annotations

import contextlib
import itertools
import math
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from hard_negatives import HardNegatives
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

import sweep.trial
from sweep.data import FORMATS, load_collection, plan_evaluation_set
from sweep.messages import Assignment, EvaluationTask, RehearsalTask, Report, StudyTask, Verdict
from sweep.progress import plan_evaluations
from sweep.rehearsal import rehearse_study
from sweep.run_folder import RunFolder
from sweep.settings.dimensions import Params
from sweep.settings.study_file import load_study
from sweep.testing import write_toy_study
from sweep.training.checkpoint import verify
from sweep.training.models import load_model
from sweep.trial import evaluate_models, list_devices, open_or_compile, plan_fit, prepare_study, run_trial
from tests.compiled import make_evaluator

STEPS = 10
GRID = [100, 200, 400, 700, 1000]
DUE = {1: 100, 2: 200, 4: 400, 7: 700, 10: 1000}
"""Step of each evaluation, and the grid point under which it is stored."""

BATCH = 8

EVERY_STEP_S = 1e-9
"""Seconds between checkpoints that are due after every step."""


class Killed(BaseException):
    """Ends a trial's process in the middle, as a signal would."""


@dataclass
class ScriptedChannel:
    """A channel in this process: it keeps the reports, and what lies on disk when each arrives.

    Attributes:
        stop_at: Step of the report that is answered with a verdict to stop.
        kill_at: Step of the report that is never answered.
        pause_after: How often it is asked whether to pause before it says yes.
        look: Called with each report before it is answered.
        signs: The signs of life: whether each announces a long call.
    """

    stop_at: int | None = None
    kill_at: int | None = None
    pause_after: int | None = None
    look: Callable[[Report], None] = lambda _: None
    reports: list[Report] = field(default_factory=list)
    asked: int = 0
    signs: list[bool] = field(default_factory=list)

    def report(self, report: Report) -> Verdict:
        self.reports.append(report)
        self.look(report)
        if report.step == self.kill_at:
            raise Killed("killed")
        return Verdict(stop=report.step == self.stop_at, reason="drop-off")

    def sign(self, *, long_call: bool = False) -> None:
        self.signs.append(long_call)

    def is_pausing(self) -> bool:
        self.asked += 1
        return self.pause_after is not None and self.asked >= self.pause_after

    @property
    def curve(self) -> list[tuple[object, ...]]:
        """Everything of the reports that is measured and not timed."""
        return [
            (one.progress, one.step, one.examples, one.evaluation.per_query.tobytes(), one.evaluation.positives)
            for one in self.reports
        ]


def _evaluator(model, collection, judged, task):
    """The evaluator of a study's own view of documents."""
    return make_evaluator(model, collection, judged=judged, document=task.spec.data.document)


@pytest.fixture(scope="module")
def study(tmp_path_factory, tiny_model) -> StudyTask:
    """A prepared study over the toy collection."""
    folder = tmp_path_factory.mktemp("study 'one'")
    shutil.copytree(tiny_model, folder / "model")
    file = write_toy_study(folder, evaluation={"max_queries": 30, "max_documents": 60})
    task = StudyTask(spec=load_study(file), folder=folder, run_folder=RunFolder.beside(file).path)
    prepare_study(task, ScriptedChannel())
    return task


@pytest.fixture
def assignment(study, tmp_path):
    """Makes assignments of the study, in a run folder of the test's own."""
    shutil.copytree(study.run_folder, tmp_path / "run")

    def make(
        trial=3, micro_batch=None, peak=None, measured=0, steps=STEPS, every_s=EVERY_STEP_S, **params
    ) -> Assignment:
        usual = {
            "learning_rate": 2e-3,
            "effective_learning_rate": 2e-3,
            "warmup_ratio": 0.1,
            "batch_size": BATCH,
            "data_format": "query-document",
            "scale": 20.0,
            "scheduler": "linear",
        }
        checkpoints = study.spec.checkpoints.model_copy(update={"every_s": every_s})
        return Assignment(
            spec=study.spec.model_copy(update={"checkpoints": checkpoints}),
            folder=study.folder,
            run_folder=tmp_path / "run",
            trial=trial,
            params=Params(**{**usual, **params}),
            steps=steps,
            evaluations=plan_evaluations(GRID, steps),
            micro_batch=micro_batch,
            peak=peak,
            measured=measured,
        )

    return make


@pytest.fixture
def slow_disk(monkeypatch):
    """A checkpoint is expected to take hours."""
    monkeypatch.setattr("sweep.training.checkpoint_schedule.BYTES_A_SECOND", 10)


@pytest.fixture(scope="module", params=[BATCH, 4], ids=["whole batches", "cut batches"])
def uninterrupted(request, study, tmp_path_factory):
    """The curve of a trial that nothing interrupts, and its run folder."""
    run_folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    shutil.copytree(study.run_folder, run_folder)
    channel = ScriptedChannel()
    params = Params(
        learning_rate=2e-3,
        effective_learning_rate=2e-3,
        warmup_ratio=0.1,
        batch_size=BATCH,
        data_format="query-document",
        scale=20.0,
        scheduler="linear",
    )
    task = Assignment(
        spec=study.spec,
        folder=study.folder,
        run_folder=run_folder,
        trial=3,
        params=params,
        steps=STEPS,
        evaluations=plan_evaluations(GRID, STEPS),
        micro_batch=request.param,
    )
    result = run_trial(task, channel)
    return task, channel, result


def steps_on_disk(task):
    return [int(path.name[5:]) for path in RunFolder(task.run_folder).checkpoint_folders(task.trial)]


def committed(reports):
    """What an assignment says of committed reports."""
    peak = max((report.evaluation.value for report in reports), default=None)
    return {"peak": peak, "measured": max((report.progress for report in reports), default=0)}


def assert_bit_equal(ours, theirs):
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


class TestReports:
    def test_they_come_at_exactly_the_planned_steps_with_the_examples_seen(self, uninterrupted):
        _, channel, result = uninterrupted
        assert {report.step: report.progress for report in channel.reports} == DUE
        assert [report.examples for report in channel.reports] == [step * BATCH for step in DUE]
        assert (result.status, result.step, result.resumed_from) == ("finished", STEPS, 0)

    def test_signs_of_life_are_given_with_every_pass_and_long_calls_announced(self, assignment):
        task, channel = assignment(steps=4, micro_batch=4), ScriptedChannel()
        signs_before: list[int] = []
        channel.look = lambda _: signs_before.append(len(channel.signs))
        run_trial(task, channel)
        before = channel.signs[: signs_before[0]]
        assert before[0]  # the model is loaded
        passes = 2 * BATCH // 4  # through the model in the one step before, with and without a gradient
        assert before.count(False) > 2 * passes
        assert before.count(True) >= 4  # model, collection, evaluator, plan, trainer, the peak's files
        assert all(later > earlier + passes for earlier, later in itertools.pairwise(signs_before))

    def test_they_carry_what_was_measured(self, uninterrupted):
        task, channel, result = uninterrupted
        for report in channel.reports:
            assert report.evaluation.per_query.shape == (30,)
            assert report.evaluation.per_query.dtype == np.float32
            assert report.loss is not None
            assert report.loss > 0
            assert report.micro_batch == result.micro_batch == task.micro_batch
            assert 0 < report.evaluation_seconds < report.seconds
        for name in ("seconds", "evaluation_seconds"):
            values = [getattr(report, name) for report in channel.reports]
            assert values == sorted(values)
        assert channel.reports[-1].loss < channel.reports[0].loss

    def test_they_are_the_judgings_of_the_models_on_the_dev_split(self, uninterrupted):
        task, channel, _ = uninterrupted
        collection = load_collection(task.spec.data, folder=task.folder)
        judged = plan_evaluation_set(collection, "dev", max_documents=60, max_queries=30, seed=0)
        best = max(channel.reports, key=lambda report: report.evaluation.value)
        model = load_model(RunFolder(task.run_folder).peak_model(task.trial, best.progress), device="cpu")
        found = _evaluator(model, collection, judged, task).evaluate(model)
        np.testing.assert_array_equal(found.per_query, best.evaluation.per_query)

    def test_the_worker_chooses_the_micro_batch_where_none_is_given(self, assignment):
        task = replace(assignment(), steps=2, evaluations=plan_evaluations([1000], 2))
        channel = ScriptedChannel()
        assert run_trial(task, channel).micro_batch == BATCH
        assert [report.micro_batch for report in channel.reports] == [BATCH]

    @pytest.mark.parametrize("data_format", ["title-content", "query-document"])
    def test_the_data_format_of_the_trial_is_trained_on(self, assignment, data_format):
        channel = ScriptedChannel()
        run_trial(assignment(data_format=data_format, steps=4), channel)
        assert [report.step for report in channel.reports] == [1, 2, 3, 4]  # several grid points fall on one step

    def test_its_own_seed_is_that_of_its_order_and_dropout_and_without_one_it_has_the_studys(self, assignment):
        curves = []
        for trial, seed in enumerate((None, 0, 1, 2)):
            channel = ScriptedChannel()
            run_trial(assignment(trial=trial, steps=4, seed=seed), channel)
            curves.append(channel.curve)
        assert curves[0] == curves[1]
        assert len({str(curve) for curve in curves}) == 3
        task = assignment()
        compiled = open_or_compile(task, load_model(RunFolder(task.run_folder).base_model, device="cpu"))
        settings = {"steps": 4, "micro_batch": BATCH, "work_folder": task.run_folder, "sign": ScriptedChannel().sign}
        plans = [
            plan_fit(task, replace(task.params, seed=seed), compiled, checkpoint=task.run_folder.joinpath, **settings)
            for seed in (None, 0, 1)
        ]
        assert [plan.seed for plan in plans] == [0, 0, 1]
        assert (plans[0].order == plans[1].order).all()
        assert (plans[0].order != plans[2].order).any()

    def test_a_format_with_a_third_column_is_trained_on_and_validated_with_it(self, assignment, monkeypatch):
        monkeypatch.setitem(FORMATS, HardNegatives.name, HardNegatives)
        found = []
        for data_format in ("query-document", HardNegatives.name):
            channel = ScriptedChannel()
            run_trial(assignment(data_format=data_format, steps=4, trial=len(found)), channel)
            found.append(channel.reports[0])
        pairs, triples = (report.evaluation.validation_losses for report in found)
        assert pairs["own"] == pairs["retrieval"]
        assert triples["own"] > triples["retrieval"] + 0.1  # twice as many documents to choose from
        assert found[1].loss > found[0].loss + 0.1


class TestPeak:
    def test_its_model_is_on_disk_before_the_report_is_sent_and_the_checkpoint_after_the_answer(self, assignment):
        task = assignment()
        folder = RunFolder(task.run_folder)
        best, seen = -math.inf, []

        def look(report):
            nonlocal best
            peak = folder.peak_model(task.trial, report.progress)
            if report.evaluation.value > best:
                best = report.evaluation.value
                verify(peak)
            else:
                assert not peak.exists()
            seen.append(report.step)
            assert steps_on_disk(task)[-1:] == [report.step - 1][: report.step - 1]  # never ahead of the reports

        run_trial(task, ScriptedChannel(look=look))
        assert seen == list(DUE)

    def test_only_what_beats_the_committed_peak_is_kept(self, assignment):
        task = assignment(peak=2.0)
        run_trial(task, ScriptedChannel())
        assert RunFolder(task.run_folder).peak_models(task.trial) == []

    def test_what_is_measured_again_is_no_peak(self, assignment):
        task, channel = assignment(peak=-1.0, measured=400), ScriptedChannel()
        run_trial(task, channel)
        [*_, late, last] = [report.evaluation.value for report in channel.reports]
        kept = [int(path.name[5:]) for path in RunFolder(task.run_folder).peak_models(task.trial)]
        assert kept == ([700, 1000] if last > late else [700])

    def test_the_weights_of_the_last_peak_are_those_that_were_judged(self, uninterrupted):
        task, channel, _ = uninterrupted
        peaks = RunFolder(task.run_folder).peak_models(task.trial)
        values = {report.progress: report.evaluation.value for report in channel.reports}
        kept = [values[int(path.name[5:])] for path in peaks]
        assert kept == sorted(set(kept))
        assert kept[-1] == max(values.values())


class TestCheckpoints:
    def test_the_last_two_are_kept_and_none_is_written_at_the_end(self, assignment):
        task = assignment()
        run_trial(task, ScriptedChannel())
        assert steps_on_disk(task) == [8, 9]
        trial = RunFolder(task.run_folder).trial(task.trial)
        assert [path.name for path in trial.iterdir() if not re.fullmatch(r"(peak|step)-\d+", path.name)] == []

    @pytest.mark.usefixtures("slow_disk")
    def test_none_is_written_before_it_pays(self, assignment):
        task = assignment(every_s=600.0)
        run_trial(task, ScriptedChannel(look=lambda _: self.assert_none(task)))
        self.assert_none(task)

    @pytest.mark.parametrize("kill_at", [1, 4, STEPS])
    def test_a_trial_killed_at_a_report_goes_on_from_the_step_before_bit_for_bit(
        self, assignment, uninterrupted, kill_at
    ):
        whole_task, whole, _ = uninterrupted
        task = assignment(micro_batch=whole_task.micro_batch)
        first, second = ScriptedChannel(kill_at=kill_at), ScriptedChannel()
        with pytest.raises(Killed, match="killed"):
            run_trial(task, first)
        result = run_trial(replace(task, **committed(first.reports[:-1])), second)
        assert result.resumed_from == kill_at - 1
        assert first.curve[:-1] + second.curve == whole.curve
        self.assert_same_peak(task, whole_task)

    @pytest.mark.usefixtures("slow_disk")
    @pytest.mark.parametrize(
        ("saved", "kill_at"),
        [(0, 1), (0, 4), (0, STEPS), (3, 4), (3, STEPS), (3, 2)],  # at the last, one that nobody killed after all
    )
    def test_what_was_measured_since_the_last_checkpoint_is_measured_again_bit_for_bit(
        self, assignment, uninterrupted, saved, kill_at
    ):
        whole_task, whole, _ = uninterrupted
        task = assignment(micro_batch=whole_task.micro_batch, every_s=600.0)
        reports = []
        for channel in [ScriptedChannel(pause_after=saved)] * bool(saved) + [ScriptedChannel(kill_at=kill_at)]:
            with contextlib.suppress(Killed):
                run_trial(replace(task, **committed(reports)), channel)
            reports += [report for report in channel.reports if report.step != kill_at]
        last = ScriptedChannel()
        result = run_trial(replace(task, **committed(reports)), last)
        assert result.resumed_from == saved
        assert last.curve == [point for point in whole.curve if point[1] > saved]
        self.assert_same_peak(task, whole_task)

    @pytest.mark.parametrize(("broken", "from_step"), [([6], 5), ([5, 6], 0)])
    def test_a_broken_checkpoint_costs_training_it_again_and_nothing_else(
        self, assignment, uninterrupted, broken, from_step
    ):
        whole_task, whole, _ = uninterrupted
        task = assignment(micro_batch=whole_task.micro_batch)
        first, second = ScriptedChannel(kill_at=7), ScriptedChannel()
        with pytest.raises(Killed, match="killed"):
            run_trial(task, first)
        assert steps_on_disk(task) == [5, 6]
        folders = [RunFolder(task.run_folder).checkpoint(task.trial, step) for step in broken]
        for folder in folders:
            (folder / "optimizer.pt").write_bytes(b"torn")
        result = run_trial(replace(task, **committed(first.reports[:-1])), second)
        assert result.resumed_from == from_step
        assert second.curve == [point for point in whole.curve if point[1] > from_step]
        assert steps_on_disk(task) == [8, 9]

    @staticmethod
    def assert_none(task):
        assert steps_on_disk(task) == []

    @staticmethod
    def assert_same_peak(task, whole_task):
        ours, theirs = (RunFolder(one.run_folder).peak_models(one.trial)[-1] for one in (task, whole_task))
        assert ours.name == theirs.name
        assert_bit_equal(load_file(ours / "model.safetensors"), load_file(theirs / "model.safetensors"))


class TestVerdict:
    def test_a_verdict_to_stop_ends_the_trial_at_that_step_and_saves_nothing_more(self, assignment):
        task, channel = assignment(), ScriptedChannel(stop_at=4)
        result = run_trial(task, channel)
        assert (result.status, result.step) == ("stopped", 4)
        assert [report.step for report in channel.reports] == [1, 2, 4]
        assert steps_on_disk(task) == [2, 3]

    def test_a_verdict_to_stop_at_the_last_step_counts(self, assignment):
        result = run_trial(assignment(), ScriptedChannel(stop_at=STEPS))
        assert (result.status, result.step) == ("stopped", STEPS)

    def test_a_trial_that_is_stopped_while_it_should_pause_is_stopped(self, assignment):
        task, channel = assignment(), ScriptedChannel(stop_at=1, pause_after=1)
        assert run_trial(task, channel).status == "stopped"
        assert steps_on_disk(task) == []


class TestPause:
    @pytest.mark.parametrize("step", [3, 4])
    def test_a_paused_trial_saves_that_very_step_and_goes_on_bit_for_bit(self, assignment, uninterrupted, step):
        whole_task, whole, _ = uninterrupted
        task = assignment(micro_batch=whole_task.micro_batch)
        first, second = ScriptedChannel(pause_after=step), ScriptedChannel()
        result = run_trial(task, first)
        assert (result.status, result.step) == ("paused", step)
        assert steps_on_disk(task)[-1] == step
        verify(RunFolder(task.run_folder).checkpoint(task.trial, step))
        result = run_trial(replace(task, **committed(first.reports)), second)
        assert (result.status, result.step, result.resumed_from) == ("finished", STEPS, step)
        assert first.curve + second.curve == whole.curve
        TestCheckpoints.assert_same_peak(task, whole_task)

    def test_a_trial_that_is_paused_at_its_last_step_is_finished(self, assignment):
        result = run_trial(assignment(), ScriptedChannel(pause_after=STEPS))
        assert (result.status, result.step) == ("finished", STEPS)

    def test_a_trial_can_be_paused_at_every_step(self, assignment, uninterrupted):
        whole_task, whole, _ = uninterrupted
        task, reports, curve = assignment(micro_batch=whole_task.micro_batch), [], []
        for step in range(1, STEPS + 1):
            channel = ScriptedChannel(pause_after=1)
            result = run_trial(replace(task, **committed(reports)), channel)
            assert (result.step, result.resumed_from) == (step, step - 1)
            assert steps_on_disk(task)[-1] == min(step, STEPS - 1)  # none is written at the end
            verify(RunFolder(task.run_folder).checkpoint(task.trial, min(step, STEPS - 1)))
            reports += channel.reports
            curve += channel.curve
        assert result.status == "finished"
        assert curve == whole.curve
        TestCheckpoints.assert_same_peak(task, whole_task)


def test_a_rate_so_high_that_weights_are_lost_is_reported_as_not_a_number(assignment):
    task, channel = assignment(effective_learning_rate=1e30, warmup_ratio=0.0), ScriptedChannel()
    result = run_trial(task, channel)
    assert result.status == "finished"
    last = channel.reports[-1]
    assert np.isnan(last.evaluation.per_query).all()
    assert math.isnan(last.evaluation.positives.mean)
    assert last.loss is None
    assert last.false_negatives == 0.0  # no two texts of the toy collection are near-equal
    progress = [report.progress for report in channel.reports if not math.isnan(report.evaluation.value)]
    kept = [int(path.name[5:]) for path in RunFolder(task.run_folder).peak_models(task.trial)]
    assert set(kept) <= set(progress)


class TestCompiled:
    """A trial reads no collection and tokenizes nothing: what it needs was compiled once, and is mapped."""

    @pytest.fixture
    def read_again(self, monkeypatch):
        """Notes the collections that a trial reads and the texts that it tokenizes."""
        noted = {"read": [], "tokenized": []}
        read, tokenize = sweep.trial.load_study_collection, SentenceTransformer.preprocess

        def note_read(*args, **settings):
            noted["read"].append(read(*args, **settings))
            return noted["read"][-1]

        def note_tokenized(model, inputs, *args, **settings):
            noted["tokenized"] += inputs
            return tokenize(model, inputs, *args, **settings)

        monkeypatch.setattr(sweep.trial, "load_study_collection", note_read)
        monkeypatch.setattr(SentenceTransformer, "preprocess", note_tokenized)
        return noted

    def test_a_trial_reads_no_collection_and_tokenizes_nothing(self, assignment, read_again):
        run_trial(assignment(), ScriptedChannel())
        assert read_again["read"] == []
        assert len(read_again["tokenized"]) <= 2  # what the micro-batch is probed with

    @pytest.mark.parametrize("uninterrupted", [pytest.param(BATCH, id="whole batches")], indirect=True)
    @pytest.mark.parametrize("damage", ["missing", "cut short", "another manifest", "lost format"])
    def test_where_it_is_damaged_the_trial_makes_it_itself_and_is_the_same(
        self, assignment, read_again, damage, uninterrupted
    ):
        _, expected, _ = uninterrupted
        task = assignment(trial=0, micro_batch=uninterrupted[0].micro_batch)
        compiled = RunFolder(task.run_folder).compiled
        file = next(compiled.glob("tokens-document.arrow"))
        if damage == "missing":
            shutil.rmtree(compiled)
        elif damage == "cut short":
            file.write_bytes(file.read_bytes()[:-1000])
        elif damage == "another manifest":
            (compiled / "manifest.json").write_text("{}")
        else:
            for table in compiled.glob("format-*.arrow"):
                table.unlink()
        channel = ScriptedChannel()
        run_trial(task, channel)
        assert len(read_again["read"]) == 1
        assert len(read_again["tokenized"]) > 100
        assert channel.curve == expected.curve


class TestStudy:
    def test_preparing_saves_the_base_model_and_judges_it_untrained(self, study, tiny_model):
        found = prepare_study(study, ScriptedChannel())
        base = RunFolder(study.run_folder).base_model
        verify(base)
        assert_bit_equal(load_file(base / "model.safetensors"), load_file(tiny_model / "model.safetensors"))
        model = load_model(tiny_model, device="cpu")
        collection = load_collection(study.spec.data, folder=study.folder)
        judged = plan_evaluation_set(collection, "dev", max_documents=60, max_queries=30, seed=0)
        expected = _evaluator(model, collection, judged, study).evaluate(model)
        np.testing.assert_array_equal(found.baseline.per_query, expected.per_query)
        assert found.baseline.positives == expected.positives
        assert found.parameters == sum(parameter.numel() for parameter in model.parameters())
        assert found.collection_hash == collection.content_hash
        assert re.fullmatch(r"[0-9a-f]{64}", found.revision)

    def test_preparing_cuts_the_model_that_trials_load(self, study, tmp_path):
        spec = study.spec.model_copy(
            update={"model": study.spec.model.model_copy(update={"keep_layers": (1,), "max_seq_length": 16})}
        )
        task = replace(study, spec=spec, run_folder=tmp_path / "cut")
        found = prepare_study(task, ScriptedChannel())
        model = load_model(RunFolder(task.run_folder).base_model, device="cpu")
        assert len(model.transformers_model.encoder.layer) == 1
        assert model.max_seq_length == 16
        assert (
            found.parameters < prepare_study(replace(study, run_folder=tmp_path / "all"), ScriptedChannel()).parameters
        )

    def test_models_are_judged_on_the_test_split(self, study, uninterrupted):
        task, _, _ = uninterrupted
        folder = RunFolder(task.run_folder)
        models = {"base": folder.base_model, "best": folder.peak_models(task.trial)[-1]}
        found = evaluate_models(
            EvaluationTask(spec=task.spec, folder=task.folder, run_folder=task.run_folder, models=models),
            ScriptedChannel(),
        )
        collection = load_collection(study.spec.data, folder=study.folder)
        judged = plan_evaluation_set(collection, "test", max_documents=60, max_queries=30, seed=0)
        assert list(found) == ["base", "best"]
        for name, path in models.items():
            model = load_model(path, device="cpu")
            expected = _evaluator(model, collection, judged, study).evaluate(model)
            np.testing.assert_array_equal(found[name].per_query, expected.per_query)
        assert not np.array_equal(found["base"].per_query, found["best"].per_query)

    def test_a_rehearsal_describes_the_model_and_times_it(self, study, assignment, tmp_path):
        params = assignment().params
        task = RehearsalTask(spec=study.spec, folder=study.folder, run_folder=tmp_path, points=(params,), timed=params)
        found = rehearse_study(task, ScriptedChannel())
        assert found.model.modules == ("Transformer (BertModel, 2 layers)", "Pooling (mean)")
        assert found.model.precision == "float32"
        assert found.model.dimensions == (32, 32)
        assert found.model.changes == ()
        assert 0 < found.texts_per_s < math.inf
        assert 0 < found.pairs_per_s < math.inf
        assert found.look_s is not None
        assert 0 < found.look_s < math.inf
        assert rehearse_study(replace(task, timed=None), ScriptedChannel()).look_s is None

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
    def test_without_cuda_no_device_is_listed(self):
        assert list_devices(None, ScriptedChannel()) == (torch.__version__, [])

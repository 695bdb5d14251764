from __future__ import annotations

import math
from itertools import chain

import numpy as np
import pytest
import torch

from sweep.progress import count_warmup_steps
from sweep.training.checkpoint import newest_complete
from sweep.training.fit import StepAction
from sweep.training.models import load_model
from tests.compiled import encode_texts

BATCH = 8
CUT = 4
"""A micro-batch that cuts a batch."""


def texts_reaching(model):
    """Fills up with the texts of every forward pass of the model, as its tokenizer spells them."""
    seen = []

    def note(_module, inputs):
        rows = inputs[0]["input_ids"].tolist()
        pieces = [model.tokenizer.convert_ids_to_tokens(row, skip_special_tokens=True) for row in rows]
        seen.append(["".join(piece.removeprefix("##") for piece in row) for row in pieces])

    model.register_forward_pre_hook(note)
    return seen


def gradients_of(model):
    """Fills up with the gradient of every parameter, as it stands when a backward pass has ended."""
    found = {}
    for name, parameter in model.named_parameters():
        parameter.register_post_accumulate_grad_hook(
            lambda tensor, name=name: found.update({name: tensor.grad.detach().clone()})
        )
    return found


def assert_bit_equal(ours, theirs):
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def keep_rate(trained, step, _take_course):
    """Saves every step and notes the rate of the next one, as the scheduler has it."""
    if step > 1:
        saved = torch.load(trained.plan.checkpoint(step - 1) / "scheduler.pt", weights_only=True)
        trained.notes[step] = saved["_last_lr"]
    return StepAction.SAVE


def keep_loss(trained, step, take_course):
    trained.notes[step] = take_course().loss
    return StepAction.GO_ON


class TestOrder:
    def test_the_texts_that_reach_the_model_are_those_of_the_plan(self, train, tiny_model, columns):
        model = load_model(tiny_model, device="cpu")
        seen = texts_reaching(model)
        order = train(model=model).plan.order
        assert len(seen) == 2 * len(order)
        assert seen[0::2] == [[columns["anchor"][row] for row in rows] for rows in order]
        assert seen[1::2] == [[columns["positive"][row] for row in rows] for rows in order]

    def test_a_cut_batch_holds_the_pairs_of_the_plan_with_the_longest_documents_first(self, train, tiny_model, columns):
        model = load_model(tiny_model, device="cpu")
        seen = texts_reaching(model)
        order = train(model=model, micro_batch=CUT).plan.order
        assert {len(texts) for texts in seen} == {CUT}
        parts = BATCH // CUT
        assert len(seen) == len(order) * 2 * 2 * parts  # two columns, once without a gradient and once with one
        for step, rows in enumerate(order):
            passes = seen[step * 4 * parts :]
            anchors, positives = (list(chain(*passes[first : first + parts])) for first in (0, parts))
            planned = [(columns["anchor"][row], columns["positive"][row]) for row in rows]
            assert sorted(zip(anchors, positives, strict=True)) == sorted(planned)
            assert [len(text) for text in positives] == sorted(map(len, positives), reverse=True)

    @pytest.mark.parametrize("step", [3, 5])
    def test_a_resumed_run_is_fed_what_was_left_of_the_plan(self, train, tiny_model, columns, step):
        first = train(on_step=lambda _, now, __: StepAction.SAVE | StepAction.STOP if now == step else StepAction.GO_ON)
        model = load_model(tiny_model, device="cpu")
        seen = texts_reaching(model)
        plan = train(model=model, resume_from=first.plan.checkpoint(step)).plan
        assert seen[0::2] == [[columns["anchor"][row] for row in rows] for rows in plan.order[step:]]

    @pytest.mark.parametrize(
        ("prompts", "expected"),
        [
            ({"query": "qq", "document": "dd"}, ("qq", "dd")),
            ({"query": "qq", "document": ""}, ("qq", "")),
            ({"query": "", "document": "dd"}, ("", "dd")),
            ({"query": "", "document": "", "other": "oo"}, ("", "")),
        ],
    )
    def test_the_model_is_trained_with_the_prompts_that_it_is_judged_with(
        self, train, tiny_model, columns, prompts, expected
    ):
        model = load_model(tiny_model, device="cpu")
        model.prompts = prompts
        seen = texts_reaching(model)
        order = train(model=model, steps=1).plan.order
        for texts, column, prompt in zip(seen, ("anchor", "positive"), expected, strict=True):
            assert texts == [prompt + columns[column][row] for row in order[0]]


class TestLoss:
    def test_it_is_the_cross_entropy_of_the_scaled_cosines(self, train, still_model, columns):
        trained = train(base=still_model, steps=1, scale=7.0, on_step=keep_loss)
        model = load_model(still_model, device="cpu")
        anchors, positives = (
            torch.from_numpy(encode_texts(model, [columns[column][row] for row in rows]))
            for column in ("anchor", "positive")
            for rows in trained.plan.order[:1]
        )
        expected = torch.nn.functional.cross_entropy(7.0 * anchors @ positives.T, torch.arange(BATCH))
        assert trained.notes[1] == pytest.approx(float(expected), rel=1e-5)

    @pytest.mark.parametrize("micro_batch", [BATCH, CUT])
    def test_what_is_taken_is_the_mean_since_it_was_last_taken(self, train, micro_batch):
        def take_seldom(trained, step, take_course):
            if step in (3, 4, 8):
                trained.notes[step] = take_course().loss
                assert take_course().loss is None
            return StepAction.GO_ON

        each = train(micro_batch=micro_batch, on_step=keep_loss).notes
        seldom = train(micro_batch=micro_batch, on_step=take_seldom).notes
        expected = {3: [1, 2, 3], 4: [4], 8: [5, 6, 7, 8]}
        assert seldom == {
            step: pytest.approx(np.mean([each[one] for one in steps]), rel=1e-5) for step, steps in expected.items()
        }

    def test_the_rate_and_the_gradients_norm_are_those_of_the_last_step(self, train):
        def keep_course(trained, step, take_course):
            trained.notes[step] = take_course()
            return StepAction.SAVE

        trained = train(on_step=keep_course)
        for step, course in list(trained.notes.items())[1:]:
            saved = torch.load(trained.plan.checkpoint(step - 1) / "scheduler.pt", weights_only=True)
            assert {course.learning_rate} == set(saved["_last_lr"])  # one for each group of parameters
        norms = [course.gradient_norm for course in trained.notes.values()]
        assert len(set(norms)) == len(norms)
        assert all(norm > 0 for norm in norms)

    def test_it_is_none_where_it_is_not_finite(self, train, tiny_model):
        model = load_model(tiny_model, device="cpu")
        with torch.no_grad():
            next(model.parameters()).fill_(float("nan"))
        notes = train(model=model, steps=2, on_step=keep_loss).notes
        assert notes == {1: None, 2: None}


class TestCachedForm:
    @pytest.mark.parametrize("micro_batch", [1, 2, 4])
    def test_its_gradient_is_the_plain_one_to_rounding(self, train, still_model, micro_batch):
        found = []
        for size in (BATCH, micro_batch):
            model = load_model(still_model, device="cpu")
            found.append(gradients_of(model))
            train(model=model, steps=1, micro_batch=size)
        plain, cached = found
        assert len(plain) > 20
        assert plain.keys() == cached.keys()
        largest = max(float(gradient.abs().max()) for gradient in plain.values())
        for name, gradient in plain.items():
            np.testing.assert_allclose(cached[name], gradient, rtol=1e-5, atol=1e-5 * largest, err_msg=name)

    def test_it_trains_the_same_model_to_rounding(self, train, still_model, columns):
        plain, cached = (train(base=still_model, micro_batch=size, on_step=keep_loss) for size in (BATCH, CUT))
        assert list(cached.notes.values()) == pytest.approx(list(plain.notes.values()), rel=1e-5)
        ours, theirs = (encode_texts(run.model, columns["positive"]) for run in (cached, plain))
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
        trained = cached.model.state_dict()
        for name, weights in plain.model.state_dict().items():
            np.testing.assert_allclose(trained[name], weights, atol=1e-5, err_msg=name)


SHARES = {
    "linear": lambda part: 1 - part,
    "cosine": lambda part: (1 + math.cos(math.pi * part)) / 2,
    "constant": lambda _: 1.0,
    "cosine-with-floor": lambda part: 0.1 + 0.9 * (1 + math.cos(math.pi * part)) / 2,
}


class TestLearningRate:
    @pytest.mark.parametrize("scheduler", SHARES)
    @pytest.mark.parametrize("warmup_ratio", [0.0, 0.3])
    def test_it_rises_to_the_effective_rate_and_then_follows_the_scheduler(self, train, scheduler, warmup_ratio):
        steps, rate = 8, 4e-3
        trained = train(
            steps=steps,
            on_step=keep_rate,
            learning_rate=1e-3,
            effective_learning_rate=rate,
            warmup_ratio=warmup_ratio,
            scheduler=scheduler,
        )
        warmup = count_warmup_steps(warmup_ratio, steps)
        assert warmup == {0.0: 0, 0.3: 3}[warmup_ratio]
        done = {step: step - 1 for step in range(2, steps + 1)}  # steps made before this one
        expected = {
            step: rate
            * (before / warmup if before < warmup else SHARES[scheduler]((before - warmup) / (steps - warmup)))
            for step, before in done.items()
        }
        assert {step: rates[0] for step, rates in trained.notes.items()} == pytest.approx(expected, rel=1e-9)
        assert all(len(set(rates)) == 1 for rates in trained.notes.values())

    def test_the_floor_is_a_tenth_of_the_peak_rate(self, train):
        trained = train(on_step=lambda *_: StepAction.SAVE, scheduler="cosine-with-floor", effective_learning_rate=2e-3)
        saved = torch.load(trained.plan.checkpoint(8) / "scheduler.pt", weights_only=True)
        assert saved["_last_lr"] == pytest.approx([2e-4, 2e-4])

    def test_a_warm_up_begins_at_zero_so_its_first_step_changes_nothing(self, train, tiny_model):
        trained = train(steps=8, on_step=lambda *_: StepAction.STOP, warmup_ratio=0.5)
        assert_bit_equal(trained.model.state_dict(), load_model(tiny_model, device="cpu").state_dict())

    def test_without_a_warm_up_the_first_step_trains(self, train, tiny_model):
        trained = train(steps=8, on_step=lambda *_: StepAction.STOP, warmup_ratio=0.0)
        untrained = load_model(tiny_model, device="cpu").state_dict()
        assert any(not torch.equal(weights, untrained[name]) for name, weights in trained.model.state_dict().items())


def test_the_trainer_obeys_the_weight_decay(train):
    usual, same, decayed = (
        train(**decay).model.state_dict() for decay in ({}, {"weight_decay": 0.0}, {"weight_decay": 0.5})
    )
    assert_bit_equal(usual, same)
    norms = [sum(float(weights.float().norm()) ** 2 for weights in model.values()) for model in (usual, decayed)]
    assert norms[1] < norms[0]


class TestRun:
    @pytest.mark.parametrize("micro_batch", [BATCH, CUT])
    def test_the_same_seed_gives_the_same_weights_to_the_bit(self, train, micro_batch):
        first, second = (train(micro_batch=micro_batch, seed=3) for _ in range(2))
        assert_bit_equal(first.model.state_dict(), second.model.state_dict())

    def test_another_seed_gives_other_weights(self, train):
        first, second = (train(seed=seed).model.state_dict() for seed in (0, 1))
        assert any(not torch.equal(first[name], second[name]) for name in first)

    def test_what_was_drawn_before_does_not_matter(self, train):
        first = train()
        torch.rand(100)
        np.random.rand(100)
        assert_bit_equal(first.model.state_dict(), train().model.state_dict())

    def test_it_takes_every_planned_step_and_returns_the_last(self, train):
        trained = train(on_step=keep_loss)
        assert list(trained.notes) == list(range(1, 9))
        assert trained.last_step == 8

    def test_it_stops_when_told_to_and_saves_nothing_unasked(self, train):
        trained = train(on_step=lambda _, step, __: StepAction.STOP if step == 3 else StepAction.GO_ON)
        assert trained.last_step == 3
        assert not any(trained.plan.work_folder.parent.glob("*"))

    def test_it_saves_and_stops_at_the_very_step(self, train):
        trained = train(
            on_step=lambda _, step, __: StepAction.SAVE | StepAction.STOP if step == 3 else StepAction.GO_ON
        )
        assert trained.last_step == 3
        assert [path.name for path in trained.plan.work_folder.parent.iterdir()] == ["step-00000003"]

    def test_it_tells_what_each_checkpoint_took_once_it_counts(self, train_in, tmp_path):
        told = []

        def note(seconds):
            told.append((seconds, newest_complete(sorted(tmp_path.glob("step-*"))).name))

        save = {2, 5}
        train_in(
            tmp_path,
            on_step=lambda _, step, __: StepAction.SAVE if step in save else StepAction.GO_ON,
            on_saved=note,
        )
        assert [name for _, name in told] == ["step-00000002", "step-00000005"]
        assert all(seconds > 0.0 for seconds, _ in told)

    def test_what_an_interrupted_run_left_half_written_is_cleared_away(self, train, tmp_path):
        left = tmp_path / "run" / "work" / "checkpoint-4"
        left.mkdir(parents=True)
        (left / "optimizer.pt").write_bytes(b"half")
        train(steps=2)
        assert not left.parent.exists()

    def test_it_prints_nothing(self, train, capfd):
        train(on_step=lambda *_: StepAction.SAVE, steps=2)
        assert capfd.readouterr().out == ""

    def test_what_a_callback_raises_comes_through_and_nothing_is_left_behind(self, train, tmp_path):
        def fail(*_):
            raise RuntimeError("the coordinator is gone")

        with pytest.raises(RuntimeError, match="the coordinator is gone"):
            train(on_step=fail)
        assert not (tmp_path / "run" / "work").exists()

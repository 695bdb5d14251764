"""A third column of training texts: what a format with hard negatives changes everywhere that looks at columns."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
import torch
from hard_negatives import HardNegatives

from sweep.data import load_collection, make_columns, plan_evaluation_set, plan_held_out, plan_order
from sweep.data.negatives import measure_false_negatives
from sweep.settings.data_spec import DataSpec
from sweep.settings.dimensions import Params
from sweep.training.devices import fit_rows
from sweep.training.fit import FitPlan, StepAction, fit
from sweep.training.losses.multiple_negatives_ranking import MultipleNegativesRanking
from sweep.training.models import load_model
from tests.compiled import compile_columns, make_evaluator, number_columns

BATCH, STEPS = 8, 2
ORDERS = [[[0, 1, 2]], [[0], [1], [2]]]
FORMAT = HardNegatives(count=2)
COLUMNS = ["anchor", "positive", "negative_1", "negative_2"]


@pytest.fixture(scope="module")
def toy(toy_collection):
    return load_collection(DataSpec(collection=f"beir:{toy_collection}"), folder=toy_collection)


@pytest.fixture
def train(toy, tiny_model, tmp_path):
    """Trains on the toy collection's hard negatives; returns the plan and the texts of each forward pass."""

    def run(micro_batch=BATCH, **prompts):
        columns = make_columns(toy, FORMAT, document="text")
        model = load_model(tiny_model, device="cpu")
        model.prompts = prompts
        known, _, tokens = compile_columns(model, columns, roles=FORMAT.roles)
        plan = FitPlan(
            params=Params(
                learning_rate=1e-3,
                effective_learning_rate=1e-3,
                warmup_ratio=0.0,
                batch_size=BATCH,
                data_format=FORMAT.name,
                scale=20.0,
                scheduler="linear",
            ),
            columns=known.columns,
            tokens=tokens,
            roles=FORMAT.roles,
            loss=MultipleNegativesRanking(),
            order=plan_order(columns, batch_size=BATCH, steps=STEPS, seed=0),
            micro_batch=micro_batch,
            seed=0,
            work_folder=tmp_path / "work",
            checkpoint=lambda step: tmp_path / f"step-{step}",
        )
        seen = []

        def note(_module, inputs):
            pieces = [
                model.tokenizer.convert_ids_to_tokens(row, skip_special_tokens=True)
                for row in inputs[0]["input_ids"].tolist()
            ]
            seen.append(["".join(piece.removeprefix("##") for piece in row) for row in pieces])

        model.register_forward_pre_hook(note)
        fit(model, plan, on_step=lambda *_: StepAction.GO_ON)
        return plan, columns, seen

    return run


def begins_alike(seen, texts):
    """Whether the model saw these texts, of which it reads the first tokens alone."""
    return all(text.replace(" ", "").startswith(part) for part, text in zip(seen, texts, strict=True))


def test_columns_reach_the_loss_in_its_order_whatever_the_order_of_the_roles(train):
    plan, columns, seen = train()
    assert list(plan.columns) == COLUMNS
    assert begins_alike(
        list(chain(*seen)),
        [columns[column][row] for rows in plan.order for column in COLUMNS for row in rows],
    )


def test_negatives_have_the_prompt_of_documents(train):
    _, _, seen = train(query="qq", document="dd")
    found = [text[:2] for text in chain(*seen)]
    assert found == STEPS * (["qq"] * BATCH + ["dd"] * BATCH * (len(COLUMNS) - 1))


def test_the_rows_of_a_cut_batch_are_sorted_by_their_longest_document(train):
    plan, columns, seen = train(micro_batch=4)
    parts = BATCH // 4
    for step, rows in enumerate(plan.order):
        passes = seen[step * 2 * len(COLUMNS) * parts :]
        positives = list(chain(*passes[parts : 2 * parts]))
        longest = {columns["positive"][row]: max(len(columns[column][row]) for column in COLUMNS[1:]) for row in rows}
        by_length = sorted(longest, key=lambda text: -longest[text])
        assert [longest[text] for text in by_length] != [longest[columns["positive"][row]] for row in rows]
        found = [next(text for text in longest if text.replace(" ", "").startswith(part)) for part in positives]
        assert [longest[text] for text in found] == [longest[text] for text in by_length]


def test_a_row_of_more_texts_takes_more_of_the_memory():
    text_bytes = 1 << 20
    assert [fit_rows(1 << 30, columns * text_bytes) for columns in (2, 3, 5)] == [256, 128, 64]
    assert fit_rows(0, text_bytes) == fit_rows(-5, text_bytes) == 1


def test_the_validation_loss_is_the_loss_over_all_columns(toy, tiny_model):
    model = load_model(tiny_model, device="cpu").eval()
    rows = plan_held_out(toy, FORMAT, judgements=toy.qrels["dev"], document="text")
    assert list(rows.texts) == COLUMNS
    loss = MultipleNegativesRanking(scale=50.0)
    judged = plan_evaluation_set(toy, "dev", max_documents=None, max_queries=5, seed=0)
    found = (
        make_evaluator(model, toy, judged=judged, held_out={"own": rows}, loss=loss).evaluate(model).validation_losses
    )
    built = loss.build(model, micro_batch=None)
    with torch.no_grad():
        theirs = [
            float(built([model.preprocess(list(texts)) for texts in batch], labels=None))
            for batch in zip(*rows.texts.values(), strict=True)
        ]
    assert found == {"own": pytest.approx(np.mean(theirs), abs=1e-4)}


def test_a_pair_that_is_trained_on_is_not_held_out_beside_another_negative(toy):
    twice = {**toy.qrels["dev"], **dict(list(toy.qrels["train"].items())[:20])}
    rows = plan_held_out(toy, FORMAT, judgements=twice, document="text")
    columns = make_columns(toy, FORMAT, document="text")
    held_out = set(zip(*(chain(*rows.texts[name]) for name in ("anchor", "positive")), strict=True))
    assert held_out.isdisjoint(zip(columns["anchor"], columns["positive"], strict=True))


def test_a_negative_that_is_nearly_the_positive_is_a_false_negative():
    columns = {
        "anchor": ["a", "b", "c"],
        "positive": ["creates a bucket", "lists every key", "deletes an alarm"],
        "negative": ["Creates a bucket.", "some other words", "every key: lists!"],
    }
    roles = {"anchor": "anchor", "positive": "positive", "negative": "negative"}
    known, words = number_columns(columns, roles)
    measured = [measure_false_negatives(known, np.array(order), roles=roles, words=words) for order in ORDERS]
    assert measured == [pytest.approx(2 / 3), pytest.approx(1 / 3)]

"""The contract of every loss: it is built, it falls, a cut batch has its gradient, and NumPy takes the same loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sweep.data.formats.format import PAIR
from sweep.testing import write_tiny_model
from sweep.training.losses import LOSSES
from sweep.training.models import load_model
from sweep.training.similarity import Similarity
from tests.compiled import encode_texts

BATCH = 8
ROLES = [PAIR, {**PAIR, "negative": "negative"}, {**PAIR, "first": "negative", "second": "negative"}]

every_loss = pytest.mark.parametrize(
    ("kind", "roles"),
    [
        pytest.param(kind, roles, id=f"{name}-{len(roles)}")
        for name, kind in LOSSES.items()
        for roles in ROLES
        if kind().find_mismatch(roles) is None
    ],
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny model without dropout."""
    folder = tmp_path_factory.mktemp("still") / "model"
    write_tiny_model(folder, dropout=0.0)
    return folder


def texts_of(roles, *, seed: int = 0) -> list[list[str]]:
    """(columns, B) words of random letters."""
    random = np.random.default_rng(seed)
    letters = random.choice(list("abcdefghijklmnopqrstuvwxyz"), size=(len(roles), BATCH, 7))
    return [["".join(word) for word in column] for column in letters]


def value_of(loss, model, texts) -> torch.Tensor:
    return loss([model.preprocess(column) for column in texts], labels=None)


def gradients_of(kind, base, texts, *, micro_batch: int | None):
    model = load_model(base, device="cpu").train()
    value_of(kind().build(model, micro_batch=micro_batch), model, texts).backward()
    return {name: one.grad for name, one in model.named_parameters() if one.grad is not None}


def test_every_loss_takes_some_columns_and_says_of_others_why_not():
    for kind in LOSSES.values():
        assert any(kind().find_mismatch(roles) is None for roles in ROLES)
        assert "the role anchor, not 0" in kind().find_mismatch({"positive": "positive"})


@every_loss
def test_a_step_against_its_gradient_lowers_it(kind, roles, base):
    model, texts = load_model(base, device="cpu").train(), texts_of(roles)
    loss = kind().build(model, micro_batch=None)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    before = value_of(loss, model, texts)
    before.backward()
    optimizer.step()
    assert value_of(loss, model, texts).item() < before.item()


@every_loss
@pytest.mark.parametrize("micro_batch", [1, 4, 3])
def test_a_cut_batch_has_the_gradient_of_the_whole_one_to_rounding(kind, roles, base, micro_batch):
    plain = gradients_of(kind, base, texts_of(roles), micro_batch=None)
    cut = gradients_of(kind, base, texts_of(roles), micro_batch=micro_batch)
    assert len(plain) > 20
    assert plain.keys() == cut.keys()
    largest = max(float(gradient.abs().max()) for gradient in plain.values())
    for name, gradient in plain.items():
        np.testing.assert_allclose(cut[name], gradient, rtol=1e-4, atol=1e-5 * largest, err_msg=name)


@every_loss
def test_the_validation_loss_is_the_mean_of_it_over_the_batches(kind, roles, base):
    model = load_model(base, device="cpu").eval()
    batches = [texts_of(roles, seed=seed) for seed in range(3)]
    loss = kind().build(model, micro_batch=None)
    with torch.no_grad():
        theirs = np.mean([float(value_of(loss, model, texts)) for texts in batches])
    embedded = [np.stack([encode_texts(model, texts[column]) for texts in batches]) for column in range(len(roles))]
    assert kind().validation_loss(embedded, similarity=Similarity("cosine")) == pytest.approx(theirs, abs=1e-4)

"""Causal language modelling against a sum written out by hand."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from lmlab import models, objectives
from lmlab.models import transformer
from lmlab.utils.errors import UserError


@pytest.fixture(scope="module")
def setting(packed, lively):
    """(model, params, batch): packed documents and an empty row."""
    model = models.build("transformer", vocab_size=29, context=12, width=8, layers=1, heads=2, dropout=0.5)
    params = jax.jit(lambda key: nn.meta.unbox(transformer.init(model, key)))(jax.random.key(0))
    return model, lively(params), packed(4, 12, 29, padding=1)[0]


def test_loss_and_accuracy_are_weighted_sums_over_tokens(setting):
    model, params, batch = setting
    loss = objectives.build("causal", vocab_size=29, chunk=3)
    terms, metrics = loss(model.apply, params, batch)
    logits = np.float64(model.apply({"params": params}, batch["tokens"], batch["segments"], batch["positions"]))
    nats = hits = count = 0
    for b in range(4):
        for t in range(12):
            if batch["weights"][b, t]:
                p = np.exp(logits[b, t]) / np.exp(logits[b, t]).sum()
                nats -= np.log(p[batch["targets"][b, t]])
                hits += logits[b, t].argmax() == batch["targets"][b, t]
                count += 1
    assert 0 < count < 36
    assert terms.keys() == {"loss"} and terms["loss"][0] == pytest.approx(nats, rel=1e-6) and terms["loss"][1] == count
    assert metrics["accuracy"] == (hits, count)


def test_weights_scale_what_a_token_counts(setting):
    model, params, batch = setting
    loss = objectives.build("causal", vocab_size=29)
    ones, half = loss(model.apply, params, batch)[0], loss(model.apply, params,
                                                           {**batch, "weights": batch["weights"] / 2})[0]
    np.testing.assert_allclose(half["loss"], np.array(ones["loss"]) / 2, rtol=1e-6)


def test_keys_turn_dropout_on(setting):
    model, params, batch = setting
    loss = objectives.build("causal", vocab_size=29)
    keys_B = jax.random.split(jax.random.key(0), 4)
    quiet, noisy = loss(model.apply, params, batch)[0]["loss"], loss(model.apply, params, batch, keys_B)[0]["loss"]
    assert quiet[0] != noisy[0] and quiet[1] == noisy[1]


def test_objectives_are_found_by_name():
    with pytest.raises(UserError, match="'casual' is no objective; did you mean 'causal'"):
        objectives.build("casual")
    with pytest.raises(UserError, match="'losses' is no objective"):
        objectives.find("losses")


def test_what_a_mixture_of_experts_adds_is_a_term_of_its_own(packed, lively):
    model = models.build("transformer", vocab_size=29, context=12, width=8, layers=2, heads=2, experts=3)
    params = lively(nn.meta.unbox(transformer.init(model, jax.random.key(0))))
    batch = packed(4, 12, 29, padding=1)[0]
    terms, _ = objectives.build("causal", vocab_size=29)(model.apply, params, batch)
    _, sown = model.apply({"params": params}, batch["tokens"], batch["segments"], batch["positions"],
                          mutable=["losses"])
    by_row = sown["losses"]["trunk"]["blocks"]["experts"]["balance"][0]
    assert by_row.shape == (2, 4) and terms.keys() == {"loss", "balance"}
    tokens_B = batch["weights"].sum(1)
    assert terms["balance"][0] == pytest.approx((by_row.sum(0) * tokens_B).sum())
    assert terms["balance"][1] == tokens_B.sum()

"""Replaced-token detection against the same steps one by one, and its draws against the generator's probabilities."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from lmlab import models, objectives
from lmlab.models import transformer
from lmlab.objectives import replaced

RATE = 0.25


def told(setting, keys_B=None):
    model, params, batch = setting
    return objectives.build("replaced", vocab_size=29, rate=RATE)(model.apply, params, batch, keys_B)


def by_hand(setting, tokens):
    """(nats of the generator, nats of the discriminator on `tokens`, how often it is right)."""
    model, params, batch = setting
    seen = (batch["segments"], batch["positions"])
    generate = lambda m, *args: m.generator(*args, types_BT=batch["types"])
    x = np.float64(model.apply({"params": params}, batch["tokens"], *seen, method=generate))
    log_p = x - np.log(np.exp(x).sum(-1, keepdims=True))
    generator = -(np.take_along_axis(log_p, batch["targets"][..., None], -1)[..., 0] * batch["weights"]).sum()
    states = model.apply({"params": params}, tokens, *seen, types_BT=batch["types"], method="hidden")
    score = np.float64(model.apply({"params": params}, states, method="replaced"))
    changed = tokens != batch["original"]
    p = 1 / (1 + np.exp(-score))
    real = batch["segments"] > 0
    return generator, -(np.log(np.where(changed, p, 1 - p)) * real).sum(), ((p > .5) == changed)[real].sum()


def test_the_terms_are_those_of_the_tokens_drawn(encoder):
    model, params, batch = encoder
    keys = jax.random.split(jax.random.key(5), 3)
    generate = lambda m, *args: m.generator(*args, types_BT=batch["types"])
    logits = np.asarray(model.apply({"params": params}, batch["tokens"], batch["segments"], batch["positions"],
                                    method=generate))
    tokens = batch["original"].copy()
    for b, where in enumerate([[2, 5, 11], [0, 4], []]):
        places = [*where, *(t for t in range(12) if t not in where)][:4]  # the masked ones first
        drawn = jax.random.categorical(jax.random.fold_in(keys[b], replaced._DRAW), logits[b, places])
        tokens[b, where] = drawn[:len(where)]
    terms, metrics = told(encoder, keys)
    generator, nats, right = by_hand(encoder, tokens)
    assert terms["loss"][0] == pytest.approx(generator, rel=1e-5) and terms["loss"][1] == 5
    assert terms["replaced"][0] == pytest.approx(50 * nats, rel=1e-5) and terms["replaced"][1] == 21
    assert metrics["replaced_accuracy"] == (right, 21)
    assert metrics["replaced_share"] == ((tokens != batch["original"]).sum(), 21)


def test_draws_follow_the_generator(encoder):
    model, params, batch = encoder
    generate = lambda m, *args: m.generator(*args, types_BT=batch["types"])
    x = model.apply({"params": params}, batch["tokens"], batch["segments"], batch["positions"], method=generate)
    p = np.asarray(jax.nn.softmax(x))
    kept = sum(p[b, t, batch["original"][b, t]] for b, t in np.argwhere(batch["weights"]))
    share = jax.jit(lambda key: told(encoder, jax.random.split(key, 3))[1]["replaced_share"][0])
    found = np.array([share(key) for key in jax.random.split(jax.random.key(1), 400)])
    assert found.min() >= 0 and found.max() <= 5
    assert abs(found.mean() - (5 - kept)) < 3 * found.std() / 20


def test_without_keys_the_draws_are_the_same(encoder):
    first, second = told(encoder), told(encoder)
    assert first[0]["replaced"][0] == second[0]["replaced"][0]


def test_without_keys_the_draws_do_not_hang_on_the_batch(encoder):
    model, params, batch = encoder
    alone = [told((model, params, {name: value[b:b + 1] for name, value in batch.items()}))[1] for b in (1, 0, 2)]
    together = told(encoder)[1]
    assert sum(one["replaced_share"][0] for one in alone) == together["replaced_share"][0]
    assert float(sum(one["replaced_nats"][0] for one in alone)) == pytest.approx(float(together["replaced_nats"][0]))


def test_experts_of_both_networks_are_balanced(encoder, lively):
    model = models.build("transformer", **{**vars(encoder[0].spec), "experts": 3, "expert_balance": 1.0})
    params = lively(jax.jit(lambda key: nn.meta.unbox(transformer.init(model, key)))(jax.random.key(0)))
    terms, _ = told((model, params, encoder[2]))
    (own, count), (generator, generator_count) = terms["balance"], terms["generator_balance"]
    assert count == generator_count == 5 and min(own, generator) > 0 and own != generator

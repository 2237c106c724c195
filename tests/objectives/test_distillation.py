"""A teacher beside an objective, against its formula the long way, and torch's divergence."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from lmlab import models, objectives
from lmlab.adapt import heads
from lmlab.objectives import distillation
from lmlab.utils.errors import UserError

SHAPE = dict(vocab_size=29, context=12, width=8, heads=2, ff=16, unroll=1)
KINDS = {  # the objective's settings, the network's
    "causal": (dict(chunk=0), dict()), "causal in pieces": (dict(name="causal", chunk=4), dict()),
    "masked": (dict(rate=0.5), dict(attends="full")), "seq2seq": (dict(chunk=0), dict(encoder_layers=1)),
    "classification": (dict(kind="single"), dict(attends="full")),
    "several": (dict(name="classification", kind="several"), dict(attends="full")),
    "number": (dict(name="classification", kind="number"), dict(attends="full"))}


@functools.cache
def networks(kind, lively):
    """((model, parameters) of the network and of its deeper teacher, batch, the objective's section)."""
    section = ConfigDict({"name": kind, **KINDS[kind][0]})
    C = 1 if kind == "number" else 3
    made = []
    for seed, layers in enumerate((1, 2)):
        model = models.build("transformer", **SHAPE, layers=layers, **KINDS[kind][1])
        model = heads.Headed(model, outputs=C) if section.name == "classification" else model
        made.append((model, lively(nn.meta.unbox(heads.init(model, jax.random.key(seed))))))
    rng = np.random.default_rng(0)
    segments = np.array([[1] * 7 + [2] * 4 + [0], [1] * 9 + [0] * 3, [0] * 12], np.int32)
    integers = lambda: (rng.integers(0, 29, segments.shape) * (segments > 0)).astype(np.int32)
    batch = {"tokens": integers(), "targets": integers(), "segments": segments,
             "positions": np.where(segments == 2, np.arange(12) - 7, np.arange(12)) * (segments > 0),
             "weights": ((segments > 0) & (np.arange(12) % 3 == 1)).astype(np.float32)}
    if kind == "seq2seq":
        batch |= {f"encoder_{name}": batch[name] for name in ("tokens", "segments", "positions")}
    if section.name == "classification":
        batch |= {"weights": np.array([[1, 1], [1, 0], [0, 0]], np.float32), "balance": np.full((3, 2), 2, np.float32),
                  "target": rng.integers(0, 2, (3, 2, C)).astype(np.float32)}
    return made, batch, section


def own(section):
    """The objective itself, bound to its settings."""
    more = {} if section.name == "classification" else {"vocab_size": 29}
    return objectives.build(section.name, **{k: v for k, v in section.items() if k != "name"}, **more)


def losses(params, network, teacher, batch, section, **settings):
    """The objective with the teacher beside it: (terms, metrics)."""
    return distillation.taught(network[0].apply, params, batch, teacher=teacher[1], teacher_apply=teacher[0].apply,
                               own=own(section), objective=section, settings=distillation.Settings(**settings))


def logits(model, params, batch, section):
    """(logits of all that there is in a batch, states): the plain way."""
    more = {}
    if "encoder_tokens" in batch:
        more["encoder"] = {name: batch[f"encoder_{name}"] for name in ("tokens", "segments", "positions")}
    x_BTD = model.apply({"params": params}, *(batch[n] for n in ("tokens", "segments", "positions")),
                        method=lambda m, *a: m.hidden(*a, **more))
    if section.name == "classification":
        return model.apply({"params": params}, x_BTD, batch["segments"], 2, method="score"), x_BTD
    return model.apply({"params": params}, x_BTD, method="logits"), x_BTD


def by_hand(params, network, teacher, batch, section, temperature):
    """T^2 KL of the softened probabilities, summed over the examples or tokens that are there."""
    z, t = (logits(*one, batch, section)[0][batch["weights"] > 0] for one in ((network[0], params), teacher))
    if section.get("kind") == "number":
        return (0.5 * (z - t) ** 2).sum()
    if section.get("kind") == "several":
        p, q = (1 / (1 + jnp.exp(-x / temperature)) for x in (t, z))
        return temperature ** 2 * (p * jnp.log(p / q) + (1 - p) * jnp.log((1 - p) / (1 - q))).sum()
    p, q = (jnp.exp(x / temperature) / jnp.exp(x / temperature).sum(-1, keepdims=True) for x in (t, z))
    return temperature ** 2 * (p * jnp.log(p / q)).sum()


@pytest.mark.parametrize("kind", [kind if kind != "seq2seq" else pytest.param(kind, marks=pytest.mark.slow)
                                  for kind in KINDS])
def test_the_loss_and_its_gradient_are_the_formula_s(kind, lively, assert_close):
    (network, teacher), batch, section = networks(kind, lively)

    def mine(params):
        terms, _ = losses(params, network, teacher, batch, section, temperature=3.0, soft=0.25)
        return terms["soft"][0] + terms["loss"][0]

    def long_way(params):
        plain = own(section)(network[0].apply, params, batch)[0]["loss"][0]
        return 0.25 * by_hand(params, network, teacher, batch, section, 3.0) + 0.75 * plain
    (mine, grads), (expected, wanted) = (jax.jit(jax.value_and_grad(f))(network[1]) for f in (mine, long_way))
    assert_close(mine, expected, 1e-5)
    assert_close(grads, wanted, 1e-5)
    terms, metrics = losses(network[1], network, teacher, batch, section)
    assert terms["soft"][1] == (batch["weights"] > 0).sum()
    assert metrics.keys() == own(section)(network[0].apply, network[1], batch)[1].keys()


@pytest.mark.parametrize("kind", ["causal", "classification"])
def test_a_network_that_is_its_own_teacher_has_nothing_to_learn_of_it(kind, lively):
    (network, _), batch, section = networks(kind, lively)
    soft = lambda params: losses(params, network, network, batch, section, soft=1.0, hidden=2.0)[0]
    terms = soft(network[1])
    assert abs(terms["soft"][0]) < 1e-5 and abs(terms["hidden"][0]) < 1e-4 and terms["loss"][0] == 0
    grads = jax.grad(lambda params: soft(params)["soft"][0])(network[1])
    assert max(jnp.abs(g).max() for g in jax.tree.leaves(grads)) < 1e-4


def test_the_divergence_is_torch_s():
    torch = pytest.importorskip("torch")
    z, t = np.random.default_rng(0).normal(size=(2, 5, 7)).astype(np.float32) * 3
    soft = lambda x: torch.log_softmax(torch.tensor(x) / 2.5, -1)
    wanted = torch.nn.functional.kl_div(soft(z), soft(t), reduction="sum", log_target=True) * 2.5 ** 2
    assert float(distillation.soft_loss(z, t, 2.5).sum()) == pytest.approx(float(wanted), rel=1e-5)


def test_final_states_are_held_together_by_their_cosine(lively):
    torch = pytest.importorskip("torch")
    (network, teacher), batch, section = networks("masked", lively)
    terms, _ = losses(network[1], network, teacher, batch, section, hidden=0.5)
    x, y = (torch.tensor(np.array(logits(*one, batch, section)[1])) for one in (network, teacher))
    real = torch.tensor(batch["segments"] > 0)
    wanted = torch.nn.functional.cosine_embedding_loss(x[real], y[real], torch.ones(int(real.sum())), reduction="sum")
    assert float(terms["hidden"][0]) == pytest.approx(0.5 * float(wanted), rel=1e-5)
    assert terms["hidden"][1] == int(real.sum())


@pytest.mark.parametrize("settings, message", [
    (dict(soft=1.5), "config.distil.soft=1.5 must be from 0 to 1"), (dict(temperature=0.0), "temperature=0.0 must be"),
    (dict(layers=2), "config.distil.layers=2 are of config.distil.teacher")])
def test_settings_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        distillation.Settings(**settings)

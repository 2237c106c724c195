"""The mixture of experts against every token sent through every expert, one at a time, in float64."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import kinds
import numpy as np
import pytest

from lmlab.models import moe
from lmlab.models.spec import Spec
from lmlab.utils.trees import by_path

REAL = np.array([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0], [0] * 5]) > 0
X = np.random.default_rng(0).standard_normal((3, 5, 8)).astype(np.float32)


@pytest.fixture(scope="module", params=["swiglu", "relu"])
def setting(request, lively):
    """(layer, params, spec) of five experts of which two are taken."""
    spec = Spec(vocab_size=5, width=8, heads=2, ff=6, experts=5, experts_per_token=2, activation=request.param,
                expert_balance=0.5)
    layer = moe.Experts(spec)
    return layer, lively(nn.meta.unbox(layer.init(jax.random.key(0), X, REAL))["params"], 0.5), spec


def by_hand(params, x, activation):
    """(y, probabilities, picks) of one token."""
    p = jax.tree.map(np.float64, params)
    logits = x @ p["router"]["kernel"]
    probability = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    picks = np.argsort(-probability)[:2]
    y = np.zeros(8)
    for e in picks:
        h = x @ p["wi"][e]
        h = h / (1 + np.exp(-h)) * (x @ p["wi_linear"][e]) if activation == "swiglu" else np.maximum(h, 0)
        y += probability[e] / probability[picks].sum() * (h @ p["wo"][e])
    return y, probability, picks


def test_each_token_goes_through_its_two_best_experts(setting):
    layer, params, spec = setting
    expected = [[by_hand(params, np.float64(x), spec.activation)[0] for x in row] for row in X]
    np.testing.assert_allclose(layer.apply({"params": params}, X, REAL), expected, atol=1e-5)


def test_nothing_is_dropped_when_all_want_the_same_expert(setting):
    layer, params, spec = setting
    same = np.tile(X[:1, :1], (3, 5, 1))
    expected = by_hand(params, np.float64(X[0, 0]), spec.activation)[0]
    np.testing.assert_allclose(layer.apply({"params": params}, same, REAL), np.tile(expected, (3, 5, 1)), atol=1e-5)


def test_balance_is_the_formula_row_by_row_without_padding(setting):
    layer, params, spec = setting
    _, state = layer.apply({"params": params}, X, REAL, mutable=["losses"])
    expected = []
    for row, real in zip(X, REAL):
        told = [by_hand(params, np.float64(x), spec.activation)[1:] for x in row[real]]
        share = np.bincount(np.concatenate([picks for _, picks in told]), minlength=5) / (2 * len(told)) if told else 0
        expected.append(0.5 * 5 * np.sum(share * np.mean([p for p, _ in told], 0)) if told else 0.0)
    np.testing.assert_allclose(state["losses"]["balance"][0], expected, rtol=1e-5)


def test_a_uniform_router_is_in_balance(setting):
    """Whatever the experts that ties go to: 5 sum_e share_e / 5 is 1."""
    layer, params, _ = setting
    even = {**params, "router": {"kernel": np.zeros((8, 5), np.float32)}}
    _, state = layer.apply({"params": even}, X, REAL, mutable=["losses"])
    np.testing.assert_allclose(state["losses"]["balance"][0], [0.5, 0.5, 0.0], rtol=1e-6)


def test_gradients_are_those_of_every_expert_on_every_token(setting, assert_close):
    """Of the output and of the balance, by all parameters and the input: the sum over all experts, those not taken
    weighing nothing, by autodiff."""
    layer, params, spec = setting
    taken = np.zeros((3, 5, 5), np.float32)
    for place in np.ndindex(3, 5):
        taken[place][by_hand(params, np.float64(X[place]), spec.activation)[2]] = 1

    def dense(p, x):
        probability = jax.nn.softmax(x @ p["router"]["kernel"])
        weight = probability * taken / (probability * taken).sum(-1, keepdims=True)
        h = jnp.einsum("btd,edf->btef", x, p["wi"])
        h = jax.nn.silu(h) * jnp.einsum("btd,edf->btef", x, p["wi_linear"]) if "wi_linear" in p else jax.nn.relu(h)
        y = jnp.einsum("btef,efd,bte->btd", h, p["wo"], weight)
        mean = lambda a: (a * REAL[..., None]).sum(1) / jnp.maximum(REAL.sum(1), 1)[:, None]
        return y, 0.5 * 5 * (mean(taken / 2) * mean(probability)).sum(-1)

    def sparse(p, x):
        y, state = layer.apply({"params": p}, x, REAL, mutable=["losses"])
        return y, state["losses"]["balance"][0]

    for part in (0, 1):
        gradient = lambda f: jax.jit(jax.grad(lambda p, x: jnp.sin(f(p, x)[part]).sum(), (0, 1)))(params, X)
        got, expected = gradient(sparse), gradient(dense)
        assert np.abs(got[0]["router"]["kernel"]).max() > 1e-3
        assert_close(got, expected, 1e-5)


def test_a_model_sows_one_balance_a_layer_and_row(lively):
    model, params = kinds.build("modern_pair", expert_balance=1.0)
    batch, _ = kinds.batch_of(model.spec)
    _, state = jax.jit(lambda p: model.apply({"params": p}, **kinds.inputs(batch), mutable=["losses"]))(lively(params))
    found = {path: np.asarray(leaf) for path, leaf in by_path(state["losses"]).items()}
    assert {path: leaf.shape for path, leaf in found.items()} == {
        "encoder/blocks/experts/balance/0": (3, 4), "trunk/blocks/experts/balance/0": (2, 4)}
    for leaf in found.values():
        assert (leaf[:, :3] > 0).all() and not leaf[:, 3].any()  # the last row is padding

"""Gradients through the steps of gradient descent, by torch; at where they lead; and back from there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmlab import objectives, run
from lmlab.utils.errors import UserError

V, D, C, RATE, INNER = 11, 4, 3, 0.7, 2
TABLE = np.random.default_rng(0).normal(size=(V, D)).astype(np.float32)


def apply(variables, x, *_, mutable=None, method=None, **__):
    """A network whose states are rows of a table, a token a text, and whose head is all that it has."""
    return (jnp.asarray(TABLE)[x], {}) if mutable else x @ variables["params"]["w"]


@pytest.fixture(scope="module")
def batch():
    """Three episodes of three labels, a text each to learn from and two to be asked about, and a row of padding."""
    rng = np.random.default_rng(1)
    tokens, label = rng.integers(0, V, (4, 9)), np.tile(np.repeat(np.arange(3), 3), (4, 1))
    support = np.tile([1, 0, 0], (4, 3))
    real = (np.arange(4) < 3)[:, None]
    return {"tokens": tokens, "segments": np.tile(np.arange(1, 10), (4, 1)) * real, "positions": np.zeros((4, 9), int),
            "label": label * real, "support": support * real, "weights": ((1 - support) * real).astype(np.float32)}


@pytest.fixture(scope="module")
def w():
    return np.random.default_rng(2).normal(size=(D, C)).astype(np.float32)


def by_torch(batch, w, through):
    """(sum of the losses asked about after the steps, how many are right, the sum's gradient, where each leads)."""
    torch = pytest.importorskip("torch")
    start = torch.tensor(w, requires_grad=True)
    total, right, ends = 0.0, 0, []
    for tokens, label, support in list(zip(batch["tokens"], batch["label"], batch["support"]))[:3]:
        x, y = torch.tensor(TABLE[tokens]), torch.tensor(label)
        learn, ask = torch.tensor(support == 1), torch.tensor(support == 0)
        now = start
        for _ in range(INNER):
            mean = torch.nn.functional.cross_entropy(x[learn] @ now, y[learn])
            (grad,) = torch.autograd.grad(mean, now, create_graph=through, retain_graph=True)
            now = now - RATE * grad
        logits = x[ask] @ now
        total = total + torch.nn.functional.cross_entropy(logits, y[ask], reduction="sum")
        right += int((logits.argmax(-1) == y[ask]).sum())
        ends.append(now.detach().numpy())
    (grad,) = torch.autograd.grad(total, start)
    return total.item(), right, grad.numpy(), ends


def found(batch, w, method):
    """(total, right, the gradient of the total)."""
    function = objectives.build("episodes", method=method, inner=INNER, rate=RATE)
    loss = lambda params: (lambda made: (made[0]["loss"][0], made))(function(apply, params, batch))
    (total, (terms, metrics)), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))({"w": w})
    assert terms["loss"][1] == metrics["accuracy"][1] == 18
    return float(total), float(metrics["accuracy"][0]), grads["w"]


@pytest.mark.parametrize("method", ["maml", "first_order"])
def test_the_gradient_goes_through_the_steps_or_takes_them_for_constants(batch, w, method):
    total, right, grad, _ = by_torch(batch, w, through=method == "maml")
    mine = found(batch, w, method)
    assert mine[:2] == pytest.approx((total, right), rel=1e-5)
    np.testing.assert_allclose(mine[2], grad, rtol=1e-4, atol=1e-5)


def test_the_two_gradients_differ(batch, w):
    assert np.abs(found(batch, w, "maml")[2] - found(batch, w, "first_order")[2]).max() > 0.1


def test_reptiles_gradient_is_the_way_back_from_where_the_steps_lead(batch, w):
    total, right, _, ends = by_torch(batch, w, through=False)
    mine = found(batch, w, "reptile")
    assert mine[:2] == pytest.approx((total, right), rel=1e-5)
    wanted = sum((w - end) / RATE for end in ends) * 6  # each weighs as much as it asks
    np.testing.assert_allclose(mine[2], wanted, rtol=1e-4, atol=1e-5)


def test_a_real_network_learns_within_an_episode():
    """After steps on an episode, what it was shown is told right: the same texts are asked about."""
    from lmlab.adapt import heads
    config = run.complete({"model": {"name": "transformer", "width": 16, "layers": 1, "heads": 2, "context": 12,
                                     "attends": "full"}, "objective": {"name": "episodes", "ways": 3}}, {})
    model = run.build_model(config, V, ("1", "2", "3"))
    params = jax.jit(lambda key: run.initialiser(config, model)(key))(jax.random.key(0))
    params = jax.tree.map(jnp.asarray, heads.nn.meta.unbox(params))
    ids = np.arange(1, 7)
    made = {"tokens": np.tile(ids, (1, 2)), "segments": np.arange(1, 13)[None], "positions": np.zeros((1, 12), int),
            "label": np.tile(np.arange(6) % 3, (1, 2)), "support": np.repeat([[1, 0]], 6, axis=1).reshape(1, 12),
            "weights": np.repeat([[0.0, 1.0]], 6, axis=1).reshape(1, 12).astype(np.float32)}
    after = lambda inner: jax.jit(lambda params: objectives.build("episodes", inner=inner, rate=0.5)(
        model.apply, params, made))(params)[1]["accuracy"][0]
    assert after(1) < 6 and after(100) == 6


@pytest.mark.parametrize("values,message", [
    ({"method": "mamal"}, "config.objective.method='mamal' is unknown; did you mean 'maml'"),
    ({"ways": 1}, "config.objective.ways=1 must be from 2"), ({"inner": 0}, "config.objective.inner=0 must be from 1"),
    ({"held": 1.0}, "config.objective.held=1.0 must be from 0 to 0.9")])
def test_what_means_nothing_is_refused(values, message):
    config = {"model": {"name": "transformer", "width": 8, "heads": 1, "context": 32},
              "objective": {"name": "episodes", **values}}
    with pytest.raises(UserError, match=message):
        run.check(run.complete(config, {}))

"""base_width: what muP is known by (Yang et al. 2022, figure 5), measured. After a few steps at one rate the states and
logits of every layer have moved as far in a wide model as in a narrow one."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lmlab import models
from lmlab.models import transformer
from lmlab.train import optimizer
from lmlab.utils.errors import UserError
from lmlab.utils.trees import by_path

WIDTHS = (32, 128, 512)
SPECS = {"tied": dict(), "untied": dict(tied=False, norm="rms", activation="swiglu", bias=False)}


def build(width, **more):
    """(model, plain parameters) with heads of 16."""
    model = models.build("transformer", vocab_size=31, context=8, width=width, layers=2, heads=width // 16, **more)
    return model, nn.meta.unbox(transformer.init(model, jax.random.key(0)))


def moved(width, name, steps=3, **more):
    """How far steps of one rate move the states after each layer, and the logits: root mean squares, (3,)."""
    model, params = build(width, **more)
    tokens, targets = np.random.default_rng(0).integers(0, 31, (2, 4, 8))
    transform, _ = optimizer.build(steps=9, name=name, rate=0.01, schedule="constant", warmup=0, weight_decay=0.0,
                                   narrowing=model.spec.narrowing)

    @jax.jit
    def look(params):
        logits, seen = model.apply({"params": params}, tokens, mutable=["intermediates"])
        states = jax.tree.leaves(seen["intermediates"]["trunk"]["blocks"]["residual_BTD"])[0]
        return [*states, logits]

    @jax.jit
    def step(params, state):
        def loss(params):
            logits = jax.nn.log_softmax(model.apply({"params": params}, tokens))
            return -jnp.take_along_axis(logits, targets[..., None], -1).mean()
        updates, state = transform.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state
    before, state = look(params), transform.init(params)
    for _ in range(steps):
        params, state = step(params, state)
    return np.array([np.sqrt(np.mean((a - b) ** 2)) for a, b in zip(look(params), before, strict=True)])


def growth(name, based, **more):
    """The slope of log(moved) over log(width): 0 is muP's promise, of each layer's states and the logits."""
    found = np.log([moved(width, name, base_width=32 * based, **more) for width in WIDTHS])
    return np.polyfit(np.log(WIDTHS), found, 1)[0]


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["tied", "untied"])
@pytest.mark.parametrize("name", ["adam", "adamw", "muon"])
def test_every_width_moves_as_far(name, spec):
    with_base, without = (growth(name, based, **SPECS[spec]) for based in (True, False))
    assert np.abs(with_base).max() < 0.2, with_base
    assert without[-1] > 0.4, without  # the logits of the usual parametrisation


def test_initial_values_and_steps_follow_the_table():
    """Of 4 times the base: matrices inside have half the standard deviation and a quarter of the step, all else is as
    it is; the logits are a quarter."""
    plain, based = build(128), build(128, base_width=32)
    for path, (w, v) in {p: (w, by_path(based[1])[p]) for p, w in by_path(plain[1]).items()}.items():
        np.testing.assert_allclose(v, w * (0.5 if "kernel" in path else 1.0), rtol=1e-6, err_msg=path)
    tokens = np.arange(8)[None]
    logits = [model.apply({"params": plain[1]}, tokens) for model, _ in (plain, based)]
    np.testing.assert_allclose(logits[1], logits[0] / 4, rtol=1e-5)
    params = jax.tree.map(np.ones_like, plain[1])
    for name in ("adam", "adamw"):
        steps = []
        for narrowing in (None, 0.25):
            transform, _ = optimizer.build(steps=9, name=name, warmup=0, narrowing=narrowing)
            steps.append(by_path(transform.update(params, transform.init(params), params)[0]))
        for path, step in steps[0].items():
            np.testing.assert_allclose(steps[1][path], step * (0.25 if "kernel" in path else 1.0), rtol=1e-6)


def test_plain_gradient_descent_has_no_rule():
    with pytest.raises(UserError, match="config.model.base_width has no rule for config.optimizer.name='sgd'"):
        optimizer.build(steps=200, name="sgd", narrowing=0.5)

"""Small models under every strategy, and an optimizer that shows the gradient."""

import functools
import math

import jax
import jax.numpy as jnp
import optax
import pytest

from lmlab import models, objectives
from lmlab.adapt import heads
from lmlab.models import transformer
from lmlab.train import sharding, step

MESHES = {"one": dict(data=1), "data": dict(data=8), "fsdp": dict(data=1, fsdp=8), "tensor": dict(data=2, tensor=4),
          "mixed": dict(data=2, fsdp=2, tensor=2), "pmap": dict(data=8), "four": dict(data=2, fsdp=2),
          "context": dict(data=2, context=4), "expert": dict(data=2, expert=4),
          "mixed_context": dict(data=1, fsdp=2, context=2, tensor=2),
          "mixed_expert": dict(data=1, fsdp=2, expert=2, tensor=2)}


@pytest.fixture(scope="session")
def make_model():
    """A function that builds a Transformer which every mesh of MESHES divides; the vocabulary is ragged."""
    def make(**more):
        """Two layers with rotary positions, grouped heads, QK-norm and an untied head, unless `more` says otherwise."""
        return models.build("transformer", **{**dict(
            vocab_size=37, context=16, width=16, layers=2, heads=8, kv_heads=4, head_dim=8, ff=24, norm="rms", unroll=1,
            positions="rotary", qk_norm="head", activation="swiglu", tied=False), **more})
    return make


@pytest.fixture(scope="session")
def make_strategy(eight):
    """A function: (name in MESHES, model, (optimizer, schedule)) -> Strategy."""
    def make(name, model, optimizer, *, seed=5, accumulation=1, objective="causal", average=0.0, trains=None,
             given=None, constants=None, **settings):
        """On as many of the eight devices as the mesh needs; objective: its name, settings its settings, or the
        function."""
        mesh = sharding.make_mesh(**MESHES[name], devices=eight[:math.prod(MESHES[name].values())])
        headed = isinstance(model, heads.Headed)
        more = {} if headed else {"vocab_size": model.spec.vocab_size}
        loss = objective if callable(objective) else objectives.build(objective, **settings, **more)
        init = functools.partial((heads if headed else transformer).init, model)
        return step.make_strategy("pmap" if name == "pmap" else "jit", model, init, loss, *optimizer, mesh, seed=seed,
                                  accumulation=accumulation, average=average, trains=trains, given=given,
                                  constants=constants)
    return make


@pytest.fixture(scope="session")
def tap():
    """(optimizer, schedule): leaves the parameters alone; its state is the gradient, to the last bit."""
    zeros = lambda tree: jax.tree.map(jnp.zeros_like, tree)
    return optax.GradientTransformation(lambda params: {"seen": zeros(params)},
                                        lambda grads, _, __: (zeros(grads), {"seen": grads})), lambda step: 1.0

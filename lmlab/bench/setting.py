"""Models of some sizes, their training steps and a batch for them, for suites that time them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from lmlab import models, objectives
from lmlab.models import transformer
from lmlab.train import guard, optimizer, step

VOCABULARY = 65
SIZES = {  # the first two are nanoGPT's for Shakespeare, on a CPU and on a GPU
    "4 x 128": dict(layers=4, width=128, heads=4, context=64, batch=12),
    "6 x 384": dict(layers=6, width=384, heads=6, context=256, batch=8),
    "14 x 768": dict(layers=14, width=768, heads=12, context=256, batch=2),  # 100 M parameters
}
TINY = {"1 x 16": dict(layers=1, width=16, heads=2, context=8, batch=2)}


def make(size):
    """Of an entry of SIZES: (update, state, batch), update being step.make_update's for a causal model under adamw.

    The state has room for the guard's counts; the learning rate is so low that it stays where it began.
    """
    rows, shape = size["batch"], (size["batch"], size["context"])
    model = models.build("transformer", vocab_size=VOCABULARY, bias=False, **{k: v for k, v in size.items()
                                                                             if k != "batch"})
    update_rule, schedule = optimizer.build(steps=1000, rate=1e-6)
    objective = objectives.build("causal", vocab_size=VOCABULARY)
    update = step.make_update(model, objective, update_rule, schedule, seed=0)
    params = nn.meta.unbox(jax.jit(functools.partial(transformer.init, model))(jax.random.key(0)))
    state = {"params": params, "opt_state": update_rule.init(params), "step": jnp.int32(0),
             "extra": {"guard": guard.new()}}
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, (2, *shape), np.int32)
    batch = {"tokens": tokens[0], "targets": tokens[1], "segments": np.ones(shape, np.int32),
             "positions": np.broadcast_to(np.arange(shape[1], dtype=np.int32), shape),
             "weights": np.ones(shape, np.float32), "row": np.arange(rows, dtype=np.int32)}
    return update, state, jax.device_put(batch)


def stepper(update, state, batch, steps):
    """A function that runs so many steps more, from its own copy of `state` on, and waits for the last."""
    run, held = jax.jit(update, donate_argnums=0), [jax.tree.map(jnp.copy, state)]

    def block():
        """Runs the steps."""
        for _ in range(steps):
            held[0], _ = run(held[0], batch)
        jax.block_until_ready(held[0])
    return block

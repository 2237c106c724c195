"""Models of some sizes, their training steps and a batch for them, for suites that time them."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from lmlab import models, objectives
from lmlab.models import transformer
from lmlab.train import optimizer, step

VOCABULARY = 65
SIZES = {  # the first two are nanoGPT's for Shakespeare, on a CPU and on a GPU
    "4 x 128": dict(layers=4, width=128, heads=4, context=64, batch=12),
    "6 x 384": dict(layers=6, width=384, heads=6, context=256, batch=8),
    "14 x 768": dict(layers=14, width=768, heads=12, context=256, batch=2),  # 100 M parameters
}
GPT2 = dict(layers=12, width=768, heads=12, context=256, batch=2, vocab_size=50304)  # 124 M parameters
TINY = {"1 x 16": dict(layers=1, width=16, heads=2, context=8, batch=2)}


class Options(NamedTuple):
    """How a suite is run.

    Attributes:
      rounds: times its usual number. tiny: at a size that says nothing, in seconds. case: only the rows whose name
        holds this. rival: the program in PyTorch that ours is timed beside (see rivals.py). text: the file that the
        suite `quality` trains on.
    """
    rounds: float = 1.0
    tiny: bool = False
    case: str = ""
    rival: str = ""
    text: str = ""

    def count(self, usual) -> int:
        """So many rounds."""
        return max(1, round(usual * self.rounds))

    def chosen(self, cases) -> dict:
        """The cases of {name: case} that are asked for."""
        return {name: case for name, case in cases.items() if self.case in name}


def parts(*, batch=0, vocab_size=VOCABULARY, chunk=0, **shape):
    """(model, objective, optimizer, schedule) of a causal model under adamw, with a learning rate so low that it stays
    where it began. chunk: of the vocabulary loss. shape: keyword arguments of the model."""
    del batch
    model = models.build("transformer", vocab_size=vocab_size, bias=False, **shape)
    objective = objectives.build("causal", vocab_size=vocab_size, chunk=chunk)
    return model, objective, *optimizer.build(steps=1000, rate=1e-6)


def tokens(*, batch, context, vocab_size=VOCABULARY, **_):
    """A batch of random tokens, numpy, as the loader would give it."""
    shape = (batch, context)
    inputs, targets = np.random.default_rng(0).integers(0, vocab_size, (2, *shape), np.int32)
    return {"tokens": inputs, "targets": targets, "segments": np.ones(shape, np.int32),
            "positions": np.broadcast_to(np.arange(context, dtype=np.int32), shape),
            "weights": np.ones(shape, np.float32), "row": np.arange(batch, dtype=np.int32)}


def make(size):
    """Of an entry of SIZES: (update, state, batch), update being step.make_update's; the state has room for the
    guard's counts."""
    model, objective, update_rule, schedule = parts(**size)
    update = step.make_update(model, objective, update_rule, schedule, seed=0)
    params = nn.meta.unbox(jax.jit(functools.partial(transformer.init, model))(jax.random.key(0)))
    state = {"params": params, "opt_state": update_rule.init(params), "step": jnp.int32(0),
             "extra": step.memory()}
    return update, state, jax.device_put(tokens(**size))


def stepper(update, state, batch, steps):
    """A function that runs so many steps more, from its own copy of `state` on, and waits for the last."""
    run, held = jax.jit(update, donate_argnums=0), [jax.tree.map(jnp.copy, state)]

    def block():
        """Runs the steps."""
        for _ in range(steps):
            held[0], _ = run(held[0], batch)
        jax.block_until_ready(held[0])
    return block

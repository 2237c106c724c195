"""A step that would harm the state is skipped, on the device: no number that is not finite is ever applied or saved."""

import functools

import jax
import jax.numpy as jnp

WINDOW = 100  # steps that the rolling mean of the loss looks back, about
SETTLED = 20  # steps it must have seen before a loss counts as a spike


def new() -> dict:
    """state["extra"]["guard"] at step 0: steps skipped, in all and in a row; mean and variance of the losses seen."""
    kinds = {"skipped": jnp.int32, "in_row": jnp.int32, "seen": jnp.int32, "mean": jnp.float32, "variance": jnp.float32}
    return {name: jnp.zeros((), kind) for name, kind in kinds.items()}  # an array each: a step donates them


def finite(tree):
    """Whether every floating-point number of a tree is finite: a scalar on the device."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return functools.reduce(jnp.logical_and, [jnp.isfinite(leaf).all() for leaf in leaves], jnp.bool_(True))


def guarded(update, spikes=0.0):
    """`update` (of step.make_update), but a step whose loss, gradient or new parameters are not finite leaves
    parameters and optimizer as they were. The step is counted, so that the batches of later steps stay; the optimizer,
    and with it the schedule, is a step behind from then on.

    A finite norm of the gradient, which is a sum of squares, bounds all that an optimizer keeps of it.

    Args:
      spikes: also skips a loss over the rolling mean by so many standard deviations; 0: off.
    Returns (of the function):
      the metrics gain "skipped" (0 or 1) and "in_row", how many steps were skipped up to here without one between.
    """
    def step(state, batch):
        after, metrics = update(state, batch)
        loss = metrics.get("total", metrics["loss"])
        memory = state["extra"]["guard"]
        good = jnp.isfinite(loss) & jnp.isfinite(metrics["grad_norm"]) & finite(after["params"])
        if spikes:
            high = loss > memory["mean"] + spikes * jnp.sqrt(memory["variance"])
            good &= ~(high & (memory["seen"] >= SETTLED))
        choose = functools.partial(jax.tree.map, functools.partial(jnp.where, good))
        bad = 1 - good.astype(jnp.int32)
        counts = {"skipped": memory["skipped"] + bad, "in_row": (memory["in_row"] + 1) * bad}
        kept = {name: choose(after[name], state[name]) for name in ("params", "opt_state")}
        extra = after["extra"] | {"guard": choose(_roll(memory, loss), memory) | counts}
        return {**after, **kept, "extra": extra}, metrics | {"skipped": bad, "in_row": counts["in_row"]}
    return step


def _roll(memory, loss):
    """The memory with one loss more in its mean and variance: all alike up to WINDOW, then fading exponentially."""
    seen = memory["seen"] + 1
    share = 1.0 / jnp.minimum(seen, WINDOW)
    off = loss - memory["mean"]
    return {**memory, "seen": seen, "mean": memory["mean"] + share * off,
            "variance": (1 - share) * (memory["variance"] + share * off * off)}

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
    """`update` (of step.make_update), but a step whose loss or gradient is not finite leaves parameters and optimizer
    as they were, and one whose new parameters are not finite the parameters. The step is counted, so that the batches
    of later steps stay; the optimizer, and with it the schedule, is a step behind from then on.

    A finite norm of the gradient, which is a sum of squares, bounds all that an optimizer keeps of it. It is known
    before the optimizer runs, which can then work in place: the state is never there twice.

    Args:
      spikes: also skips a loss over the rolling mean by so many standard deviations; 0: off.
    Returns (of the function):
      the metrics gain "skipped" (0 or 1) and "in_row", how many steps were skipped up to here without one between.
    """
    def step(state, batch):
        memory = state["extra"]["guard"]
        loss_of = lambda metrics: metrics.get("total", metrics["loss"])

        def gate(metrics, apply):
            loss = loss_of(metrics)
            sound = jnp.isfinite(loss) & jnp.isfinite(metrics["grad_norm"])
            if spikes:
                high = loss > memory["mean"] + spikes * jnp.sqrt(memory["variance"])
                sound &= ~(high & (memory["seen"] >= SETTLED))

            def applied():
                params, opt_state = apply()
                good = finite(params)
                return _choose(good, params, state["params"]), opt_state, {"skipped": 1 - good.astype(jnp.int32)}
            skipped = lambda: (state["params"], state["opt_state"], {"skipped": jnp.int32(1)})
            return jax.lax.cond(sound, applied, skipped)
        after, metrics = update(state, batch, gate)
        bad = metrics["skipped"]
        counts = {"skipped": memory["skipped"] + bad, "in_row": (memory["in_row"] + 1) * bad}
        seen = _choose(bad == 0, _roll(memory, loss_of(metrics)), memory)
        return {**after, "extra": after["extra"] | {"guard": seen | counts}}, metrics | {"in_row": counts["in_row"]}
    return step


def _choose(whether, new, old):
    return jax.tree.map(functools.partial(jnp.where, whether), new, old)


def _roll(memory, loss):
    """The memory with one loss more in its mean and variance: all alike up to WINDOW, then fading exponentially."""
    seen = memory["seen"] + 1
    share = 1.0 / jnp.minimum(seen, WINDOW)
    off = loss - memory["mean"]
    return {**memory, "seen": seen, "mean": memory["mean"] + share * off,
            "variance": (1 - share) * (memory["variance"] + share * off * off)}

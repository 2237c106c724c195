"""What held-out scores change in training: when it ends early, how fast it goes on, which checkpoint is the best.

The memory of it is a part of the state, state["extra"]["progress"], so that a resumed run decides as if never stopped.
"""

import jax
import jax.numpy as jnp

from lmlab.utils import trees
from lmlab.utils.errors import UserError, did_you_mean

LOWER = ("loss", "perplexity", "bits_per_byte")  # scores whose names end so are better where they are lower


def new() -> dict:
    """The memory at step 0: the best score so far (lower is better), evaluations since then, and what the learning rate
    is multiplied by."""
    return {"best": jnp.full((), jnp.finfo(jnp.float32).max), "since": jnp.zeros((), jnp.int32),
            "scale": jnp.ones((), jnp.float32)}


def chosen(scores, name) -> float | None:
    """The score that decides, turned so that lower is better; None where there are no scores.

    name: of a score without "val_".
    Raises:
      UserError: where there are scores, and none of that name.
    """
    if not scores:
        return None
    if f"val_{name}" not in scores:
        known = [known.removeprefix("val_") for known in scores]
        raise UserError(f"config.evals.best={name!r} is no score of this run{did_you_mean(name, known)}; one of "
                        f"{', '.join(known)}")
    score = scores[f"val_{name}"]
    return score if name.endswith(LOWER) else -score


def noted(memory, score, plateau=0, factor=1.0) -> dict:
    """The memory after one evaluation. plateau: after so many in a row without a better score the rate falls by
    `factor`, and the count for that begins anew; 0: it does not."""
    better = score < memory["best"]
    since = jnp.where(better, 0, memory["since"] + 1)
    falls = (since > 0) & (since % plateau == 0) if plateau else jnp.bool_(False)
    return {"best": jnp.where(better, score, memory["best"]).astype(jnp.float32), "since": since.astype(jnp.int32),
            "scale": jnp.where(falls, memory["scale"] * factor, memory["scale"])}


def note(state, score, plateau, factor) -> dict:
    """The state after one evaluation; every leaf stays where it is, pmap's copies too."""
    memory = jax.jit(noted, static_argnums=(2, 3))(state["extra"]["progress"], score, plateau, factor)
    return {**state, "extra": state["extra"] | {"progress": memory}}


def averaged(step, decay, trains):
    """`step`, but state["params"] is an exponential moving average of the trained parameters (Polyak & Juditsky 1992),
    and state["extra"]["trained"] is what goes on: what is evaluated, saved and loaded is the average.

    decay: of the average a step, less in the first ones, (1 + n) / (10 + n) at step n. trains: parameters -> (those
    that train, the others).
    """
    def call(state, batch):
        trained = state["extra"]["trained"]
        _, frozen = trains(state["params"])
        rest = {name: value for name, value in state["extra"].items() if name != "trained"}
        after, metrics = step({**state, "params": trees.join(frozen, trained), "extra": rest}, batch)
        new_trained, _ = trains(after["params"])
        old, _ = trains(state["params"])
        share = jnp.maximum(1 - decay, 9 / (10 + state["step"]))
        average = jax.tree.map(lambda a, x: a + (share * (x - a)).astype(a.dtype), old, new_trained)
        extra = after["extra"] | {"trained": new_trained}
        return {**after, "params": trees.join(frozen, average), "extra": extra}, metrics
    return call

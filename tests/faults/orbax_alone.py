"""What Orbax alone makes of a damaged run, in a process of its own, since it may crash or hang.

Reads a folder of checkpoints a line, restores the newest step as its documentation does, and compares with `state_of`.
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp


def state_of(step):
    """A small train state that is another at each step, and the same in every process."""
    draw = np.random.default_rng(step)
    params = {f"layer_{i}": {"kernel": jnp.asarray(draw.normal(size=(24, 32)), "float32"),
                             "scale": jnp.full(32, 1.0 + step)} for i in range(4)}
    moments = jax.tree.map(lambda x: -x, params)
    return {"params": params, "opt_state": ({"mu": moments, "count": jnp.int32(step)},), "step": jnp.int32(step),
            "extra": {"guard": {"skipped": jnp.int32(step % 2)}}}


def target():
    """Where each array of a state is to go."""
    where = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), state_of(0))


def same(state, step):
    """Whether a state is that of `step`, bit for bit."""
    pairs = zip(jax.tree.leaves(state), jax.tree.leaves(state_of(step)), strict=True)
    return all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in pairs)


def restored(folder, newest):
    """"as saved", "an older step", "silently WRONG" or "error": what came of restoring the newest step there is."""
    wanted = target()
    params = wanted.pop("params")
    try:
        with ocp.CheckpointManager(Path(folder), item_names=("params", "rest"),
                                   options=ocp.CheckpointManagerOptions(read_only=True)) as manager:
            step = manager.latest_step()
            read = manager.restore(step, args=ocp.args.Composite(params=ocp.args.StandardRestore(params),
                                                                 rest=ocp.args.StandardRestore(wanted)))
        state = {"params": read["params"], **read["rest"]}
    except Exception:
        return "error"
    if not same(state, step):
        return "silently WRONG"
    return "as saved" if step == newest else "an older step"


if __name__ == "__main__":
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        print(restored(line.rstrip("\n"), newest=3), file=answers, flush=True)

"""What a network with a task's head says of examples: its outputs, many at a time, each as if it were alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from lmlab.data import loader
from lmlab.data.features import examples
from lmlab.utils.errors import UserError

_ROWS = 16


def logits(lm, encoded, windows="packed") -> list[np.ndarray]:
    """The outputs of each example, float32: (C,); where the head has no pool (n, C) of its n tokens, or (w, C) of its w
    words where these have places.

    Args:
      lm: what lmlab.load gives, with a head. encoded: examples as `features.examples.encode` makes them, none longer
        than the context. windows: how they share rows; the outputs do not depend on it.
    """
    check(lm)
    return by_example(lm, encoded, _outputs, lm.model.pool, windows)


def by_example(lm, encoded, outputs, pool="", windows="packed") -> list[np.ndarray]:
    """What outputs(model, params, batch) gives of each example: its (C,) of (B, S, C) where there is a pool, else its
    (n, C) of (B, T, C). Other arguments as in `logits`."""
    if not encoded:
        return []
    longest = max(len(one.ids) for one in encoded)
    # Few shapes, so that few programs are compiled.
    length = min(max(32, 1 << (longest - 1).bit_length()), max(longest, lm.model.spec.context))
    rows = examples.rows(encoded, length, windows, {}, lambda number: {})
    params, found = jax.device_put(lm.params), [None] * len(encoded)
    owners = "words" if len(encoded[0].places) else "segments"
    for batch in loader.eval_batches(rows, batch=_ROWS):
        out = np.asarray(outputs(lm.model, params, {name: a for name, a in batch.items() if name != "row"}))
        for b, k in np.argwhere(batch["example"]).tolist():
            mine = out[b, k] if pool else out[b, batch[owners][b] == k + 1]
            found[batch["example"][b, k] - 1] = mine
    return found


def check(lm, objective=""):
    """Raises a UserError for a model without a head, or, where one is named, with the head of another objective."""
    if lm.labels is None:
        raise UserError("this model has no head for a task; train one on labelled examples (config.objective.name)")
    if objective and lm.config.objective.name != objective:
        raise UserError(f"this model was trained for config.objective.name={lm.config.objective.name}, and this is "
                        f"asked of one that was for {objective}; name another run")


def length(lm) -> int:
    """The most tokens of an example: those that it was trained on."""
    return min(lm.config.train.length or lm.model.spec.context, lm.model.spec.context)


@functools.partial(jax.jit, static_argnames="model")
def _outputs(model, params, batch):
    def method(model, batch):
        x_BTD = model.hidden(batch["tokens"], batch["segments"], batch["positions"], types_BT=batch["types"])
        if "places" in batch:
            x_BTD = jnp.take_along_axis(x_BTD, batch["places"][..., None], axis=1)
        return model.score(x_BTD, batch["segments"], batch["weights"].shape[1])
    return model.apply({"params": params}, batch, method=method)

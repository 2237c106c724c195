"""Hugging Face's weights and ours: which tensor lies where, said once for both directions.

Every transform here gives a *view* of our array that is laid out as Hugging Face's tensor: reading writes into it,
writing reads from it, so that the directions cannot differ, and neither copies a model.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from lmlab.models import transformer
from lmlab.utils.trees import by_path

_SUFFIX = {"kernel": ".weight", "scale": ".weight", "bias": ".bias"}
# Our arrays that hold several tensors: the part of each, in the order of the family's names.
_PARTS = {"qkv": (np.s_[..., :-2, :], np.s_[..., -2, :], np.s_[..., -1, :]),
          "kv": (np.s_[..., 0, :], np.s_[..., 1, :]), "wi_gated": (np.s_[..., 0, :], np.s_[..., 1, :])}


class Place(NamedTuple):
    """Where one tensor lies.

    Attributes:
      names: what the tensor may be called. shape: of the tensor.
      path, layer: of our array, and of the layer in it where it is stacked, else -1.
      view: our array -> its part that is the tensor, reshaped. offset: our numbers less the tensor's (Gemma: 1).
    """
    names: tuple[str, ...]
    shape: tuple[int, ...]
    path: str
    layer: int
    view: Callable
    offset: float

    def of(self, arrays):
        """The tensor's part of {path: array}: a view with its axes split, in the tensor's order."""
        array = arrays[self.path]
        return self.view(array if self.layer < 0 else array[self.layer])


def shapes(spec) -> dict[str, tuple]:
    """{path: shape} of the parameters of a model."""
    if spec.positions == "sinusoidal":  # a table that is computed, and no parameter
        spec = dataclasses.replace(spec, context=1)
    model = transformer.Model(spec)
    boxed = jax.eval_shape(lambda key: transformer.init(model, key), jax.random.key(0))
    return {path.removesuffix("/value"): tuple(leaf.shape) for path, leaf in by_path(boxed).items()}


def places(family, shapes) -> tuple[list[Place], list[str]]:
    """Where each tensor of a family lies in parameters of these shapes; and the paths that have none."""
    found, without = [], []
    for path, shape in shapes.items():
        module, _, leaf = path.rpartition("/")
        tensors, suffix = family.names.get(path), ""
        if tensors is None:
            tensors, suffix = family.names.get(module, ""), _SUFFIX.get(leaf, "")
        tensors = tensors.split()
        if not tensors:
            without.append(path)
        stacked = "/blocks/" in path
        for number, alternatives in enumerate(tensors):
            view, leading = _view(family, path, len(tensors), number)
            split = view(np.broadcast_to(np.float32(0), shape[1:] if stacked else shape)).shape
            whole = split if leading is None else _merge(split, leading(len(split)))
            for layer in range(shape[0]) if stacked else (-1,):
                names = tuple(name.format(layer) + suffix for name in alternatives.split("|"))
                found.append(Place(names, whole, path, layer, view, family.norm_offset if leaf == "scale" else 0.0))
    return found, without


def _merge(shape, leading):
    """A shape as (the first `leading` axes as one, the others as one), without axes that are none."""
    return tuple(math.prod(part) for part in (shape[:leading], shape[leading:]) if part)


def _view(family, path, count, number):
    """For tensor `number` of the `count` that an array comes in: (array -> view, axes of the view -> how many of them
    make the tensor's rows, or None where the view is the tensor)."""
    module, _, leaf = path.rpartition("/")
    module = module.rpartition("/")[2]
    if leaf not in ("kernel", "bias") or "norm" in module:
        return (lambda x: x[None]) if path in family.rows else (lambda x: x), None
    rows_in = 2 if module == "out" else 1  # axes that the projection contracts: heads and their size, or one
    conv1d = family.conv1d and "/blocks/" in path
    if module == "qkv" and count == 1:  # GPT-2: q, k, v side by side, each heads by head size
        return (lambda x: x.swapaxes(-3, -2)), lambda axes: rows_in if leaf == "kernel" else axes
    part = _PARTS.get(module, (np.s_[...],))[number]
    if leaf == "bias":
        return (lambda x: x[part]), lambda axes: axes
    if conv1d:
        return (lambda x: x[part]), lambda axes: rows_in
    # torch's Linear is (out, in)
    return (lambda x: np.moveaxis(x[part], range(rows_in), range(-rows_in, 0))), lambda axes: axes - rows_in

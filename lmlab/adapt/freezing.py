"""What of a network trains, and how fast: by the paths of its parameters and the depth of its layers."""

import dataclasses
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lmlab.adapt import lora
from lmlab.models import nf4
from lmlab.utils import trees
from lmlab.utils.errors import UserError

HEAD = "task"  # what the paths of a task's head begin with: task/kernel, task/bias, task_transitions


@dataclasses.dataclass(frozen=True)
class Settings:
    """config.adapt: what trains of a network that is there already (config.init_from)."""
    freeze: str = ""              # a regular expression: parameters whose path it finds stay as they are
    layer_decay: float = 1.0      # a layer's rate over that of the layer above it (Howard & Ruder 2018, section 3.2)
    unfreeze_every: int = 0       # steps until the next lower layer begins to train, the head alone at first; 0: all do
    lora_rank: int = 0            # above 0: adapters of that rank train (and a task's head), all else is frozen
    lora_alpha: float = 16.0      # their scale is alpha / rank
    lora_targets: str = "attention|cross|ff"  # a regular expression: the projections that get one
    base: str = "float32"         # what the layers' projections under them are kept in: float32, nf4 (4.5 bits each)

    def __post_init__(self):
        for name in ("freeze", "lora_targets"):
            try:
                re.compile(getattr(self, name))
            except re.error as error:
                raise UserError(f"config.adapt.{name}={getattr(self, name)!r} is no regular expression ({error}); "
                                "mend it") from None
        for name in ("unfreeze_every", "lora_rank", "lora_alpha"):
            if not getattr(self, name) >= 0:
                raise UserError(f"config.adapt.{name}={getattr(self, name)} must be at least 0")
        if self.base not in ("float32", "nf4"):
            raise UserError(f"config.adapt.base={self.base!r} is unknown; one of float32, nf4")
        if self.base == "nf4" and not self.lora_rank:
            raise UserError("config.adapt.base='nf4' keeps a network that does not train; set config.adapt.lora_rank "
                            "above 0, and adapters do")
        if not 0 < self.layer_decay <= 1:
            raise UserError(f"config.adapt.layer_decay={self.layer_decay} must be above 0 and at most 1")


def trains(settings):
    """path of a parameter -> whether it trains; None: all do."""
    if not settings.freeze and not settings.lora_rank:
        return None
    adapters = ("lora_a", "lora_b")

    def chosen(path):
        if settings.freeze and re.search(settings.freeze, path):
            return False
        return not settings.lora_rank or path.startswith(HEAD) or path.rpartition("/")[2] in adapters
    return chosen


def depth(path, leaf):
    """How far below the head a parameter is, 0 for the head: an int, or for stacked layers (N, 1, ...) one a layer.

    The top layer of the trunk is 1. What is under all layers (embeddings, and an encoder as a whole) is one deeper than
    the lowest; `leaf` has the number of layers as its first axis where they are stacked. None: under all layers.
    """
    if re.search(r"(^|/)trunk/blocks/", path):
        layers = leaf.shape[0]
        return np.arange(layers, 0, -1).reshape(-1, *[1] * (len(leaf.shape) - 1))
    return None if re.search(r"embedding|(^|/)encoder/|relative", path) else 0


def depths(params):
    """`depth` of every leaf, None replaced: a tree of arrays or ints."""
    each = {path: depth(path, leaf) for path, leaf in trees.by_path(params).items()}
    lowest = max((int(np.max(d)) for d in each.values() if d is not None), default=0)
    return trees.from_paths({path: lowest + 1 if d is None else d for path, d in each.items()})


class Layerwise(NamedTuple):
    """The state of `layerwise`: updates so far, and the inner state."""
    count: Any
    inner: Any


def layerwise(transform, settings):
    """An optax transform whose updates are layer_decay^depth times as large, and nothing for layers that do not train
    yet; `transform` itself where the settings ask for neither."""
    if settings.layer_decay == 1 and not settings.unfreeze_every:
        return transform

    def update(grads, state, params=None, **more):
        deep = depths(grads)
        gate = jax.tree.map(lambda d: (state.count >= settings.unfreeze_every * d).astype(jnp.float32), deep)
        times = lambda tree, other: jax.tree.map(lambda x, y: x * y, tree, other)
        updates, inner = transform.update(times(grads, gate), state.inner, params, **more)
        updates = jax.tree.map(lambda u, g, d: u * g * settings.layer_decay ** d, updates, gate, deep)
        return updates, Layerwise(state.count + 1, inner)
    return optax.GradientTransformationExtraArgs(lambda params: Layerwise(jnp.zeros((), jnp.int32),
                                                                          transform.init(params)), update)


def table(shapes, settings, loaded=None) -> str:
    """What trains, for people: a line for each part of the network, its numbers, how many of them train, from where its
    values are.

    shapes: of the parameters. loaded: paths whose values were there already; None: none.
    """
    chosen, groups = trains(settings) or (lambda path: True), {}
    for path, leaf in trees.by_path(shapes).items():
        part = groups.setdefault(_part(path), {"numbers": 0, "train": 0, "loaded": 0})
        size = nf4.numbers(path, leaf)
        part["numbers"] += size
        part["train"] += size * bool(chosen(path))
        part["loaded"] += size * (path in (loaded or ()))
    total = {name: sum(part[name] for part in groups.values()) for name in ("numbers", "train", "loaded")}
    rows = [("part", "numbers", "train", "loaded")]
    rows += [(name, *(f"{part[key]:,}" for key in ("numbers", "train", "loaded")))
             for name, part in [*groups.items(), ("all", total)]]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join("  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in
                                                            zip(row[1:], widths[1:]))]) for row in rows)


def _part(path):
    """The part of the network that a line of `table` tells of: "body/trunk/attention" of all its layers."""
    branches = [name for name in path.split("/")[:-1] if name != "blocks"]
    branches = [name for name in branches if name != "body"]
    return "/".join(branches[:2]) or path.rpartition("/")[2]

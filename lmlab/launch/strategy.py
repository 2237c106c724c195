"""What a layout must cost by arithmetic, from shapes and shardings alone: bytes between devices, operations, memory.

Fully sharded (fsdp): each use of a weight gathers it, in the dtype of the computation, and its gradient is summed and
scattered back; over `data` what is left of it is summed again. Tensor: the partial sums of each branch of a layer are
added up, forward and backward (Shoeybi et al. 2019), and in the vocabulary loss three numbers a token.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp

from lmlab.launch.hlo import Collective
from lmlab.models import flops
from lmlab.objectives import losses
from lmlab.train import sharding
from lmlab.utils.trees import by_path


class Work(NamedTuple):
    """What a step computes."""
    spec: object            # the model's keyword arguments
    rows: int               # of the whole batch,
    length: int             # of so many tokens each
    source: int = 0         # tokens of an encoder's rows
    accumulation: int = 1
    chunk: int = 0          # positions of the vocabulary loss at once; 0: as it chooses
    targets: int | None = None  # tokens of a row whose logits are made; None: all


class Expected(NamedTuple):
    """A collective that a strategy needs, and what for."""
    what: str
    collective: Collective


def tokens(work, mesh) -> float:
    """Of the decoder, on a device, all pieces of the batch together."""
    return work.rows * work.length / (sharding.ways(mesh) * mesh.get("context", 1))


def pieces(work, mesh) -> int:
    """Into how many the vocabulary loss is cut."""
    parts = mesh.get("context", 1)
    logits = -(-work.rows // work.accumulation * work.spec.vocab_size // (sharding.ways(mesh) * _tensor(work, mesh)))
    return losses.chunks((work.targets or work.length) // parts, logits, -(-work.chunk // parts))


def predicted(shapes, work, mesh) -> list[Expected]:
    """The collectives of a step. shapes: the parameters', with shardings; mesh: sizes by axis."""
    fsdp, size, loss = mesh["fsdp"], jnp.dtype(work.spec.dtype).itemsize, pieces(work, mesh)
    copies = sharding.ways(mesh) * mesh.get("context", 1) // fsdp  # of each device's part of the parameters
    total = {}

    def add(what, kind, group, times, result):
        if group > 1:
            count, sofar = total.get((what, kind, group), (0, 0.0))
            total[what, kind, group] = count + times, sofar + times * result

    for path, leaf in by_path(shapes).items():
        axes = [name for part in leaf.sharding.spec for name in ((part,) if isinstance(part, str) else part or ())]
        split = math.prod(mesh[name] for name in axes if name != "fsdp")
        if "fsdp" not in axes:  # norms and biases: every device has them whole
            add("gradients", "all-reduce", fsdp * copies, work.accumulation, leaf.size * leaf.dtype.itemsize / split)
            continue
        table, head = path.split("/")[-1] == "token_embedding", path.startswith("head/")
        out = head or table and work.spec.tied
        if table:  # looked up whole
            add("parameters", "all-gather", fsdp * split, work.accumulation, leaf.size * size)
        if out or not table:  # forward, and again on the way back
            times = 2 * work.accumulation * (loss if out else 1)
            add("parameters", "all-gather", fsdp, times, leaf.size * size / split)
        times, summed = work.accumulation * (loss if head else 1), leaf.size * size / (1 if table else split) / fsdp
        add("gradients", "reduce-scatter", fsdp, times, summed)
        add("gradients", "all-reduce", copies, times, summed)
    _activations(add, work, mesh, size, loss)
    return [Expected(what, Collective(kind, group, *values)) for (what, kind, group), values in total.items()]


def _activations(add, work, mesh, size, loss):
    """Those of the tensor axis: every layer's branches end in partial sums, and begin with them on the way back."""
    spec, tensor, here = work.spec, mesh.get("tensor", 1), tokens(work, mesh)
    layers, cross = spec.layers + spec.encoder_layers, spec.layers * (spec.encoder_layers > 0)
    branches = 2 * layers + cross
    again = branches - layers if spec.remat == "full" else 0  # what a layer's last branch gave is not needed
    add("activations", "all-reduce", tensor, 2 * branches + again + cross, here * spec.width * size)
    split = _tensor(work, mesh)
    add("activations", "all-reduce", split, 1, here * spec.width * size)
    add("vocabulary loss", "all-reduce", split, 3 * (2 if loss > 1 else 1), here * 4)


def executed(shapes, work) -> float:
    """Operations of a step on all devices together, those done twice included: flops.train_step counts them once."""
    args = work.spec, shapes, work.length, work.source or 1, work.targets or work.length
    once = flops.train_step(work.spec, shapes, work.rows, work.length, work.source, work.targets)
    attention = once - 6 * work.rows * flops.multiplied(*args)
    again = {"none": 0.0, "dots": attention, "attention": attention + _into_feed_forward(work), "full": once}
    return once + again[work.spec.remat] / 3


def _into_feed_forward(work):
    """Operations of its first products in a step, forward and backward."""
    s = work.spec
    return 6 * work.rows * (work.length * s.layers + work.source * s.encoder_layers) * _gates(s) * s.width * s.hidden


def _gates(spec):
    return 1 + spec.activation.endswith("glu")


def temporaries(gradients, work, mesh) -> float:
    """About how many bytes a device needs beside its state: gradients (so many bytes), what the backward pass finds
    saved, one layer's working set and weights, a piece of logits.

    A guess to choose by, within a factor of about two: only compiling tells.
    """
    size, here = jnp.dtype(work.spec.dtype).itemsize, tokens(work, mesh) / work.accumulation
    width, projected, inside, scores, weights = _layer(work, mesh)
    into = _gates(work.spec) * work.spec.hidden / mesh.get("tensor", 1)
    saved = width + {"full": 0, "attention": projected - into, "dots": projected,
                     "none": inside + scores}[work.spec.remat]
    logits = min(losses.AUTO_LOGITS, here * work.spec.vocab_size / _tensor(work, mesh))
    layers = work.spec.layers + work.spec.encoder_layers
    return gradients + size * (here * (layers * saved + inside + scores / 2) + 2 * weights) + 3 * 4 * logits


def moved(state, work, mesh) -> float:
    """About how many bytes a device reads and writes: its state (so many bytes) twice, and three passes over the
    layers' weights and activations. A guess likewise."""
    size, layers = jnp.dtype(work.spec.dtype).itemsize, work.spec.layers + work.spec.encoder_layers
    _, _, inside, scores, weights = _layer(work, mesh)
    passed = work.accumulation * weights + tokens(work, mesh) * (inside + 2 * scores)
    return 2 * state + 3 * 2 * size * layers * passed


def _layer(work, mesh):
    """Numbers a layer and device: width, what its projections give, all that it makes, scores, a token; weights."""
    s, tensor = work.spec, mesh.get("tensor", 1)
    gates, heads = _gates(s), s.heads * s.head_size / tensor
    projected = 2 * heads + (2 * s.groups * s.head_size + gates * s.hidden) / tensor + s.width
    scores = 0.0 if s.attention == "splash" else s.heads * work.length / tensor / 2
    weights = 2 * s.width * (heads + s.groups * s.head_size / tensor) + (gates + 1) * s.width * s.hidden / tensor
    return s.width, projected, projected + 2 * heads + 2 * s.hidden / tensor + 4 * s.width, scores, weights


def _tensor(work, mesh):
    """Parts that the tensor axis cuts the vocabulary into: none where it does not divide it."""
    tensor = mesh.get("tensor", 1)
    return tensor if work.spec.vocab_size % tensor == 0 else 1

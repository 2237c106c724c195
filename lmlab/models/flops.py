"""How many floating-point operations a model needs, by the convention that MFU is told in (Chowdhery et al. 2022,
appendix B): 6 for every parameter that multiplies, and those of attention, a token; recomputing does not count."""

import dataclasses

from lmlab.models import nf4
from lmlab.utils.trees import by_path


def multiplied(spec, shapes, length=1, source=1, targets=1) -> float:
    """The parameters that multiply each token's activations, times the tokens. shapes: a tree of arrays or their
    shapes, for `spec`. length, source, targets: as in `train_step`.

    A tied embedding counts once, as the way out; of the experts those that a token goes through.
    """
    total = 0.0
    for path, leaf in by_path(shapes).items():
        part = spec.experts_per_token / spec.experts if "/experts/w" in path else 1.0
        total += part * nf4.numbers(path, leaf) * _tokens(spec, path, length, source, targets)
    return total


def _tokens(spec, path, length, source, targets):
    """So many tokens of a row does the parameter `path` multiply."""
    path = path.removeprefix("body/")
    first, last = path.split("/")[0], path.split("/")[-1]
    if last in ("scale", "relative") or last.endswith("bias") or last.endswith("_embedding") and not (
            path == "token_embedding" and spec.tied):
        return 0
    if first == "encoder" or "/cross/kv/" in path:
        return source
    if first in ("token_embedding", "head", "head_transform"):
        return targets
    return 1 if first in ("pooler", "pair_head", "task") else length


def train_step(spec, shapes, rows, length, source=0, targets=None) -> float:
    """Operations of a training step: forward, and twice that backward, for `rows` rows of `length` tokens.

    Causal attention is counted as the half that is needed: 2 length D multiplications and additions a token and layer;
    a prefix that looks both ways is counted as causal, and rows of several documents as one.

    Args:
      source: tokens of an encoder's rows. targets: tokens of a row whose logits are made; None: all.
    """
    targets = length if targets is None else targets
    if spec.generator:  # it makes the logits, and the model beside it none
        own = {name: tree for name, tree in shapes.items() if name != "generator"}
        return train_step(spec.generated, shapes["generator"], rows, length, source, targets) + train_step(
            dataclasses.replace(spec, generator=0.0), own, rows, length, source, 0)
    local, causal = spec.local, spec.attends != "full"
    pairs = sum(_pairs(length, spec.window * local[i], causal) + length * source for i in range(spec.layers))
    pairs += sum(_pairs(source, spec.window * local[i], False) for i in range(spec.encoder_layers))
    attention = 4 * pairs * spec.heads * spec.head_size
    return rows * (6 * multiplied(spec, shapes, length, source, targets) + 3 * attention)


def _pairs(length, window, causal):
    """Pairs of a query and a key that it looks at, at most `window` tokens away; 0: any."""
    window = min(window or length, length)
    earlier = length * window - window ** 2 / 2
    return earlier if causal else 2 * earlier

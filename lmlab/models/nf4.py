"""NF4: numbers of four bits at the quantiles of a normal distribution (Dettmers et al. 2023, section 3, appendix E).

The numbers of a block along one axis share their largest magnitude, "absmax", and each is a code: the nearest of 16
levels times that. Two codes share a byte of "codes", the earlier one in its upper half.
"""

from statistics import NormalDist

import jax.numpy as jnp
import numpy as np

from lmlab.utils.errors import UserError
from lmlab.utils.trees import by_path

LEAVES = ("codes", "absmax")
BLOCK = 64  # numbers that share an absmax: with 32 bits of that, 4.5 bits a number


def levels() -> np.ndarray:
    """The 16 levels, float32, rising from -1 to 1: eight quantiles above zero, seven below, each evenly spaced up to
    the same tail, and zero itself."""
    last = 1 - (1 / 32 + 1 / 30) / 2
    side = lambda count: [NormalDist().inv_cdf(p) for p in np.linspace(last, 0.5, count + 1)[:-1]]
    both = np.sort([*side(8), 0.0, *(-x for x in side(7))])
    return np.float32(both / both.max())


LEVELS = levels()


def block(size) -> int:
    """The numbers of a block along an axis of `size`: 64, or the largest even divisor below.

    Raises:
      UserError: where that is less than 4, which would save next to nothing.
    """
    found = max((n for n in range(4, BLOCK + 1, 2) if size % n == 0), default=0)
    if not found:
        raise UserError(f"config.adapt.base='nf4' cannot cut an axis of {size} numbers into blocks: it has no even "
                        f"divisor from 4 to {BLOCK}; use config.adapt.base='float32'")
    return found


def quantise(x, axis):
    """(codes, absmax) of an array: uint8, and float32, of its shape but for `axis`, which has half as many, and one for
    each block."""
    axis, size = axis % x.ndim, block(x.shape[axis])
    before, after = x.shape[:axis], x.shape[axis + 1:]
    x = jnp.asarray(x, jnp.float32).reshape(*before, -1, size, *after)
    absmax = jnp.abs(x).max(axis + 1)
    share = x / jnp.expand_dims(jnp.where(absmax == 0, 1, absmax), axis + 1)
    codes = jnp.searchsorted(jnp.asarray((LEVELS[1:] + LEVELS[:-1]) / 2), share).astype(jnp.uint8)
    codes = codes.reshape(*before, -1, 2, *after)
    first, second = (jnp.take(codes, i, axis + 1) for i in (0, 1))
    return first << 4 | second, absmax


def dequantise(codes, absmax, dtype=jnp.float32):
    """The array that (codes, absmax) of `quantise` stand for, but for rounding. The axis is the one they differ in."""
    axis = next(i for i, sizes in enumerate(zip(codes.shape, absmax.shape)) if sizes[0] != sizes[1])
    before, after = codes.shape[:axis], codes.shape[axis + 1:]
    x = jnp.asarray(LEVELS)[jnp.stack([codes >> 4, codes & 15], axis + 1)]
    x = x.reshape(*before, absmax.shape[axis], -1, *after) * jnp.expand_dims(absmax, axis + 1)
    return x.reshape(*before, -1, *after).astype(dtype)


def numbers(path, leaf) -> int:
    """How many parameters of a network a leaf (an array, or its shape) stands for."""
    name = path.rpartition("/")[2]
    return 0 if name == "absmax" else 2 * leaf.size if name == "codes" else leaf.size


def count(tree) -> int:
    """`numbers` of all leaves."""
    return sum(numbers(path, leaf) for path, leaf in by_path(tree).items())

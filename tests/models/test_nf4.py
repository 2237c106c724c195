"""NF4: the published levels, codes found the long way, and no error beyond half a gap."""

import jax
import numpy as np
import pytest

from lmlab.models import nf4
from lmlab.utils.errors import UserError

# As bitsandbytes, the library of the paper's authors, has them in its kernels.
PUBLISHED = [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
             -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
             0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0]


def test_the_levels_are_the_published_ones():
    np.testing.assert_allclose(nf4.LEVELS, PUBLISHED, atol=1e-6)


def long_way(x, axis):
    """(codes, absmax, rounded), number by number along the last axis."""
    rows = np.moveaxis(np.asarray(x, np.float64), axis, -1)
    codes, absmax = np.zeros((*rows.shape[:-1], rows.shape[-1] // 2), np.uint8), {}
    rounded = np.zeros_like(rows)
    size = 64 if rows.shape[-1] % 64 == 0 else rows.shape[-1]
    for place in np.ndindex(rows.shape[:-1]):
        for start in range(0, rows.shape[-1], size):
            part = rows[place][start:start + size]
            absmax[(*place, start // size)] = largest = np.abs(part).max()
            for i, value in enumerate(part):
                code = np.abs(np.array(PUBLISHED) - value / largest).argmin() if largest else 7
                codes[(*place, (start + i) // 2)] |= code << (0 if i % 2 else 4)
                rounded[(*place, start + i)] = PUBLISHED[code] * largest
    scales = np.zeros((*rows.shape[:-1], rows.shape[-1] // size))
    for place, value in absmax.items():
        scales[place] = value
    return tuple(np.moveaxis(a, -1, axis) for a in (codes, scales, rounded))


@pytest.mark.parametrize("shape, axis", [((2, 128, 3), 1), ((2, 3, 2, 64), -1), ((1, 36, 2, 2), 1)])
def test_it_is_what_the_long_way_gives(shape, axis):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    x[..., 0] = 0
    codes, absmax = jax.jit(nf4.quantise, static_argnums=1)(x, axis)
    assert codes.dtype == np.uint8 and absmax.dtype == np.float32
    for ours, expected in zip((codes, absmax, nf4.dequantise(codes, absmax)), long_way(x, axis)):
        np.testing.assert_allclose(ours, expected, atol=2e-6)


def test_no_number_is_further_off_than_half_a_gap():
    x = np.random.default_rng(1).normal(size=(4, 640)).astype(np.float32)
    codes, absmax = nf4.quantise(x, 1)
    share, gaps = x.reshape(4, 10, 64) / np.asarray(absmax)[..., None], np.diff(PUBLISHED)
    below = np.clip(np.searchsorted(PUBLISHED, share) - 1, 0, 14)
    off = np.abs(np.asarray(nf4.dequantise(codes, absmax)) - x).reshape(4, 10, 64) / np.asarray(absmax)[..., None]
    assert (off <= gaps[below] / 2 + 1e-6).all()
    assert off.max() > 0.1  # and the widest gap, of 0.30, is met


def test_levels_and_their_multiples_come_back_exactly():
    x = np.float32([nf4.LEVELS, 4 * nf4.LEVELS[::-1], 0 * nf4.LEVELS])  # a power of two: exactly
    np.testing.assert_array_equal(nf4.dequantise(*nf4.quantise(x, 1)), x)


def test_blocks_are_of_64_or_the_next_smaller():
    assert [nf4.block(size) for size in (4096, 576, 96, 34, 16)] == [64, 64, 48, 34, 16]
    with pytest.raises(UserError, match="cannot cut an axis of 134 numbers"):
        nf4.block(134)

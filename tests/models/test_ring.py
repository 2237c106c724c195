"""Attention over rows that are split along their length, against the formula on one device in float64."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from plain import both_ways, formula

from lmlab.models import attention, ring
from lmlab.train import sharding

SEGMENTS = np.repeat([[1, 2, 0], [1, 1, 2]], [7, 5, 4], axis=1)
EARLIER = np.tril(np.ones((16, 16), bool))
NEAR = np.abs(np.subtract.outer(np.arange(16), np.arange(16))) < 3
SAME = (SEGMENTS[:, :, None] == SEGMENTS[:, None])[:, None]
RANDOM = np.random.default_rng(3).random((2, 1, 16, 8)) < 0.5
RANDOM[:, :, 5] = False  # sees nothing: the mean of all values
BIAS = np.random.default_rng(4).standard_normal((2, 4, 16, 16))
CASES = {  # name: (keys, heads of keys, mask, what else attend is told)
    "causal": (16, 2, SAME & EARLIER, dict(segments_BT=SEGMENTS, causal=True)),
    "window": (16, 4, SAME & EARLIER & NEAR, dict(softcap=1.5, scale=0.7)),
    "bias": (16, 2, SAME, dict(bias_BHTS=BIAS)),
    "one_bias": (16, 1, None, dict(bias_BHTS=BIAS[:1])),
    "cross": (8, 4, RANDOM, dict()),
}


@pytest.mark.parametrize("name", CASES)
def test_attention_in_parts_and_its_gradients_are_the_formula(name, eight, assert_close, monkeypatch):
    monkeypatch.setattr(ring, "BLOCK", 2)
    keys, G, mask, more = CASES[name]
    rng = np.random.default_rng(0)
    shapes = (2, 16, 4, 8), (2, keys, G, 8), (2, keys, G, 8)
    arrays = [rng.standard_normal(shape) for shape in shapes] + ([more["bias_BHTS"]] if "bias_BHTS" in more else [])
    settings = {key: value for key, value in more.items() if key in ("scale", "softcap")}
    with jax.enable_x64(True):
        exact = both_ways(lambda q, k, v, bias=None: formula(q, k, v, bias, mask, **settings), *arrays)
    mesh = sharding.make_mesh(2, 1, 2, 2, devices=eight) if G > 1 else sharding.make_mesh(2, context=4, devices=eight)
    told = {key: value for key, value in more.items() if key != "bias_BHTS"}
    attend = lambda q, k, v, bias=None: attention.attend(q, k, v, mask, bias, **told)
    assert_close(sharding.on_mesh(mesh, both_ways)(attend, *(a.astype(np.float32) for a in arrays)), exact, 1e-6)


def test_nothing_is_as_long_as_the_row_both_ways(eight, monkeypatch):
    """Scores of a part of the queries and a block of keys are the largest there are."""
    monkeypatch.setattr(ring, "BLOCK", 8)
    mesh = sharding.make_mesh(1, context=4, devices=eight[:4])
    q, segments = jnp.ones((1, 256, 1, 4)), jnp.ones((1, 256), int)
    attend = lambda q: attention.attend(q, q, q, attention.segment_mask(segments), segments_BT=segments, causal=True)
    where = sharding.batch_sharding(mesh)
    program = lambda: jax.jit(jax.grad(lambda q: attend(q).sum()), in_shardings=where).lower(q).compile().as_text()
    largest = lambda text: max(int(np.prod([int(n) for n in shape.split(",")])) for shape in
                               re.findall(r"(?:f32|pred)\[([\d,]+)\]", text))
    assert largest(sharding.on_mesh(mesh, program)()) == 64 * 8
    assert largest(program()) >= 256 * 64

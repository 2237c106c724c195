"""The suites time what they say: the steps they compare train alike, and both ways of saving keep the whole state."""

import jax
import numpy as np

from lmlab import bench
from lmlab.bench import setting
from lmlab.train import guard


def test_every_suite_is_found():
    assert bench.names() == ["checkpoint", "compile", "data", "decode", "guard", "memory", "quality", "train"]
    assert all(bench.find(name).__doc__ for name in bench.names())


def test_the_sizes_are_those_of_the_record():
    """Parameters of a layer: 12 D^2 and two norms' scales; embeddings of 65 tokens and of positions; a last norm."""
    params = setting.make(setting.SIZES["4 x 128"])[1]["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 4 * (12 * 128 ** 2 + 2 * 128) + (65 + 64 + 1) * 128


def test_what_is_compared_trains_alike_bit_for_bit(assert_same):
    update, state, batch = setting.make(setting.TINY["1 x 16"])
    bare, _ = jax.jit(update)(state, batch)
    held, metrics = jax.jit(guard.guarded(update, spikes=6.0))(state, batch)
    assert_same(held["params"], bare["params"])
    assert metrics["skipped"] == 0 and held["extra"]["guard"]["seen"] == 1
    assert any(np.any(a != b) for a, b in zip(jax.tree.leaves(bare["params"]), jax.tree.leaves(state["params"])))

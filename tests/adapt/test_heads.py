"""Heads over several examples of a row: each as if it were alone, and the pooling written out."""

import flax.linen as nn
import jax
import numpy as np
import pytest

import kinds
from lmlab.adapt import heads
from lmlab.models import pooling


@pytest.mark.parametrize("kind", ["bert", "gpt2", "t5"])
@pytest.mark.parametrize("pool", [*pooling.POOLS, ""])
def test_packed_examples_have_the_outputs_of_each_alone(kind, pool, lively):
    body, _ = kinds.build(kind)
    model = heads.Headed(body, outputs=3, pool=pool)
    params = lively(nn.meta.unbox(heads.init(model, jax.random.key(0))))
    batch, documents = kinds.batch_of(body.spec)
    score = lambda m, inputs, segments, count: m.score(m.hidden(**inputs), segments, count)
    run = lambda *args: np.asarray(model.apply({"params": params}, *args, method=score))
    packed = run(kinds.inputs(batch), batch["segments"], 3)
    for row, start, document in documents:
        one = {name: value[None] for name, value in document.items()}
        alone = run(kinds.inputs(one), one["segments"], 1)[0]
        size, number = len(document["tokens"]), batch["segments"][row, start] - 1
        mine = packed[row, number] if pool else packed[row, start:start + size]
        np.testing.assert_allclose(mine, alone[0] if pool else alone, atol=2e-5)


def test_what_is_pooled():
    x_BTD = np.random.default_rng(0).normal(size=(1, 6, 4)).astype(np.float32)
    segments_BT = np.array([[1, 1, 1, 2, 2, 0]])
    expected = {"first": [x_BTD[0, 0], x_BTD[0, 3]], "last": [x_BTD[0, 2], x_BTD[0, 4]],
                "mean": [x_BTD[0, :3].mean(0), x_BTD[0, 3:5].mean(0)]}
    for pool in pooling.POOLS:
        x_BSD = pooling.pooled(x_BTD, segments_BT, 3, pool)
        np.testing.assert_allclose(x_BSD[0, :2], expected[pool], rtol=1e-6)
        assert not np.any(x_BSD[0, 2])  # no third example

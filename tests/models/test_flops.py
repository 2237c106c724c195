"""Operations by the convention of MFU against counts written out by hand."""

import functools
import math

import flax.linen as nn
import jax
import jax.extend.core
import jax.numpy as jnp
import pytest

from lmlab import models
from lmlab.models import flops, presets, transformer
from lmlab.objectives import masked, replaced, seq2seq


def shapes(vocab_size, **kwargs):
    """(spec, shapes of the parameters)."""
    model = models.build("transformer", vocab_size=vocab_size, **kwargs)
    init = functools.partial(transformer.init, model)
    return model.spec, nn.meta.unbox(jax.eval_shape(init, jax.random.key(0)))


def test_gpt2_by_hand():
    spec, tree = shapes(50257, **presets.get("gpt2:small"))
    multiplied = 12 * (4 * 768 ** 2 + 2 * 4 * 768 ** 2) + 50257 * 768  # q k v o, up and down, the way out
    assert flops.multiplied(spec, tree) == multiplied
    causal = 12 * 6 * 768 * 1024  # 12 L H Q T of PaLM's appendix B, halved
    assert flops.train_step(spec, tree, 8, 1024) == 8 * 1024 * (6 * multiplied + causal)


def test_llama2_70b_by_hand():
    spec, tree = shapes(32000, **presets.get("llama2:70b"))
    layer = 2 * 8192 ** 2 + 2 * 8192 * 8 * 128 + 3 * 8192 * 28672
    assert flops.multiplied(spec, tree) == 80 * layer + 32000 * 8192


@pytest.mark.parametrize("picks", [1, 2])
def test_only_the_experts_of_a_token_count(picks):
    kwargs = dict(width=32, layers=2, heads=2, ff=64, positions="rotary", bias=False)
    spec, tree = shapes(100, experts=8, experts_per_token=picks, **kwargs)
    layer = 4 * 32 ** 2 + 32 * 8 + picks * 2 * 32 * 64
    assert flops.multiplied(spec, tree) == 2 * layer + 100 * 32


def test_a_window_counts_the_keys_that_are_seen():
    common = dict(width=32, layers=3, heads=2, bias=False, positions="rotary")
    pairs = lambda window: sum(min(window, query + 1) for query in range(64))
    for kwargs, seen in ((dict(window=8), 3 * pairs(8)), (dict(window=8, window_every=3), 2 * pairs(8) + pairs(64))):
        spec, tree = shapes(100, **common, **kwargs)
        attention = flops.train_step(spec, tree, 1, 64) - 64 * 6 * flops.multiplied(spec, tree)
        assert attention == pytest.approx(3 * 4 * 32 * seen, rel=0.05)


def operations_of(jaxpr, times=1):
    """Operations of the matrix products in a jaxpr, read off their shapes, loops multiplied out."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (lhs, _), _ = equation.params["dimension_numbers"]
            contracted = math.prod(equation.invars[0].aval.shape[axis] for axis in lhs)
            total += 2 * times * contracted * equation.outvars[0].aval.size
        if equation.primitive.name == "ragged_dot_general":
            total += 2 * times * equation.outvars[0].aval.size * equation.invars[0].aval.shape[-1]
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            total += operations_of(inner, times * equation.params.get("length", 1))
    return total


ROWS, LENGTH, SOURCE, VOCABULARY = 3, 32, 48, 101
COMMON = dict(width=32, layers=2, heads=4, ff=80, context=64)
ONES = lambda length: jnp.ones((ROWS, length), jnp.int32)


def counted(loss, kwargs, source=0, **how):
    """(operations of the forward pass of a loss by its jaxpr, spec, shapes)."""
    spec, tree = shapes(VOCABULARY, **{**COMMON, **kwargs})
    model = models.build("transformer", vocab_size=VOCABULARY, **{**COMMON, **kwargs})
    batch = {name: ONES(LENGTH) for name in ("tokens", "targets", "segments", "positions", "weights", "original")}
    batch |= {f"encoder_{name}": ONES(source) for name in ("tokens", "segments", "positions") if source}
    forward = lambda params, batch: loss(model.apply, params, batch, vocab_size=VOCABULARY, **how)
    return operations_of(jax.make_jaxpr(forward)(tree, batch).jaxpr), spec, tree


@pytest.mark.parametrize("kwargs", [
    dict(attends="full"), dict(attends="full", head="transform", kv_heads=2, activation="geglu"),
    dict(attends="full", tied=False, experts=4, experts_per_token=3, positions="relative", head_bias=True)])
@pytest.mark.parametrize("rate", [0.15, 1.0])
def test_an_encoder_as_its_matrix_products(kwargs, rate):
    """Logits are made where a token may be masked, and nowhere else."""
    brute, spec, tree = counted(masked.loss, kwargs, rate=rate)
    assert 3 * brute == flops.train_step(spec, tree, ROWS, LENGTH, targets=masked.most(LENGTH, rate))


def test_a_generator_beside_the_model_as_its_matrix_products():
    brute, spec, tree = counted(replaced.loss, dict(attends="full", generator=0.5, head="transform"), rate=0.15)
    assert 3 * brute == flops.train_step(spec, tree, ROWS, LENGTH, targets=masked.most(LENGTH, 0.15))


@pytest.mark.parametrize("kwargs", [dict(), dict(positions="relative", activation="geglu", tied=False, kv_heads=1)])
def test_an_encoder_and_decoder_as_their_matrix_products(kwargs):
    """The decoder's own attention is made whole at so few tokens, and counted by half."""
    brute, spec, tree = counted(seq2seq.loss, dict(encoder_layers=3, **kwargs), source=SOURCE)
    masked_half = ROWS * 4 * LENGTH ** 2 / 2 * 32 * spec.layers
    assert 3 * (brute - masked_half) == flops.train_step(spec, tree, ROWS, LENGTH, SOURCE)

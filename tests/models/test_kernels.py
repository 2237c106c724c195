"""Products and softmaxes in their cheapest form, forward and gradients, against the plain formula in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from plain import both_ways, formula

from lmlab.models import attention, kernels

CASES = {  # name: (ours, the formula, shapes)
    "contract, more outputs": (lambda x, w: kernels.contract(x, w, 1), lambda x, w: jnp.einsum("btd,df->btf", x, w),
                               [(2, 5, 6), (6, 9)]),
    "contract, more inputs": (lambda x, w: kernels.contract(x, w, 2), lambda x, w: jnp.einsum("bthk,hkd->btd", x, w),
                              [(2, 5, 3, 4), (3, 4, 7)]),
    "contract, outputs of two axes": (lambda x, w: kernels.contract(x, w, 1),
                                      lambda x, w: jnp.einsum("btd,dgf->btgf", x, w), [(2, 5, 9), (9, 2, 3)]),
    "gelu": (kernels.gelu, lambda x: jax.nn.gelu(x, approximate=True), [(4, 50)]),
    "scores": (kernels.scores, lambda q, k: jnp.einsum("bgrtk,bsgk->bgrts", q, k), [(2, 3, 2, 5, 8), (2, 7, 3, 8)]),
    "softmax_mix": (kernels.softmax_mix, lambda s, v: jnp.einsum("bgrts,bsgk->bgrtk", jax.nn.softmax(s, axis=-1), v),
                    [(2, 3, 2, 5, 7), (2, 7, 3, 8)]),
}


def random(shapes):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape) for shape in shapes]


def exact(function, arrays):
    with jax.enable_x64(True):
        return both_ways(function, *arrays)


@pytest.mark.parametrize("name", CASES)
def test_results_and_gradients_are_the_formula(name, assert_close):
    ours, plain, shapes = CASES[name]
    arrays = random(shapes)
    assert_close(both_ways(ours, *(a.astype(np.float32) for a in arrays)), exact(plain, arrays), 1e-6)


@pytest.mark.parametrize("T", [64, 65, 200, 700])  # of one block, two, four, and so long that blocks are longer
@pytest.mark.parametrize("G,more", [(4, {}), (1, dict(softcap=2.0, scale=0.5)), (2, dict(bias=True))])
def test_causal_attention_in_blocks_is_the_formula(T, G, more, assert_close):
    """Rows of several segments, and some padding."""
    arrays = random([(2, T, 4, 8), (2, T, G, 8), (2, T, G, 8)])
    segments = np.sort(np.random.default_rng(1).integers(0, 4, (2, T)), axis=1)[:, ::-1]
    mask = attention.segment_mask(segments)
    how = {key: value for key, value in more.items() if key != "bias"}
    bias = np.random.default_rng(2).standard_normal((1, 4, T, T)) if "bias" in more else None
    attend = lambda q, k, v: attention.attend(q, k, v, mask, bias, causal=True, **how)
    expected = exact(lambda q, k, v: formula(q, k, v, bias, mask, **how), arrays)
    assert_close(both_ways(attend, *(a.astype(np.float32) for a in arrays)), expected, 1e-6)

"""8-bit matrix products against float64: exact for the rounded numbers, for the given ones within bounds."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from lmlab.models import fp8
from lmlab.utils.errors import UserError

RNG = np.random.default_rng(0)
SHAPES = [((5, 7, 48), (48, 32), 1), ((3, 4, 6, 8), (6, 8, 40), 2), ((2, 3, 16), (16, 2, 3, 4), 1)]


def rounded(x, dtype):
    """x by way of an 8-bit type and back, in float64."""
    scale = np.float64(np.float32(np.abs(x).max()) / np.float32(ml_dtypes.finfo(dtype).max))
    return np.float64((x / np.float32(scale)).astype(dtype)) * scale


def setting(x_shape, kernel_shape, inputs):
    """(x, kernel, g) of very unlike sizes."""
    draw = lambda shape, size: (size * RNG.standard_normal(shape)).astype(np.float32)
    return draw(x_shape, 3e3), draw(kernel_shape, 2e-3), draw(x_shape[:-inputs] + kernel_shape[inputs:], 1e-6)


def products(x, kernel, g, inputs, forward=lambda a: np.float64(a), backward=lambda a: np.float64(a)):
    """(y, dx, dW) in float64."""
    x, kernel, g = forward(x), forward(kernel), backward(g)
    tokens, outputs = x.ndim - inputs, kernel.ndim - inputs
    transposed = np.moveaxis(kernel, range(inputs), range(outputs, kernel.ndim))
    return (np.tensordot(x, kernel, inputs), np.tensordot(g, transposed, outputs),
            np.tensordot(x, g, (range(tokens),) * 2))


@pytest.mark.parametrize("x_shape,kernel_shape,inputs", SHAPES)
def test_products_and_gradients(x_shape, kernel_shape, inputs):
    x, kernel, g = setting(x_shape, kernel_shape, inputs)

    @jax.jit
    def ours(x, kernel, g):
        y, back = jax.vjp(lambda x, kernel: fp8.contract(x, kernel, inputs), x, kernel)
        return y, *back(g)
    found = [np.float64(a) for a in ours(x, kernel, g)]
    by_hand = products(x, kernel, g, inputs, lambda a: rounded(a, ml_dtypes.float8_e4m3fn),
                       lambda a: rounded(a, ml_dtypes.float8_e5m2))
    sizes = products(abs(x), abs(kernel), abs(g), inputs)
    # Half a unit in the last place of each factor: 4 and 3 bits of precision; and a little for what is below normal.
    u, v = 2 ** -4, 2 ** -3
    bounds = ((1 + u) ** 2 - 1, (1 + u) * (1 + v) - 1, (1 + u) * (1 + v) - 1)
    for a, near, exact, size, bound in zip(found, by_hand, products(x, kernel, g, inputs), sizes, bounds):
        assert abs(a - near).max() <= 1e-5 * size.max()
        assert (abs(a - exact) <= bound * size + 1e-4 * size.max()).all() and abs(a - exact).max() > 1e-3 * size.mean()


def test_types_of_results():
    x, kernel, _ = setting(*SHAPES[0])
    x = jnp.asarray(x, jnp.bfloat16)
    assert fp8.contract(x, kernel, 1).dtype == jnp.bfloat16
    assert fp8.contract(x, kernel, 1, jnp.float32).dtype == jnp.float32
    dx, dkernel = jax.grad(lambda x, kernel: fp8.contract(x, kernel, 1).astype(jnp.float32).sum(), (0, 1))(x, kernel)
    assert dx.dtype == jnp.bfloat16 and dkernel.dtype == jnp.float32


def test_what_is_saved_for_the_backward_pass_has_8_bits():
    x, kernel, _ = setting(*SHAPES[0])
    saved = jax.tree.leaves(jax.vjp(lambda x, kernel: fp8.contract(x, kernel, 1), x, kernel)[1])
    assert max(a.nbytes for a in saved if hasattr(a, "nbytes")) == max(x.size, kernel.size)


def test_zeros_and_numbers_that_are_not_finite():
    kernel = np.ones((4, 3), np.float32)
    assert (fp8.contract(np.zeros((2, 4), np.float32), kernel, 1) == 0).all()
    for bad in (np.nan, np.inf, -np.inf):
        x = np.ones((2, 4), np.float32)
        x[1, 1] = bad
        assert not np.isfinite(fp8.contract(x, kernel, 1)).any()


def test_only_where_the_chip_has_them():
    fp8.check("NVIDIA H100 80GB HBM3")
    for kind in ("cpu", "TPU v5 lite", "NVIDIA A100-SXM4-80GB"):
        with pytest.raises(UserError, match=rf"config.model.matmul='fp8' needs .*\(H100, H200\), and this is {kind}"):
            fp8.check(kind)

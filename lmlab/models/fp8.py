"""Matrix products in 8-bit floating point (Micikevicius et al. 2022): E4M3 forward, E5M2 for gradients, each tensor
scaled by its own largest number at that moment, sums in float32."""

import functools

import jax
import jax.numpy as jnp

from lmlab.utils import chips
from lmlab.utils.errors import UserError

FORWARD, BACKWARD = jnp.float8_e4m3fn, jnp.float8_e5m2


def check(device_kind):
    """Raises a UserError where the devices have no such products: there they would be slower, and no more exact."""
    chip = chips.find(device_kind)
    if not (chip and chip.fp8):
        kinds = ", ".join(name for name, chip in chips.CHIPS.items() if chip.fp8)
        raise UserError(f"config.model.matmul='fp8' needs a device with 8-bit floating point ({kinds}), and this is "
                        f"{device_kind}; use config.model.matmul='plain'")


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def contract(x, kernel, inputs, out_dtype=None):
    """x W over the last `inputs` axes of x and the first of W, as kernels.contract, both rounded to E4M3. A number that
    is not finite makes the whole product so.

    out_dtype: of the result; None: x's.
    """
    return _forward(x, kernel, inputs, out_dtype)[0]


def _forward(x, kernel, inputs, out_dtype):
    x8, kernel8 = _scaled(x, FORWARD), _scaled(kernel, FORWARD)
    y = _product(x8, kernel8, range(x.ndim - inputs, x.ndim), range(inputs), out_dtype or x.dtype)
    return y, (x8, kernel8, jnp.zeros((0,), x.dtype), jnp.zeros((0,), kernel.dtype))


def _backward(inputs, out_dtype, saved, g):
    x8, kernel8, like_x, like_kernel = saved
    g8, tokens = _scaled(g, BACKWARD), x8[0].ndim - inputs
    dx = _product(g8, kernel8, range(tokens, g.ndim), range(inputs, kernel8[0].ndim), like_x.dtype)
    return dx, _product(x8, g8, range(tokens), range(tokens), like_kernel.dtype)


contract.defvjp(_forward, _backward)


def _scaled(x, dtype):
    """(numbers of an 8-bit type, float32): x is near to their product."""
    x = x.astype(jnp.float32)
    largest = jnp.abs(x).max()
    scale = jnp.where(largest == 0, 1.0, largest / float(jnp.finfo(dtype).max))
    return (x / scale).astype(dtype), scale


def _product(a, b, a_axes, b_axes, dtype):
    (a, a_scale), (b, b_scale) = a, b
    sums = jax.lax.dot_general(a, b, ((tuple(a_axes), tuple(b_axes)), ((), ())), preferred_element_type=jnp.float32)
    return (sums * (a_scale * b_scale)).astype(dtype)

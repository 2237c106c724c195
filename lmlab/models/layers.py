"""The parts that every network shares: projections, norms, positions, dropout, feed-forward.

Shapes live in names. The key, for the whole of lmlab:
  B batch · T query/target length · S key/source length · D model · H heads · G key/value heads · R = H/G query heads
  a key/value head · K head size · F feed-forward · V vocabulary · N layers · E experts.

Every parameter names its logical axes ("embed", "heads", "ff", "vocab", ...); train/sharding.py maps them to a mesh.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from lmlab.models import fp8, kernels, nf4


def normal(stddev):
    """An initialiser N(0, stddev^2); stddev 0 gives zeros."""
    return nn.initializers.normal(stddev) if stddev else nn.initializers.zeros


class Projection(nn.Module):
    """y = x W + b, contracting the last axes of x that W's leading `inputs` axes name; where the parameters hold an
    adapter of low rank (Hu et al. 2022), y = x W + s (x A) B + b. Where they hold W as NF4 (nf4.py), it is made anew
    for each product, on the way back too, and has no gradient.

    shape: the kernel's shape, `inputs` leading axes contracted, the others new. axes: their logical names.
    """
    shape: tuple[int, ...]
    axes: tuple[str, ...]
    inputs: int = 1
    bias: bool = True
    stddev: float = 0.02
    dtype: Any = jnp.float32
    out_dtype: Any = None  # of the sums; None: dtype
    matmul: str = "plain"  # or "fp8"

    @nn.compact
    def __call__(self, x):
        contract = fp8.contract if self.matmul == "fp8" else kernels.contract
        product = lambda *both: contract(*(x.astype(self.dtype) for x in both), self.inputs, self.out_dtype)
        if self.has_variable("params", "codes"):
            pair = [self.get_variable("params", name) for name in nf4.LEAVES]
            y = jax.checkpoint(lambda x, *pair: product(x, nf4.dequantise(*pair, self.dtype)))(x, *pair)
        else:
            y = product(x, self.param("kernel", nn.with_logical_partitioning(normal(self.stddev), self.axes),
                                      self.shape))
        if self.has_variable("params", "lora_a"):
            a, b, scale = (self.get_variable("params", f"lora_{p}").astype(self.dtype) for p in ("a", "b", "scale"))
            low = kernels.contract(x.astype(self.dtype), a, self.inputs)
            y = y + scale * kernels.contract(low, b, 1, self.out_dtype)
        if self.bias:
            bias = self.param("bias", nn.with_logical_partitioning(nn.initializers.zeros, self.axes[self.inputs:]),
                              self.shape[self.inputs:])
            y = y + bias.astype(self.dtype)
        return checkpoint_name(y, self.name)  # what remat may keep


class Norm(nn.Module):
    """LayerNorm (Ba et al. 2016) or RMSNorm (Zhang & Sennrich 2019) over the last axis, computed in float32."""
    kind: str = "layer"
    bias: bool = True
    eps: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        size = x.shape[-1:]
        x = x.astype(jnp.float32)
        if self.kind == "layer":
            x = x - x.mean(-1, keepdims=True)
        x = x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + self.eps)
        x = x * self.param("scale", nn.with_logical_partitioning(nn.initializers.ones, ("norm",)), size)
        if self.bias and self.kind == "layer":
            x = x + self.param("bias", nn.with_logical_partitioning(nn.initializers.zeros, ("norm",)), size)
        return x.astype(self.dtype)


class FeedForward(nn.Module):
    """Position-wise feed-forward: D -> F -> D; a gated activation has two projections in (Shazeer 2020)."""
    width: int
    hidden: int
    activation: str
    bias: bool
    stddev_out: float
    dtype: Any
    matmul: str = "plain"

    @nn.compact
    def __call__(self, x_BTD):
        dense = lambda **kw: Projection(bias=self.bias, dtype=self.dtype, matmul=self.matmul, **kw)
        if self.activation in GATES:
            h_BT2F = dense(shape=(self.width, 2, self.hidden), axes=("embed", "gate", "ff"), name="wi_gated")(x_BTD)
            gate_BT1F, h_BT1F = jax.lax.split(h_BT2F, (1, 1), axis=2)  # unlike slices, its gradient is one copy
            h_BTF = (GATES[self.activation](gate_BT1F) * h_BT1F)[..., 0, :]
        else:
            h_BTF = dense(shape=(self.width, self.hidden), axes=("embed", "ff"), name="wi")(x_BTD)
            h_BTF = ACTIVATIONS[self.activation](h_BTF)
        return dense(shape=(self.hidden, self.width), axes=("ff", "embed"), stddev=self.stddev_out, name="wo")(h_BTF)


ACTIVATIONS = {
    "gelu": kernels.gelu,
    "gelu_exact": lambda x: nn.gelu(x, approximate=False),
    "relu": nn.relu,
    "silu": nn.silu,
    "relu2": lambda x: jnp.square(nn.relu(x)),         # So et al. 2021, Primer
}
GATES = {"swiglu": nn.silu, "geglu": ACTIVATIONS["gelu"]}
FUNCTIONS = ACTIVATIONS | GATES


def rotary(x_BTHK, positions_BT, frequency_K):
    """Rotates pairs (x[i], x[i + K/2]) by position * frequency[i] (Su et al. 2021; split-half layout as LLaMA)."""
    angle = positions_BT[:, :, None, None].astype(jnp.float32) * frequency_K
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    a, b = jnp.split(x_BTHK.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1).astype(x_BTHK.dtype)


def token_shift(x_BTD, positions_BT, share, before_B1d=None):
    """Puts the token before in the first `share` of the channels (Peng et al. 2023), zeros at the first of a segment.

    before_B1d: those channels of the token before the first, where x goes on from a cache.
    Returns (x_BTD, last_B1d), the second for the next call.
    """
    size = round(share * x_BTD.shape[-1])
    own_BTd, rest = x_BTD[..., :size], x_BTD[..., size:]
    before_B1d = jnp.zeros_like(own_BTd[:, :1]) if before_B1d is None else before_B1d
    earlier_BTd = jnp.concatenate([before_B1d, own_BTd[:, :-1]], axis=1)
    earlier_BTd = jnp.where(positions_BT[..., None] > 0, earlier_BTd, 0)
    return jnp.concatenate([earlier_BTd, rest], axis=-1), own_BTd[:, -1:]


def sinusoids(length, width):
    """The table of Vaswani et al. 2017, section 3.5, its columns in the order of their tensor2tensor: sines in the
    first half, cosines in the second. Float32 (length, width)."""
    angle = np.arange(length)[:, None] / 10000.0 ** (np.arange(0, width, 2) / width)
    return np.concatenate([np.sin(angle), np.cos(angle)[:, :width // 2]], 1, dtype=np.float32)


def fold_in(keys_B, data):
    """One key a row, each folded with `data`; None stays None (no dropout)."""
    return None if keys_B is None else jax.vmap(jax.random.fold_in, (0, None))(keys_B, data)


def dropout(x_BTD, rate, keys_B):
    """Inverted dropout with one key an example, so that masks do not depend on the mesh or on accumulation."""
    if not rate or keys_B is None:
        return x_BTD
    kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - rate, x_BTD.shape[1:]))(keys_B)
    return jnp.where(kept, x_BTD / (1 - rate), 0).astype(x_BTD.dtype)

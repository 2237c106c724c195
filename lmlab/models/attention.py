"""Attention: one function with several backends, and the module around it (shape key in layers.py)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from lmlab.models import layers

BACKENDS = ("auto", "xla", "cudnn")


def attend(q_BTHK, k_BSGK, v_BSGK, mask_B1TS=None, *, backend="auto"):
    """Scaled dot-product attention, softmax(q k^T / sqrt(K)) v (Vaswani et al. 2017, eq. 1).

    Args:
      q_BTHK: queries. k_BSGK, v_BSGK: keys and values; H must be a multiple of G (query head h reads h // (H/G)).
      mask_B1TS: True where a query may look at a key; None for no mask. A row with no key gives a finite result.
      backend: "xla" (the formula below), "cudnn" (a fused GPU kernel, bfloat16 or float16), or "auto".
    Returns:
      x_BTHK, in q's dtype. The softmax runs in float32.
    Raises:
      ValueError: if H is not a multiple of G, or the backend is unknown.
    """
    if backend == "auto":
        fits = q_BTHK.shape[3] % 8 == 0 and q_BTHK.shape[3] <= 128 and q_BTHK.shape[1] % 2 == k_BSGK.shape[1] % 2 == 0
        backend = "cudnn" if jax.default_backend() == "gpu" and q_BTHK.dtype == jnp.bfloat16 and fits else "xla"
    if backend == "cudnn":
        return jax.nn.dot_product_attention(q_BTHK, k_BSGK, v_BSGK, mask=mask_B1TS, implementation="cudnn")
    if backend != "xla":
        raise ValueError(f"attention backend {backend!r} is unknown; try one of {', '.join(BACKENDS)}")
    weights_BGRTS = attention_weights(q_BTHK, k_BSGK, mask_B1TS)
    x_BTGRK = jnp.einsum("bgrts,bsgk->btgrk", weights_BGRTS, v_BSGK)
    return x_BTGRK.reshape(q_BTHK.shape)


def attention_weights(q_BTHK, k_BSGK, mask_B1TS=None):
    """The softmax of `attend`: weights_BGRTS in q's dtype, rows summing to one."""
    B, T, H, K = q_BTHK.shape
    G = k_BSGK.shape[2]
    if H % G:
        raise ValueError(f"{H} query heads are not a multiple of {G} key/value heads")
    q_BTGRK = (q_BTHK * K ** -0.5).reshape(B, T, G, H // G, K)
    scores_BGRTS = jnp.einsum("btgrk,bsgk->bgrts", q_BTGRK, k_BSGK, preferred_element_type=jnp.float32)
    if mask_B1TS is not None:
        # A large finite number: a row that may look nowhere (padding) stays finite instead of becoming NaN.
        scores_BGRTS = jnp.where(mask_B1TS[:, :, None], scores_BGRTS, -1e30)
    return jax.nn.softmax(scores_BGRTS, axis=-1).astype(q_BTHK.dtype)


def causal_mask(segments_BT):
    """mask_B1TS that lets a token see itself and earlier tokens of its own segment."""
    T = segments_BT.shape[1]
    same_BTS = segments_BT[:, :, None] == segments_BT[:, None, :]
    return (same_BTS & jnp.tril(jnp.ones((T, T), bool)))[:, None]


class Attention(nn.Module):
    """Multi-head attention with fused projections, grouped keys and values, rotary positions and a cache.

    The kernel `qkv` is (D, G, R + 2, K): for each key/value head its R query heads, then its key, then its value,
    so that a mesh that splits G keeps the whole group on one device.
    """
    spec: Any

    @nn.compact
    def __call__(self, x_BTD, positions_BT, mask_B1TS, cache=None, index=None):
        """Returns (x_BTD, cache): `cache` holds k and v (B, S, G, K); new ones are written at slot `index`."""
        s = self.spec
        G, R, K = s.groups, s.heads // s.groups, s.head_size
        qkv_BTGRK = layers.Projection((s.width, G, R + 2, K), ("embed", "heads", "qkv", "head"), bias=s.bias,
                                      dtype=s.dtype, name="qkv")(x_BTD)
        B, T = x_BTD.shape[:2]
        q_BTHK = qkv_BTGRK[..., :R, :].reshape(B, T, s.heads, K)
        k_BTGK, v_BTGK = qkv_BTGRK[..., R, :], qkv_BTGRK[..., R + 1, :]
        if s.qk_norm:
            norm = lambda name: layers.Norm("rms", eps=s.norm_eps, dtype=s.dtype, name=name)
            q_BTHK, k_BTGK = norm("q_norm")(q_BTHK), norm("k_norm")(k_BTGK)
        if s.positions == "rotary":
            q_BTHK = layers.rotary(q_BTHK, positions_BT, s.rotary_theta)
            k_BTGK = layers.rotary(k_BTGK, positions_BT, s.rotary_theta)
        if cache is not None:
            write = lambda old, new: jax.lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), index, axis=1)
            cache = {"k": write(cache["k"], k_BTGK), "v": write(cache["v"], v_BTGK)}
            k_BTGK, v_BTGK = cache["k"], cache["v"]
        if self.is_mutable_collection("intermediates"):
            weights_BGRTS = attention_weights(q_BTHK, k_BTGK, mask_B1TS)
            self.sow("intermediates", "attention_BHTS", weights_BGRTS.reshape(B, s.heads, T, -1))
        x_BTHK = attend(q_BTHK, k_BTGK, v_BTGK, mask_B1TS, backend=s.attention)
        out = layers.Projection((s.heads, K, s.width), ("heads", "head", "embed"), inputs=2, bias=s.bias,
                                stddev=s.stddev_out, dtype=s.dtype, name="out")
        return out(x_BTHK), cache

"""Attention: one function with several backends, masks, and the modules around it (shape key in layers.py)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from lmlab.models import kernels, layers, ring

BACKENDS = ("auto", "xla", "cudnn", "splash")
BLOCK, BLOCKS = 64, 8  # causal queries are cut into blocks of at least so many, and at most so many blocks


def attend(q_BTHK, k_BSGK, v_BSGK, mask_B1TS=None, bias_BHTS=None, *, scale=None, softcap=0.0, backend="auto",
           causal=False, segments_BT=None):
    """Scaled dot-product attention, softmax(q k^T scale + bias) v (Vaswani et al. 2017, eq. 1).

    Args:
      q_BTHK: queries. k_BSGK, v_BSGK: keys and values; H must be a multiple of G (query head h reads h // (H/G)).
      mask_B1TS: True where a query may look at a key; None for no mask. A row with no key gives a finite result.
      bias_BHTS: added to the scores (relative positions); B may be 1.
      scale: None for 1 / sqrt(K). softcap: c for c tanh(scores / c), 0 for none.
      backend: "xla" (the formula below), "cudnn" (a fused GPU kernel, bfloat16 or float16), "splash" (a fused TPU
        kernel, for rows of a multiple of 128 tokens; others by the formula), or "auto". Rows that are split over
        devices along their length are always computed by ring.py.
      causal: that the mask hides every later key, T being S: what it hides is then not computed.
      segments_BT: that the mask hides just that, and all keys of another segment; "splash" needs it.
    Returns:
      x_BTHK, in q's dtype. The softmax runs in float32.
    Raises:
      ValueError: if H is not a multiple of G, or the backend is unknown.
    """
    parts = kernels.shares("length")
    if parts > 1 and q_BTHK.shape[1] % parts == k_BSGK.shape[1] % parts == 0:
        return ring.attend(q_BTHK, k_BSGK, v_BSGK, mask_B1TS, bias_BHTS, segments_BT, softcap=softcap,
                           scale=q_BTHK.shape[3] ** -0.5 if scale is None else scale)
    if backend == "auto":
        fits = q_BTHK.shape[3] % 8 == 0 and q_BTHK.shape[3] <= 128 and q_BTHK.shape[1] % 2 == k_BSGK.shape[1] % 2 == 0
        plain = not softcap and bias_BHTS is None
        fused = kernels.platform() == "gpu" and q_BTHK.dtype == jnp.bfloat16 and fits and plain
        backend = "cudnn" if fused else "xla"
    if backend == "cudnn":
        if softcap:
            raise ValueError("attention backend 'cudnn' has no softcap; use xla")
        return jax.nn.dot_product_attention(q_BTHK, k_BSGK, v_BSGK, bias=bias_BHTS, mask=mask_B1TS, scale=scale,
                                            implementation="cudnn")
    if backend == "splash" and q_BTHK.shape[1] % 128 == 0:
        return kernels.splash(q_BTHK, k_BSGK, v_BSGK, segments_BT, scale, softcap)
    if backend not in ("xla", "splash"):
        raise ValueError(f"attention backend {backend!r} is unknown; try one of {', '.join(BACKENDS)}")
    T = q_BTHK.shape[1]
    size = max(BLOCK, -(-T // BLOCKS)) if causal else T
    return jnp.concatenate([_rows(q_BTHK, k_BSGK, v_BSGK, mask_B1TS, bias_BHTS, start, min(start + size, T), causal,
                                  scale=scale, softcap=softcap) for start in range(0, T, size)], axis=1)


def _rows(q_BTHK, k_BSGK, v_BSGK, mask_B1TS, bias_BHTS, start, end, causal, **how):
    """The formula for queries start..end, and for causal ones without the keys that are later than all of them."""
    keys = end if causal else k_BSGK.shape[1]
    part = lambda a: a if a is None else a[:, :, start:end, :keys]
    q_BtHK = q_BTHK[:, start:end]
    scores_BGRtS = attention_scores(q_BtHK, k_BSGK[:, :keys], part(mask_B1TS), part(bias_BHTS), **how)
    x_BGRtK = kernels.softmax_mix(scores_BGRtS, v_BSGK[:, :keys])
    return jnp.moveaxis(x_BGRtK, 3, 1).reshape(q_BtHK.shape)


def attention_weights(q_BTHK, *args, **how):
    """The softmax of `attend`: weights_BGRTS in q's dtype, rows summing to one."""
    return jax.nn.softmax(attention_scores(q_BTHK, *args, **how), axis=-1).astype(q_BTHK.dtype)


def attention_scores(q_BTHK, k_BSGK, mask_B1TS=None, bias_BHTS=None, *, scale=None, softcap=0.0):
    """What the softmax of `attend` is taken of: scores_BGRTS in float32."""
    B, T, H, K = q_BTHK.shape
    S, G = k_BSGK.shape[1:3]
    if H % G:
        raise ValueError(f"{H} query heads are not a multiple of {G} key/value heads")
    q_BTGRK = (q_BTHK * (K ** -0.5 if scale is None else scale)).reshape(B, T, G, H // G, K)
    scores_BGRTS = kernels.scores(jnp.moveaxis(q_BTGRK, 1, 3), k_BSGK)
    if softcap:
        scores_BGRTS = softcap * jnp.tanh(scores_BGRTS / softcap)
    if bias_BHTS is not None:
        scores_BGRTS = scores_BGRTS + bias_BHTS.reshape(-1, G, H // G, T, S)
    if mask_B1TS is not None:
        # A large finite number: a row that may look nowhere (padding) stays finite instead of becoming NaN.
        scores_BGRTS = jnp.where(mask_B1TS[:, :, None], scores_BGRTS, -1e30)
    return scores_BGRTS


def segment_mask(segments_BT, attends="causal", prefix_BT=None):
    """mask_B1TS: a token sees its own segment; "causal": itself and what is earlier in the row, and with `prefix_BT`
    (bool) every token of the prefix; "full": all of it."""
    T = segments_BT.shape[1]
    mask_BTS = segments_BT[:, :, None] == segments_BT[:, None, :]
    if attends != "full":
        earlier_BTS = jnp.tril(jnp.ones((T, T), bool))[None]
        mask_BTS = mask_BTS & (earlier_BTS if prefix_BT is None else earlier_BTS | prefix_BT[:, None, :])
    return mask_BTS[:, None]


def within(window, q_positions_BT, k_positions_BS):
    """mask_B1TS of the keys fewer than `window` tokens away; a window of 0 is no bound."""
    away_BTS = q_positions_BT[:, :, None] - k_positions_BS[:, None, :]
    return ((jnp.abs(away_BTS) < window) | (window == 0))[:, None]


def relative_buckets(q_positions_BT, k_positions_BS, buckets, distance, both_ways):
    """T5's bucket of key position - query position, int32 (B, T, S): half of them exact, the others logarithmic up to
    `distance` (Raffel et al. 2020, section 2.1); looking both ways, half the buckets are for later keys."""
    away = k_positions_BS[:, None, :] - q_positions_BT[:, :, None]
    buckets = buckets // 2 if both_ways else buckets
    first, away = (buckets * (away > 0), jnp.abs(away)) if both_ways else (0, jnp.maximum(-away, 0))
    exact = buckets // 2
    # Borders, not logarithms on the device, whose rounding would be the device's.
    borders = np.float32(exact * (distance / exact) ** (np.arange(1, buckets - exact) / (buckets - exact)))
    far = exact + jnp.searchsorted(borders, away.astype(jnp.float32), side="right", method="compare_all")
    return first + jnp.where(away < exact, away, far)


class Attention(nn.Module):
    """Multi-head self-attention with fused projections, grouped keys and values, rotary positions and a cache.

    The kernel `qkv` is (D, G, R + 2, K): for each key/value head its R query heads, then its key, then its value,
    so that a mesh that splits G keeps the whole group on one device.
    """
    spec: Any

    @nn.compact
    def __call__(self, x_BTD, frequency_K, positions_BT, mask_B1TS, bias_BHTS=None, cache=None, index=None,
                 **structure):
        """Returns (x_BTD, cache): `cache` holds k and v (B, S, G, K); new ones are written at slot `index`.
        structure: causal, segments_BT of `attend`."""
        s = self.spec
        G, R, K = s.groups, s.heads // s.groups, s.head_size
        qkv_BTGRK = layers.Projection((s.width, G, R + 2, K), ("embed", "heads", "qkv", "head"),
                                      bias=s.bias or s.qkv_bias, dtype=s.dtype, matmul=s.matmul, name="qkv")(x_BTD)
        B, T = x_BTD.shape[:2]
        q_BTGRK, k_BTG1K, v_BTG1K = jax.lax.split(qkv_BTGRK, (R, 1, 1), axis=3)
        q_BTHK, k_BTGK, v_BTGK = q_BTGRK.reshape(B, T, s.heads, K), k_BTG1K[..., 0, :], v_BTG1K[..., 0, :]
        if s.qk_norm != "none":  # of each head, or of all heads as one vector
            flat = lambda x: x if s.qk_norm == "head" else x.reshape(B, T, -1)
            rms = lambda name: layers.Norm("rms", eps=s.norm_eps, dtype=s.dtype, name=name)
            norm = lambda name, x: rms(name)(flat(x)).reshape(x.shape)
            q_BTHK, k_BTGK = norm("q_norm", q_BTHK), norm("k_norm", k_BTGK)
        if s.positions == "rotary":
            q_BTHK = layers.rotary(q_BTHK, positions_BT, frequency_K)
            k_BTGK = layers.rotary(k_BTGK, positions_BT, frequency_K)
        if cache is not None:
            write = lambda old, new: jax.lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), index, axis=1)
            cache = {**cache, "k": write(cache["k"], k_BTGK), "v": write(cache["v"], v_BTGK)}
            k_BTGK, v_BTGK = cache["k"], cache["v"]
        return _mix(self, q_BTHK, k_BTGK, v_BTGK, mask_B1TS, bias_BHTS, **structure), cache


class CrossAttention(nn.Module):
    """Attention from a decoder to its encoder's output, whose keys and values are computed once (`memory`)."""
    spec: Any

    def setup(self):
        s = self.spec
        common = dict(bias=s.bias, dtype=s.dtype, matmul=s.matmul)
        self.q = layers.Projection((s.width, s.heads, s.head_size), ("embed", "heads", "head"), **common)
        self.kv = layers.Projection((s.width, s.groups, 2, s.head_size), ("embed", "heads", "qkv", "head"), **common)
        self.out = _out(s)

    def memory(self, memory_BSD):
        """{"k", "v"} of the encoder's output, each (B, S, G, K)."""
        kv_BSG2K = self.kv(memory_BSD)
        return {"k": kv_BSG2K[..., 0, :], "v": kv_BSG2K[..., 1, :]}

    def __call__(self, x_BTD, memory, mask_B1TS):
        """x_BTD of queries from x_BTD over what `memory` gave."""
        return _mix(self, self.q(x_BTD), memory["k"], memory["v"], mask_B1TS, None, self.out)


def _out(s):
    return layers.Projection((s.heads, s.head_size, s.width), ("heads", "head", "embed"), inputs=2, bias=s.bias,
                             stddev=s.stddev_out, dtype=s.dtype, matmul=s.matmul, name="out")


def _mix(module, q_BTHK, k_BSGK, v_BSGK, mask_B1TS, bias_BHTS, out=None, **structure):
    """Attends and projects back to x_BTD; the weights are an intermediate of `module`."""
    s = module.spec
    how = dict(scale=s.scale, softcap=s.score_softcap)
    if module.is_mutable_collection("intermediates"):
        weights_BGRTS = attention_weights(q_BTHK, k_BSGK, mask_B1TS, bias_BHTS, **how)
        B, _, _, T, S = weights_BGRTS.shape
        module.sow("intermediates", "attention_BHTS", weights_BGRTS.reshape(B, s.heads, T, S))
    x_BTHK = attend(q_BTHK, k_BSGK, v_BSGK, mask_B1TS, bias_BHTS, backend=s.attention, **how, **structure)
    return (out or _out(s))(x_BTHK)

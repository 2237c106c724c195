"""Attention whose rows are split along their length over devices: each keeps its queries, and the keys and values go
round (Liu et al. 2023, Ring Attention), in blocks and with a running softmax (Milakov & Gimelshein 2018; shape key in
layers.py)."""

import functools

import jax
import jax.numpy as jnp

from lmlab.models import kernels

BLOCK = 1024  # the most keys whose scores exist at once on a device


def attend(q_BTHK, k_BSGK, v_BSGK, mask_B1TS, bias_BHTS, segments_BT, *, scale, softcap):
    """`attention.attend` by its formula, for arrays split over the mesh axis of "length"; arguments as there.

    segments_BT: in place of the mask for causal attention within segments: then nothing is made that is as long as the
    row both ways.
    """
    if bias_BHTS is not None:
        bias_BHTS = jnp.broadcast_to(bias_BHTS, (len(q_BTHK), *bias_BHTS.shape[1:]))
    sees = segments_BT if segments_BT is not None else mask_B1TS
    whole = {"sees": ("batch", None) if segments_BT is not None else ("batch", None, "length", None),
             "bias": ("batch", "heads", "length", None)}
    more = {name: a for name, a in {"sees": sees, "bias": bias_BHTS}.items() if a is not None}
    how = (scale, softcap, segments_BT is not None, *kernels.mesh_axes("length"))

    def own(q_BtHK, k_BsGK, v_BsGK, *more_):
        return _own(how, q_BtHK, k_BsGK, v_BsGK, dict(zip(more, more_)))
    rows = ("batch", "length", "heads", None)
    return kernels.on_devices(own, [rows] * 3 + [whole[name] for name in more], rows)(
        q_BTHK, k_BSGK, v_BSGK, *more.values())


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _own(how, q_BtHK, k_BsGK, v_BsGK, more):
    """x_BtHK of the queries of this device."""
    return _forward(how, q_BtHK, k_BsGK, v_BsGK, more)[0]


def _forward(how, q_BtHK, k_BsGK, v_BsGK, more):
    q_BtGRK = _grouped(q_BtHK, k_BsGK)
    B, t, G, R, K = q_BtGRK.shape
    state = jnp.full((B, G, R, t), -jnp.inf), jnp.zeros((B, G, R, t)), jnp.zeros((B, t, G, R, K))

    def block(state, k_BbGK, v_BbGK, first):
        top_BGRt, total_BGRt, x_BtGRK = state
        scores_BGRtb = _scores(how, more, first, q_BtGRK, k_BbGK, _bias(more, first, k_BbGK))
        high_BGRt = jnp.maximum(top_BGRt, scores_BGRtb.max(-1))
        p_BGRtb, fade_BGRt = jnp.exp(scores_BGRtb - high_BGRt[..., None]), jnp.exp(top_BGRt - high_BGRt)
        x_BtGRK = x_BtGRK * _at_queries(fade_BGRt) + jnp.einsum(
            "bgrts,bsgk->btgrk", p_BGRtb.astype(v_BbGK.dtype), v_BbGK, preferred_element_type=jnp.float32)
        return (high_BGRt, total_BGRt * fade_BGRt + p_BGRtb.sum(-1), x_BtGRK), ()

    (top_BGRt, total_BGRt, x_BtGRK), _ = _round(how, block, state, (k_BsGK, v_BsGK), ())
    x_BtHK = (x_BtGRK / _at_queries(total_BGRt)).astype(q_BtHK.dtype).reshape(q_BtHK.shape)
    return x_BtHK, (q_BtHK, k_BsGK, v_BsGK, more, x_BtHK, top_BGRt, total_BGRt)


def _backward(how, saved, dx_BtHK):
    q_BtHK, k_BsGK, v_BsGK, more, x_BtHK, top_BGRt, total_BGRt = saved
    q_BtGRK, dx_BtGRK = _grouped(q_BtHK, k_BsGK), _grouped(dx_BtHK, k_BsGK)
    mean_BGRt = jnp.einsum("bthk,bthk->bth", dx_BtHK, x_BtHK, preferred_element_type=jnp.float32)
    mean_BGRt = jnp.moveaxis(mean_BGRt.reshape(q_BtGRK.shape[:4]), 1, 3)
    bias = jnp.zeros(more["bias"].shape) if "bias" in more else None

    def block(state, k_BbGK, v_BbGK, first):
        dq_BtGRK, dbias_BHtS = state
        scores_BGRtb, pull = jax.vjp(functools.partial(_scores, how, more, first), q_BtGRK, k_BbGK,
                                     _bias(more, first, k_BbGK))
        p_BGRtb = jnp.exp(scores_BGRtb - top_BGRt[..., None]) / total_BGRt[..., None]
        dv_BbGK = jnp.einsum("bgrts,btgrk->bsgk", p_BGRtb.astype(dx_BtHK.dtype), dx_BtGRK,
                             preferred_element_type=jnp.float32)
        dp_BGRtb = jnp.einsum("btgrk,bsgk->bgrts", dx_BtGRK, v_BbGK, preferred_element_type=jnp.float32)
        dq, dk, dbias = pull(p_BGRtb * (dp_BGRtb - mean_BGRt[..., None]))
        if dbias is not None:
            dbias_BHtS = jax.lax.dynamic_update_slice_in_dim(dbias_BHtS, dbias, first, 3)
        return (dq_BtGRK + dq, dbias_BHtS), (dk.astype(jnp.float32), dv_BbGK)

    zeros = jnp.zeros(k_BsGK.shape), jnp.zeros(v_BsGK.shape)
    (dq, dbias), (dk, dv) = _round(how, block, (jnp.zeros(q_BtGRK.shape), bias), (k_BsGK, v_BsGK), zeros)
    dmore = {name: dbias.astype(a.dtype) if name == "bias" else None for name, a in more.items()}
    return dq.reshape(q_BtHK.shape).astype(q_BtHK.dtype), dk.astype(k_BsGK.dtype), dv.astype(v_BsGK.dtype), dmore


_own.defvjp(_forward, _backward)


def _round(how, block, state, parts, sums):
    """Runs `block` over all keys and values, those of this device first, then each other's as they come by.

    Args:
      block: (state, k_BbGK, v_BbGK, the number of its first key) -> (state, what it adds to the block's `sums`).
      parts: this device's keys and values. sums: arrays of their shapes, or none, that travel with them.
    Returns:
      (state, sums): those of this device's own part, from all devices.
    """
    axis = how[3]
    ways, here = jax.lax.axis_size(axis), jax.lax.axis_index(axis)
    size = parts[0].shape[1]
    n = next(n for n in range(1, size + 1) if size % n == 0 and size // n <= BLOCK)
    along = [(i, (i + 1) % ways) for i in range(ways)]
    on = lambda tree: jax.tree.map(lambda a: jax.lax.ppermute(a, axis, along), tree)

    join = lambda a: jnp.moveaxis(a, 0, 1).reshape(a.shape[1], size, *a.shape[3:])
    for i in range(ways):  # no loop of XLA's: on CPUs, its collectives and those around it would wait for each other
        def each(state, j):
            cut = [jax.lax.dynamic_slice_in_dim(a, j * (size // n), size // n, 1) for a in parts]
            return block(state, *cut, (here - i) % ways * size + j * (size // n))
        state, added = jax.lax.scan(each, state, jnp.arange(n), unroll=n == 1)
        sums = on(jax.tree.map(lambda s, a: s + join(a), sums, added))
        parts = on(parts) if i + 1 < ways else parts
    return state, sums


def _scores(how, more, first, q_BtGRK, k_BbGK, bias_BHtb):
    """scores_BGRtb in float32 of the keys from number `first` on."""
    scale, softcap, causal, axis = how
    B, t, G, R, _ = q_BtGRK.shape
    b = k_BbGK.shape[1]
    scores_BGRtb = jnp.einsum("btgrk,bsgk->bgrts", q_BtGRK * scale, k_BbGK, preferred_element_type=jnp.float32)
    if softcap:
        scores_BGRtb = softcap * jnp.tanh(scores_BGRtb / softcap)
    if bias_BHtb is not None:
        scores_BGRtb = scores_BGRtb + bias_BHtb.reshape(B, G, R, t, b)
    if causal:
        start = jax.lax.axis_index(axis) * t
        of = lambda start, size: jax.lax.dynamic_slice_in_dim(more["sees"], start, size, 1)
        earlier_tb = first + jnp.arange(b) <= start + jnp.arange(t)[:, None]
        seen_Btb = earlier_tb & (of(start, t)[:, :, None] == of(first, b)[:, None, :])
    elif "sees" in more:
        seen_Btb = jax.lax.dynamic_slice_in_dim(more["sees"][:, 0], first, b, 2)
    else:
        return scores_BGRtb
    return jnp.where(seen_Btb[:, None, None], scores_BGRtb, -1e30)  # finite, as in attention.attention_weights


def _bias(more, first, k_BbGK):
    return jax.lax.dynamic_slice_in_dim(more["bias"], first, k_BbGK.shape[1], 3) if "bias" in more else None


def _grouped(q_BtHK, k_BsGK):
    B, t, H, K = q_BtHK.shape
    return q_BtHK.reshape(B, t, k_BsGK.shape[2], -1, K)


def _at_queries(a_BGRt):
    return jnp.moveaxis(a_BGRt, 3, 1)[..., None]

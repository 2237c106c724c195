"""Attention written down once more, with whole scores, and what compares by it."""

import jax
import jax.numpy as jnp


def formula(q, k, v, bias, mask, scale=None, softcap=0.0):
    """attend, where a mask says all."""
    k, v = (jnp.repeat(a, q.shape[2] // a.shape[2], axis=2) for a in (k, v))
    scores = jnp.einsum("bthk,bshk->bhts", q, k) * (q.shape[3] ** -0.5 if scale is None else scale)
    scores = softcap * jnp.tanh(scores / softcap) if softcap else scores
    scores = scores if bias is None else scores + bias
    scores = scores if mask is None else jnp.where(mask, scores, -1e30)
    return jnp.einsum("bhts,bshk->bthk", jax.nn.softmax(scores, axis=-1), v)


def both_ways(function, *arrays):
    """(the result, its gradients by all arrays), each entry of the result weighing something else."""
    def run(*arrays):
        out, back = jax.vjp(function, *arrays)
        return out, back(jnp.cos(jnp.arange(out.size)).reshape(out.shape).astype(out.dtype))
    return jax.jit(run)(*arrays)

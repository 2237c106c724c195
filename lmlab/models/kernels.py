"""Products and softmaxes in the form that costs least, some with gradients written out: the same numbers as by the
plain formulas, which the tests hold them to. And what a kernel must know of the devices it is compiled for."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def contract(x, kernel, inputs, out_dtype=None):
    """x W over the last `inputs` axes of x and the first of W. out_dtype: of the sums; None: theirs.

    Its gradients are the usual ones in a form that CPUs are good at: of the two operands of W's, the narrower one is
    transposed.
    """
    axes = (tuple(range(x.ndim - inputs, x.ndim)), tuple(range(inputs)))
    return jax.lax.dot_general(x, kernel, (axes, ((), ())), preferred_element_type=out_dtype)


def _contract_forward(x, kernel, inputs, out_dtype):
    return contract(x, kernel, inputs, out_dtype), (x, kernel)


def _contract_backward(inputs, out_dtype, saved, g):
    x, kernel = saved
    g = g.astype(x.dtype)
    tokens, outputs = x.ndim - inputs, kernel.ndim - inputs
    axes = (tuple(range(tokens, g.ndim)), tuple(range(inputs, kernel.ndim)))
    dx = jax.lax.dot_general(g, kernel, (axes, ((), ())))
    over = ((tuple(range(tokens)),) * 2, ((), ()))
    if np.prod(kernel.shape[:inputs]) <= np.prod(kernel.shape[inputs:]):
        return dx, jax.lax.dot_general(x, g, over)
    return dx, jax.lax.dot_general(g, x, over).transpose(*range(outputs, kernel.ndim), *range(outputs))


contract.defvjp(_contract_forward, _contract_backward)


@jax.custom_vjp
def gelu(x):
    """x Phi(x) in the tanh form, as GPT-2 (Hendrycks & Gimpel 2016). It keeps x alone for its gradient."""
    return 0.5 * x * (1 + jnp.tanh(_gelu_inside(x)))


def _gelu_inside(x):
    return np.sqrt(2 / np.pi).astype(np.float32) * (x + 0.044715 * x * x * x)


def _gelu_backward(x, g):
    tanh = jnp.tanh(_gelu_inside(x))
    slope = np.sqrt(2 / np.pi).astype(np.float32) * (1 + 3 * 0.044715 * x * x)
    return (g * (0.5 * (1 + tanh) + 0.5 * x * (1 - tanh * tanh) * slope),)


gelu.defvjp(lambda x: (gelu(x), x), _gelu_backward)


# Batched products over (B, G): of the queries' features with the keys', of queries times keys with the keys' values,
# and of what belongs to the queries with queries times keys, which gives (B, G, K, S).
_TO_KEYS = (((4,), (3,)), ((0, 1), (0, 2)))
_TO_VALUES = (((4,), (1,)), ((0, 1), (0, 2)))
_TO_QUERIES = (((2, 3), (2, 3)), ((0, 1), (0, 1)))


@jax.custom_vjp
def scores(q_BGRTK, k_BSGK):
    """q k^T, (B, G, R, T, S) in float32. An array of that size is never transposed, not for the gradients either: of
    their products, it is the narrow results that are."""
    return jax.lax.dot_general(q_BGRTK, k_BSGK, _TO_KEYS, preferred_element_type=jnp.float32)


def _scores_backward(saved, g_BGRTS):
    q_BGRTK, k_BSGK = saved
    g_BGRTS = g_BGRTS.astype(k_BSGK.dtype)
    dk_BGKS = jax.lax.dot_general(q_BGRTK, g_BGRTS, _TO_QUERIES)
    return jax.lax.dot_general(g_BGRTS, k_BSGK, _TO_VALUES), dk_BGKS.transpose(0, 3, 1, 2)


scores.defvjp(lambda q_BGRTK, k_BSGK: (scores(q_BGRTK, k_BSGK), (q_BGRTK, k_BSGK)), _scores_backward)


@jax.custom_vjp
def softmax_mix(scores_BGRTS, v_BSGK):
    """softmax(scores) v, (B, G, R, T, K) in v's dtype: what is divided by the sum, here and in the gradient, is the
    narrow side of each product and never the weights; nor are they transposed."""
    return _softmax_mix_forward(scores_BGRTS, v_BSGK)[0]


def _softmax_mix_forward(scores_BGRTS, v_BSGK):
    e_BGRTS = jnp.exp(scores_BGRTS - scores_BGRTS.max(-1, keepdims=True))
    share_BGRT1 = (1 / e_BGRTS.sum(-1, keepdims=True)).astype(v_BSGK.dtype)
    e_BGRTS = e_BGRTS.astype(v_BSGK.dtype)
    x_BGRTK = jax.lax.dot_general(e_BGRTS, v_BSGK, _TO_VALUES) * share_BGRT1
    return x_BGRTK, (e_BGRTS, share_BGRT1, v_BSGK, x_BGRTK)


def _softmax_mix_backward(saved, g_BGRTK):
    e_BGRTS, share_BGRT1, v_BSGK, x_BGRTK = saved
    g_BGRTK = (g_BGRTK * share_BGRT1).astype(v_BSGK.dtype)
    along_BGRT1 = (g_BGRTK * x_BGRTK).sum(-1, keepdims=True, dtype=jnp.float32)
    away_BGRTS = jax.lax.dot_general(g_BGRTK, v_BSGK, _TO_KEYS, preferred_element_type=jnp.float32)
    dv_BGKS = jax.lax.dot_general(g_BGRTK, e_BGRTS, _TO_QUERIES)
    return e_BGRTS * (away_BGRTS - along_BGRT1), dv_BGKS.transpose(0, 3, 1, 2)


softmax_mix.defvjp(_softmax_mix_forward, _softmax_mix_backward)


def splash(q_BTHK, k_BSGK, v_BSGK, segments_BT, scale, softcap):
    """Causal attention within segments by the fused TPU kernel, on each device for its own rows and heads."""
    if segments_BT is None:
        raise ValueError("attention backend 'splash' does causal attention without windows or biases; use xla")
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel, splash_attention_mask

    def own(q_BTHK, k_BSGK, v_BSGK, segments_BT):
        B, T, H, K = q_BTHK.shape
        g, size = k_BSGK.shape[2], min(T, 512)
        mask = splash_attention_mask.MultiHeadMask([splash_attention_mask.CausalMask((T, T))] * (H // g))
        sizes = splash_attention_kernel.BlockSizes(
            **dict.fromkeys(("block_q", "block_kv", "block_kv_compute", "block_q_dkv", "block_kv_dkv",
                             "block_kv_dkv_compute", "block_q_dq", "block_kv_dq"), size))
        kernel = splash_attention_kernel.make_splash_mqa_single_device(
            mask, block_sizes=sizes, attn_logits_soft_cap=softcap or None)
        q_BGRTK = (q_BTHK * scale).reshape(B, T, g, H // g, K).transpose(0, 2, 3, 1, 4)
        heads = jax.vmap(kernel, (0, 0, 0, None))   # over key/value heads
        x_BGRTK = jax.vmap(heads)(q_BGRTK, k_BSGK.swapaxes(1, 2), v_BSGK.swapaxes(1, 2),
                                  splash_attention_kernel.SegmentIds(segments_BT, segments_BT))
        return x_BGRTK.transpose(0, 3, 1, 2, 4).reshape(B, T, H, K)
    rows = ("batch", None, "heads", None)
    return on_devices(own, [rows] * 3 + [("batch", None)], rows)(q_BTHK, k_BSGK, v_BSGK, segments_BT)


def expert_mix(activation, x_BTD, expert_BTP, weight_BTP, wi_EDF, wo_EFD, linear_EDF=None):
    """x_BTD of what the experts that each token picked make of it, weighted.

    On a mesh every array is this device's part. The devices that have the experts split among them gather each other's
    tokens, each sends those that picked one of its own through it, and the sums go back to where the tokens came from.
    At most min(P, E) of a token's picks can be here, and so many rows a token are made, as no token is dropped.
    """
    sharing, splitting, embed = (mesh_axes(axis) for axis in ("expert", "ff", "embed"))
    gather = lambda axes, a, dim=0: jax.lax.all_gather(a, axes, axis=dim, tiled=True) if axes else a
    wi_EDF, wo_EFD = gather(embed, wi_EDF, 1), gather(embed, wo_EFD, 2)
    x_MD = gather(sharing, x_BTD).reshape(-1, x_BTD.shape[2])
    expert_L, weight_L = gather(sharing, expert_BTP).reshape(-1), gather(sharing, weight_BTP).reshape(-1)
    E, P = len(wi_EDF), expert_BTP.shape[2]
    if sharing:
        expert_L = expert_L - E * jax.lax.axis_index(sharing)
        expert_L = jnp.where((expert_L >= 0) & (expert_L < E), expert_L, E)  # E: not here
    order_L = jnp.argsort(expert_L, stable=True)[:len(x_MD) * min(P, E)]  # one row a pick, sorted by expert
    sizes_E = jnp.bincount(expert_L, length=E)
    here = (lambda a_LD: jnp.where((expert_L[order_L] < E)[:, None], a_LD, 0)) if sharing else lambda a_LD: a_LD
    rows_LD = here(x_MD[order_L // P])
    h_LF = activation(jax.lax.ragged_dot(rows_LD, wi_EDF, sizes_E))
    if linear_EDF is not None:
        h_LF = h_LF * jax.lax.ragged_dot(rows_LD, gather(embed, linear_EDF, 1), sizes_E)
    y_LD = here(jax.lax.ragged_dot(h_LF, wo_EFD, sizes_E)) * weight_L[order_L][:, None]
    y_MD = jnp.zeros(x_MD.shape, x_MD.dtype).at[order_L // P].add(y_LD)
    y_BTD = y_MD.reshape(-1, *x_BTD.shape[1:])
    y_BTD = jax.lax.psum_scatter(y_BTD, sharing, tiled=True) if sharing else y_BTD
    return jax.lax.psum(y_BTD, splitting) if splitting else y_BTD


def on_devices(function, inputs, output):
    """`function` on each device's own part of its arguments, for kernels that XLA cannot cut up: under jax.shard_map
    where the step is laid out over a mesh by logical axes, else as it is.

    Args:
      inputs, output: the logical axes of each argument, and of the result.
    """
    if jax.sharding.get_abstract_mesh().empty or not nn.get_logical_axis_rules():
        return function
    spec = nn.logical_to_mesh_axes
    return jax.shard_map(function, in_specs=tuple(map(spec, inputs)), out_specs=spec(output), check_vma=False)


def mesh_axes(*axes):
    """The names of the mesh axes that these logical axes are split over, in order."""
    found = nn.logical_to_mesh_axes(axes) or ()
    return tuple(name for part in found if part for name in ((part,) if isinstance(part, str) else part))


def shares(*axes):
    """How many devices hold a part each of an array with these logical axes."""
    sizes = jax.sharding.get_abstract_mesh().shape
    return math.prod(sizes.get(name, 1) for name in mesh_axes(*axes))


def platform():
    """"cpu", "gpu" or "tpu": where the step will run, which need not be where it is compiled."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    return device.platform if device else jax.default_backend()

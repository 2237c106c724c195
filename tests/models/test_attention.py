"""Attention against loops in float64 and against jax's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmlab.models import attention

ON_GPU = jax.default_backend() == "gpu"
HERE = ["xla", "cudnn", "auto"] if ON_GPU else ["xla"]  # "auto" is "xla" without a GPU: tested last


SEGMENTS = np.array([[1, 1, 2, 2, 2, 0], [1, 2, 3, 3, 0, 0]])
PREFIX = np.array([[1, 0, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0]]) > 0


def arrays(B=2, T=5, S=7, H=4, G=2, K=8, seed=0):
    rng = np.random.default_rng(seed)
    q, k, v = (rng.standard_normal(s).astype(np.float32) for s in ((B, T, H, K), (B, S, G, K), (B, S, G, K)))
    mask = rng.random((B, 1, T, S)) < 0.6
    mask[..., 0] = True
    return q, k, v, mask


def by_loops(q, k, v, mask, bias=None, scale=None, cap=None):
    """The formula, one number at a time, in float64."""
    scale, capped = scale or q.shape[3] ** -0.5, lambda x: cap * np.tanh(x / cap) if cap else x
    B, T, H, K = q.shape
    out = np.zeros(q.shape)
    for b in range(B):
        for t in range(T):
            for h in range(H):
                g = h // (H // k.shape[2])
                seen = [s for s in range(k.shape[1]) if mask is None or mask[b, 0, t, s]]
                scores = [capped(sum(float(q[b, t, h, i]) * float(k[b, s, g, i]) for i in range(K)) * scale)
                          + (0 if bias is None else float(bias[0, h, t, s])) for s in seen]
                e = np.exp(np.array(scores) - max(scores))
                out[b, t, h] = sum(w * np.float64(v[b, s, g]) for w, s in zip(e / e.sum(), seen))
    return out


@pytest.mark.parametrize("G", [1, 2, 4])
@pytest.mark.parametrize("masked", [False, True])
def test_attend_is_the_formula(G, masked):
    q, k, v, mask = arrays(G=G)
    got = attention.attend(q, k, v, mask if masked else None, backend="xla")
    np.testing.assert_allclose(got, by_loops(q, k, v, mask if masked else None), atol=2e-6)


def test_scale_softcap_and_bias_are_in_the_formula():
    q, k, v, mask = arrays()
    bias = np.random.default_rng(1).standard_normal((1, 4, 5, 7)).astype(np.float32)
    got = attention.attend(q, k, v, mask, bias, scale=0.7, softcap=1.5, backend="xla")
    np.testing.assert_allclose(got, by_loops(q, k, v, mask, bias, 0.7, 1.5), atol=2e-6)


@pytest.mark.parametrize("backend", HERE)
@pytest.mark.parametrize("G", [1, 2, 4])
def test_attend_and_its_gradients_are_those_of_jax(backend, G, assert_close):
    q, k, v, mask = arrays(G=G, T=16, S=16)
    dtype, tolerance = (jnp.bfloat16, 2e-2) if backend == "cudnn" else (jnp.float32, 1e-5)
    q, k, v = (jnp.asarray(x, dtype) for x in (q, k, v))

    @jax.jit
    def both(q, k, v):
        pairs = [jax.vjp(f, q, k, v) for f in (
            lambda *x: attention.attend(*x, mask, backend=backend),
            lambda *x: jax.nn.dot_product_attention(*x, mask=mask, implementation="xla"))]
        return [(out, back(jnp.cos(jnp.arange(out.size)).reshape(out.shape).astype(dtype))) for out, back in pairs]
    (ours, our_grads), (theirs, their_grads) = both(q, k, v)
    assert_close(ours, theirs, tolerance)
    assert_close(our_grads, their_grads, tolerance)


def test_weights_are_a_distribution_over_the_keys_allowed():
    q, k, _, mask = arrays()
    weights_BGRTS = attention.attention_weights(q, k, mask)
    np.testing.assert_allclose(weights_BGRTS.sum(-1), 1, atol=1e-6)
    assert not np.asarray(weights_BGRTS)[np.broadcast_to(~mask[:, :, None], weights_BGRTS.shape)].any()


@pytest.mark.parametrize("backend", HERE)
def test_a_row_that_may_look_nowhere_is_finite_and_so_are_gradients(backend):
    q, k, v, mask = arrays(T=16, S=16)
    mask[:, :, 3] = False
    q, k, v = (jnp.asarray(x, jnp.bfloat16 if backend == "cudnn" else jnp.float32) for x in (q, k, v))
    value, grads = jax.value_and_grad(
        lambda *x: attention.attend(*x, mask, backend=backend).astype(jnp.float32).sum(), (0, 1, 2))(q, k, v)
    assert np.isfinite(value) and all(np.isfinite(np.float32(g)).all() for g in grads)


@pytest.mark.parametrize("backend", HERE)
def test_what_the_mask_hides_has_no_influence_at_all(backend, assert_same):
    """Two documents in a row: the first's keys and values may be anything, infinitely large numbers apart."""
    q, k, v, _ = arrays(T=16, S=16)
    segments = np.repeat([[1] * 9 + [2] * 7], 2, 0)
    mask = attention.segment_mask(jnp.asarray(segments))
    k2, v2 = k.copy(), v.copy()
    k2[:, :9], v2[:, :9] = 100 * k[:, :9] + 3, -1000.0
    dtype = jnp.bfloat16 if backend == "cudnn" else jnp.float32
    run = lambda *x: attention.attend(*(jnp.asarray(a, dtype) for a in x), mask, backend=backend)[:, 9:]
    assert_same(run(q, k2, v2), run(q, k, v))


def test_auto_chooses_by_device_and_type(assert_same):
    q, k, v, mask = arrays()
    assert_same(attention.attend(q, k, v, mask), attention.attend(q, k, v, mask, backend="xla"))


@pytest.mark.parametrize("attends", ["causal", "full", "prefix"])
def test_segment_mask_by_loops(attends):
    mask = np.asarray(attention.segment_mask(jnp.asarray(SEGMENTS), attends, PREFIX if attends == "prefix" else None))
    for b in range(2):
        for t in range(6):
            for s in range(6):
                seen = attends == "full" or s <= t or attends == "prefix" and PREFIX[b, s]
                assert mask[b, 0, t, s] == (seen and SEGMENTS[b, t] == SEGMENTS[b, s])


@pytest.mark.parametrize("window", [1, 3, 0])
def test_windows_by_loops(window):
    """The window counts the token itself, and looks forward as far as back (a causal mask forbids that half)."""
    q, k = np.array([[0, 3, 9]]), np.arange(12)[None]
    mask = np.asarray(attention.within(jnp.int32(window), jnp.asarray(q), jnp.asarray(k)))[0, 0]
    for t, here in enumerate(q[0]):
        seen = range(12) if not window else range(max(0, here - window + 1), min(12, here + window))
        assert np.flatnonzero(mask[t]).tolist() == list(seen)


def bucket_by_reading(away, buckets, distance, both_ways):
    """Raffel et al. 2020, section 2.1, in whole numbers: a bucket for each of the nearest offsets, then buckets whose
    borders grow geometrically up to `distance`, beyond which all share the last."""
    if both_ways:
        return bucket_by_reading(-abs(away), buckets // 2, distance, False) + buckets // 2 * (away > 0)
    back, exact = max(0, -away), buckets // 2
    if back < exact:
        return back
    # Border i stands at exact (distance / exact)^(i / wide): powers compare without rounding.
    wide = buckets - exact
    passed = sum(back ** wide * exact ** i >= distance ** i * exact ** wide for i in range(1, 2 * wide))
    return min(buckets - 1, exact + passed)


@pytest.mark.parametrize("both_ways", [True, False])
@pytest.mark.parametrize("buckets,distance", [(32, 128), (8, 6), (16, 100), (6, 1000)])
def test_relative_buckets_are_those_of_the_paper(buckets, distance, both_ways):
    q, k = np.array([[0, 40, 399]]), np.arange(400)[None]
    got = attention.relative_buckets(jnp.asarray(q), jnp.asarray(k), buckets, distance, both_ways)
    expected = [[bucket_by_reading(int(s - t), buckets, distance, both_ways) for s in k[0]] for t in q[0]]
    np.testing.assert_array_equal(got[0], expected)


@pytest.mark.slow
@pytest.mark.parametrize("both_ways", [True, False])
@pytest.mark.parametrize("buckets,distance", [(32, 128), (16, 100), (6, 1000)])
def test_relative_buckets_are_those_of_transformers_t5(buckets, distance, both_ways):
    torch = pytest.importorskip("torch")
    t5 = pytest.importorskip("transformers.models.t5.modeling_t5")
    away = np.arange(-2000, 2001)
    theirs = t5.T5Attention._relative_position_bucket(torch.tensor(away), both_ways, buckets, distance)
    ours = attention.relative_buckets(jnp.array([[0]]), jnp.asarray(away)[None], buckets, distance, both_ways)
    np.testing.assert_array_equal(ours[0, 0], theirs.numpy())


def test_errors_name_what_is_wrong():
    q, k, v, _ = arrays(H=4, G=2)
    with pytest.raises(ValueError, match="4 query heads are not a multiple of 3"):
        attention.attend(q, np.zeros((2, 7, 3, 8)), np.zeros((2, 7, 3, 8)), backend="xla")
    with pytest.raises(ValueError, match="'flash' is unknown; try one of auto, xla, cudnn"):
        attention.attend(q, k, v, backend="flash")

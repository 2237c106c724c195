"""The parts of networks against flax's own, complex numbers, loops and scipy-free formulas."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmlab.models import layers

X = np.random.default_rng(0).standard_normal((2, 5, 12)).astype(np.float32) * 3 + 1


def test_rotary_is_multiplication_by_a_complex_number():
    positions = np.array([[0, 1, 2, 0, 1], [7, 0, 1, 2, 300]])
    x = np.random.default_rng(1).standard_normal((2, 5, 3, 8)).astype(np.float32)
    z = x[..., :4].astype(np.float64) + 1j * x[..., 4:]
    for i in range(4):
        z[..., i] *= np.exp(1j * positions * 500.0 ** (-2 * i / 8))[..., None]
    got = layers.rotary(jnp.asarray(x), jnp.asarray(positions), 500.0 ** (-np.arange(0, 8, 2, dtype=np.float32) / 8))
    np.testing.assert_allclose(got, np.concatenate([z.real, z.imag], -1), atol=3e-5)


def test_rotary_scores_depend_on_the_distance_only():
    q, k = np.random.default_rng(2).standard_normal((2, 1, 1, 1, 8)).astype(np.float32)
    frequency_K = np.float32([1, 0.1, 0.01, 0.001])
    turn = lambda x, i: layers.rotary(x, jnp.array([[i]]), frequency_K)
    at = lambda i, j: float((turn(q, i) * turn(k, j)).sum())
    assert at(9, 4) == pytest.approx(at(5, 0), abs=1e-5) != pytest.approx(at(4, 9), abs=1e-2)


@pytest.mark.slow
def test_rotary_is_that_of_transformers_llama():
    torch = pytest.importorskip("torch")
    llama = pytest.importorskip("transformers.models.llama.modeling_llama")
    from transformers import LlamaConfig
    config = LlamaConfig(hidden_size=24, num_attention_heads=3, max_position_embeddings=64)
    x = np.random.default_rng(3).standard_normal((2, 5, 3, 8)).astype(np.float32)
    positions = torch.tensor([[0, 1, 2, 3, 4], [9, 10, 0, 1, 63]])
    heads_first = torch.tensor(x).transpose(1, 2)
    cos, sin = llama.LlamaRotaryEmbedding(config)(heads_first, positions)
    theirs, _ = llama.apply_rotary_pos_emb(heads_first, heads_first, cos, sin)
    ours = layers.rotary(x, positions.numpy(), 10_000.0 ** (-np.arange(0, 8, 2, dtype=np.float32) / 8))
    np.testing.assert_allclose(ours, theirs.transpose(1, 2).numpy(), atol=1e-5)


@pytest.mark.parametrize("width", [6, 7])
def test_sinusoids_by_loops(width):
    table = layers.sinusoids(20, width)
    assert table.shape == (20, width)
    order = [*range(0, width, 2), *range(1, width, 2)]  # the paper's even columns first, then its odd ones
    for position in range(20):
        for ours, column in enumerate(order):
            angle = position / 10000 ** (2 * (column // 2) / width)
            expected = math.cos(angle) if column % 2 else math.sin(angle)
            assert table[position, ours] == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("width", [6, 7])
def test_sinusoids_are_those_of_transformers_marian(width):
    pytest.importorskip("torch")
    marian = pytest.importorskip("transformers.models.marian.modeling_marian")
    theirs = marian.MarianSinusoidalPositionalEmbedding(20, width)
    table = theirs.create_weight() if hasattr(theirs, "create_weight") else theirs._init_weight()
    np.testing.assert_allclose(layers.sinusoids(20, width), table.detach().numpy(), atol=1e-6)


@pytest.mark.parametrize("kind,bias", [("layer", True), ("layer", False), ("rms", False)])
def test_norms_are_those_of_flax(kind, bias):
    ours = layers.Norm(kind, bias=bias, eps=1e-3)
    theirs = nn.LayerNorm(epsilon=1e-3, use_bias=bias) if kind == "layer" else nn.RMSNorm(epsilon=1e-3)
    params = nn.meta.unbox(ours.init(jax.random.key(0), X))["params"]
    params = {name: np.linspace(-1, 2, 12, dtype=np.float32) + i for i, name in enumerate(params)}
    np.testing.assert_allclose(ours.apply({"params": params}, X), theirs.apply({"params": params}, X), atol=1e-5)


def test_norm_computes_in_float32_whatever_comes_in():
    norm = layers.Norm("rms", dtype=jnp.bfloat16)
    big = jnp.full((1, 1, 4096), 300.0, jnp.bfloat16)  # whose squares, summed, a bfloat16 holds to two digits
    params = nn.meta.unbox(norm.init(jax.random.key(0), big))
    assert norm.apply(params, big).dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.float32(norm.apply(params, big)), 1.0)


def test_projection_contracts_the_axes_named():
    x = np.random.default_rng(4).standard_normal((2, 3, 4, 5)).astype(np.float32)
    layer = layers.Projection((4, 5, 6), ("heads", "head", "embed"), inputs=2, stddev=1.0)
    params = nn.meta.unbox(layer.init(jax.random.key(0), x))["params"]
    params["bias"] = np.arange(6, dtype=np.float32)
    expected = np.einsum("btij,ijk->btk", np.float64(x), np.float64(params["kernel"])) + np.arange(6)
    np.testing.assert_allclose(layer.apply({"params": params}, x), expected, atol=1e-5)


def test_token_shift_puts_the_token_before_in_some_channels():
    positions = np.array([[0, 1, 2, 0, 1], [3, 4, 5, 6, 7]])  # a row of two segments, and one that goes on
    x = np.random.default_rng(5).standard_normal((2, 5, 8)).astype(np.float32)
    before = np.full((2, 1, 4), 9, np.float32)
    got, last = layers.token_shift(x, positions, 0.5, before)
    for b, t in np.ndindex(2, 5):
        own = before[b, 0] if t == 0 else x[b, t - 1, :4]
        np.testing.assert_array_equal(got[b, t, :4], own if positions[b, t] else 0)
    np.testing.assert_array_equal(got[..., 4:], x[..., 4:])
    np.testing.assert_array_equal(last, x[:, -1:, :4])


BY_HAND = {
    "gelu": lambda x: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3))),
    "gelu_exact": lambda x: x / 2 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "relu": lambda x: np.maximum(x, 0),
    "relu2": lambda x: np.maximum(x, 0) ** 2,
    "swiglu": lambda x: x / (1 + np.exp(-x)),
    "geglu": lambda x: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3))),
}


@pytest.mark.parametrize("activation", [*layers.ACTIVATIONS, *layers.GATES])
def test_feed_forward_by_hand(activation, lively):
    layer = layers.FeedForward(12, 20, activation, True, 0.1, jnp.float32)
    params = lively(nn.meta.unbox(layer.init(jax.random.key(0), X))["params"])
    wo, wi = ({k: v.astype(np.float64) for k, v in params[name].items()} for name in ("wo", min(params)))
    if activation in layers.GATES:
        gate = BY_HAND[activation](X @ wi["kernel"][:, 0] + wi["bias"][0])
        hidden = gate * (X @ wi["kernel"][:, 1] + wi["bias"][1])
    else:
        hidden = BY_HAND[activation](X @ wi["kernel"] + wi["bias"])
    np.testing.assert_allclose(layer.apply({"params": params}, X), hidden @ wo["kernel"] + wo["bias"], rtol=1e-5,
                               atol=1e-5)


def keys(n, seed=0):
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), jnp.arange(n))


def test_dropout_keeps_the_mean_and_drops_the_rate():
    x = jnp.ones((64, 16, 32))
    out = np.asarray(layers.dropout(x, 0.25, keys(64)))
    n = out.size
    assert set(np.unique(out)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((out == 0).mean() - 0.25) < 4 * math.sqrt(0.25 * 0.75 / n)


def test_dropout_mask_of_a_row_is_a_function_of_its_key():
    x, k = jnp.ones((6, 4, 8)), keys(6)
    whole = np.asarray(layers.dropout(x, 0.5, k))
    for order in ([3], [5, 0]):
        np.testing.assert_array_equal(layers.dropout(x[:len(order)], 0.5, k[jnp.array(order)]), whole[order])
    assert len({row.tobytes() for row in whole}) == 6
    assert not np.array_equal(layers.dropout(x, 0.5, layers.fold_in(k, 1)), whole)


def test_no_rate_or_no_key_is_no_dropout():
    assert layers.dropout(X, 0.0, keys(2)) is X and layers.dropout(X, 0.5, None) is X
    assert layers.fold_in(None, 3) is None


def test_initial_values():
    table = layers.normal(0.02)(jax.random.key(0), (300, 300))
    assert np.std(table) == pytest.approx(0.02, rel=0.02) and abs(np.mean(table)) < 3e-4
    assert not np.any(layers.normal(0.0)(jax.random.key(0), (3, 3)))

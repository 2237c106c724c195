"""The vocabulary loss against optax and float64; in chunks against whole; and what it holds in memory."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lmlab.objectives import losses

B, T, D, V = 4, 64, 8, 512


@pytest.fixture(scope="module")
def case():
    """(w, x, targets, weights): a projection, a third of its targets hit, weights of many sizes, some zero."""
    rng = np.random.default_rng(0)
    weights = rng.random((B, T)).astype(np.float32) * (rng.random((B, T)) < 0.8)
    w, x = rng.standard_normal((D, V)).astype(np.float32), rng.standard_normal((B, T, D)).astype(np.float32)
    targets = np.where(rng.random((B, T)) < 0.3, (x @ w).argmax(-1), rng.integers(0, V, (B, T)))
    return w, x, targets, weights


def nll_sum(chunk, targets, weights):
    """The function (w_DV, x_BTD) -> (nll_sum, correct_sum)."""
    return lambda w_DV, x_BTD: losses.vocabulary_loss(lambda x: 5 * jnp.tanh(x @ w_DV / 5), x_BTD, targets, weights,
                                                      V, chunk)


def test_cross_entropy_is_optax_and_float64(case):
    w, x, targets, _ = case
    logits = 10 * (x @ w)
    nll, correct = losses.cross_entropy(jnp.asarray(logits), targets)
    np.testing.assert_allclose(nll, optax.softmax_cross_entropy_with_integer_labels(logits, targets), atol=1e-4)
    exact = np.float64(logits)
    exact = np.log(np.exp(exact - exact.max(-1, keepdims=True)).sum(-1)) + exact.max(-1) - np.take_along_axis(
        exact, targets[..., None], -1)[..., 0]
    np.testing.assert_allclose(nll, exact, rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(correct, logits.argmax(-1) == targets)


def test_cross_entropy_survives_huge_logits():
    nll, _ = losses.cross_entropy(jnp.array([[[1e30, -1e30, 0.0]]]), jnp.array([[0]]))
    assert nll[0, 0] == 0


@pytest.mark.parametrize("length,width,chunk,expected", [
    (64, 10, 16, 4), (64, 10, 15, 8), (64, 10, 1, 64), (64, 10, 100, 1), (60, 10, 16, 4), (61, 10, 16, 61),
    (64, 10, 0, 1), (64, losses.AUTO_LOGITS // 16, 0, 4), (64, 2 * losses.AUTO_LOGITS, 0, 64)])
def test_chunks_divide_the_length_and_hold_at_most_what_is_allowed(length, width, chunk, expected):
    assert losses.chunks(length, width, chunk) == expected


@pytest.mark.parametrize("chunk", [1, 4, 20])
def test_chunks_give_the_values_and_gradients_of_the_whole(chunk, case, assert_close):
    w, x, targets, weights = case
    of = lambda chunk: jax.value_and_grad(lambda w, x: nll_sum(chunk, targets, weights)(w, x)[0], (0, 1))(w, x)
    assert_close(of(chunk), of(T), 1e-6)
    hits = [float(nll_sum(n, targets, weights)(w, x)[1]) for n in (chunk, T)]
    assert hits[0] == pytest.approx(hits[1], rel=1e-6) and hits[1] > 1


def largest_array(compiled):
    """Entries of the largest array anywhere in the compiled program."""
    return max(math.prod(map(int, shape.split(","))) for shape in re.findall(r"\w\[([\d,]+)\]", compiled.as_text()))


def test_chunked_logits_never_exist_whole(case):
    w, x, targets, weights = case
    compile = lambda chunk: jax.jit(jax.value_and_grad(lambda w, x: nll_sum(chunk, targets, weights)(w, x)[0],
                                                       (0, 1))).lower(w, x).compile()
    whole, cut = compile(T), compile(4)
    assert largest_array(whole) >= B * T * V  # the measure does see logits where they are whole
    assert largest_array(cut) <= max(B * 4 * V, D * V)
    temporary = lambda compiled: compiled.memory_analysis().temp_size_in_bytes
    assert temporary(cut) < 0.4 * 4 * B * T * V <= 0.4 * temporary(whole)


def test_the_automatic_chunk_bounds_the_logits(monkeypatch, case):
    w, x, targets, weights = case
    monkeypatch.setattr(losses, "AUTO_LOGITS", B * V * 4)
    compiled = jax.jit(jax.grad(lambda w: nll_sum(0, targets, weights)(w, x)[0])).lower(w).compile()
    assert largest_array(compiled) <= max(B * 4 * V, D * V)

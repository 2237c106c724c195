"""Log-likelihoods and divergences of texts against softmaxes written out, each text by itself."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from lmlab import models, run
from lmlab.data.features.dialogue import Learned
from lmlab.models import transformer
from lmlab.objectives import likelihood, losses

V, CONTEXT = 29, 24


@pytest.fixture(scope="module")
def lms(lively):
    """Two models with the same vocabulary."""
    def made(seed, **more):
        model = models.build("transformer", vocab_size=V, context=CONTEXT, width=8, layers=1, heads=2, **more)
        params = nn.meta.unbox(jax.jit(lambda key: transformer.init(model, key))(jax.random.key(seed)))
        return run.LM(model, lively(params), None, None, 0)
    return made(0), made(1, positions="rotary")


@pytest.fixture(scope="module")
def texts():
    """Eleven texts, one longer than the context, one of which nothing is learned."""
    rng = np.random.default_rng(0)
    sizes = [2, 9, 25, 40, 3, 7, 7, 12, 5, 2, 18]
    return [Learned(rng.integers(0, V, n).astype(np.int32), ((rng.random(n) < 0.6) * (k != 4)).astype(np.float32))
            for k, n in enumerate(sizes)]


def log_p(lm, text):
    """(T, V): log p of each next token."""
    logits = np.float64(lm.model.apply({"params": lm.params}, text.ids[None, :-1]))[0]
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


@pytest.mark.parametrize("windows, short", [
    pytest.param("packed", 7, marks=pytest.mark.slow), ("packed", 1024), ("stream", 7)])
def test_each_text_is_as_if_alone(lms, texts, windows, short, monkeypatch):
    monkeypatch.setattr(likelihood, "_SHORT", short)
    found, apart = (function(*lms[:n], texts, windows) for n, function in
                    ((1, likelihood.of_texts), (2, likelihood.divergences)))
    assert found.shape == (11, 2) and apart.shape == (11,)
    for number, text in enumerate(texts):
        text = Learned(*(array[-CONTEXT - 1:] for array in text))
        mine, theirs = log_p(lms[0], text), log_p(lms[1], text)
        learned = text.weights[1:] > 0
        wanted = sum(mine[t, token] for t, token in enumerate(text.ids[1:]) if learned[t])
        assert found[number] == pytest.approx([wanted, learned.sum()], abs=1e-4)
        each = (np.exp(mine) * (mine - theirs)).sum(-1)[learned]
        assert apart[number] == pytest.approx(each.mean() if len(each) else 0, abs=1e-5)
    assert (apart[[1, 2, 3]] > 0).all() and not likelihood.divergences(lms[0], lms[0], texts).any()
    assert likelihood.of_texts(lms[0], []).shape == (0, 2)


@pytest.mark.slow
def test_in_pieces_is_the_whole(lms, packed):
    batch, lm = packed(4, 24, V, padding=1)[0], lms[0]
    batch["weights"] *= np.random.default_rng(0).random(batch["weights"].shape) < 0.5
    count = int(batch["segments"].max())

    def both(chunk):
        sums = lambda params: losses.log_likelihoods(lm.model.apply, params, batch, None, count, V, chunk)[:2]
        return (*sums(lm.params), jax.grad(lambda params: (sums(params)[0] ** 2).sum())(lm.params))
    whole = both(24)
    assert whole[0].shape == (4, count) and whole[1].sum() == batch["weights"].sum()
    for chunk in (1, 4, 12):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), both(chunk), whole)

"""Each sampling rule against a slow version of it in numpy, and against transformers' logits processors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from lmlab.decoding import sampling
from lmlab.decoding.sampling import Sampler
from lmlab.utils.errors import UserError

SAMPLERS = [Sampler(), Sampler(temperature=0.7), Sampler(top_k=5), Sampler(top_k=500), Sampler(top_p=0.8),
            Sampler(top_p=1e-6), Sampler(min_p=0.1), Sampler(min_p=1.0), Sampler(repetition_penalty=1.7),
            Sampler(temperature=1.9, top_k=20, top_p=0.9, min_p=0.05, repetition_penalty=1.3)]


def probabilities(logits_V, sampler, seen):
    """The distribution of the next token, token by token, in float64."""
    logits = [float(x) for x in logits_V]
    for v in seen if sampler.repetition_penalty != 1 else ():
        logits[v] = logits[v] / sampler.repetition_penalty if logits[v] > 0 else logits[v] * sampler.repetition_penalty
    weights = {v: np.exp((x - max(logits)) / sampler.temperature) for v, x in enumerate(logits)}
    if sampler.top_k:
        weights = dict(sorted(weights.items(), key=lambda vw: -vw[1])[:sampler.top_k])
    if sampler.top_p < 1:
        kept, total = {}, 0.0
        for v, w in sorted(weights.items(), key=lambda vw: -vw[1]):
            if kept and total >= sampler.top_p:
                break
            kept[v], total = w, total + w / sum(weights.values())
        weights = kept
    weights = {v: w for v, w in weights.items() if w >= sampler.min_p * max(weights.values()) * (1 - 1e-6)}
    return np.array([weights.get(v, 0.0) for v in range(len(logits))]) / sum(weights.values())


def random_logits(rows=6, vocab=50, seed=0):
    return (3 * np.random.default_rng(seed).standard_normal((rows, vocab))).astype(np.float32)


def seen_tokens(rows=6, vocab=50):
    return [list(np.random.default_rng(r).integers(0, vocab, 12)) for r in range(rows)]


def as_mask(seen, vocab=50):
    return jnp.array([[v in row for v in range(vocab)] for row in seen])


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
def test_rules_as_by_hand(sampler):
    logits_BV, seen = random_logits(), seen_tokens()
    ours_BV = jax.nn.softmax(sampling.adjust(jnp.array(logits_BV), sampler, as_mask(seen)), axis=-1)
    for ours_V, logits_V, row in zip(np.asarray(ours_BV), logits_BV, seen, strict=True):
        expected_V = probabilities(logits_V, sampler, set(row))
        assert np.array_equal(ours_V > 0, expected_V > 0)
        np.testing.assert_allclose(ours_V, expected_V, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
def test_rules_as_transformers(sampler):
    torch = pytest.importorskip("torch")
    processors = pytest.importorskip("transformers.generation.logits_process")
    chain = [processors.RepetitionPenaltyLogitsProcessor(sampler.repetition_penalty),
             processors.TemperatureLogitsWarper(float(sampler.temperature))]
    chain += [processors.TopKLogitsWarper(sampler.top_k)] if sampler.top_k else []
    chain += [processors.TopPLogitsWarper(sampler.top_p)] if sampler.top_p < 1 else []
    chain += [processors.MinPLogitsWarper(sampler.min_p)] if sampler.min_p else []
    logits_BV, seen = random_logits(seed=1), seen_tokens()
    scores = torch.tensor(logits_BV)
    for processor in chain:
        scores = processor(torch.tensor(np.array(seen)), scores)
    ours_BV = jax.nn.softmax(sampling.adjust(jnp.array(logits_BV), sampler, as_mask(seen)), axis=-1)
    np.testing.assert_allclose(ours_BV, torch.softmax(scores, -1).numpy(), atol=1e-6)


@pytest.mark.parametrize("sampler", [Sampler(), Sampler(temperature=0.5, top_k=8, top_p=0.95, min_p=0.01)], ids=str)
def test_draws_follow_the_probabilities(sampler):
    draws, vocab = 20_000, 12
    logits_V = random_logits(1, vocab)[0] / 2
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(3), jnp.arange(draws))
    tokens = jax.jit(lambda logits, keys: sampling.sample(logits, sampler, keys))(
        jnp.broadcast_to(logits_V, (draws, vocab)), keys)
    counts_V = np.bincount(np.asarray(tokens), minlength=vocab)
    expected_V = draws * probabilities(logits_V, sampler, ())
    assert not counts_V[expected_V == 0].any()
    possible = expected_V > 0
    statistic = ((counts_V - expected_V)[possible] ** 2 / expected_V[possible]).sum()
    assert statistic < chi2.ppf(0.999, possible.sum() - 1)


@pytest.mark.parametrize("temperature", [0, 1e-4, 1e-30, 5e-324])
def test_a_temperature_near_zero_takes_the_most_likely(temperature):
    logits_BV = random_logits()
    keys_B = jax.random.split(jax.random.key(0), len(logits_BV))
    sampler = Sampler(temperature=temperature, top_k=9, top_p=0.9, min_p=0.01)
    sampling.check(sampler)
    assert np.array_equal(sampling.sample(jnp.array(logits_BV), sampler, keys_B), logits_BV.argmax(-1))


def test_the_highest_temperature_draws_evenly():
    logits_BV = np.tile(random_logits(1, 4), (4000, 1))
    keys_B = jax.random.split(jax.random.key(0), len(logits_BV))
    tokens = sampling.sample(jnp.array(logits_BV), Sampler(temperature=1e4), keys_B)
    assert (np.bincount(tokens, minlength=4) > 900).all()


def test_large_and_equal_logits_stay_finite():
    logits_BV = jnp.array([[3e38, -3e38, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0], [-jnp.inf, 2.0, -jnp.inf, 1.0]])
    for sampler in SAMPLERS:
        out_BV = jax.nn.softmax(sampling.adjust(logits_BV, sampler, jnp.zeros((3, 4), bool)), axis=-1)
        assert np.isfinite(out_BV).all()
        np.testing.assert_allclose(out_BV.sum(-1), 1, rtol=1e-6)


@pytest.mark.parametrize("values", [
    dict(temperature=999999), dict(temperature=-1), dict(temperature=float("nan")), dict(temperature=float("inf")),
    dict(temperature="hot"), dict(temperature=None), dict(top_p=-1), dict(top_p=0), dict(top_p=1.01),
    dict(top_p=float("nan")), dict(top_k=-1), dict(top_k=2.5), dict(top_k=10 ** 30), dict(top_k="5"), dict(min_p=-0.1),
    dict(min_p=2), dict(repetition_penalty=0), dict(repetition_penalty=-1), dict(repetition_penalty=float("inf")),
], ids=str)
def test_impossible_values_are_refused_by_name(values):
    with pytest.raises(UserError, match=next(iter(values))):
        sampling.check(Sampler(**values))

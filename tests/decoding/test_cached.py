"""Decoding with a cache against the long way: a full forward pass for every token, each prompt alone."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmlab import models
from lmlab.decoding import cached
from lmlab.decoding.sampling import Sampler, sample
from lmlab.models import transformer

VOCAB = 23
GREEDY, DRAWN = Sampler(temperature=0), Sampler(temperature=1.2, top_k=12, repetition_penalty=1.4)
FAMILIES = {"learned": dict(), "rotary": dict(positions="rotary", norm="rms", heads=4, kv_heads=2, qk_norm=True,
                                              activation="swiglu", tied=False)}


@pytest.fixture(scope="module")
def make(lively):
    """(context, family) -> (model, params), and the function (tokens) -> logits_V of the next, not cached."""
    made = {}

    def build(context, family="learned"):
        if (context, family) not in made:
            model = models.build("transformer", vocab_size=VOCAB, context=context, width=16, layers=2,
                                 **{"heads": 2, **FAMILIES[family]})
            params = lively(nn.meta.unbox(jax.jit(lambda: transformer.init(model, jax.random.key(0)))()))
            forward = jax.jit(lambda tokens_BT: model.apply({"params": params}, tokens_BT))

            def next_logits(tokens):
                row = np.zeros((1, context), np.int32)
                row[0, :len(tokens)] = tokens
                return forward(row)[0, len(tokens) - 1]
            made[context, family] = model, params, next_logits
        return made[context, family]
    return build


@pytest.fixture(params=[4, 32])
def bucket(request, monkeypatch):
    """The step in which shapes grow: a small one makes the tests cross it."""
    monkeypatch.setattr(cached, "BUCKET", request.param)


@pytest.fixture(autouse=True)
def watch(monkeypatch):
    """Fails where a token would be written past the end of the cache, which JAX would silently clamp."""
    advance = cached._advance

    def watched(model, sampler, params, cache, tokens_BT, *rest):
        assert int(cache["index"]) + tokens_BT.shape[1] <= cache["valid"].shape[1]
        return advance(model, sampler, params, cache, tokens_BT, *rest)
    monkeypatch.setattr(cached, "_advance", watched)


def long_way(next_logits, context, prompt, sampler, count, row=0, seed=0):
    """The tokens of one row. What is longer than the context is cut to its newer half, then grows again."""
    text, start, new = list(prompt), 0, []
    key = jax.random.fold_in(jax.random.key(seed), row)
    for i in range(count):
        if len(text) - start > context:
            start = len(text) - max(1, context // 2)
        seen_1V = jnp.array([[v in text for v in range(VOCAB)]])
        new.append(int(sample(next_logits(text[start:])[None], sampler, jax.random.fold_in(key, i)[None], seen_1V)[0]))
        text.append(new[-1])
    return new


def ragged(context):
    lengths = [1, 3, max(1, context - 1), context, context + 1, 2 * context + 5]
    rng = np.random.default_rng(context)
    return [rng.integers(0, VOCAB, n).tolist() for n in lengths]


def together(model, params, prompts, sampler, count, **settings):
    return np.array(list(cached.continuations(model, params, prompts, sampler, count=count, **settings))).T.tolist()


@pytest.mark.parametrize("context", [1, 2, 3, 10])
@pytest.mark.parametrize("sampler", [GREEDY, DRAWN], ids=["greedy", "drawn"])
def test_a_ragged_batch_is_each_prompt_the_long_way(make, bucket, context, sampler):
    model, params, next_logits = make(context)
    prompts, count = ragged(context), 2 * context + 5
    found = together(model, params, prompts, sampler, count, seed=5)
    for row, (prompt, tokens) in enumerate(zip(prompts, found, strict=True)):
        assert tokens == long_way(next_logits, context, prompt, sampler, count, row, seed=5), f"row {row}"


def test_beyond_the_real_bucket_with_rotary_and_groups(make):
    model, params, next_logits = make(40, "rotary")
    prompts = ragged(40)
    found = together(model, params, prompts, GREEDY, 60)
    for prompt, tokens in zip(prompts, found, strict=True):
        assert tokens == long_way(next_logits, 40, prompt, GREEDY, 60)


@pytest.mark.parametrize("sampler", [GREEDY, DRAWN], ids=["greedy", "drawn"])
def test_a_row_does_not_depend_on_the_rows_after_it(make, sampler):
    model, params, _ = make(10)
    prompts = ragged(10)
    assert together(model, params, prompts[:1], sampler, 14) == together(model, params, prompts, sampler, 14)[:1]


def test_the_end_of_document_stops_a_row_and_not_the_others(make):
    model, params, _ = make(10)
    prompts = ragged(10)
    free = together(model, params, prompts, DRAWN, 12, seed=1)
    eod = free[2][4]
    found = together(model, params, prompts, DRAWN, 12, seed=1, eod=eod)
    length = len(found[0])
    for row, expected in zip(found, free, strict=True):
        cut = expected.index(eod) if eod in expected else length
        assert row[:cut] == expected[:min(cut, length)] and set(row[cut:]) <= {eod}
    assert found[2][4:] == [eod] * (length - 4)


def test_it_ends_when_every_row_has_ended(make):
    model, params, _ = make(10)
    first = together(model, params, [[1, 2, 3]], GREEDY, 1)[0][0]
    assert together(model, params, [[1, 2, 3]], GREEDY, 50, eod=first) == [[first]]


def test_nothing_is_made_of_a_count_of_zero(make):
    model, params, _ = make(10)
    assert together(model, params, [[1]], GREEDY, 0) == []


def test_few_shapes_are_compiled(make, monkeypatch):
    model, params, _ = make(40, "rotary")
    shapes = set()
    advance = cached._advance

    def noted(model, sampler, params, cache, tokens_BT, *rest):
        shapes.add((tokens_BT.shape, cache["valid"].shape))
        return advance(model, sampler, params, cache, tokens_BT, *rest)
    monkeypatch.setattr(cached, "_advance", noted)
    together(model, params, ragged(40), GREEDY, 60)
    assert len(shapes) <= 6

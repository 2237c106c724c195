"""Decoding with a cache against the long way: a full forward pass for every token, each prompt alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmlab.decoding import cached
from lmlab.decoding.sampling import Sampler, sample
from lmlab.utils.errors import UserError

GREEDY, DRAWN = Sampler(temperature=0), Sampler(temperature=1.2, top_k=12, repetition_penalty=1.4)
KINDS = ["decoder", "rotary", "prefix", "prefix_relative", "t5", "bart"]


def long_way(made, prompt, sampler, count, row=0, seed=0):
    """The tokens of one row. What is longer than the context is cut to its newer half, then grows again."""
    view, new = made.view(prompt), []
    key = jax.random.fold_in(jax.random.key(seed), row)
    for i in range(min(count, made.model.spec.context) if made.model.spec.encoder_layers else count):
        logits_1V, [(text, start, end)] = made.next([view], prompt)
        seen_1V = jnp.array([[v in text for v in range(logits_1V.shape[1])]])
        new.append(int(sample(jnp.array(logits_1V), sampler, jax.random.fold_in(key, i)[None], seen_1V)[0]))
        view = (*text, new[-1]), start, end
    return new


def together(made, prompts, sampler, count, **settings):
    rows = cached.continuations(made.model, made.params, prompts, sampler, count=count, start=made.start, **settings)
    return np.array(list(rows)).T.tolist()


@pytest.mark.parametrize("family", KINDS)
def test_logits_with_a_cache_equal_the_full_forward(make, bucket, ragged, family):
    """Ragged prompts, padded on the left, and 13 given tokens more, beyond the context of 10."""
    made = make(family, 10)
    prompts, given = ragged(made.model), np.random.default_rng(0).integers(0, 23, (13, 6))
    rows = cached.Rows(made.model, made.params, prompts, 13, made.start)
    decode = jax.jit(lambda tokens, positions, prefix, cache: rows.model.apply(
        {"params": rows.params}, tokens, positions, cache, last=True, prefix_BT=prefix, method="decode"))
    views = [made.view(prompt) for prompt in prompts]
    assert rows.most == (10 if made.model.spec.encoder_layers else 13)
    for i in range(rows.most):
        read = rows.unread(rows.most - i)
        logits, rows.cache = decode(*read, rows.cache)
        for b, prompt in enumerate(prompts):
            expected, [(text, *more)] = made.next([views[b]], prompt)
            np.testing.assert_allclose(logits[b, 0], expected[0], atol=1e-5 * np.abs(expected).max())
            views[b] = ((*text, int(given[i, b])), *more)
            rows.texts[b].append(int(given[i, b]))


@pytest.mark.parametrize("context", [1, 2, 10])
@pytest.mark.parametrize("sampler", [GREEDY, DRAWN], ids=["greedy", "drawn"])
def test_a_ragged_batch_is_each_prompt_the_long_way(make, bucket, ragged, context, sampler):
    made = make("decoder", context)
    prompts, count = ragged(made.model), 2 * context + 5
    found = together(made, prompts, sampler, count, seed=5)
    for row, (prompt, tokens) in enumerate(zip(prompts, found, strict=True)):
        assert tokens == long_way(made, prompt, sampler, count, row, seed=5), f"row {row}"


@pytest.mark.parametrize("context", [1, 10])
@pytest.mark.parametrize("family", ["prefix", "prefix_relative", "t5", "bart"])
def test_so_it_is_with_every_kind_of_model(make, bucket, ragged, family, context):
    made = make(family, context)
    prompts, count = ragged(made.model), 2 * context + 5
    found = together(made, prompts, DRAWN, count, seed=5)
    for row, (prompt, tokens) in enumerate(zip(prompts, found, strict=True)):
        assert tokens == long_way(made, prompt, DRAWN, count, row, seed=5), f"row {row}"


@pytest.mark.parametrize("family", ["rotary", "t5"])
def test_beyond_the_real_bucket(make, ragged, family):
    made = make(family, 40)
    prompts = ragged(made.model)
    found = together(made, prompts, GREEDY, 60)
    for prompt, tokens in zip(prompts, found, strict=True):
        assert tokens == long_way(made, prompt, GREEDY, 60)


@pytest.mark.parametrize("family", ["decoder", "prefix", "bart"])
def test_a_row_does_not_depend_on_the_rows_after_it(make, ragged, family):
    made = make(family, 10)
    prompts = ragged(made.model)
    assert together(made, prompts[:1], DRAWN, 14) == together(made, prompts, DRAWN, 14)[:1]


def test_a_prompt_that_an_encoder_cannot_hold_is_refused(make):
    with pytest.raises(UserError, match=r"prompt 2 has 11 tokens and the encoder reads at most 10"):
        together(make("bart", 10), [[1], [1] * 11], GREEDY, 3)


def test_the_end_of_document_stops_a_row_and_not_the_others(make, ragged):
    made = make("decoder", 10)
    prompts = ragged(made.model)
    free = together(made, prompts, DRAWN, 12, seed=1)
    eod = free[2][4]
    found = together(made, prompts, DRAWN, 12, seed=1, eod=eod)
    length = len(found[0])
    for row, expected in zip(found, free, strict=True):
        cut = expected.index(eod) if eod in expected else length
        assert row[:cut] == expected[:min(cut, length)] and set(row[cut:]) <= {eod}
    assert found[2][4:] == [eod] * (length - 4)


def test_it_ends_when_every_row_has_ended(make):
    made = make("decoder", 10)
    first = together(made, [[1, 2, 3]], GREEDY, 1)[0][0]
    assert together(made, [[1, 2, 3]], GREEDY, 50, eod=first) == [[first]]


def test_nothing_is_made_of_a_count_of_zero(make):
    assert together(make("decoder", 10), [[1]], GREEDY, 0) == []


@pytest.mark.parametrize("family,most", [("rotary", 6), ("t5", 1)])
def test_few_shapes_are_compiled(make, ragged, monkeypatch, family, most):
    made = make(family, 40)
    shapes = set()
    advance = cached._advance

    def noted(model, sampler, params, cache, *rest):
        shapes.add(str(jax.tree.map(jnp.shape, (cache, rest))))
        return advance(model, sampler, params, cache, *rest)
    monkeypatch.setattr(cached, "_advance", noted)
    together(made, ragged(made.model), GREEDY, 60)
    assert len(shapes) <= most

"""Tiny models of every kind that makes text, each with the long way to its next token: no cache."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
import pytest

from lmlab import models
from lmlab.decoding import cached
from lmlab.models import transformer

_LLAMA = dict(positions="rotary", norm="rms", heads=4, kv_heads=2, qk_norm="head", activation="swiglu", tied=False,
              window=7, window_every=2, token_shift=0.5)
FAMILIES = {
    "decoder": dict(),
    "rotary": _LLAMA,
    "prefix": dict(attends="prefix"),
    "prefix_relative": dict(attends="prefix", positions="relative", relative_buckets=8, relative_distance=12,
                            token_shift=0.3),
    "t5": dict(encoder_layers=1, positions="relative", relative_buckets=8, relative_distance=12, norm="rms", bias=False,
               activation="geglu", tied=False, score_scale=1.0),
    "bart": dict(encoder_layers=2, position_offset=2, norm_place="post", embedding_norm=True, head_bias=True),
}


class Made(NamedTuple):
    """A model, and what it says next the long way."""
    model: Any
    params: Any
    forward: Any        # a row of `context` tokens each: tokens, prefix or encoder tokens and segments -> logits_BTV
    start: int = 2      # an encoder-decoder's first token

    def view(self, prompt):
        """A text of which nothing is made yet: (what the decoder reads, where that begins, where the prompt ends)."""
        return ((self.start,), 0, 1) if self.model.spec.encoder_layers else (tuple(prompt), 0, len(prompt))

    def next(self, views, prompt):
        """logits_BV of what follows each of `views`; and the views as they are after the context has moved on."""
        context = self.model.spec.context
        views = [(text, *((len(text) - max(1, context // 2), len(text)) if len(text) - start > context
                          else (start, end))) for text, start, end in views]
        tokens, encoder, segments = np.zeros((3, len(views), context), np.int32)
        prefix = np.zeros((len(views), context), bool)
        for b, (text, start, end) in enumerate(views):
            tokens[b, :len(text) - start], prefix[b, :max(0, end - start)] = text[start:], True
            if self.model.spec.encoder_layers:
                encoder[b, :len(prompt)], segments[b, :len(prompt)] = prompt, 1
        logits = self.forward(tokens, prefix, encoder, segments)
        return np.stack([logits[b, len(text) - start - 1] for b, (text, start, _) in enumerate(views)]), views


@pytest.fixture(scope="session")
def make(lively):
    """(family, context, vocabulary) -> Made, with random parameters."""
    made = {}

    def build(family, context, vocab=23):
        if (family, context, vocab) not in made:
            model = models.build("transformer", vocab_size=vocab, context=context, width=16, layers=2,
                                 **{"heads": 2, **FAMILIES[family]})
            params = lively(nn.meta.unbox(jax.jit(lambda: transformer.init(model, jax.random.key(0)))()))

            @jax.jit
            def forward(tokens, prefix, encoder, segments):
                more = dict(encoder={"tokens": encoder, "segments": segments}) if model.spec.encoder_layers else {}
                more |= dict(prefix_BT=prefix) if model.spec.attends == "prefix" else {}
                return model.apply({"params": params}, tokens, **more)
            made[family, context, vocab] = Made(model, params, lambda *x: np.asarray(forward(*x)))
        return made[family, context, vocab]
    return build


@pytest.fixture(autouse=True)
def watch(monkeypatch):
    """Fails where a token would be written past the end of the cache, which JAX would silently clamp."""
    unread = cached.Rows.unread

    def watched(rows, left):
        read = unread(rows, left)
        assert int(rows.cache["index"]) + read[0].shape[1] <= rows.cache["positions"].shape[1]
        return read
    monkeypatch.setattr(cached.Rows, "unread", watched)


@pytest.fixture
def bucket(monkeypatch):
    """A small step for shapes to grow in, so that the tests cross it."""
    monkeypatch.setattr(cached, "BUCKET", 4)


@pytest.fixture(scope="session")
def ragged():
    """(model, vocabulary) -> prompts of many lengths, some longer than a decoder's context."""
    def prompts(model, vocab=23):
        context = model.spec.context
        lengths = [1, 3, max(1, context - 1), context, context + 1, 2 * context + 5]
        rng = np.random.default_rng(context)
        fits = [n for n in lengths if n <= context or not model.spec.encoder_layers]
        return [rng.integers(0, vocab, n).tolist() for n in fits]
    return prompts

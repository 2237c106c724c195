"""Decoding with a key/value cache: ragged prompts in one batch, each row as if it were alone.

A decoder and a prefix LM go on from the prompt; an encoder-decoder reads the prompt with its encoder, once, and its
decoder begins at a token of its own.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from lmlab.decoding.sampling import sample
from lmlab.models import transformer
from lmlab.utils.errors import UserError

BUCKET = 32  # prompts and caches are padded to a multiple, long ones by an eighth: few shapes are ever compiled


class Rows:
    """The rows of a batch, and a cache with what the model has read of them; who makes tokens adds them to `texts`.

    A row that outgrows the model's context goes on from its newer half, read anew as if it were the prompt. The target
    of an encoder-decoder ends there instead (`most`).

    Attributes:
      model, params: with the layers one by one. texts: lists of ids, what the decoder reads. most: tokens to make.
      cache: as `transformer.init_cache` makes it; what reads `unread` puts the new one here.
    """

    def __init__(self, model, params, prompts, count, start=-1):
        """prompts: lists of ids, none empty. count: the most tokens to make. start: the decoder's first token.

        Raises:
          UserError: where a prompt is longer than an encoder's context.
        """
        self.model, self.params = transformer.unstack(model, jax.device_put(params))
        self.spec, self.most, self._prompts = model.spec, count, prompts
        self.texts = [list(p) for p in prompts]
        if self.spec.encoder_layers:
            self.texts, self.most = [[start] for _ in prompts], min(count, self.spec.context)
            for number, prompt in enumerate(prompts, 1):
                if len(prompt) > self.spec.context:
                    raise UserError(f"prompt {number} has {len(prompt)} tokens and the encoder reads at most "
                                    f"{self.spec.context} (config.model.context); shorten it")
        self._starts = [0] * len(prompts)            # where the part of each text begins that the model sees,
        self._ends = [len(t) for t in self.texts]    # and where what it reads as a prompt ends
        self._used = self._limit = 0                 # slots of the cache

    def unread(self, left):
        """What the model has to read before the next token: (tokens_BT, positions_BT, prefix_BT), numpy.

        Padded on the left, with position -1. prefix_BT is None where nothing is read both ways. left: tokens that
        will be made of it at most. The first call, and those after a text has outgrown the context, begin a new cache.
        """
        T = self._begin(left) if self._used == self._limit else 1
        self._used += T
        lengths = [len(t) - s for t, s in zip(self.texts, self._starts, strict=True)]
        tokens_BT, positions_BT = np.zeros((len(self.texts), T), np.int32), np.full((len(self.texts), T), -1, np.int32)
        for b, (text, length) in enumerate(zip(self.texts, lengths, strict=True)):
            new = min(T, length)
            tokens_BT[b, T - new:], positions_BT[b, T - new:] = text[len(text) - new:], np.arange(length - new, length)
        if self.spec.attends != "prefix" or self._used > T:
            return tokens_BT, positions_BT, None
        return tokens_BT, positions_BT, positions_BT < np.subtract(self._ends, self._starts)[:, None]

    def repeat(self, times):
        """Each row `times` times, side by side."""
        self.texts, self._starts, self._ends = ([x for x in rows for _ in range(times)]
                                                for rows in (self.texts, self._starts, self._ends))
        self.cache = repeat(self.cache, times)

    def _begin(self, left):
        """Makes a new cache; returns how many slots the texts need that are to be read into it."""
        context = self.spec.context
        for b, text in enumerate(self.texts):
            if len(text) - self._starts[b] > context:
                self._starts[b], self._ends[b] = len(text) - max(1, context // 2), len(text)
        longest = max(len(t) - s for t, s in zip(self.texts, self._starts, strict=True))
        T = min(bucket(longest), context) if longest > 1 else 1
        self._limit, self._used = min(context - longest, left) + T, 0
        self.cache = transformer.init_cache(self.spec, len(self.texts), bucket(self._limit))
        if self.spec.encoder_layers:
            self.cache = _encode(self.model, self.params, self._encoder_input(), self.cache)
        return T

    def _encoder_input(self):
        """The prompts, padded on the right."""
        S = min(bucket(max(map(len, self._prompts))), self.spec.context)
        tokens_BS, segments_BS = np.zeros((2, len(self._prompts), S), np.int32)
        for b, prompt in enumerate(self._prompts):
            tokens_BS[b, :len(prompt)], segments_BS[b, :len(prompt)] = prompt, 1
        return {"tokens": tokens_BS, "segments": segments_BS}


def continuations(model, params, prompts, sampler, *, count, seed=0, eod=-1, start=-1):
    """Yields the next token of every row, tokens_B (numpy), `count` times or until every row has ended.

    Args:
      model, params: a stacked model and its parameters. prompts: lists of token ids, none empty, of any lengths.
      sampler: a Sampler. count: the most tokens to make. seed: row r draws with key fold_in(key(seed), r).
      eod: a row that has drawn it goes on drawing it; -1: none does. start: as in Rows.
    Raises:
      UserError: as Rows does.
    """
    rows = Rows(model, params, prompts, count, start)
    keys_B = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), jnp.arange(len(prompts)))
    seen_BV = _seen(rows.texts, model.spec.vocab_size) if sampler.repetition_penalty != 1.0 else None
    done_B = np.zeros(len(prompts), bool)
    for i in range(rows.most):
        read = rows.unread(rows.most - i)
        next_B, rows.cache, seen_BV = _advance(rows.model, sampler, rows.params, rows.cache, *read, seen_BV, keys_B, i)
        drawn_B = np.where(done_B, eod, np.asarray(next_B)) if eod >= 0 else np.asarray(next_B)
        for text, token in zip(rows.texts, drawn_B.tolist(), strict=True):
            text.append(token)
        yield drawn_B
        done_B |= drawn_B == eod
        if done_B.all():
            return


@functools.partial(jax.jit, static_argnames=("model", "sampler"), donate_argnames=("cache", "seen_BV"))
def _advance(model, sampler, params, cache, tokens_BT, positions_BT, prefix_BT, seen_BV, keys_B, count):
    """Reads T tokens into the cache and draws the next. Returns (next_B, cache, seen_BV)."""
    logits_BTV, cache = model.apply({"params": params}, tokens_BT, positions_BT, cache, last=True, prefix_BT=prefix_BT,
                                    method="decode")
    keys_B = jax.vmap(jax.random.fold_in, (0, None))(keys_B, count)
    next_B = sample(logits_BTV[:, -1], sampler, keys_B, seen_BV)
    if seen_BV is not None:
        seen_BV = seen_BV.at[jnp.arange(len(next_B)), next_B].set(True)
    return next_B, cache, seen_BV


@functools.partial(jax.jit, static_argnames="model")
def _encode(model, params, encoder, cache):
    """An empty cache with every layer's keys and values of the encoder's output. A decode of nothing makes them, so
    that the steps that follow are of one shape, the first too."""
    cache = model.apply({"params": params}, encoder, cache, method="begin")
    nothing_B1 = jnp.full((len(encoder["tokens"]), 1), -1)
    _, made = model.apply({"params": params}, nothing_B1, nothing_B1, cache, method="decode")
    layers = [{**old, "memory": new["memory"]} for old, new in zip(cache["layers"], made["layers"], strict=True)]
    return {**made, "layers": layers, "positions": cache["positions"], "index": cache["index"]}


@functools.partial(jax.jit, static_argnames="times")
def repeat(cache, times):
    """A cache with each row `times` times, side by side."""
    return jax.tree.map(lambda x: jnp.repeat(x, times, axis=0) if x.ndim else x, cache)


def around(spec, tokenizer) -> tuple[int, int]:
    """The ids that a model reads before and after a text, -1 for none."""
    if spec.encoder_layers:
        return tokenizer.specials.get("bos", -1), tokenizer.eod
    if spec.attends == "full":
        return tokenizer.specials.get("cls", -1), tokenizer.eod
    return tokenizer.specials.get("bos", tokenizer.eod), -1


def bucket(length):
    """How many slots `length` tokens are given: few shapes are compiled."""
    step = max(BUCKET, (1 << (length - 1).bit_length()) // 8 if length else 0)
    return -(-length // step) * step


def _seen(texts, vocab):
    seen_BV = np.zeros((len(texts), vocab), bool)
    for b, text in enumerate(texts):
        seen_BV[b, text] = True
    return jnp.asarray(seen_BV)

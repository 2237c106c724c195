"""Decoding with a key/value cache: ragged prompts in one batch, each row as if it were alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from lmlab.decoding.sampling import sample
from lmlab.models import transformer

BUCKET = 32  # prompts and caches are padded to a multiple, so that few shapes are ever compiled


@functools.partial(jax.jit, static_argnames=("model", "sampler"), donate_argnames=("cache", "seen_BV"))
def _advance(model, sampler, params, cache, tokens_BT, positions_BT, seen_BV, keys_B, count):
    """Reads T tokens into the cache and draws the next. Returns (next_B, cache, seen_BV)."""
    logits_BTV, cache = model.apply({"params": params}, tokens_BT, positions_BT, cache, last=True, method="decode")
    keys_B = jax.vmap(jax.random.fold_in, (0, None))(keys_B, count)
    next_B = sample(logits_BTV[:, -1], sampler, keys_B, seen_BV)
    if seen_BV is not None:
        seen_BV = seen_BV.at[jnp.arange(len(next_B)), next_B].set(True)
    return next_B, cache, seen_BV


def continuations(model, params, prompts, sampler, *, count, seed=0, eod=-1):
    """Yields the next token of every row, tokens_B (numpy), `count` times or until every row has ended.

    A row that outgrows the model's context goes on from its newer half, read anew.

    Args:
      model, params: a stacked model and its parameters. prompts: lists of token ids, none empty, of any lengths.
      sampler: a Sampler. count: the most tokens to make. seed: row r draws with key fold_in(key(seed), r).
      eod: a row that has drawn it goes on drawing it; -1: none does.
    """
    flat_model, params = transformer.unstack(model, jax.device_put(params))
    context, vocab = model.spec.context, model.spec.vocab_size
    keys_B = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), jnp.arange(len(prompts)))
    texts = [list(p) for p in prompts]
    seen_BV = _seen(texts, vocab) if sampler.repetition_penalty != 1.0 else None
    done_B = np.zeros(len(texts), bool)
    starts = [0] * len(texts)  # where the part of each text begins that the model sees
    used = limit = 0
    for i in range(count):
        if used == limit:
            starts = [_start(len(text), start, context) for text, start in zip(texts, starts, strict=True)]
            tokens_BT, positions_BT, limit = _window([t[s:] for t, s in zip(texts, starts, strict=True)], context)
            limit = min(limit, tokens_BT.shape[1] + count - i)
            cache = transformer.init_cache(model.spec, len(texts), _bucket(limit))
            used = 0
        used += tokens_BT.shape[1]
        next_B, cache, seen_BV = _advance(flat_model, sampler, params, cache, tokens_BT, positions_BT, seen_BV, keys_B,
                                          i)
        positions_BT = positions_BT[:, -1:] + 1
        tokens_BT = next_B[:, None]
        drawn_B = np.where(done_B, eod, np.asarray(next_B)) if eod >= 0 else np.asarray(next_B)
        for text, token in zip(texts, drawn_B.tolist(), strict=True):
            text.append(token)
        yield drawn_B
        done_B |= drawn_B == eod
        if done_B.all():
            return


def _start(length, start, context):
    """Where a row of `length` tokens is read from that was read from `start`: elsewhere only if it is too long."""
    return start if length - start <= context else length - max(1, context // 2)


def _window(texts, context):
    """What to read into an empty cache: (tokens_BT, positions_BT, slots that may be filled before a row is too long).

    The texts, none longer than the context, are padded on the left; padding has position -1.
    """
    longest = max(len(t) for t in texts)
    length = min(_bucket(longest), context)
    tokens_BT = np.zeros((len(texts), length), np.int32)
    positions_BT = np.full((len(texts), length), -1, np.int32)
    for b, text in enumerate(texts):
        tokens_BT[b, length - len(text):] = text
        positions_BT[b, length - len(text):] = np.arange(len(text))
    return tokens_BT, positions_BT, context + length - longest


def _bucket(length):
    return -(-length // BUCKET) * BUCKET


def _seen(texts, vocab):
    seen_BV = np.zeros((len(texts), vocab), bool)
    for b, text in enumerate(texts):
        seen_BV[b, text] = True
    return jnp.asarray(seen_BV)

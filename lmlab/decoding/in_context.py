"""Labels of texts by a decoder that was not trained for them: labelled texts stand in its prompt (Brown et al.
2020)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from lmlab.data.cleaning import valid_unicode
from lmlab.decoding.cached import around, bucket, repeat
from lmlab.models import transformer
from lmlab.objectives import likelihood
from lmlab.utils.errors import UserError

NOTHING = ("N/A", "[MASK]", "")  # texts that say nothing (Zhao et al. 2021, section 5)
_ROWS = 16


def written(text: str, label: str | None = None) -> str:
    """How a text stands in the prompt, with its label or up to where one is wanted."""
    return f"Text: {valid_unicode(text).strip()}\nLabel:" + ("" if label is None else f" {label}\n\n")


def probabilities(lm, shown, texts, labels) -> np.ndarray:
    """(N, C) float64: how likely each label comes next, of a text after those `shown`, over how likely it does where
    the text says nothing, so that neither its frequency nor what stood last in the prompt tells (contextual
    calibration: Zhao et al. 2021, equation 1); together 1.

    Args:
      lm: a decoder. shown: (text, label) pairs, in this order. texts, labels: N and C of them.
    Raises:
      UserError: for another model, or where those shown leave a text no room.
    """
    likelihood.check(lm)
    p_NC = jax.nn.softmax(log_likelihoods(lm, shown, [*NOTHING, *texts], labels), axis=-1)
    p_NC = np.float64(p_NC[len(NOTHING):] / p_NC[:len(NOTHING)].mean(0))
    return p_NC / p_NC.sum(-1, keepdims=True)


def log_likelihoods(lm, shown, texts, labels) -> np.ndarray:
    """(N, C) float64: log p(label | those shown, the text) in nats. The prompt is read once for all. A text that does
    not fit loses its end. Arguments as in `probabilities`."""
    tokenizer, context = lm.tokenizer, lm.model.spec.context
    before, _ = around(lm.model.spec, tokenizer)
    prompt = [i for i in (before, *tokenizer.encode("".join(written(*pair) for pair in shown))) if i >= 0]
    said = tokenizer.encode_batch([f" {label}" for label in labels])
    asked, (question,) = tokenizer.encode_batch(list(map(written, texts))), tokenizer.encode_batch(["\nLabel:"])
    room = context - len(prompt) - max(map(len, said))
    if room < 2 * len(question) + 1:
        raise UserError(f"the {len(shown)} examples that are shown have {len(prompt)} tokens, and the model reads "
                        f"{context} in all; show fewer (--shots)")
    asked = [ids if len(ids) <= room else [*ids[:room - len(question)], *question] for ids in asked]
    tails = [(ids, label) for ids in asked for label in said]
    order = sorted(range(len(tails)), key=lambda n: sum(map(len, tails[n])))
    longest = bucket(max(len(ids) + len(label) for ids, label in tails))
    model, params = transformer.unstack(lm.model, jax.device_put(lm.params))
    cache = transformer.init_cache(lm.model.spec, 1, len(prompt) + longest)
    if prompt:
        cache = _read(model, params, np.array([prompt], np.int32), cache)
    cache, found = repeat(cache, _ROWS), np.zeros(len(tails))
    for start in range(0, len(order), _ROWS):
        rows = order[start:start + _ROWS]
        T = bucket(sum(map(len, tails[rows[-1]])))  # at most `longest`: the rounding keeps the order
        tokens_BT, learned_BT = np.zeros((_ROWS, T), np.int32), np.zeros((_ROWS, T), bool)
        positions_BT = np.full((_ROWS, T), -1, np.int32)
        for b, row in enumerate(rows):
            ids, label = tails[row]
            size = len(ids) + len(label)
            tokens_BT[b, :size], positions_BT[b, :size] = [*ids, *label], np.arange(len(prompt), len(prompt) + size)
            learned_BT[b, len(ids):size] = True
        sums_B = _sums(model, params, tokens_BT, positions_BT, learned_BT, cache)
        found[rows] = np.asarray(sums_B, np.float64)[:len(rows)]
    return found.reshape(len(texts), len(labels))


@functools.partial(jax.jit, static_argnums=0)
def _read(model, params, tokens_1P, cache):
    """The cache once the prompt is read."""
    positions_1P = jnp.arange(tokens_1P.shape[1])[None]
    return model.apply({"params": params}, tokens_1P, positions_1P, cache, last=True, method="decode")[1]


@functools.partial(jax.jit, static_argnums=0)
def _sums(model, params, tokens_BT, positions_BT, learned_BT, cache):
    """(B,): the sum of log p of the learned tokens, none of which is a row's first."""
    logits_BTV, _ = model.apply({"params": params}, tokens_BT, positions_BT, cache, method="decode")
    log_p_BTV = jax.nn.log_softmax(logits_BTV[:, :-1].astype(jnp.float32))
    log_p_BT = jnp.take_along_axis(log_p_BTV, tokens_BT[:, 1:, None], axis=-1)[..., 0]
    return jnp.where(learned_BT[:, 1:], log_p_BT, 0).sum(-1)
